"""Responses that are read to their end: gathered, limited, and judged when they break off."""

import orjson
import pytest

from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.sse import EVENT_LIMIT
from gateway.proxy.response_headers import upstream_head
from gateway.proxy.responses import Reader
from gateway.proxy.responses.buffered import MAX_ERROR, BufferedResponse, ErrorReader, TokenCount
from tests.fakes.messages import event, message, text_events
from tests.support.attempt import Recorder, head_of
from tests.support.loops import settle
from tests.support.references import received_events

BODY = b'{"type": "message", "usage": {"input_tokens": 5, "output_tokens": 7}}'
LENGTH = b"content-length: %d" % len(BODY)
GEMINI = GeminiDialect(lambda: 0.5, print)
TOO_LARGE = "ended early: the upstream's response is larger than {} bytes"


def buffered(attempt: Recorder, *fields: bytes, limit: int = 1000) -> BufferedResponse:
    head = head_of(*fields)
    attempt.about = upstream_head(head)
    return BufferedResponse(attempt, head, limit)


def error_reader(attempt: Recorder, *fields: bytes, status: int = 429) -> ErrorReader:
    return ErrorReader(attempt, head_of(*fields, status=status))


def feed(reader: Reader, body: bytes, size: int = 1000, *, ended: bool = True) -> None:
    """Feed a body in reads of this size; `ended`: the last one is the body's last."""
    assert reader.decode
    assert reader.can_ping()
    assert not reader.is_complete()
    reads = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    for number, read in enumerate(reads, 1):
        reader.body_received(b"raw", read, ended and number == len(reads))


# A whole response.


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("type_line", [b"content-type: application/json; x=y", b"content-type: text/plain"])
async def test_a_whole_response_is_passed_on_byte_for_byte(size: int, type_line: bytes) -> None:
    attempt = Recorder(stream=False)
    feed(buffered(attempt, type_line, LENGTH), BODY, size)
    assert attempt.calls == [f"commit {type_line.decode()}", "done"]
    assert attempt.client.body == BODY
    assert attempt.client.kept
    await settle()
    assert (attempt.request.record.input_tokens, attempt.request.record.output_tokens) == (5, 7)


async def test_a_response_without_a_content_type_is_json() -> None:
    attempt = Recorder(stream=False)
    feed(buffered(attempt, LENGTH), BODY)
    assert attempt.client.head["content-type"] == "application/json"


@pytest.mark.parametrize("size", [1, 250, 10_000])
@pytest.mark.parametrize("over", [0, 1])
async def test_a_response_has_a_size_limit(size: int, over: int) -> None:
    attempt = Recorder(stream=False)
    reader = buffered(attempt, b"content-length: 9999", limit=500)
    body = b'{"id":"%b"}' % (b"x" * (491 + over))
    for at in range(0, len(body), size):
        if not attempt.calls:
            reader.body_received(b"", body[at : at + size], at + size >= len(body))
    if over:
        assert attempt.calls == ["abandon", TOO_LARGE.format(500)]
    else:
        assert attempt.client.body == body


@pytest.mark.parametrize("field", [b"content-length: 0", b"transfer-encoding: chunked", b"connection: close"])
async def test_an_empty_response_is_a_failure(field: bytes) -> None:
    attempt = Recorder(stream=False)
    feed(buffered(attempt, field), b"")
    assert attempt.calls == ["ended early: the upstream's response is empty"]


async def test_a_truncated_response_until_close() -> None:
    body = orjson.dumps(message("Hello there"))
    for length in range(1, len(body)):
        attempt = Recorder(stream=False)
        feed(buffered(attempt), body[:length])
        assert attempt.calls == ["ended early: the upstream closed the connection inside its response"]
    attempt = Recorder(stream=False)
    feed(buffered(attempt), body)
    assert attempt.client.body == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html>", "failed: 502 : "),
        (BODY[:9], "failed: 502 : "),
        (b"[]", "failed: 502 : "),
        (b'{"error":{"type":"overloaded_error","message":"no"}}', "failed: 200 : "),
        (b'{"content":[],"usage":{"output_tokens":0}}', "failed: 502 : the upstream's message is empty"),
    ],
)
async def test_status_200_with_an_invalid_body(body: bytes, expected: str) -> None:
    attempt = Recorder(stream=False)
    feed(buffered(attempt, b"retry-after: 3", b"content-length: %d" % len(body)), body)
    assert attempt.calls == [expected]
    assert (b"retry-after", b"3") in attempt.failures[0].headers


async def test_an_empty_message_is_passed_on_the_second_time() -> None:
    attempt = Recorder(stream=False)
    attempt.takes_empty = True
    body = b'{"content":[],"usage":{"output_tokens":0}}'
    feed(buffered(attempt, b"content-length: 9"), body)
    assert attempt.client.body == body


# An event stream, whatever its content type.


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("last", [b"", b"\n"])
async def test_an_event_stream_is_collected(size: int, last: bytes) -> None:
    attempt = Recorder(stream=False)
    payload = b"".join(text_events("Hello there")).removesuffix(b"\n") + last
    feed(buffered(attempt, b"content-type: text/event-stream"), payload, size)
    message = orjson.loads(attempt.client.body)
    assert message["content"] == [{"type": "text", "text": "Hellothere"}]
    assert attempt.client.head["content-type"] == "application/json"
    await settle()
    assert attempt.request.record.output_tokens == 7


ERROR = event("error", error={"type": "overloaded_error", "message": "too much"})
EARLY = "ended early: the upstream ended its response early"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"".join(text_events()[:-1]), EARLY),
        (b": nothing\n\n", EARLY),
        (b"".join(text_events()[:4]) + ERROR, "failed: 529 overloaded_error: too much"),
        (
            b"data: " + b"x" * EVENT_LIMIT,
            f"ended early: the upstream's stream: an event of the stream is larger than {EVENT_LIMIT} bytes",
        ),
    ],
    ids=range(4),
)
async def test_an_event_stream_that_is_no_whole_message(payload: bytes, expected: str) -> None:
    attempt = Recorder(stream=False)
    feed(buffered(attempt, limit=2 * EVENT_LIMIT), payload, 2 * EVENT_LIMIT)
    assert attempt.calls == [expected]
    assert attempt.client.sent == b""


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("kind", ["response", "count"])
async def test_a_body_that_is_cut_off(kind: str, silent: bool) -> None:
    attempt = Recorder(stream=False)
    reader: Reader = buffered(attempt, LENGTH)
    if kind == "count":
        reader = TokenCount(attempt, head_of(), AnthropicDialect())
    feed(reader, BODY[:9], ended=False)
    reader.failed(UpstreamError("gone", timeout=silent))
    assert attempt.calls == [f"ended early{' by timeout' * silent}: gone"]
    assert attempt.client.sent == b""


@pytest.mark.parametrize("pinged", [False, True])
async def test_a_json_response_to_a_streaming_request(pinged: bool) -> None:
    attempt = Recorder()
    if pinged:
        attempt.request.exchange.start(200)
    body = orjson.dumps(message("Hello there"))
    feed(buffered(attempt, b"content-length: %d" % len(body)), body)
    assert attempt.calls == ["commit content-type: text/event-stream; charset=utf-8", "done"]
    events, whole = received_events(attempt.client.sent)
    assert [events[0].name, events[-1].name] == ["message_start", "message_stop"]
    assert any(b"Hello there" in each.data for each in events)
    assert whole
    assert attempt.client.kept


# A count of tokens.


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (AnthropicDialect(), b'{ "input_tokens": 12 }', b'{ "input_tokens": 12 }'),
        (GEMINI, b'{"totalTokens": 12}', b'{"input_tokens":12}'),
    ],
)
async def test_a_token_count(
    dialect: AnthropicDialect | GeminiDialect, body: bytes, expected: bytes, size: int
) -> None:
    attempt = Recorder(stream=False)
    feed(TokenCount(attempt, head_of(), dialect), body, size)
    assert attempt.calls == ["commit content-type: application/json", "done"]
    assert attempt.client.body == expected
    assert attempt.client.head["x-token-count"] == "upstream"
    assert attempt.request.record.input_tokens == 12


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"input_tokens":"x"}', b"<html>"])
async def test_a_response_without_a_token_count(body: bytes) -> None:
    attempt = Recorder(stream=False)
    feed(TokenCount(attempt, head_of(), AnthropicDialect()), body)
    assert attempt.calls == ["ended early: the upstream's response holds no token count"]


async def test_a_token_count_that_is_too_large() -> None:
    attempt = Recorder(stream=False)
    feed(TokenCount(attempt, head_of(), AnthropicDialect()), b"x" * (MAX_ERROR + 1), MAX_ERROR + 1)
    assert attempt.calls == ["abandon", TOO_LARGE.format(MAX_ERROR)]


# An error.


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
async def test_an_error_keeps_its_message(status: int, size: int) -> None:
    attempt = Recorder()
    feed(error_reader(attempt, b"retry-after: 30", status=status), BODY, size)
    (failure,) = attempt.failures
    assert (failure.status, failure.body, failure.message) == (status, BODY, "")
    assert failure.headers == ((b"request-id", b"req_upstream"), (b"retry-after", b"30"))


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308])
async def test_a_redirect_is_an_error_with_advice(status: int) -> None:
    attempt = Recorder()
    feed(error_reader(attempt, b"location: http://elsewhere/", status=status), b"<html>")
    assert attempt.calls == [
        f"failed: 502 : the upstream redirects ({status}), which is not followed: correct its base_url"
    ]
    assert attempt.failures[0].body == b""


@pytest.mark.parametrize("how", ["broken off", "too large"])
async def test_an_error_without_its_whole_body_is_judged_by_its_status(how: str) -> None:
    attempt = Recorder()
    reader = error_reader(attempt)
    if how == "too large":
        feed(reader, b"x" * (MAX_ERROR + 1), MAX_ERROR + 1, ended=False)
    else:
        feed(reader, BODY, ended=False)
        reader.failed(UpstreamError("gone"))
    assert attempt.calls == ["abandon"] * (how == "too large") + ["failed: 429 : "]
    assert attempt.failures[0].body == b""
