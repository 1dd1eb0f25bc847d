"""A relayed stream, fed by hand: what reaches the client and when, and what its last events say about it.

The upstream's reads are given as they come off the socket; what is told to the attempt is one line a call.
"""

import gzip
import zlib
from collections.abc import Sequence

import orjson
import pytest

from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.framing import Framing
from gateway.messages.errors import error_event
from gateway.messages.sse import Event, EventDecoder
from gateway.proxy.content_encoding import content_decoder
from gateway.proxy.responses import relay
from gateway.proxy.responses.relay import (
    HOLD,
    MAX_PADDING,
    TAIL,
    Ending,
    StreamRelay,
    Tail,
    failure_of,
    has_content,
    kind_of,
    names_stop_reason,
)
from tests.support.attempt import Recorder, head_of, upstream_connection
from tests.support.upstream import chunked, event, text_events

EVENTS = text_events()
START, BLOCK, PING, DELTA = EVENTS[:4]
PAYLOAD = b"".join(EVENTS)
ERROR = event("error", error={"type": "overloaded_error", "message": "too much"})
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})


class Stage:
    """A client, the relay, and an upstream that is fed by hand."""

    def __init__(self, *fields: bytes, version: str = "1.1", coding: bytes | None = None) -> None:
        self.attempt = Recorder(version=version)
        self.wire = self.attempt.wire
        self.readers: list[StreamRelay] = []

        def make(connection: ClientConnection, head: object) -> StreamRelay:
            kept = head_of(b"content-type: text/event-stream")
            content = content_decoder(coding)
            self.readers.append(StreamRelay(self.attempt, connection, kept, content))
            return self.readers[0]

        self.connection = upstream_connection(make)
        self.connection.data_received(b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"", b"")))

    @property
    def reader(self) -> StreamRelay:
        return self.readers[0]

    @property
    def told(self) -> list[str]:
        return self.attempt.told

    def feed(self, *reads: bytes) -> None:
        for data in reads:
            self.connection.data_received(data)

    def close(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)

    @property
    def events(self) -> list[Event]:
        """What a client makes of what it got."""
        payload = self.wire.body
        if b"transfer-encoding: chunked" in self.wire.sent:
            payload = b"".join(bytes(piece) for piece in Framing("chunked").payload(payload))
        return [each for each in EventDecoder().feed(payload) if each.name != "ping"]


def raw() -> Stage:
    """Chunks on both sides."""
    return Stage(b"transfer-encoding: chunked")


def chunks(*payloads: bytes) -> list[bytes]:
    return [chunked([payload], end=False) for payload in payloads]


LAST = b"0\r\n\r\n"
COMMIT = "stream text/event-stream"


# The way through.


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
async def test_chunks_pass_as_they_came(size: int) -> None:
    stage = raw()
    assert not stage.reader.decode
    wire = b"".join(chunks(*EVENTS)) + LAST
    stage.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert stage.wire.body == wire
    assert stage.told == [COMMIT, "done"]
    assert stage.wire.ended
    assert stage.wire.persistent
    record = stage.attempt.answer.record
    assert (record.input_tokens, record.cache_read_tokens, record.output_tokens) == (11, 5, 7)


async def test_each_read_is_one_write_in_the_same_call() -> None:
    stage = raw()
    stage.feed(*chunks(START, BLOCK, PING))
    assert stage.wire.sent == b""
    stage.feed(*chunks(DELTA))
    known = b"".join(chunks(START, BLOCK, PING, DELTA))
    assert stage.wire.body == known
    piece = chunks(b"event: unknown\ndata: {\n\n: a comment\n\n")[0]
    stage.feed(piece)
    assert stage.wire.body == known + piece


@pytest.mark.parametrize("size", [1, 13, 100_000])
@pytest.mark.parametrize(
    ("fields", "version", "framed"),
    [
        ([b"content-length: %d" % len(PAYLOAD)], "1.1", True),
        ([b"content-length: %d" % len(PAYLOAD)], "1.0", False),
        ([b"connection: close"], "1.1", True),
        ([b"transfer-encoding: chunked"], "1.0", False),
    ],
)
async def test_another_framing(fields: list[bytes], version: str, framed: bool, size: int) -> None:
    """Framed anew where the two sides differ."""
    stage = Stage(*fields, version=version)
    assert stage.reader.decode
    body = chunked([PAYLOAD]) if b"transfer-encoding: chunked" in fields else PAYLOAD
    stage.feed(*(body[at : at + size] for at in range(0, len(body), size)))
    if b"connection: close" in fields:
        stage.close()
    assert stage.told == [COMMIT, "done"]
    if framed:
        assert stage.wire.sent.endswith(LAST)
        assert stage.events == [each for each in EventDecoder().feed(PAYLOAD) if each.name != "ping"]
    else:
        assert stage.wire.body == PAYLOAD
        assert not stage.wire.persistent


@pytest.mark.parametrize("size", [1, 50, 100_000])
async def test_a_coding_is_undone(size: int) -> None:
    coded = gzip.compress(PAYLOAD)
    stage = Stage(b"transfer-encoding: chunked", coding=b"gzip")
    wire = chunked([coded])
    stage.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert stage.told == [COMMIT, "done"]
    assert stage.events == [each for each in EventDecoder().feed(PAYLOAD) if each.name != "ping"]


async def test_a_coding_that_breaks_before_and_after_the_content() -> None:
    stage = Stage(b"transfer-encoding: chunked", coding=b"gzip")
    stage.feed(*chunks(b"plain"))
    assert stage.told[0] == "abandon"
    assert stage.told[1].startswith("failed early: the upstream's gzip body is broken")
    stage = Stage(b"transfer-encoding: chunked", coding=b"deflate")
    coder = zlib.compressobj()
    first = coder.compress(PAYLOAD) + coder.flush(zlib.Z_SYNC_FLUSH)
    stage.feed(*chunks(first), LAST)
    assert stage.told == [
        COMMIT,
        "abandon",
        "broke: the upstream's deflate body ends early",
    ]
    assert stage.events[-1].name == "error"


# Before the content.


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_an_end_before_any_content_can_go_elsewhere(count: int) -> None:
    stage = raw()
    stage.feed(*chunks(*EVENTS[:count]), LAST)
    assert stage.told == ["failed early: the upstream's answer ended before it had any content"]
    assert stage.wire.sent == b""


@pytest.mark.parametrize("silent", [False, True])
async def test_a_break_before_any_content_can_go_elsewhere(silent: bool) -> None:
    stage = raw()
    stage.feed(*chunks(START))
    stage.reader.failed(UpstreamError("body", "gone", timeout=silent))
    assert stage.told == [f"failed early{' by timeout' * silent}: gone"]


@pytest.mark.parametrize("before", [[], [START], [START, BLOCK, PING]])
async def test_an_error_before_any_content_can_go_elsewhere(before: list[bytes]) -> None:
    stage = raw()
    stage.feed(*chunks(*before, ERROR))
    assert stage.told == ["abandon", "failed: 529 overloaded_error: too much"]
    (failure,) = stage.attempt.failures
    assert failure.headers[0] == (b"request-id", b"req_upstream")
    assert stage.wire.sent == b""


async def test_what_is_too_much_to_hold_is_passed_on() -> None:
    stage = raw()
    ping = chunks(PING)[0]
    stage.feed(*[ping] * (HOLD // len(ping)))
    assert stage.told == []
    stage.feed(ping, ping)
    assert stage.told == [COMMIT]
    assert stage.wire.body.startswith(ping)


async def test_an_event_that_is_too_long_to_look_at_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "EventDecoder", lambda: EventDecoder(limit=50))
    stage = raw()
    stage.feed(*chunks(b"event: ping\ndata: " + b"x" * 100))
    assert stage.told == [COMMIT]


@pytest.mark.parametrize(
    "first",
    [
        event(
            "content_block_start",
            index=0,
            content_block={"type": "tool_use", "id": "t", "name": "n", "input": {}},
        ),
        event("content_block_start", index=0, content_block={"type": "text", "text": "Hi"}),
        STOP,
        b"event: content_block_start\ndata: no json\n\n",
        b"data: [DONE]\n\n",
        event("new_kind"),
    ],
)
async def test_what_a_client_would_lose_is_content(first: bytes) -> None:
    stage = raw()
    stage.feed(*chunks(START, first))
    assert stage.told == [COMMIT]


async def test_everything_in_one_read() -> None:
    stage = raw()
    stage.feed(b"".join(chunks(*EVENTS)) + LAST)
    assert stage.told == [COMMIT, "done"]


# The end.


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    ("last", "complete"),
    [
        ([STOP, event("message_stop")], True),
        ([STOP], True),
        ([event("message_stop")], True),
        ([event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 3})], False),
        ([event("message_delta", usage={"output_tokens": 3})], False),
        ([b"event: message_delta\ndata: {\n\n"], False),
        ([], False),
        ([STOP[:-1]], False),
        ([b'data: {"type":"message_stop"}\n\n'], True),
        ([b"event: message_stop\r\ndata: {}\r\n\r\n"], True),
    ],
)
async def test_whether_an_answer_is_complete(last: list[bytes], complete: bool, size: int) -> None:
    stage = raw()
    wire = b"".join(chunks(*EVENTS[:4], *last)) + LAST
    stage.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert stage.wire.ended
    if complete:
        assert stage.told == [COMMIT, "done"]
        assert stage.wire.body == wire
    else:
        assert stage.told == [COMMIT, "broke: the upstream ended its answer early"]
        assert [each.name for each in stage.events][-1] == "error"
        assert not stage.wire.persistent


async def test_an_error_of_the_upstream_passes_and_ends_the_connection() -> None:
    stage = raw()
    wire = b"".join(chunks(START, DELTA, ERROR)) + LAST
    stage.feed(wire)
    assert stage.told == [COMMIT, "broke: 529 overloaded_error: too much"]
    assert stage.wire.body == wire
    assert not stage.wire.persistent


async def test_the_same_with_the_connection_cut_behind_it() -> None:
    stage = raw()
    stage.feed(*chunks(START, DELTA, ERROR))
    stage.close(ConnectionResetError())
    assert stage.told == [COMMIT, "broke: 529 overloaded_error: too much"]
    assert stage.wire.body == b"".join(chunks(START, DELTA, ERROR))
    assert stage.wire.ended


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("fields", [[b"transfer-encoding: chunked"], [b"content-length: 9999"]])
async def test_a_break_in_the_middle(fields: list[bytes], silent: bool) -> None:
    """At every byte: what was complete stays, what was cut is hidden, and one error follows."""
    for cut in range(len(chunks(DELTA)[0]) + 1):
        check_break(Stage(*fields), cut, silent)


def check_break(stage: Stage, cut: int, silent: bool) -> None:
    framed = not stage.reader.decode
    pieces = chunks(START, DELTA, DELTA) if framed else [START, DELTA, DELTA]
    stage.feed(*pieces[:2])
    if pieces[2][:cut]:
        stage.feed(pieces[2][:cut])
    stage.reader.failed(UpstreamError("body", "it broke", timeout=silent))
    assert stage.told == [COMMIT, "broke: it broke"]
    names = [each.name for each in stage.events]
    whole = cut >= len(DELTA) + (4 if framed else 0)
    assert names == ["message_start", *["content_block_delta"] * (1 + whole), "error"]
    document = orjson.loads(stage.events[-1].data)
    assert document["error"] == {"type": "timeout_error" if silent else "api_error", "message": "it broke"}
    assert document["request_id"] == stage.attempt.answer.request_id
    assert stage.wire.ended
    assert not stage.wire.persistent


async def test_a_break_between_two_events_adds_nothing_but_the_error() -> None:
    stage = raw()
    stage.feed(*chunks(START, DELTA))
    stage.reader.failed(UpstreamError("body", "it broke"))
    error = error_event("api_error", "it broke", stage.attempt.answer.request_id)
    assert stage.wire.body == b"".join(chunks(START, DELTA)) + chunked([error])


async def test_a_chunk_too_large_to_fill_up() -> None:
    stage = raw()
    stage.feed(*chunks(START, DELTA), b"%x\r\nevent: x" % (MAX_PADDING + 100))
    sent = stage.wire.sent
    stage.close()
    assert stage.told[-1].startswith("broke: ")
    assert stage.wire.sent == sent
    assert stage.wire.ended
    assert not stage.wire.persistent


async def test_usage_is_read_from_a_broken_answer_too() -> None:
    stage = raw()
    stage.feed(*chunks(*EVENTS[:4], STOP))
    stage.close()
    assert stage.attempt.answer.record.output_tokens == 3


# Pings of the gateway's own.


async def test_where_a_ping_may_stand() -> None:
    stage = raw()
    wire = b"".join(chunks(*EVENTS[:6]))
    safe = set()
    for at in range(len(wire)):
        stage.feed(wire[at : at + 1])
        if stage.reader.can_ping():
            safe.add(at + 1)
    first = next(at for at in range(len(wire)) if at + 1 not in safe)
    ends = [len(b"".join(chunks(*EVENTS[:count]))) for count in range(1, 7)]
    # Anywhere before the content, then only behind whole chunks that end an event.
    assert first < ends[3]
    assert {at for at in safe if at > first} == {end for end in ends if end > first}


@pytest.mark.parametrize(
    ("end", "safe"), [(b"\n\n", True), (b"\r\n\r\n", True), (b"\r\r", True), (b"\n", False)]
)
async def test_the_same_where_there_are_no_chunks(end: bytes, safe: bool) -> None:
    stage = Stage(b"content-length: 9999")
    assert stage.reader.can_ping()
    stage.feed(START, DELTA, b"event: x\ndata: y" + end)
    assert stage.reader.can_ping() is safe


# The gateway's own failure.


def explode(*_: object) -> None:
    raise KeyError("secret")


@pytest.mark.parametrize("where", ["_look", "_pass", "_end", "_break"])
async def test_an_internal_error_ends_the_request(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamRelay, where, explode)
    stage = raw()
    stage.feed(*chunks(START, DELTA))
    if where == "_end":
        stage.feed(LAST)
    elif where == "_break":
        stage.reader.failed(UpstreamError("body", "gone"))
    assert stage.wire.ended
    assert "internal error: KeyError" in stage.attempt.lines[0]
    assert "secret" not in stage.attempt.lines[0]
    stage.connection.abort()


# Small parts.


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


@pytest.mark.parametrize(
    ("text", "status", "type", "message"),
    [
        (ERROR, 529, "overloaded_error", "too much"),
        (event("error", error={"type": "new_error", "message": "m"}), 500, "new_error", "m"),
        (
            event("error", error={"message": "m"}),
            500,
            "api_error",
            '{"type":"error","error":{"message":"m"}}',
        ),
        (event("error", error=None), 500, "api_error", '{"type":"error","error":null}'),
        (b"event: error\ndata: oh \xff\n\n", 500, "api_error", "oh \ufffd"),
    ],
)
def test_an_error_event_as_a_failure(text: bytes, status: int, type: str, message: str) -> None:
    failure = failure_of(decoded(text), head_of())
    assert (failure.status, failure.type, failure.message) == (status, type, message)
    assert failure.body == decoded(text).data


@pytest.mark.parametrize("size", [1, 100, TAIL, 3 * TAIL])
@pytest.mark.parametrize("framed", [False, True])
def test_the_tail_is_long_enough_and_bounded(size: int, framed: bool) -> None:
    payload = bytes(range(256)) * (6 * TAIL // 256)
    framing = Framing("chunked") if framed else None
    tail = Tail(framing.copy() if framing is not None else None)
    wire = b"".join(chunks(*pieces(payload, 1000))) if framed else payload
    seen = 0
    for read in pieces(wire, size):
        if framing is not None:
            framing.feed(read)
        tail.add(read, framing)
        seen += len(read)
        if seen % 4096 < size:
            known = tail.payload()
            assert payload[: len(payload)].find(known[-50:]) >= 0
            assert len(known) <= 2 * TAIL + 2 * size
    known = tail.payload()
    assert payload.endswith(known)
    assert len(known) >= TAIL


def pieces(data: bytes, size: int) -> Sequence[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_an_event_too_long_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "EventDecoder", lambda: EventDecoder(limit=50))
    ending = Ending(b"data: " + b"x" * 100 + b"\n\n")
    assert (ending.complete, ending.error) == (False, None)
