"""The circuit breaker of something that can fail: an upstream, an account, or an account's use of one model.

    sound -> cooling -> half open -> probing -> sound
                ^__________________________|

A failure starts a cool-down, or is only counted, as its rule says. When the cool-down ends, one request may pass as a
probe; for all others it lasts on. If the probe succeeds, the owner drops the CircuitBreaker; if it fails, the next
cool-down starts; if it ends without either, the next request may be the probe. `retries` decides what a request does
that may not pass.
"""

from typing import NamedTuple

from gateway.routing.failures import Failure, FailureKind, message_of, status_of
from gateway.routing.meanings import Meaning
from gateway.routing.policy import DISABLED, NEVER, Next, Rule

PROBE_EVERY = 3600.0
"""Seconds. A longer cool-down is probed this often: quotas are raised and credits bought meanwhile."""

PROBE_PATIENCE = 12.0
"""Seconds for which a probe keeps others out. Refusals come at once and a connect times out after 10 s: a request that
runs longer was not refused, even if its response takes minutes."""

TICK = 0.002
"""Seconds. Event loops round their timers to a millisecond: a wait may end this much early."""

CAUSE_LENGTH = 300
"""Characters kept of the upstream's message."""


OTHER_PROCESS = object()
"""The prober if another process probes."""


class SharedCoolDown(NamedTuple):
    """A cool-down that another process has started, in this process's monotonic seconds."""

    rule: Rule
    failures: int
    """Failures in a row by this rule."""
    since: float
    until: float
    hinted: bool
    cause: Failure


class CircuitBreaker:
    """Created for the first failure. Times are monotonic seconds, passed in."""

    __slots__ = (
        "cause",
        "failed_at",
        "failures",
        "hinted",
        "probe_at",
        "prober",
        "prober_alone_until",
        "rule",
        "until",
    )

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        """Failures in a row, by the name of their rule."""
        self.failed_at = -NEVER
        self.rule: Rule | None = None
        """The rule that started the cool-down; None if failures were only counted."""
        self.hinted = False
        """Whether the upstream said how long the cool-down lasts."""
        self.cause: Failure | None = None
        """The failure that started it, without headers and body."""
        self.until = -NEVER
        """When the limit is lifted, as far as is known."""
        self.probe_at = -NEVER
        """When the next probe may pass: `until`, or earlier."""
        self.prober: object | None = None
        """The lease whose attempt is the probe."""
        self.prober_alone_until = -NEVER

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} x{count}" for name, count in self.failures.items())
        if self.rule is None:
            return f"<CircuitBreaker [SOUND, {counts}]>"
        state = "PROBING" if self.prober is not None else "COOLING"
        return f"<CircuitBreaker [{state}, until {self.until:.3f}, probe at {self.probe_at:.3f}, {counts}]>"

    def opens_at(self, now: float, *, early: bool = False, alone: bool = False) -> float:
        """Return when a request may pass; 0.0 means now.

        `early`: the request met this failure itself, and its rule lets it retry before the cool-down ends. `alone`: no
        other target can serve the request, so that it is not held back for long.
        """
        rule = self.rule
        if rule is None:
            return 0.0
        probe_at = self.alone_at if alone else self.probe_at
        if now + TICK < probe_at:
            return 0.0 if early and Next.SAME in rule.next else probe_at
        if self.prober is None or now + TICK >= self.prober_alone_until:
            return 0.0
        return self.prober_alone_until

    @property
    def alone_at(self) -> float:
        """Return when the next probe may pass for a request that no other target can serve."""
        if self.rule is None or self.hinted:
            return self.probe_at
        return min(self.probe_at, self.failed_at + self.rule.alone)

    @property
    def free_at(self) -> float:
        """Return when the limit is lifted for such a request, as far as is known."""
        return self.until if self.alone_at == self.probe_at else self.alone_at

    def enter(self, now: float, who: object, *, alone: bool = False) -> bool:
        """Let a request pass. Return whether it is the probe."""
        if self.rule is None or (self.prober is not None and not self._stopped_waiting(now)):
            return False
        if now + TICK < (self.alone_at if alone else self.probe_at):
            return False
        self.prober = who
        self.prober_alone_until = now + PROBE_PATIENCE
        return True

    def responded(self, now: float, who: object) -> None:
        """Let other requests pass: the probe was not refused, though it has not succeeded yet."""
        if self.prober is who:
            self.prober_alone_until = now

    def leave(self, who: object) -> None:
        """Note that a request has ended. If it was the probe, the next request may be."""
        if self.prober is who:
            self.prober = None

    def fail(
        self, meaning: Meaning, failure: Failure, now: float, started: float, *, again: bool = False
    ) -> None:
        """Note the failure of an attempt that began at `started`.

        Attempts that were in progress when another failed have the same cause: they are not counted again, and can
        only make the cool-down longer. Nor is one counted whose request has met the same failure before (`again`).
        """
        rule = meaning.rule
        fresh = started >= self.failed_at
        if fresh:
            if not again or rule.name not in self.failures:
                self.failures[rule.name] = self.failures.get(rule.name, 0) + 1
            self.failed_at = now
        seconds = meaning.cool_down(self.failures.get(rule.name, 1))
        if seconds <= 0.0 and meaning.hint is None:
            return
        until = now + seconds
        still_shut = now + TICK < self.probe_at
        if until <= self.until and (still_shut or not fresh):
            return
        self.until = until
        self.probe_at = min(until, now + PROBE_EVERY)
        self.prober = None
        self.rule = rule
        self.hinted = meaning.hint is not None
        self.cause = Failure(
            kind=failure.kind,
            status=meaning.status or status_of(failure),
            message=message_of(failure)[:CAUSE_LENGTH],
            type=failure.type,
        )

    def merge(self, shared: SharedCoolDown) -> None:
        """Merge another process's cool-down with this one."""
        name = shared.rule.name
        self.failures[name] = max(shared.failures, self.failures.get(name, 0))
        if shared.since > self.failed_at:
            self.failed_at = shared.since
            self.prober = None
        self.rule, self.hinted, self.cause = shared.rule, shared.hinted, shared.cause
        self.until = shared.until
        self.probe_at = min(shared.until, self.failed_at + PROBE_EVERY)

    def probe_remotely(self, until: float) -> None:
        """Note that another process probes: requests here wait for its result, until this time at most."""
        if self.rule is not None and self.prober in (None, OTHER_PROCESS):
            self.prober = OTHER_PROCESS
            self.prober_alone_until = until

    def _stopped_waiting(self, now: float) -> bool:
        """Return whether the wait for another process's probe is over."""
        return self.prober is OTHER_PROCESS and now + TICK >= self.prober_alone_until

    def ended_by(self, started: float) -> bool:
        """Return whether the success of an attempt that began at `started` ends this; an earlier one does not."""
        return started >= self.failed_at

    def forget(self, *names: str) -> bool:
        """Drop the failures of these rules. Return whether nothing is left."""
        for name in names:
            self.failures.pop(name, None)
        if self.rule is not None and self.rule.name in names:
            self.rule = self.cause = self.prober = None
            self.until = self.probe_at = -NEVER
        return not self.failures and self.rule is None

    def half_open(self) -> None:
        """End the cool-down now: the next request is the probe."""
        if self.rule is not None:
            self.until = self.probe_at = -NEVER


def _disabled_breaker() -> CircuitBreaker:
    breaker = CircuitBreaker()
    breaker.rule, breaker.hinted = DISABLED, True
    breaker.until = breaker.probe_at = NEVER
    breaker.cause = Failure(kind=FailureKind.STATUS, status=503, message="the operator has disabled it")
    return breaker


TURNED_OFF = _disabled_breaker()
"""The breaker of all accounts that the operator has disabled: it never opens, and requests do not change it."""
