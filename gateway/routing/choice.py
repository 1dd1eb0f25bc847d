"""Which of the accounts that could serve a request is asked first.

By priority; then the conversation's own account; then the one with the fewest requests in flight; then the least
recently used. Where several processes share the accounts, the last two differ: a conversation that lives nowhere yet,
or whose own account cannot serve it, goes where rendezvous hashing sends it, so that all processes send it to the same
account before any has told the others. What is in flight then decides only where accounts differ by more than chance.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.routing.accounts import AccountState, Target
from gateway.routing.rendezvous import point_of, weight

Precedence = tuple[int, bool, int, float]

EVEN = 1
"""Requests in flight by which accounts may differ and still count as equally free: two more are none of chance."""


class Ranked(NamedTuple):
    """A target's place in the order in which they would be asked."""

    target: Target
    opens_at: float
    """When its cool-downs let a request pass; 0.0 means now, and `NEVER` that an operator has disabled it."""
    rule: str
    """Why they do not: the row of the failure table."""
    full: bool
    home: bool
    """The conversation lives on its account."""

    @property
    def reason(self) -> str:
        """Say why it stands where it does."""
        state = self.target.state
        words = [f"priority {self.target.priority}"]
        if state.disabled:
            words.insert(0, "disabled")
        elif self.opens_at > 0.0:
            words.insert(0, f"cooling down: {self.rule}")
        elif self.full:
            words.insert(0, f"full: {state.in_flight} of {state.limit} requests in flight")
        if self.home:
            words.append("the conversation's own account")
        words.append(f"{state.in_flight} in flight")
        return ", ".join(words)


def precedence(
    free: Iterable[Target], conversation: str, home: AccountState | None
) -> Callable[[Target], Precedence]:
    """Return by what targets are ordered, lowest first.

    `free`: those that could be asked now, among which the least busy one is looked for. `conversation`: the one that
    is sent to its rendezvous, "" for none.
    """
    least: dict[int, int] = {}
    for target in free:
        in_flight = target.state.in_flight
        least[target.priority] = min(in_flight, least.get(target.priority, in_flight))
    point = point_of(conversation)

    def of(target: Target) -> Precedence:
        state = target.state
        if not conversation:
            return target.priority, state is not home, state.in_flight, state.last_used
        even = state.in_flight - least.get(target.priority, 0) <= EVEN
        in_flight = 0 if even else state.in_flight
        return target.priority, state is not home, in_flight, -weight(point, state.point)

    return of


def chosen_when_all_are_free(targets: Iterable[Target], conversation: str) -> Target:
    """Return whom every process would choose for a conversation that lives nowhere, were nothing in the way."""
    point = point_of(conversation)
    return min(targets, key=lambda target: (target.priority, -weight(point, target.state.point)))
