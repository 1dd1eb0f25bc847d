"""What an upstream's failure means: one table, from an outcome to a cool-down and a next step.

`judge` is a pure function of a failure; it knows no account and keeps no count. Who is tried next and
how long a cool-down really lasts is the work of `plan` and `health`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.repair import speaks_of_signature

Headers = Sequence[tuple[bytes, bytes]]

BRIEF = 2.0
"""Seconds. A hint up to here is a burst limit: worth a wait even within a very small wait budget."""

PAGE = 500
"""Bytes shown of a body that is no error object: a proxy's HTML page says enough in its head."""

LOST_THREAD = b'"thread_not_found"'
"""In a 404 that is not about the model: the upstream no longer holds a conversation, and the SDK sends it again."""

MAX_DOUBLINGS = 32
"""Every cap in the table is reached long before; keeps the power small."""


class FailureKind(Enum):
    """How an attempt failed."""

    CONNECT = "connect"
    """No answer's head: connect, TLS, timeout, reset."""
    STATUS = "status"
    """A complete answer whose status is an error."""
    STREAM_ERROR = "stream_error"
    """A 200 stream that reports an error."""
    INCOMPLETE = "incomplete"
    """A 200 answer that ended before any content."""
    UNUSABLE = "unusable"
    """A 200 answer in which the model stopped without an end: it made a call that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt, as the upstream told it. Fields that are not known stay empty."""

    kind: FailureKind
    status: int = 0
    headers: Headers = ()
    """Lower-case names."""
    body: bytes = b""
    """The error's own bytes: an answer's body, or the data of an error event."""
    message: str = ""
    type: str = ""
    """The Messages protocol's error type, where the upstream or its dialect gave one."""


class Scope(Enum):
    """What a cool-down shuts."""

    NONE = "none"
    MODEL = "account and model"
    ACCOUNT = "account"
    UPSTREAM = "upstream"


class Next(Enum):
    """One way to go on. A rule lists several; the first that is possible is taken."""

    RETURN = "returned to the client"
    SIGNATURE = "same account, once more without thinking"
    REFRESH = "same account with a fresh token"
    OTHER_UPSTREAM = "another upstream"
    OTHER_ACCOUNT = "another account"
    SAME = "the same account after a pause"
    AFTER_COOL_DOWN = "whichever account is free first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table. Times are seconds."""

    name: str
    statuses: frozenset[int] = frozenset()
    """The statuses this row is for, where the status alone decides."""
    next: tuple[Next, ...]
    """What follows, best first. None possible: the request has failed."""
    pause: float = 0.0
    """Before the n-th repetition on the same account (n from 0): pause x 2^n."""
    once: bool = False
    """The same account is asked again once in a request, not as long as attempts last."""
    scope: Scope = Scope.NONE
    base: float = 0.0
    """The cool-down after the n-th failure in a row (n from 0): base x factor^n, at most `cap`."""
    factor: float = 1.0
    cap: float = 0.0
    grace: int = 0
    """How many failures in a row start no cool-down."""
    use: int = 0
    """When all attempts have failed, the client gets the failure of most use to it: the highest, the last."""

    def cool_down(self, failures: int) -> float:
        """Seconds to cool down after this many failures in a row; 0 for none."""
        n = failures - 1 - self.grace
        if n < 0:
            return 0.0
        return min(self.cap, self.base * self.factor ** min(n, MAX_DOUBLINGS))


ANY_ACCOUNT = (Next.OTHER_ACCOUNT,)
WHEN_FREE = (Next.OTHER_ACCOUNT, Next.AFTER_COOL_DOWN)
OR_SAME = (Next.OTHER_ACCOUNT, Next.SAME)

TABLE = (
    Rule(
        name="connect",
        use=3,
        scope=Scope.UPSTREAM,
        base=1.0,
        factor=2.0,
        cap=60.0,
        next=(Next.OTHER_UPSTREAM, Next.OTHER_ACCOUNT, Next.SAME),
        pause=0.25,
    ),
    Rule(name="signature", next=(Next.SIGNATURE,)),
    Rule(
        name="request",
        statuses=frozenset({400, 405, 409, 413, 414, 415, 422}),
        next=(Next.RETURN,),
    ),
    Rule(name="refresh", next=(Next.REFRESH,)),
    Rule(
        name="login",
        use=2,
        statuses=frozenset({401}),
        scope=Scope.ACCOUNT,
        base=600.0,
        cap=600.0,
        next=ANY_ACCOUNT,
    ),
    Rule(
        name="billing",
        use=2,
        statuses=frozenset({402, 403}),
        scope=Scope.ACCOUNT,
        base=60.0,
        factor=5.0,
        cap=3600.0,
        next=ANY_ACCOUNT,
    ),
    Rule(
        name="missing",
        use=1,
        statuses=frozenset({404}),
        scope=Scope.MODEL,
        base=600.0,
        cap=600.0,
        next=ANY_ACCOUNT,
    ),
    Rule(name="again", statuses=frozenset({408, 425}), next=(Next.SAME,), once=True),
    # The next two last as long as their hint says.
    Rule(name="brief limit", use=5, scope=Scope.MODEL, next=WHEN_FREE),
    Rule(name="limit", use=5, scope=Scope.MODEL, next=WHEN_FREE),
    Rule(
        name="limit without hint",
        use=5,
        statuses=frozenset({429}),
        scope=Scope.MODEL,
        base=5.0,
        factor=2.0,
        cap=300.0,
        next=WHEN_FREE,
    ),
    Rule(
        name="server",
        use=3,
        statuses=frozenset({500, 502, 503, 504, *range(520, 527)}),
        scope=Scope.MODEL,
        base=1.0,
        factor=2.0,
        cap=60.0,
        grace=1,
        next=OR_SAME,
        pause=0.5,
    ),
    Rule(
        name="overloaded",
        use=4,
        statuses=frozenset({529}),
        scope=Scope.UPSTREAM,
        base=1.0,
        factor=2.0,
        cap=60.0,
        grace=1,
        next=(Next.OTHER_UPSTREAM, Next.SAME),
        pause=1.0,
    ),
    Rule(name="incomplete", use=3, next=OR_SAME, once=True),
    # No account is to blame, and its prompt cache is warm.
    Rule(name="unusable", use=3, next=(Next.SAME,), once=True),
)
"""Every outcome has one row; an error event is judged by the status its type stands for."""

RULES = {rule.name: rule for rule in TABLE}
_BY_STATUS = {status: rule for rule in TABLE for status in rule.statuses}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one failure means."""

    rule: Rule
    hint: float | None = None
    """Seconds until the upstream's limit is lifted, by its own word; only for the two rows with a hint."""

    @property
    def name(self) -> str:
        """The row's name."""
        return self.rule.name

    def cool_down(self, failures: int) -> float:
        """Seconds of cool-down after this many failures in a row; 0 for none."""
        return self.rule.cool_down(failures) if self.hint is None else self.hint


def judge(failure: Failure, wall: float, *, refreshable: bool = False, stripped: bool = False) -> Verdict:
    """The row for a failure at `wall` (unix seconds).

    `refreshable`: the account's token can be refreshed and was not yet, for this request.
    `stripped`: the request was already sent without thinking.
    """
    if failure.kind is FailureKind.CONNECT:
        return Verdict(RULES["connect"])
    if failure.kind is FailureKind.INCOMPLETE:
        return Verdict(RULES["incomplete"])
    if failure.kind is FailureKind.UNUSABLE:
        return Verdict(RULES["unusable"])
    status = status_of(failure)
    if status == 400 and not stripped and speaks_of_signature(message_of(failure)):
        return Verdict(RULES["signature"])
    if status == 401 and refreshable:
        return Verdict(RULES["refresh"])
    if status == 429:
        return _judge_limit(failure, wall)
    if status == 404 and LOST_THREAD in failure.body:
        return Verdict(RULES["request"])
    rule = _BY_STATUS.get(status)
    if rule is None:
        # Other 4xx are about the request; redirects and the rest of 5xx are the server's own trouble.
        rule = RULES["request" if 400 <= status < 500 else "server"]
    return Verdict(rule)


def _judge_limit(failure: Failure, wall: float) -> Verdict:
    if (failure.type or error_in(failure.body)[0]) == "billing_error":
        return Verdict(RULES["billing"])
    hint = retry_hint(failure.headers, failure.body, wall)
    if hint is None:
        return Verdict(RULES["limit without hint"])
    return Verdict(RULES["brief limit" if hint <= BRIEF else "limit"], hint)


def retry_hint(headers: Headers, body: bytes, wall: float) -> float | None:
    """Seconds from `wall` (unix seconds) until an upstream's limit is lifted; None when it does not say.

    Every form that is understood is read in `hints`, which is loaded with the first limit.
    """
    from gateway.routing.retry_after import read_hint

    return read_hint(headers, body, wall)


def status_of(failure: Failure) -> int:
    """The status that decides: an error answer's own, or the one an error event's type stands for."""
    if failure.status >= 400:
        return failure.status
    if failure.kind is FailureKind.STREAM_ERROR:
        return STATUS_OF_TYPE.get(failure.type or error_in(failure.body)[0], 500)
    return failure.status


def message_of(failure: Failure) -> str:
    """What the upstream said, for people: its message, or its body's beginning where that has none."""
    return failure.message or error_in(failure.body)[1] or failure.body[:PAGE].decode("utf-8", "replace")


def error_in(body: bytes) -> tuple[str, str]:
    """(type, message) of an error body in any of the usual shapes; "" for what is not there."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return "", ""
    error = document.get("error", document)
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    kind, message = error.get("type"), error.get("message")
    return kind if isinstance(kind, str) else "", message if isinstance(message, str) else ""
