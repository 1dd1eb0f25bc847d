"""Interprets failures: by code, then type, then message, then status, whichever is conclusive first.

`meaning_of` is a pure function: it knows no accounts and counts nothing. `signals` has the table, `policy` says what
follows from a meaning.
"""

import re
from typing import NamedTuple

from gateway.routing.error_bodies import ErrorBody, read_error
from gateway.routing.failures import Failure, FailureKind, message_of, status_of
from gateway.routing.policy import RULES, About, Rule
from gateway.routing.sent import FAST
from gateway.routing.signals import (
    MENTIONS_ACCOUNT,
    MENTIONS_MODEL,
    MODEL_IS_MISSING,
    SIGNALS,
    Signal,
)

BRIEF = 2.0
"""Seconds. A hint up to this means a burst limit, worth a wait even with a very small budget."""

LONGEST = 8192
"""Characters of a message that are searched; the known messages have up to 500."""


class Meaning(NamedTuple):
    """What a failure is about, and when the upstream said to retry."""

    rule: Rule
    hint: float | None = None
    """Seconds until the limit is lifted, if the upstream said so."""
    should_retry: bool = True
    """Whether the same account may be used again for this request: `x-should-retry: false` forbids it."""
    feature: str = ""
    status: int = 0
    """The status that fits, where the failure's own is none."""

    @property
    def about(self) -> About:
        """Return what the failure is about."""
        return self.rule.about

    def cool_down(self, failures: int) -> float:
        """Return the seconds of cool-down after this many failures in a row; 0 for none."""
        return self.rule.cool_down(failures) if self.hint is None else self.hint


_BY_STATUS = {
    401: "login",
    402: "billing",
    408: "again",
    425: "again",
    498: "overloaded",
    529: "overloaded",
    **dict.fromkeys((400, 405, 409, 413, 414, 415, 422), "request"),
}
"""Rows for failures that the status alone decides."""


def meaning_of(
    failure: Failure, wall: float, *, wire_model: str = "", features: frozenset[str] = frozenset()
) -> Meaning:
    """Return the meaning of a failure at `wall` (unix seconds).

    `wire_model` and `features`: those of the request.
    """
    match failure.kind:
        case FailureKind.CONNECT | FailureKind.INCOMPLETE if failure.status == 504:
            return Meaning(RULES["timeout"])
        case FailureKind.CONNECT:
            return Meaning(RULES["connect"])
        case FailureKind.INCOMPLETE | FailureKind.UNUSABLE | FailureKind.EMPTY:
            return Meaning(RULES[failure.kind.value])
        case FailureKind.NO_MESSAGE:
            return Meaning(RULES["failure in a 200"])
    error = read_error(failure.body)
    status, words = status_of(failure), message_of(failure)[:LONGEST]
    should_retry = (b"x-should-retry", b"false") not in [
        (name, value.lower()) for name, value in failure.headers
    ]
    signal = _first_signal(failure, error, status, words, features)
    name = signal.rule if signal is not None else _by_status(failure, error, status, words, wire_model)
    feature, own_hint = (signal.feature, signal.hint) if signal is not None else ("", None)
    client_status = signal.status if signal is not None and failure.status < 400 else 0
    if name == "limit without hint" and FAST in features:
        # Fast mode has separate rate limits.
        name, feature = "feature", FAST
    hint = own_hint
    if name in _HINTED:
        hint = retry_hint(failure, error.type, wall)
        hint = own_hint if hint is None else hint
        name = _hinted(name, failure, status, hint)
    if failure.kind is FailureKind.STATUS and failure.status < 400 and name in ("overloaded", "unavailable"):
        name = "failure in a 200"
    return Meaning(RULES[name], hint, should_retry, feature, client_status)


def retry_hint(failure: Failure, type: str, wall: float) -> float | None:
    """Return the seconds from `wall` (unix seconds) until an upstream's limit is lifted; None if it does not say.

    `type`: the error's own. The parser of all forms, `retry_after`, is imported with the first limit.
    """
    from gateway.routing.retry_after import read_hint

    return read_hint(failure.headers, failure.body, wall, type=type)


_HINTED = frozenset({"limit", "limit without hint", "server", "overloaded", "unavailable", "feature"})
"""Rows for which a hint makes a difference."""


def _hinted(name: str, failure: Failure, status: int, hint: float | None) -> str:
    """Return the row, changed where a hint, or its absence, leads to another."""
    if name == "feature":
        return name
    if name in ("limit", "limit without hint"):
        if hint is None:
            spent = (b"anthropic-ratelimit-unified-overage-disabled-reason", b"out_of_credits")
            return "billing" if spent in failure.headers else "limit without hint"
        return "brief limit" if hint <= BRIEF else "limit"
    if hint is None or status not in (503, 529):
        return name
    return "server with hint" if name == "server" else "overloaded with hint"


def _first_signal(
    failure: Failure, error: ErrorBody, status: int, words: str, features: frozenset[str]
) -> Signal | None:
    """Return the first signal that matches: by code, by type, by message."""
    codes = {failure.code.lower(), *error.codes}
    types = {failure.type.lower(), error.type.lower()}
    for named in (codes, types):
        for signal in SIGNALS:
            if not named.isdisjoint(signal.codes):
                return signal
    for signal in SIGNALS:
        if signal.words is None or (signal.statuses and status not in signal.statuses):
            continue
        if (not signal.used or signal.feature in features) and signal.words.search(words):
            return signal
    return None


def _by_status(failure: Failure, error: ErrorBody, status: int, words: str, wire_model: str) -> str:
    """Return the row for a status without a signal, perhaps by the protocol's own error type."""
    if "billing_error" in (failure.type, error.type):
        return "billing"
    if status == 429:
        return "limit without hint"
    names_model = bool(wire_model) and re.search(
        rf"(?<![\w.-]){re.escape(wire_model)}(?![\w-])", words, re.IGNORECASE
    )
    if status == 403:
        about_model = names_model or MENTIONS_MODEL.search(words)
        return "billing" if not about_model and MENTIONS_ACCOUNT.search(words) else "forbidden"
    if status == 404:
        if names_model or MODEL_IS_MISSING.search(words):
            return "missing"
        return "request" if error != ErrorBody() else "no api"
    name = _BY_STATUS.get(status)
    if name is None:
        # Other 4xx are about the request; redirects and other 5xx are the server's fault.
        name = "request" if 400 <= status < 500 else "server"
    return name
