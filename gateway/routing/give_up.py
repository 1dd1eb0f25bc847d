"""The final failure of a request: which error the client gets, and when it may retry.

`give_up` picks the failure that is most useful to the client, with a status, an account and a message. The caller makes
a response of it, or relays the upstream's own bytes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.patterns import LazyPattern
from gateway.routing.accounts import Target
from gateway.routing.circuit_breaker import TICK
from gateway.routing.cures import Cure
from gateway.routing.failures import Failure, FailureKind, message_of
from gateway.routing.policy import DISABLED, NEVER, SERVER, About, Rule
from gateway.routing.sent import Features, no_features

LIMITS = frozenset({"brief limit", "limit", "limit without hint"})

WORDS = 300
"""Characters of an upstream's message in an error that the gateway writes."""

_HOW = {
    FailureKind.CONNECT: "could not be reached",
    FailureKind.INCOMPLETE: "ended its response before any content",
    FailureKind.EMPTY: "ended its response without any content",
    FailureKind.NO_MESSAGE: "sent something that is no message",
}
"""What happened, where the upstream's message does not say it."""

_KEY_LIKE = LazyPattern(r"\b(?:(?:sk|pk|rk|gsk|xai|ghp)[_*-]|AIza)[\w*-]{5,}")
"""Matches text that looks like a key: hosts quote the refused one, some partly masked."""

BUSY = 529
"""The protocol's status for overload: clients retry it with growing pauses."""


class FailedAttempt(NamedTuple):
    """A failed attempt, or the remembered failure that started a cool-down."""

    target: Target
    failure: Failure
    rule: Rule
    status: int
    """The response's status, or the one it should have had; 0 for no response."""
    hinted: bool = False
    """Whether the upstream said when to retry."""
    cure: Cure | None = None
    """The change for another attempt on the same account."""


class Sentence(NamedTuple):
    """A part of the error message for the client."""

    before: str
    account: str = ""
    """The account it is about; it may have to be masked."""
    between: str = ""
    words: str = ""
    """The upstream's message; it may have to be censored."""
    after: str = ""


class GiveUp(NamedTuple):
    """The result of a request without a (further) attempt: what to send to the client."""

    failure: Failure | None
    """The most useful one, or None. Without headers and body if an earlier request met it."""
    status: int
    """The status for the client: the failure's own, or a replacement."""
    retry_after: int | None
    """Whole seconds until any candidate is free, rounded up, at least 1, for the header. None if waiting does not
    help."""
    final: bool
    """Whether to tell the client not to retry (`x-should-retry: false`)."""
    sentences: tuple[Sentence, ...]
    upstream: str = ""
    account: str = ""
    """The account that failed."""
    wire_model: str = ""
    """The model requested there."""
    rule: str = ""
    """The row of the failure table."""
    own_words: bool = False
    """Whether to send an upstream's error byte for byte, in the client's protocol; else the gateway writes one."""

    def error_message(self, shown: Callable[[str], str], censor: Callable[[str], str]) -> str:
        """Return the message of an error that the gateway writes. `shown` returns an account's name as clients may see
        it; `censor` removes secrets from an upstream's message."""
        return "; ".join(
            one.before
            + (shown(one.account) if one.account else "")
            + one.between
            + (without_keys(censor(one.words)) if one.words else "")
            + one.after
            for one in self.sentences
        )


def give_up(
    targets: Sequence[Target], attempts: Sequence[FailedAttempt], now: float, features: Features = no_features
) -> GiveUp:
    """Return the result of a request after these failed attempts; without any, by what prevents one now."""
    busy = any(target.state.full and target.opens_at(now, features) <= now + TICK for target in targets)
    free_at = (target.free_at(now, features) for target in targets)
    retry_at = min((at for at in free_at if at < NEVER), default=now)
    if not attempts and not busy:
        attempts = _present_failures(targets, now, features)
    if not attempts:
        return _give_up_without_cause(targets, busy=busy)
    most = max(attempt.rule.use for attempt in attempts)
    attempt = [attempt for attempt in attempts if attempt.rule.use == most][-1]
    rule = attempt.rule
    in_vain = rule.operator or (rule.about is About.FEATURE and not attempt.hinted)
    waits = not in_vain and (rule.use >= SERVER or rule.about is About.FEATURE)
    helps = waits and (retry_at > now + TICK or rule.name in LIMITS)
    opens_in = retry_at - now if helps else 0.0
    return GiveUp(
        failure=attempt.failure,
        upstream=attempt.target.upstream,
        account=attempt.target.account,
        wire_model=attempt.target.wire_model,
        rule=rule.name,
        status=choose_status(attempt),
        retry_after=round_up(opens_in) if helps else None,
        final=in_vain,
        own_words=not rule.operator,
        sentences=_refusals(attempts) if rule.operator else (_explain(attempt, opens_in),),
    )


def _present_failures(targets: Sequence[Target], now: float, features: Features) -> list[FailedAttempt]:
    """Return the failures that started the present cool-downs."""
    return [
        FailedAttempt(target, breaker.cause, breaker.rule, breaker.cause.status, breaker.hinted)
        for target in targets
        for _, breaker in target.breakers(features)
        if breaker.cause is not None and breaker.rule is not None and breaker.opens_at(now) > now + TICK
    ]


def _give_up_without_cause(targets: Sequence[Target], *, busy: bool) -> GiveUp:
    words = "every account is busy and none got free in time"
    if not busy:
        words = "no account can serve this request" if targets else "no account serves this model"
    return GiveUp(
        failure=None,
        status=BUSY if busy else 503,
        retry_after=1 if busy else None,
        final=False,
        sentences=(Sentence(words),),
    )


def without_keys(words: str) -> str:
    """Return a text with everything that looks like a key replaced."""
    return _KEY_LIKE.compiled.sub("***", words)


def choose_status(attempt: FailedAttempt) -> int:
    """Return the status for the client: 503 for a refused account, since the client's own login was accepted."""
    if attempt.rule.operator:
        return 503
    return attempt.status if attempt.status >= 400 else 502


def _refusals(attempts: Sequence[FailedAttempt]) -> tuple[Sentence, ...]:
    """Return a sentence for each refused account."""
    return tuple(
        {(one.target.state, one.rule.name): _refusal(one) for one in attempts if one.rule.operator}.values()
    )


def _refusal(attempt: FailedAttempt) -> Sentence:
    if attempt.rule is DISABLED:
        return Sentence(
            'account "', attempt.target.account, f'" of upstream "{attempt.target.upstream}" is disabled'
        )
    whose = f' model "{attempt.target.wire_model}" for' if attempt.rule.about is About.MODEL else ""
    what = "credential" if attempt.rule.name == "login" else "billing and permissions"
    # The gateway's own message about a refresh names the token endpoint, so it is for the log only.
    words = "" if attempt.failure.kind is FailureKind.REFRESH else message_of(attempt.failure)[:WORDS]
    return Sentence(
        f'upstream "{attempt.target.upstream}" refused{whose} account "',
        attempt.target.account,
        f'" ({attempt.status}): the operator must check its {what}' + (": " if words else ""),
        words,
    )


def _explain(attempt: FailedAttempt, opens_in: float) -> Sentence:
    failure, upstream = attempt.failure, attempt.target.upstream
    words = message_of(failure)[:WORDS]
    said = _HOW.get(failure.kind, "" if words else f"responded with {attempt.status}")
    before = f'upstream "{upstream}" {said}' + (": " if words else "") if said else ""
    after = ""
    if opens_in > 0.0:
        after = f" (no account is free for this request; the first will be in {format_duration(opens_in)})"
    return Sentence(before, words=words, after=after)


def round_up(seconds: float) -> int:
    """Return whole seconds, rounded up, at least 1."""
    # Rounded to milliseconds first, so that float errors do not turn a minute into 61 s.
    return max(1, math.ceil(round(seconds, 3)))


def format_duration(seconds: float) -> str:
    """Return a duration for people, in its two largest units: `2 d 3 h`, `2 h 21 min`, `5 min 2 s`, `7 s`."""
    left = round_up(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
