"""The health of one thing that can fail: an upstream, an account, or an account's use of one model.

    sound -> cooling -> half open -> probing -> sound
                ^__________________________|

A failure starts a cool-down, or only counts, as its verdict says. When the cool-down ends, one request is
let in to probe; the others go on as if it had not ended. The probe's success ends everything (the owner
throws the CircuitBreaker away), its failure starts the next cool-down, and when it ends without either, the next
request may probe. Who is asked instead, and who waits, is decided in `plan`.
"""

from gateway.routing.failures import Failure, Next, Rule, Verdict, message_of, status_of

PROBE_EVERY = 3600.0
"""Seconds. A longer cool-down is probed that often: quotas are raised and credits bought meanwhile."""

PROBE_PATIENCE = 12.0
"""Seconds that a probe keeps the others out. Refusals come at once and a connect times out after 10 s;
a request that has run for longer got past what the cool-down was for, even if its answer takes minutes."""

TICK = 0.002
"""Seconds. Event loops round their timers to a millisecond: a wait may end this much early."""

CAUSE_LENGTH = 300
"""Characters kept of what the upstream said."""

NEVER = float("inf")


class CircuitBreaker:
    """Made with the first failure. Times are the monotonic seconds that are passed in."""

    __slots__ = (
        "cause",
        "failed_at",
        "failures",
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
        self.cause: Failure | None = None
        """The failure behind it, without headers and body."""
        self.until = -NEVER
        """When the limit is really lifted, as far as is known."""
        self.probe_at = -NEVER
        """When the next probe may go: `until`, or earlier."""
        self.prober: object | None = None
        self.prober_alone_until = -NEVER

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} x{count}" for name, count in self.failures.items())
        if self.rule is None:
            return f"<CircuitBreaker [SOUND, {counts}]>"
        state = "PROBING" if self.prober is not None else "COOLING"
        return f"<CircuitBreaker [{state}, until {self.until:.3f}, probe at {self.probe_at:.3f}, {counts}]>"

    def opens_at(self, now: float, *, early: bool = False) -> float:
        """When a request may pass; 0.0 means now.

        `early`: the request has met this failure itself and its rule lets it try again before the
        cool-down is over.
        """
        rule = self.rule
        if rule is None:
            return 0.0
        if now + TICK < self.probe_at:
            return 0.0 if early and Next.SAME in rule.next else self.probe_at
        if self.prober is None or now + TICK >= self.prober_alone_until:
            return 0.0
        return self.prober_alone_until

    def enter(self, now: float, who: object) -> bool:
        """A request passes. True if it is the probe."""
        if self.rule is None or self.prober is not None or now + TICK < self.probe_at:
            return False
        self.prober = who
        self.prober_alone_until = now + PROBE_PATIENCE
        return True

    def answered(self, now: float, who: object) -> None:
        """The probe was not refused, though it has not succeeded yet: the others need not wait for that."""
        if self.prober is who:
            self.prober_alone_until = now

    def leave(self, who: object) -> None:
        """A request has ended. If it was the probe, the next one may be."""
        if self.prober is who:
            self.prober = None

    def fail(self, verdict: Verdict, failure: Failure, now: float, started: float) -> None:
        """An attempt begun at `started` failed.

        Attempts that were under way when another failed tell of the same trouble: they do not count
        again, and can only make the cool-down longer.
        """
        rule = verdict.rule
        fresh = started >= self.failed_at
        if fresh:
            self.failures[rule.name] = self.failures.get(rule.name, 0) + 1
            self.failed_at = now
        seconds = verdict.cool_down(self.failures.get(rule.name, 1))
        if seconds <= 0.0 and verdict.hint is None:
            return
        until = now + seconds
        still_shut = now + TICK < self.probe_at
        if until <= self.until and (still_shut or not fresh):
            return
        self.until = until
        self.probe_at = min(until, now + PROBE_EVERY)
        self.prober = None
        self.rule = rule
        self.cause = Failure(
            kind=failure.kind,
            status=status_of(failure),
            message=message_of(failure)[:CAUSE_LENGTH],
            type=failure.type,
        )

    def ended_by(self, started: float) -> bool:
        """Whether the success of an attempt begun at `started` ends this: not if it was under way before."""
        return started >= self.failed_at

    def forget(self, name: str) -> bool:
        """End the failures of one rule. True if nothing else is left."""
        self.failures.pop(name, None)
        if self.rule is not None and self.rule.name == name:
            self.rule = self.cause = self.prober = None
            self.until = self.probe_at = -NEVER
        return not self.failures and self.rule is None

    def half_open(self) -> None:
        """End the cool-down now: whatever comes next is the probe."""
        if self.rule is not None:
            self.until = self.probe_at = -NEVER
