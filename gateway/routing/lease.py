"""Lease: an account's slot for one attempt, released exactly once, with the attempt's result."""

from typing import TYPE_CHECKING

from gateway.routing.accounts import Target
from gateway.routing.circuit_breaker import CircuitBreaker
from gateway.routing.cures import Cure

if TYPE_CHECKING:
    from gateway.routing.scheduler import Scheduler


class Lease:
    """An account's slot for one attempt.

    The attempt's owner calls `responded` after the head of a 2xx, `succeeded` when the response is committed, and
    always `release` at the end. A failed attempt goes to `Retries.failed`, a committed response that ended badly to
    `Scheduler.broke`: both release the lease.
    """

    __slots__ = (
        "_held",
        "_overflow",
        "_scheduler",
        "conversation",
        "cures",
        "fresh_cures",
        "probes",
        "started",
        "target",
    )

    def __init__(
        self, scheduler: "Scheduler", target: Target, conversation: str, overflow: bool, now: float
    ) -> None:
        self._scheduler = scheduler
        self._overflow = overflow
        """Whether the conversation's own account was only full, so that the conversation stays bound to it."""
        self.probes: tuple[CircuitBreaker, ...] = ()
        """The breakers that this attempt probes."""
        self._held = True
        self.target = target
        self.conversation = conversation
        self.started = now
        self.cures: tuple[Cure, ...] = ()
        """Changes to make to the request: cures known for the upstream, and those for refusals of this request."""
        self.fresh_cures: tuple[Cure, ...] = ()
        """The cures to remember if this attempt succeeds."""

    def __repr__(self) -> str:
        state = "HELD" if self._held else "RELEASED"
        return f"<Lease [{state}] {self.target.upstream}/{self.target.account} {self.target.wire_model}>"

    def responded(self, now: float) -> None:
        """Note the head of a 2xx: requests that wait for this attempt's probe may pass."""
        if self.probes:
            for breaker in self.probes:
                breaker.responded(now, self)
            self._scheduler.wake()

    def succeeded(self, now: float) -> None:
        """Note that the response is committed. The slot stays taken until `release`."""
        scheduler, state, conversation = self._scheduler, self.target.state, self.conversation
        opened = False
        if state.upstream.breaker is not None or state.breaker is not None or state.parts:
            opened = scheduler.mend(self)
        if conversation:
            home = scheduler.conversations.home(conversation, now) if self._overflow else None
            scheduler.conversations.bind(conversation, home or state, now)
        if self.fresh_cures:
            scheduler.cures.learn(self.target.upstream, self.target.wire_model, self.fresh_cures, now)
        if self.probes:
            self._leave()
            opened = True
        if opened:
            scheduler.wake()

    def release(self) -> None:
        """Free the slot and wake requests that wait for one; a second call has no effect."""
        if self._held:
            self._held = False
            self.target.state.in_flight -= 1
            if self.probes:
                self._leave()
            if self._scheduler._waiting:
                self._scheduler.wake()

    def _leave(self) -> None:
        for breaker in self.probes:
            breaker.leave(self)
        self.probes = ()
