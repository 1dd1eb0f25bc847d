"""The table of failures, row by row."""

import orjson
import pytest

from gateway.routing.failures import (
    PAGE,
    RULES,
    TABLE,
    Failure,
    FailureKind,
    Next,
    Scope,
    error_in,
    judge,
    message_of,
    retry_hint,
    status_of,
)

WALL = 1_800_000_000.0


def status(code: int, message: str = "", **headers: str) -> Failure:
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return Failure(kind=FailureKind.STATUS, status=code, message=message, headers=fields)


def error(type: str) -> Failure:
    return Failure(kind=FailureKind.STREAM_ERROR, status=200, type=type)


LOST_THREAD = b'{"error":{"type":"not_found_error","details":{"error_code":"thread_not_found"}}}'

SIGNATURE = "messages.1.content.0: Invalid `signature` in `thinking` block"

OUTCOMES = [
    (Failure(kind=FailureKind.CONNECT), "connect"),
    (Failure(kind=FailureKind.CONNECT, status=504), "connect"),
    (status(400, SIGNATURE), "signature"),
    *((status(code), "request") for code in (400, 405, 409, 413, 414, 415, 422)),
    (status(401), "login"),
    *((status(code), "billing") for code in (402, 403)),
    (Failure(kind=FailureKind.STATUS, status=429, type="billing_error"), "billing"),
    (Failure(kind=FailureKind.STATUS, status=429, body=b'{"error":{"type":"billing_error"}}'), "billing"),
    (status(404), "missing"),
    (Failure(kind=FailureKind.STATUS, status=404, body=b'{"error":{"type":"not_found_error"}}'), "missing"),
    (Failure(kind=FailureKind.STATUS, status=404, body=LOST_THREAD), "request"),
    *((status(code), "again") for code in (408, 425)),
    (status(429, retry_after="0"), "brief limit"),
    (status(429, retry_after="2"), "brief limit"),
    (status(429, retry_after="2.1"), "limit"),
    (status(429, retry_after_ms="86400000"), "limit"),
    (status(429), "limit without hint"),
    (status(429, retry_after="soon"), "limit without hint"),
    *((status(code), "server") for code in (500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526)),
    (status(529), "overloaded"),
    (error("invalid_request_error"), "request"),
    (error("authentication_error"), "login"),
    (error("billing_error"), "billing"),
    (error("permission_error"), "billing"),
    (error("not_found_error"), "missing"),
    (error("request_too_large"), "request"),
    (error("rate_limit_error"), "limit without hint"),
    (error("api_error"), "server"),
    (error("timeout_error"), "server"),
    (error("overloaded_error"), "overloaded"),
    (error("something_else"), "server"),
    (error(""), "server"),
    (Failure(kind=FailureKind.INCOMPLETE), "incomplete"),
    (Failure(kind=FailureKind.INCOMPLETE, status=502), "incomplete"),
    (Failure(kind=FailureKind.UNUSABLE), "unusable"),
    # Statuses that no row names.
    (status(406), "request"),
    (status(451), "request"),
    (status(499), "request"),
    (status(307), "server"),
    (status(501), "server"),
    (status(598), "server"),
    (Failure(kind=FailureKind.STATUS), "server"),
]


@pytest.mark.parametrize(("failure", "name"), OUTCOMES)
def test_judge(failure: Failure, name: str) -> None:
    assert judge(failure, WALL).name == name


def test_a_signature_is_judged_once() -> None:
    assert judge(status(400, SIGNATURE), WALL, stripped=True).name == "request"


def test_a_signature_is_found_in_the_body() -> None:
    body = orjson.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": SIGNATURE}})
    assert judge(Failure(kind=FailureKind.STATUS, status=400, body=body), WALL).name == "signature"
    assert judge(Failure(kind=FailureKind.STATUS, status=422, body=body), WALL).name == "request"


def test_a_login_that_can_be_refreshed_is() -> None:
    assert judge(status(401), WALL, refreshable=True).name == "refresh"
    assert judge(error("authentication_error"), WALL, refreshable=True).name == "refresh"
    assert judge(status(403), WALL, refreshable=True).name == "billing"


COOL_DOWNS = {
    "connect": [1, 2, 4, 8, 16, 32, 60, 60],
    "signature": [0, 0],
    "request": [0, 0],
    "refresh": [0, 0],
    "login": [600, 600],
    "billing": [60, 300, 1500, 3600, 3600],
    "missing": [600, 600],
    "again": [0, 0],
    "limit without hint": [5, 10, 20, 40, 80, 160, 300, 300],
    "server": [0, 1, 2, 4, 8, 16, 32, 60, 60],
    "overloaded": [0, 1, 2, 4, 8, 16, 32, 60, 60],
    "incomplete": [0, 0],
    "unusable": [0, 0],
}


@pytest.mark.parametrize("name", COOL_DOWNS)
def test_cool_downs(name: str) -> None:
    rule = RULES[name]
    assert [rule.cool_down(count) for count in range(1, len(COOL_DOWNS[name]) + 1)] == COOL_DOWNS[name]
    assert rule.cool_down(100_000) == COOL_DOWNS[name][-1]


@pytest.mark.parametrize(("seconds", "name"), [("1.5", "brief limit"), ("3600", "limit"), ("90000", "limit")])
def test_a_hint_is_the_cool_down(seconds: str, name: str) -> None:
    verdict = judge(status(429, retry_after=seconds), WALL)
    assert (verdict.name, verdict.hint) == (name, float(seconds))
    assert [verdict.cool_down(count) for count in (1, 2, 9)] == [float(seconds)] * 3


def test_without_a_hint_the_rule_says_how_long() -> None:
    assert judge(status(429), WALL).cool_down(2) == 10.0


SCOPES = {
    "connect": Scope.UPSTREAM,
    "signature": Scope.NONE,
    "request": Scope.NONE,
    "refresh": Scope.NONE,
    "login": Scope.ACCOUNT,
    "billing": Scope.ACCOUNT,
    "missing": Scope.MODEL,
    "again": Scope.NONE,
    "brief limit": Scope.MODEL,
    "limit": Scope.MODEL,
    "limit without hint": Scope.MODEL,
    "server": Scope.MODEL,
    "overloaded": Scope.UPSTREAM,
    "incomplete": Scope.NONE,
    "unusable": Scope.NONE,
}


def test_scopes() -> None:
    assert {rule.name: rule.scope for rule in TABLE} == SCOPES


def test_the_table_is_sound() -> None:
    seen: set[int] = set()
    for rule in TABLE:
        assert not rule.statuses & seen, "a status belongs to one row"
        seen |= rule.statuses
        assert rule.next
        assert rule.pause == 0.0 or Next.SAME in rule.next
        assert (rule.scope is Scope.NONE) <= (rule.base == 0.0)


STATUSES = [
    (status(503), 503),
    (Failure(kind=FailureKind.CONNECT), 0),
    (Failure(kind=FailureKind.CONNECT, status=504), 504),
    (Failure(kind=FailureKind.INCOMPLETE, status=200), 200),
    (error("overloaded_error"), 529),
    (Failure(kind=FailureKind.STREAM_ERROR, status=503, type="overloaded_error"), 503),
    (
        Failure(kind=FailureKind.STREAM_ERROR, body=b'{"type":"error","error":{"type":"rate_limit_error"}}'),
        429,
    ),
    (Failure(kind=FailureKind.STREAM_ERROR, body=b"?"), 500),
]


@pytest.mark.parametrize(("failure", "expected"), STATUSES)
def test_status_of(failure: Failure, expected: int) -> None:
    assert status_of(failure) == expected


ERRORS = [
    (b'{"type":"error","error":{"type":"api_error","message":"no"},"request_id":"r"}', ("api_error", "no")),
    (b'{"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}', ("", "no")),
    (b'[{"error":{"code":503,"message":"no"}}]', ("", "no")),
    (b'{"error":"no"}', ("", "no")),
    (b'{"message":"no","type":"t"}', ("t", "no")),
    (b'{"error":{"type":1,"message":null}}', ("", "")),
    (b'{"error":7}', ("", "")),
    (b"[]", ("", "")),
    (b'["no"]', ("", "")),
    (b"7", ("", "")),
    (b"<html>", ("", "")),
    (b"", ("", "")),
    (b"\xff", ("", "")),
    (b"[" * 100_000, ("", "")),
]


@pytest.mark.parametrize(("body", "expected"), ERRORS)
def test_error_in(body: bytes, expected: tuple[str, str]) -> None:
    assert error_in(body) == expected


WORDS = [
    (Failure(kind=FailureKind.STATUS, message="said", body=b'{"error":"written"}'), "said"),
    (Failure(kind=FailureKind.STATUS, body=b'{"error":"written"}'), "written"),
    (Failure(kind=FailureKind.STATUS, body=b"<html>\xff"), "<html>\ufffd"),
    (Failure(kind=FailureKind.STATUS, body=b"x" * 10_000), "x" * PAGE),
    (Failure(kind=FailureKind.STATUS), ""),
]


@pytest.mark.parametrize(("failure", "expected"), WORDS)
def test_words_of(failure: Failure, expected: str) -> None:
    assert message_of(failure) == expected


def test_retry_hint_reads_headers_and_body() -> None:
    assert retry_hint([(b"retry-after", b"7")], b"", WALL) == 7.0
    assert retry_hint((), b"try again in 7 seconds", WALL) is None
