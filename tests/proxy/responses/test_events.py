"""Reading the events of a relayed stream: content, stop reasons, errors, its end, and usage."""

import orjson
import pytest

from gateway.messages.sse import Event, EventDecoder
from gateway.proxy.responses.events import (
    Ending,
    failure_of,
    has_content,
    is_event_stream,
    kind_of,
    may_become_event_stream,
    names_stop_reason,
    take_usage_of_stream,
)
from gateway.telemetry.access_log import Record
from tests.fakes.messages import event, text_events
from tests.support.attempt import head_of

ERROR = event("error", error={"type": "overloaded_error", "message": "too much"})
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})
TOO_LONG = b"data: " + b"x" * (17 * 1024 * 1024)


def decoded(text: bytes) -> Event:
    (found,) = EventDecoder().feed(text)
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"event: ping\ndata: {}\n\n", "ping"),
        (b'event: a\ndata: {"type":"b"}\n\n', "a"),
        (b'data: {"type":"ping"}\n\n', "ping"),
        (b'data: {"type":3}\n\n', ""),
        (b"data: {}\n\n", ""),
        (b"data: []\n\n", ""),
        (b"data: [DONE]\n\n", ""),
        (b'data: {"error":{"message":"m"}}\n\n', "error"),
    ],
)
def test_the_kind_of_an_event(text: bytes, kind: str) -> None:
    assert kind_of(decoded(text)) == kind


@pytest.mark.parametrize(
    ("block", "content"),
    [
        ({"type": "text", "text": ""}, False),
        ({"type": "text", "text": "x"}, True),
        ({"type": "thinking", "thinking": "", "signature": ""}, False),
        ({"type": "thinking", "thinking": "x"}, True),
        ({"type": "redacted_thinking", "data": ""}, True),
        ({"type": "tool_use"}, True),
        ({"type": "text"}, True),
        ({"type": []}, True),
        ({}, True),
        ([], True),
        (None, True),
    ],
)
def test_the_content_of_a_block(block: object, content: bool) -> None:
    assert has_content(decoded(event("content_block_start", content_block=block))) is content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (event("message_start"), False),
        (event("ping"), False),
        (event("content_block_stop"), False),
        (event("new"), True),
        (event("message_delta", usage={"output_tokens": 0}), False),
        (event("message_delta", usage={"output_tokens": 1}), True),
        (event("message_delta"), True),
        (b"event: message_delta\ndata: {\n\n", True),
        (b"data: [DONE]\n\n", False),
    ],
)
def test_the_content_of_an_event(text: bytes, content: bool) -> None:
    assert has_content(decoded(text)) is content


@pytest.mark.parametrize(
    ("body", "stream", "yet"),
    [
        (b"event: x", True, True),
        (b"data: x", True, True),
        (b": a comment", True, True),
        (b"\xef\xbb\xbf\r\n\n id: 1", True, True),
        (b"retry: 1", True, True),
        (b"", False, True),
        (b" \r\n", False, True),
        (b"even", False, True),
        (b"dat", False, True),
        (b"{", False, False),
        (b"<html>", False, False),
        (b"events", False, False),
    ],
)
def test_bytes_that_begin_as_an_event_stream_does(body: bytes, stream: bool, yet: bool) -> None:
    assert is_event_stream(body) is stream
    assert (is_event_stream(body) or may_become_event_stream(body)) is yet


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (STOP, True),
        (event("message_delta", delta={"stop_reason": None}), False),
        (event("message_delta", delta={}), False),
        (event("message_delta", delta=None), False),
        (event("message_delta"), False),
        (b"event: message_delta\ndata: x\n\n", False),
    ],
)
def test_a_stop_reason(text: bytes, named: bool) -> None:
    assert names_stop_reason(decoded(text)) is named


@pytest.mark.parametrize("with_head", [False, True])
@pytest.mark.parametrize(
    ("text", "status", "type", "message"),
    [
        (ERROR, 529, "overloaded_error", "too much"),
        (event("error", error={"type": "new_error", "message": "m"}), 0, "new_error", "m"),
        (event("error", error={"message": "m"}), 0, "", "m"),
        (event("error", error=None), 0, "", '{"type":"error","error":null}'),
        (b"event: error\ndata: oh \xff\n\n", 0, "", "oh \ufffd"),
    ],
)
def test_an_error_event_as_a_failure(
    text: bytes, status: int, type: str, message: str, with_head: bool
) -> None:
    failure = failure_of(decoded(text), head_of() if with_head else None)
    assert (failure.status, failure.type, failure.message) == (status, type, message)
    assert failure.body == decoded(text).data
    assert failure.headers == ((b"request-id", b"req_upstream"),) * with_head


@pytest.mark.parametrize(
    ("payload", "complete", "error"),
    [
        (b"".join(text_events()), True, False),
        (event("message_stop"), True, False),
        (STOP, True, False),
        (STOP + event("message_delta", delta={"stop_reason": None}), True, False),
        (event("message_delta", delta={"stop_reason": None}), False, False),
        (STOP[:-1], False, False),
        (ERROR, False, True),
        (STOP + ERROR, True, True),
        (b"", False, False),
        (TOO_LONG, False, False),
    ],
    ids=range(10),
)
def test_how_a_stream_ended(payload: bytes, complete: bool, error: bool) -> None:
    ending = Ending(payload)
    assert (ending.complete, ending.error is not None) == (complete, error)


# Token counts.

START = orjson.dumps(
    {"type": "message_start", "message": {"usage": {"input_tokens": 11, "cache_read_input_tokens": 5}}}
)
DELTA = orjson.dumps({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}})


def counts(first: bytes, last: bytes) -> tuple[int | None, int | None, int | None]:
    record = Record(0.0)
    take_usage_of_stream(record, first, last)
    return record.input_tokens, record.cache_read_tokens, record.output_tokens


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (b"data: %b\n\n" % START, b"data: %b\n\n" % DELTA, (11, 5, 7)),
        (b"event: message_start\ndata:%b\n\n" % START, b"x\n\ndata: %b\n" % DELTA, (11, 5, 7)),
        # Both may be the same bytes, and a text may speak of the events.
        (b"data: %b\n\ndata: %b\n\n" % (START, DELTA),) * 2 + ((11, 5, 7),),
        # Data in more than one line, another line end, or only one of the two.
        (b"data: %b\n\n" % START.replace(b":{", b":\ndata: {", 1), b"data: %b\n\n" % DELTA, (11, 5, 7)),
        (b"data: %b\r\n\r\n" % START, b"data: %b\r\n\r\n" % DELTA, (11, 5, 7)),
        (b": a comment %b\ndata: %b\n\n" % (START, START), b"data: %b\n\n" % DELTA, (11, 5, 7)),
        (b"data: %b\n\n" % START, b"", (11, 5, None)),
        (b"data: %b\n\n" % START, b"event: ping\ndata: {}\n\n", (11, 5, None)),
        (b"", b"data: %b\n\n" % DELTA, (None, None, 7)),
        (TOO_LONG, b"data: %b\n\n" % DELTA, (None, None, 7)),
    ],
    ids=range(10),
)
def test_token_counts_are_read_from_the_first_and_the_last_bytes(
    first: bytes, last: bytes, expected: tuple[int | None, int | None, int | None]
) -> None:
    assert counts(first, last) == expected
