"""The error response: whose message and headers it has, and one request id in both header and body."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from gateway.config import Server
from gateway.http1.heads import parse_response_head
from gateway.proxy.error_response import ErrorResponse, error_response
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.give_up import GiveUp, Sentence

WORDS = b'{"type":"error", "error":{"type":"rate_limit_error","message":"wait"},"request_id":"req_theirs"}'

STATUS, STREAM_ERROR, CONNECT = FailureKind.STATUS, FailureKind.STREAM_ERROR, FailureKind.CONNECT


def failure(
    kind: FailureKind = STATUS,
    body: bytes = WORDS,
    headers: Sequence[tuple[bytes, bytes]] = (),
    **fields: Any,
) -> Failure:
    return Failure(kind=kind, status=429, headers=tuple(headers), body=body, **fields)


def stop(failure: Failure | None, **fields: Any) -> GiveUp:
    chosen: dict[str, Any] = {
        "account": "a@x",
        "status": 429,
        "retry_after": None,
        "final": False,
        "own_words": True,
        "sentences": (Sentence("account ", "a@x", " failed: ", "no canary", "."),),
        **fields,
    }
    return GiveUp(failure=failure, upstream="up", **chosen)


def censor(text: str) -> str:
    return text.replace("canary", "***")


def response(stop: GiveUp, *, expose: Any = "full", relays: bool = True) -> ErrorResponse:
    return error_response(stop, Server(expose=expose), "req_ours", relays=relays, censor=censor)


def fields_of(made: ErrorResponse) -> list[tuple[bytes, bytes]]:
    return parse_response_head(b"HTTP/1.1 400 \r\n%b\r\n" % made.lines).headers


def made_here(made: ErrorResponse) -> tuple[str, str]:
    """Type and message of a body in the protocol's shape, whose request id is the header's."""
    document = orjson.loads(made.body)
    headers = dict(fields_of(made))
    assert document == {
        "type": "error",
        "error": {"type": made.type, "message": made.message},
        "request_id": headers[b"request-id"].decode(),
    }
    assert headers[b"content-type"] == b"application/json"
    return made.type, made.message


def test_an_upstreams_error_message_passes() -> None:
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"request-id", b"req_theirs"),
        (b"anthropic-ratelimit-requests-limit", b"5"),
        (b"set-cookie", b"a=b"),
    ]
    made = response(stop(failure(headers=headers)))
    assert (made.status, made.body) == (429, WORDS)
    assert fields_of(made) == [headers[1], headers[2], headers[0]]


def test_an_error_without_type_or_request_id_gets_them() -> None:
    made = response(stop(failure()))
    assert fields_of(made) == [(b"request-id", b"req_ours"), (b"content-type", b"application/json")]
    assert made.body == WORDS


@pytest.mark.parametrize(
    ("relays", "failed", "type"),
    [
        (False, failure(type="overloaded_error"), "overloaded_error"),  # another dialect's words
        (False, failure(), "rate_limit_error"),
        (True, failure(body=b""), "rate_limit_error"),  # no words
        (True, failure(STREAM_ERROR, type="api_error"), "api_error"),  # an event is no body
        (True, failure(CONNECT, body=b""), "rate_limit_error"),
        (True, None, "rate_limit_error"),
    ],
)
@pytest.mark.parametrize("theirs", [True, False])
def test_an_error_of_the_gateway_itself(
    relays: bool, failed: Failure | None, type: str, theirs: bool
) -> None:
    if failed is not None and theirs:
        fields = ((b"request-id", b"req_theirs"), (b"content-type", b"text/plain"))
        failed = Failure(
            kind=failed.kind, status=failed.status, body=failed.body, type=failed.type, headers=fields
        )
    made = response(stop(failed), relays=relays)
    assert made_here(made) == (type, "account a@x failed: no ***.")
    known = b"req_theirs" if failed is not None and theirs else b"req_ours"
    assert dict(fields_of(made))[b"request-id"] == known
    assert made.status == 429


@pytest.mark.parametrize(
    ("expose", "message"),
    [
        ("full", "account a@x failed: no ***."),
        ("masked", "account a***@x failed: no ***."),
        ("none", "account of this upstream failed: no ***."),
    ],
)
def test_errors_that_only_the_operator_can_fix(expose: Any, message: str) -> None:
    failed = failure(
        type="authentication_error",
        headers=[(b"request-id", b"req_theirs"), (b"retry-after", b"5"), (b"x-should-retry", b"true")],
    )
    made = response(stop(failed, status=503, final=True, own_words=False), expose=expose)
    assert made_here(made) == ("api_error", message)
    assert fields_of(made) == [
        (b"x-should-retry", b"false"),
        (b"request-id", b"req_ours"),
        (b"content-type", b"application/json"),
    ]


def test_retry_after_is_the_earliest_time() -> None:
    headers = [
        (b"retry-after", b"50"),
        (b"retry-after-ms", b"50000"),
        (b"anthropic-ratelimit-requests-reset", b"soon"),
    ]
    made = response(stop(failure(headers=headers), retry_after=7))
    assert fields_of(made)[:2] == [headers[2], (b"retry-after", b"7")]
    assert [name for name, _ in fields_of(made) if name.startswith(b"retry-after")] == [b"retry-after"]


def test_retry_after_of_the_upstream_stays_without_an_earliest_time() -> None:
    made = response(stop(failure(headers=[(b"retry-after", b"50")])))
    assert dict(fields_of(made))[b"retry-after"] == b"50"


def test_a_key_in_an_upstreams_message_is_censored() -> None:
    made = response(stop(failure(body=WORDS.replace(b"wait", b"bad key canary"))))
    assert made.body == WORDS.replace(b"wait", b"bad key ***")
