"""The last word: of all that went wrong, what the client is told, and when to come back.

`give_up` picks the failure of most use to the client and says with which status, which account and which
words. Shaping it into an answer, or relaying the upstream's own bytes, is left to the caller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.routing.circuit_breaker import TICK
from gateway.routing.failures import Failure, FailureKind, Rule, message_of, status_of
from gateway.routing.scheduler import Target

OPERATORS = frozenset({"login", "billing"})
"""Rules of failures that the client can do nothing about: its own login was right."""

LIMITS = frozenset({"brief limit", "limit", "limit without hint"})

PASSING = 3
"""Failures of at least this use go away by themselves, so that the client may be told when to come back."""

BUSY = 529
"""The protocol's overload: clients try again by themselves, with growing pauses."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt, or the remembered failure behind a cool-down."""

    option: Target
    failure: Failure
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """No (further) attempt. What the client is to be told."""

    failure: Failure | None
    """The most useful one, or None. Without headers and body if an earlier request met it."""
    upstream: str = ""
    account: str = ""
    """Whose failure it is."""
    wire_model: str = ""
    """And the model that was asked for there."""
    status: int
    """The answer's status: the failure's own, or what it becomes."""
    retry_at: float | None
    """Monotonic seconds: the earliest time any candidate is free, where waiting helps."""
    retry_after: int | None
    """The same in whole seconds from now, rounded up, at least 1: the header's value."""
    final: bool
    """Tell the client not to retry (`x-should-retry: false`)."""
    template: str

    @property
    def message(self) -> str:
        """What to say when the gateway writes the error itself. Holds no secret."""
        return self.told_as(self.account)

    def told_as(self, account: str) -> str:
        """The message with the account shown as `account`, for those who mask or hide its name."""
        return self.template.replace("{account}", account)


def give_up(options: Sequence[Target], attempts: Sequence[FailedAttempt], now: float) -> GiveUp:
    """The outcome of a request with these failed attempts; with none, of what prevented one."""
    busy = any(option.account.full and option.opens_at(now) <= now + TICK for option in options)
    retry_at = min((option.free_at(now) for option in options), default=now)
    if not attempts and not busy:
        attempts = [
            FailedAttempt(option, health.cause, health.rule)
            for option in options
            for health in option.healths()
            if health.cause is not None and health.rule is not None
        ]
    if not attempts:
        return _without_cause(options, now, busy=busy)
    worst = max(attempt.rule.use for attempt in attempts)
    told = [attempt for attempt in attempts if attempt.rule.use == worst][-1]
    account = told.option.account
    final = told.rule.name in OPERATORS
    passing = told.rule.use >= PASSING and not final
    helps = passing and (retry_at > now + TICK or told.rule.name in LIMITS)
    return GiveUp(
        failure=told.failure,
        upstream=account.upstream.name,
        account=account.config.name,
        wire_model=told.option.wire_model,
        status=_status(told),
        retry_at=retry_at if helps else None,
        retry_after=_whole(retry_at - now) if helps else None,
        final=final,
        template=_template(told, retry_at - now if helps else 0.0),
    )


def _without_cause(options: Sequence[Target], now: float, *, busy: bool) -> GiveUp:
    words = "every account is busy and none got free in time"
    if not busy:
        words = "no account can serve this request" if options else "no account serves this model"
    return GiveUp(
        failure=None,
        status=BUSY if busy else 503,
        retry_at=now if busy else None,
        retry_after=1 if busy else None,
        final=False,
        template=words,
    )


def _status(told: FailedAttempt) -> int:
    if told.rule.name in OPERATORS:
        return 503
    status = status_of(told.failure)
    return status if status >= 400 else 502


def _template(told: FailedAttempt, opens_in: float) -> str:
    failure, upstream = told.failure, told.option.account.upstream.name
    status = status_of(failure)
    if told.rule.name in OPERATORS:
        what = "its credential" if told.rule.name == "login" else "its billing and permissions"
        return (
            f'upstream "{upstream}" refused account "{{account}}" ({status}): the operator must check {what}'
        )
    words = message_of(failure)
    if failure.kind is FailureKind.CONNECT:
        said = f'upstream "{upstream}" could not be reached' + (f": {words}" if words else "")
    elif failure.kind is FailureKind.INCOMPLETE:
        said = f'upstream "{upstream}" ended its answer before any content' + (f": {words}" if words else "")
    else:
        said = words or f'upstream "{upstream}" answered {status}'
    if opens_in > 0.0:
        said += f" (no account is free for this request; the first will be in {span(opens_in)})"
    return said


def _whole(seconds: float) -> int:
    # Rounded to milliseconds first: a minute must not become 61 s by a float's last digit.
    return max(1, math.ceil(round(seconds, 3)))


def span(seconds: float) -> str:
    """A duration for people: the two largest units of `2 d 3 h`, `2 h 21 min`, `5 min 2 s`, `7 s`."""
    left = _whole(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
