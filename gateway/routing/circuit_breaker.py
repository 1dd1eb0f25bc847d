"""The circuit breaker of one thing that can fail: an upstream, an account, or an account's use of one model.

    sound -> cooling -> half open -> probing -> sound
                ^__________________________|

A failure starts a cool-down, or only counts, as its meaning says. When the cool-down ends, one request is
let in to probe; the others go on as if it had not ended. The probe's success ends everything (the owner
throws the CircuitBreaker away), its failure starts the next cool-down, and when it ends without either, the next
request may probe. Who is asked instead, and who waits, is decided in `retries`.
"""

from typing import NamedTuple

from gateway.routing.failures import Failure, FailureKind, message_of, status_of
from gateway.routing.meanings import Meaning
from gateway.routing.policy import DISABLED, NEVER, Next, Rule

PROBE_EVERY = 3600.0
"""Seconds. A longer cool-down is probed that often: quotas are raised and credits bought meanwhile."""

PROBE_PATIENCE = 12.0
"""Seconds that a probe keeps the others out. Refusals come at once and a connect times out after 10 s;
a request that has run for longer got past what the cool-down was for, even if its response takes minutes."""

TICK = 0.002
"""Seconds. Event loops round their timers to a millisecond: a wait may end this much early."""

CAUSE_LENGTH = 300
"""Characters kept of what the upstream said."""


ELSEWHERE = object()
"""Stands for a probe that another process has begun."""


class ToldCoolDown(NamedTuple):
    """A cool-down that another process has met, in this one's monotonic seconds."""

    rule: Rule
    failures: int
    """Failures in a row by its rule."""
    since: float
    until: float
    hinted: bool
    cause: Failure


class CircuitBreaker:
    """Made with the first failure. Times are the monotonic seconds that are passed in."""

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
        """The rule that started the cool-down; None while failures only count."""
        self.hinted = False
        """The cool-down lasts as long as the upstream said."""
        self.cause: Failure | None = None
        """The failure behind it, without headers and body."""
        self.until = -NEVER
        """When the limit is really lifted, as far as is known."""
        self.probe_at = -NEVER
        """When the next probe may go: `until`, or earlier."""
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

        `early`: the request has met this failure itself and its rule lets it try again before the
        cool-down is over. `alone`: nothing else can serve the request, so that it is not held back for long.
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
        """Return when the next probe of a request that nothing else can serve may go."""
        if self.rule is None or self.hinted:
            return self.probe_at
        return min(self.probe_at, self.failed_at + self.rule.alone)

    @property
    def free_at(self) -> float:
        """Return when the limit is really lifted for such a request, as far as is known."""
        return self.until if self.alone_at == self.probe_at else self.alone_at

    def enter(self, now: float, who: object, *, alone: bool = False) -> bool:
        """Let a request pass. Return whether it is the probe."""
        if self.rule is None or (self.prober is not None and not self._given_up(now)):
            return False
        if now + TICK < (self.alone_at if alone else self.probe_at):
            return False
        self.prober = who
        self.prober_alone_until = now + PROBE_PATIENCE
        return True

    def answered(self, now: float, who: object) -> None:
        """Let the others in: the probe was not refused, though it has not succeeded yet."""
        if self.prober is who:
            self.prober_alone_until = now

    def leave(self, who: object) -> None:
        """Note that a request has ended. If it was the probe, the next one may be."""
        if self.prober is who:
            self.prober = None

    def fail(
        self, meaning: Meaning, failure: Failure, now: float, started: float, *, again: bool = False
    ) -> None:
        """Note that an attempt begun at `started` failed.

        Attempts that were under way when another failed tell of the same trouble: they do not count again, and can
        only make the cool-down longer. Nor does one count whose request has met the same failure before (`again`).
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

    def told(self, told: ToldCoolDown) -> None:
        """Take over the cool-down that counts by all that this process and others have met."""
        name = told.rule.name
        self.failures[name] = max(told.failures, self.failures.get(name, 0))
        if told.since > self.failed_at:
            self.failed_at = told.since
            self.prober = None
        self.rule, self.hinted, self.cause = told.rule, told.hinted, told.cause
        self.until = told.until
        self.probe_at = min(told.until, self.failed_at + PROBE_EVERY)

    def probed_elsewhere(self, until: float) -> None:
        """Note that another process probes: who comes here waits for its word, until this time at most."""
        if self.rule is not None and self.prober in (None, ELSEWHERE):
            self.prober = ELSEWHERE
            self.prober_alone_until = until

    def _given_up(self, now: float) -> bool:
        """Return whether another process's word on its probe is waited for no longer."""
        return self.prober is ELSEWHERE and now + TICK >= self.prober_alone_until

    def ended_by(self, started: float) -> bool:
        """Return whether the success of an attempt begun at `started` ends this: not if it was under way before."""
        return started >= self.failed_at

    def forget(self, *names: str) -> bool:
        """End the failures of these rules. Return whether nothing else is left."""
        for name in names:
            self.failures.pop(name, None)
        if self.rule is not None and self.rule.name in names:
            self.rule = self.cause = self.prober = None
            self.until = self.probe_at = -NEVER
        return not self.failures and self.rule is None

    def half_open(self) -> None:
        """End the cool-down now: whatever comes next is the probe."""
        if self.rule is not None:
            self.until = self.probe_at = -NEVER


def _turned_off() -> CircuitBreaker:
    breaker = CircuitBreaker()
    breaker.rule, breaker.hinted = DISABLED, True
    breaker.until = breaker.probe_at = NEVER
    breaker.cause = Failure(kind=FailureKind.STATUS, status=503, message="the operator has disabled it")
    return breaker


TURNED_OFF = _turned_off()
"""That of every account which the operator has disabled: it never opens, and no request's success or failure reaches
it."""
