"""The order in which the accounts that could serve a request are used.

By priority; then the conversation's own account; then the one with the fewest requests in flight; then the least
recently used. Where several processes share the accounts, rendezvous hashing replaces the last two for a conversation
without an account of its own that could serve it: all processes choose the same one without waiting for each other's
news. Requests in flight then only count where they differ by more than EVEN.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.routing.accounts import AccountState, Target
from gateway.routing.rendezvous import point_of, weight

Precedence = tuple[int, bool, int, float]

EVEN = 1
"""Difference of requests in flight up to which accounts count as equally free: a larger one is not chance."""


class Ranked(NamedTuple):
    """A target's place in the order of use."""

    target: Target
    opens_at: float
    """When its cool-downs let a request pass; 0.0 means now, `NEVER` that an operator has disabled it."""
    rule: str
    """The row of the failure table that closed it; "" if it is open."""
    full: bool
    home: bool
    """Whether the conversation is bound to its account."""

    @property
    def reason(self) -> str:
        """The reason for its place, in words."""
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
    """Return the sort key of targets, lowest first.

    `free`: the targets that could be used now, for the least number of requests in flight. `conversation`: used for
    rendezvous hashing; "" turns that off.
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


def choose_if_all_free(targets: Iterable[Target], conversation: str) -> Target:
    """Return the target that every process would choose for a new conversation if all were free."""
    point = point_of(conversation)
    return min(targets, key=lambda target: (target.priority, -weight(point, target.state.point)))
