"""The meaning of a failure: by its kind and status, with hints, and the order of signals."""

import orjson
import pytest

from gateway.routing.failures import Failure, FailureKind
from gateway.routing.meanings import meaning_of
from gateway.routing.policy import About

WALL = 1_800_000_000.0

STATUS = FailureKind.STATUS


def status(code: int, message: str = "x", **headers: str) -> Failure:
    """An error response with an error object."""
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    body = orjson.dumps({"error": {"message": message}})
    return Failure(kind=STATUS, status=code, headers=fields, body=body)


def event(type: str) -> Failure:
    return Failure(kind=FailureKind.STREAM_ERROR, status=200, type=type)


OUTCOMES = [
    (Failure(kind=FailureKind.CONNECT, status=502), "connect"),
    (Failure(kind=FailureKind.CONNECT, status=504), "timeout"),
    (Failure(kind=FailureKind.INCOMPLETE, status=502), "incomplete"),
    (Failure(kind=FailureKind.INCOMPLETE, status=504), "timeout"),
    (Failure(kind=FailureKind.REFRESH, status=401), "login"),
    (Failure(kind=FailureKind.REFRESH, status=503), "server"),
    (Failure(kind=FailureKind.UNUSABLE), "unusable"),
    (Failure(kind=FailureKind.EMPTY), "empty"),
    (Failure(kind=FailureKind.NO_MESSAGE, body=b"<html>"), "failure in a 200"),
    *((status(code), "request") for code in (400, 405, 409, 413, 414, 415, 422)),
    (status(401), "login"),
    (status(402), "billing"),
    (status(403), "forbidden"),
    (status(404), "request"),
    (Failure(kind=STATUS, status=404, body=b"<html>"), "no api"),
    (Failure(kind=STATUS, status=404), "no api"),
    *((status(code), "again") for code in (408, 425)),
    (status(429), "limit without hint"),
    *((status(code), "server") for code in (500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526)),
    (status(529), "overloaded"),
    (event("invalid_request_error"), "request"),
    (event("authentication_error"), "login"),
    (event("billing_error"), "billing"),
    (event("permission_error"), "forbidden"),
    (event("request_too_large"), "request"),
    (event("rate_limit_error"), "limit without hint"),
    (event("api_error"), "server"),
    (event("timeout_error"), "server"),
    (event("overloaded_error"), "overloaded"),
    (event("something_else"), "server"),
    (event(""), "server"),
    # Statuses that no row names.
    (status(406), "request"),
    (status(451), "request"),
    (status(499), "request"),
    (status(307), "server"),
    (status(501), "server"),
    (status(598), "server"),
    (Failure(kind=STATUS), "server"),
]


@pytest.mark.parametrize(("failure", "rule"), OUTCOMES)
def test_kind_and_status(failure: Failure, rule: str) -> None:
    assert meaning_of(failure, WALL).rule.name == rule


HINTS: list[tuple[Failure, str, float | None]] = [
    # a failure; its row, the seconds of its hint
    (status(429, retry_after="0"), "brief limit", 0.0),
    (status(429, retry_after="2"), "brief limit", 2.0),
    (status(429, retry_after="2.1"), "limit", 2.1),
    (status(429, retry_after_ms="86400000"), "limit", 86400.0),
    (status(429, retry_after="soon"), "limit without hint", None),
    (status(503, retry_after="8"), "server with hint", 8.0),
    (status(529, retry_after="3600"), "overloaded with hint", 3600.0),
    (status(503, "Loading model", retry_after="8"), "overloaded with hint", 8.0),
    (status(500, retry_after="8"), "server", 8.0),
    (status(400, retry_after="8"), "request", None),
    (status(401, retry_after="8"), "login", None),
    (status(402, retry_after="8"), "billing", None),
    (status(429, "Extra usage is required for long context requests."), "feature", None),
    (status(429, "Extra usage is required for long context requests.", retry_after="60"), "feature", 60.0),
    (Failure(kind=STATUS, status=429, body=b'{"error":{"code":"1308","message":"x"}}'), "limit", 3600.0),
    (
        Failure(kind=STATUS, status=429, headers=[(b"retry-after", b"9")], body=b'{"error":{"code":"1308"}}'),
        "limit",
        9.0,
    ),
]


@pytest.mark.parametrize(("failure", "rule", "hint"), HINTS)
def test_hints(failure: Failure, rule: str, hint: float | None) -> None:
    meaning = meaning_of(failure, WALL)
    assert (meaning.rule.name, meaning.hint) == (rule, hint)


def test_a_hint_is_the_cool_down() -> None:
    limit = meaning_of(status(429, retry_after="90"), WALL)
    assert [limit.cool_down(count) for count in (1, 2, 9)] == [90.0] * 3
    assert [meaning_of(status(429), WALL).cool_down(count) for count in (1, 2)] == [5.0, 10.0]


def test_out_of_credits_without_a_reset_cools_the_account_down() -> None:
    spent = {"anthropic_ratelimit_unified_overage_disabled_reason": "out_of_credits"}
    assert meaning_of(status(429, **spent), WALL).rule.name == "billing"
    assert meaning_of(status(429, **spent, retry_after="60"), WALL).rule.name == "limit"


def test_fast_mode_has_its_own_limits() -> None:
    limited = status(429, retry_after="60")
    meaning = meaning_of(limited, WALL, features=frozenset({"fast"}))
    assert (meaning.about, meaning.feature, meaning.hint) == (About.FEATURE, "fast", 60.0)
    assert meaning_of(limited, WALL, features=frozenset({"images"})).about is About.MODEL


@pytest.mark.parametrize(
    ("value", "expected"), [("false", False), ("False", False), ("true", True), ("", True)]
)
def test_x_should_retry(value: str, expected: bool) -> None:
    assert meaning_of(status(500, x_should_retry=value), WALL).should_retry is expected


ORDER = [
    # code before type before words before status
    (
        {"code": "insufficient_quota", "type": "engine_overloaded_error", "message": "Model Not Exist"},
        "billing",
    ),
    ({"code": "odd", "type": "engine_overloaded_error", "message": "Model Not Exist"}, "overloaded"),
    ({"code": "odd", "type": "invalid_request_error", "message": "Model Not Exist"}, "missing"),
    ({"code": "odd", "type": "invalid_request_error", "message": "?"}, "request"),
]


@pytest.mark.parametrize(("error", "rule"), ORDER)
def test_order(error: dict[str, str], rule: str) -> None:
    failure = Failure(kind=STATUS, status=400, body=orjson.dumps({"error": error}))
    assert meaning_of(failure, WALL).rule.name == rule


def test_hints_read_by_a_dialect_count() -> None:
    assert (
        meaning_of(Failure(kind=STATUS, status=400, code="Insufficient_Quota"), WALL).rule.name == "billing"
    )
    assert meaning_of(Failure(kind=STATUS, status=400, type="billing_error"), WALL).rule.name == "billing"
    assert (
        meaning_of(Failure(kind=STATUS, status=400, message="Model Not Exist"), WALL).rule.name == "missing"
    )


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(kind=STATUS, status=200, body=b'{"error":{"code":"1302","message":"x"}}'), 429),
        (Failure(kind=FailureKind.STREAM_ERROR, status=200, body=b'{"error":{"code":"1113"}}'), 402),
        (Failure(kind=STATUS, status=400, body=b'{"error":{"code":"1113"}}'), 0),
        (event("rate_limit_error"), 0),
    ],
)
def test_a_signal_gives_the_status_where_there_was_none(failure: Failure, status: int) -> None:
    assert meaning_of(failure, WALL).status == status
