"""Status and message of a failure, and whether the body of a 200 is one."""

from typing import Any

import orjson
import pytest

from gateway.routing.failures import PAGE, Failure, FailureKind, failure_in, message_of, status_of

STATUS, EVENT = FailureKind.STATUS, FailureKind.STREAM_ERROR


def body(**error: object) -> bytes:
    return orjson.dumps({"type": "error", "error": error})


STATUSES = [
    (Failure(kind=STATUS, status=503), 503),
    (Failure(kind=STATUS, status=307), 307),
    (Failure(kind=STATUS), 502),
    (Failure(kind=FailureKind.CONNECT), 0),
    (Failure(kind=FailureKind.CONNECT, status=504), 504),
    (Failure(kind=FailureKind.INCOMPLETE, status=200), 200),
    # the body of a 200
    (Failure(kind=STATUS, status=200, body=body(type="overloaded_error")), 529),
    (Failure(kind=STATUS, status=200, body=b'{"code":500,"msg":"404 NOT_FOUND"}'), 500),
    (Failure(kind=STATUS, status=200, body=b'{"code":42,"msg":"?"}'), 502),
    # an event
    (Failure(kind=EVENT, status=200, type="overloaded_error"), 529),
    (Failure(kind=EVENT, status=503, type="overloaded_error"), 503),
    (Failure(kind=EVENT, body=body(type="rate_limit_error")), 429),
    (Failure(kind=EVENT, body=b'{"error":{"code":503}}'), 503),
    (Failure(kind=EVENT, code="429"), 429),
    (Failure(kind=EVENT, type="something_else"), 500),
    (Failure(kind=EVENT, body=b"?"), 500),
]


@pytest.mark.parametrize(("failure", "expected"), STATUSES)
def test_status_of(failure: Failure, expected: int) -> None:
    assert status_of(failure) == expected


WORDS = [
    (Failure(kind=STATUS, message="from the message", body=b'{"error":"written"}'), "from the message"),
    (Failure(kind=STATUS, body=b'{"error":"written"}'), "written"),
    (Failure(kind=STATUS, body=b"<html>\xff"), "<html>\ufffd"),
    (Failure(kind=STATUS, body=b"x" * 10_000), "x" * PAGE),
    (Failure(kind=STATUS), ""),
]


@pytest.mark.parametrize(("failure", "expected"), WORDS)
def test_message_of(failure: Failure, expected: str) -> None:
    assert message_of(failure) == expected


GOOD: list[Any] = [{"type": "message", "content": []}, {"input_tokens": 1}, {"data": [{"id": "m"}]}]


@pytest.mark.parametrize("document", GOOD)
def test_a_good_body_is_no_failure(document: Any) -> None:
    assert failure_in(orjson.dumps(document)) is None


BAD = [
    # the body of a 200; how it failed, and the status that follows
    (body(type="overloaded_error", message="busy"), STATUS, 529),
    (b'{"code":500,"msg":"404 NOT_FOUND","success":false}', STATUS, 500),
    (b'{"error":{"code":"1302","message":"rate limit reached"}}', STATUS, 502),
    (b'{"base_resp":{"status_code":1008,"status_msg":"no"}}', STATUS, 502),
    (b'{"error":"something broke"}', FailureKind.NO_MESSAGE, 502),
    (b"<html>be right back</html>", FailureKind.NO_MESSAGE, 502),
    (b"Service restarting", FailureKind.NO_MESSAGE, 502),
    (b'"text"', FailureKind.NO_MESSAGE, 502),
    (b"[]", FailureKind.NO_MESSAGE, 502),
    (b"", FailureKind.INCOMPLETE, 502),
    (b" \r\n", FailureKind.INCOMPLETE, 502),
]


@pytest.mark.parametrize(("body", "kind", "status"), BAD)
def test_the_body_of_a_200_may_be_a_failure(body: bytes, kind: FailureKind, status: int) -> None:
    failure = failure_in(body)
    assert failure is not None
    assert (failure.kind, status_of(failure)) == (kind, status)
    assert message_of(failure) or not body.strip()
