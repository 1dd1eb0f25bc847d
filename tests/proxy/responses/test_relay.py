"""A relayed stream, read by read: which bytes reach the client and when, and what its last events mean.

The upstream's reads come as from the socket; the calls to the attempt are recorded, one line each.
"""

import gzip
import zlib
from collections.abc import Sequence

import orjson
import pytest

from gateway.http1.client_connection import ClientConnection
from gateway.http1.framing import Framing
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.protocol import MESSAGES
from gateway.messages.sse import EVENT_LIMIT, Event, EventDecoder
from gateway.proxy.content_encoding import content_decoder
from gateway.proxy.responses import DecodingReader, Reader
from gateway.proxy.responses.relay import HOLD, MAX_PADDING, TAIL, Holding
from tests.fakes.messages import chunked, event, message, text_events
from tests.support.attempt import Recorder, UpstreamSide
from tests.support.explode import explode
from tests.support.loops import settle

EVENTS = text_events()
START, BLOCK, PING, DELTA = EVENTS[:4]
PAYLOAD = b"".join(EVENTS)
ERROR = event("error", error={"type": "overloaded_error", "message": "too much"})
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})


class Stage:
    """A client, the relay, and an upstream that is fed by hand."""

    def __init__(
        self,
        *fields: bytes,
        version: str = "1.1",
        coding: bytes | None = None,
        label: str = "text/event-stream",
    ) -> None:
        self.attempt = Recorder(version=version)
        self.client = self.attempt.client
        self.up = UpstreamSide(self.attempt, self._make)
        self._coding = coding
        self._version = version
        lines = (b"HTTP/1.1 200 OK", b"content-type: " + label.encode(), *fields, b"", b"")
        self.up.feed(b"\r\n".join(lines))

    def _make(
        self, connection: ClientConnection, head: ResponseHead
    ) -> tuple[Reader, Reader | DecodingReader]:
        """As `choose` does it."""
        content = content_decoder(self._coding)
        decoded = DecodingReader(self.attempt, content) if content is not None else None
        raw = head.chunked and decoded is None and self._version == "1.1"
        reader = Holding(self.attempt, head, connection.framing if raw else None, decoded or connection)
        if decoded is not None:
            decoded.hand_over(reader)
        return reader, decoded or reader

    @property
    def reader(self) -> Reader:
        """The reader that takes the body at present."""
        assert self.attempt.reader is not None
        return self.attempt.reader

    @property
    def calls(self) -> list[str]:
        return self.attempt.calls

    def feed(self, *reads: bytes) -> None:
        self.up.feed(*reads)

    @property
    def payload(self) -> bytes:
        """The body that the client got, without its framing."""
        if b"transfer-encoding: chunked" not in self.client.sent:
            return self.client.body
        return b"".join(bytes(piece) for piece in Framing("chunked").payload(self.client.body))

    @property
    def events(self) -> list[Event]:
        """The client's view of the body."""
        return [each for each in EventDecoder().feed(self.payload) if each.name != "ping"]


def raw() -> Stage:
    """Chunks on both sides."""
    return Stage(b"transfer-encoding: chunked")


def chunks(*payloads: bytes) -> list[bytes]:
    return [chunked([payload], end=False) for payload in payloads]


def pieces(data: bytes, size: int) -> Sequence[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


LAST = b"0\r\n\r\n"
COMMIT = "commit content-type: text/event-stream"


# The way through.


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
async def test_chunks_pass_as_they_came(size: int) -> None:
    stage = raw()
    wire = b"".join(chunks(*EVENTS)) + LAST
    stage.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert stage.client.body == wire
    assert stage.calls == [COMMIT, "done"]
    assert stage.client.kept
    await settle()
    record = stage.attempt.request.record
    assert (record.input_tokens, record.cache_read_tokens, record.output_tokens) == (11, 5, 7)


async def test_each_read_is_one_write_in_the_same_call() -> None:
    stage = raw()
    stage.feed(*chunks(START, BLOCK, PING))
    assert stage.client.sent == b""
    stage.feed(*chunks(DELTA))
    known = b"".join(chunks(START, BLOCK, PING, DELTA))
    assert stage.client.body == known
    piece = chunks(b"event: unknown\ndata: {\n\n: a comment\n\n")[0]
    stage.feed(piece)
    assert stage.client.body == known + piece


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
async def test_client_and_upstream_with_different_framings(
    fields: list[bytes], version: str, framed: bool, size: int
) -> None:
    """The body is framed again where client and upstream use different framings."""
    stage = Stage(*fields, version=version)
    body = chunked([PAYLOAD]) if b"transfer-encoding: chunked" in fields else PAYLOAD
    stage.feed(*(body[at : at + size] for at in range(0, len(body), size)))
    if b"connection: close" in fields:
        await stage.up.close()
    assert stage.calls == [COMMIT, "done"]
    if framed:
        assert stage.client.sent.endswith(LAST)
        assert stage.events == [each for each in EventDecoder().feed(PAYLOAD) if each.name != "ping"]
    else:
        assert stage.client.body == PAYLOAD
        assert stage.client.cut


@pytest.mark.parametrize("size", [1, 50, 100_000])
async def test_a_coding_is_undone(size: int) -> None:
    coded = gzip.compress(PAYLOAD)
    stage = Stage(b"transfer-encoding: chunked", coding=b"gzip")
    wire = chunked([coded])
    stage.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert stage.calls == [COMMIT, "done"]
    assert stage.events == [each for each in EventDecoder().feed(PAYLOAD) if each.name != "ping"]


async def test_a_coding_that_breaks_before_and_after_the_content() -> None:
    stage = Stage(b"transfer-encoding: chunked", coding=b"gzip")
    stage.feed(*chunks(b"plain"))
    assert stage.calls[0] == "abandon"
    assert stage.calls[1].startswith("ended early: the upstream's gzip body is broken")
    stage = Stage(b"transfer-encoding: chunked", coding=b"deflate")
    coder = zlib.compressobj()
    first = coder.compress(PAYLOAD) + coder.flush(zlib.Z_SYNC_FLUSH)
    stage.feed(*chunks(first), LAST)
    assert stage.calls == [
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
    assert stage.calls == ["ended early: the upstream's response ended before it had any content"]
    assert stage.client.sent == b""


@pytest.mark.parametrize("silent", [False, True])
async def test_a_break_before_any_content_can_go_elsewhere(silent: bool) -> None:
    stage = raw()
    stage.feed(*chunks(START))
    stage.reader.failed(UpstreamError("gone", timeout=silent))
    assert stage.calls == [f"ended early{' by timeout' * silent}: gone"]


@pytest.mark.parametrize("before", [[], [START], [START, BLOCK, PING]])
async def test_an_error_before_any_content_can_go_elsewhere(before: list[bytes]) -> None:
    stage = raw()
    stage.feed(*chunks(*before, ERROR))
    assert stage.calls == ["abandon", "failed: 529 overloaded_error: too much"]
    (failure,) = stage.attempt.failures
    assert failure.headers[0] == (b"content-type", b"text/event-stream")
    assert stage.client.sent == b""


async def test_bytes_above_the_hold_limit_are_passed_on() -> None:
    stage = raw()
    ping = chunks(PING)[0]
    stage.feed(*[ping] * (HOLD // len(ping)))
    assert stage.calls == []
    stage.feed(ping, ping)
    assert stage.calls == [COMMIT]
    assert stage.client.body.startswith(ping)


async def test_an_event_too_long_to_parse_is_passed_on() -> None:
    stage = raw()
    stage.feed(*chunks(b"event: ping\ndata: " + b"x" * EVENT_LIMIT))
    assert stage.calls == [COMMIT]


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
        event("new_kind"),
    ],
)
async def test_events_with_content(first: bytes) -> None:
    stage = raw()
    stage.feed(*chunks(START, first))
    assert stage.calls == [COMMIT]


async def test_everything_in_one_read() -> None:
    stage = raw()
    stage.feed(b"".join(chunks(*EVENTS)) + LAST)
    assert stage.calls == [COMMIT, "done"]


async def test_an_empty_message_goes_elsewhere_the_first_time() -> None:
    wire = b"".join(chunks(START, *EVENTS[-1:])) + LAST
    stage = raw()
    stage.feed(wire)
    assert stage.calls == ["abandon", "failed: 502 : the upstream's message is empty"]
    stage = raw()
    stage.attempt.takes_empty = True
    stage.feed(wire)
    assert stage.calls == [COMMIT, "done"]
    assert stage.client.body == wire


# A body that is no event stream, whatever its content type.

MESSAGE = orjson.dumps(message("Hello there"))


@pytest.mark.parametrize("size", [1, 20, 100_000])
@pytest.mark.parametrize("body", [MESSAGE, b" \r\n" + MESSAGE])
async def test_a_whole_message_becomes_a_stream(body: bytes, size: int) -> None:
    stage = Stage(b"content-length: %d" % len(body))
    stage.feed(*pieces(body, size))
    assert stage.calls == ["commit content-type: text/event-stream; charset=utf-8", "done"]
    assert any(b"Hello there" in each.data for each in stage.events)
    assert stage.events[-1].name == "message_stop"
    assert stage.client.kept


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("text/html", "failed: 502 : "),
        ("text/event-stream", "ended early: the upstream's response ended before it had any content"),
    ],
)
async def test_a_page_instead_of_a_stream(label: str, expected: str) -> None:
    """Unknown lines are a stream only if the content type says so."""
    stage = Stage(b"content-length: 12", label=label)
    stage.feed(b"<html>\n\n", b"more")
    assert stage.calls == [expected]


async def test_a_stream_with_another_label_is_a_stream() -> None:
    stage = Stage(b"transfer-encoding: chunked", label="application/json")
    stage.feed(*chunks(*EVENTS), LAST)
    assert stage.calls == ["commit content-type: text/event-stream; charset=utf-8", "done"]
    assert stage.client.body == b"".join(chunks(*EVENTS)) + LAST


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
async def test_whether_a_stream_is_complete(last: list[bytes], complete: bool, size: int) -> None:
    stage = raw()
    wire = b"".join(chunks(*EVENTS[:4], *last)) + LAST
    stage.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert stage.attempt.request.exchange.ended
    if complete:
        assert stage.calls == [COMMIT, "done"]
        assert stage.client.body == wire
    else:
        assert stage.calls == [COMMIT, "broke: the upstream ended its response early"]
        assert [each.name for each in stage.events][-1] == "error"
        assert stage.client.cut


@pytest.mark.parametrize("ending", [b"", ERROR])
async def test_an_incomplete_stream_without_chunks(ending: bytes) -> None:
    payload = START + DELTA + ending
    stage = Stage(b"content-length: %d" % len(payload))
    stage.feed(payload)
    expected = "529 overloaded_error: too much" if ending else "the upstream ended its response early"
    assert stage.calls == [COMMIT, f"broke: {expected}"]
    assert [each.name for each in stage.events] == ["message_start", "content_block_delta", "error"]
    assert stage.client.cut


async def test_a_stream_after_a_ping_has_one_head() -> None:
    stage = raw()
    stage.attempt.request.exchange.start(200)
    stage.feed(*chunks(*EVENTS), LAST)
    assert stage.client.sent.count(b"HTTP/1.1 200") == 1
    assert stage.client.body == b"".join(chunks(*EVENTS)) + LAST


async def test_an_error_of_the_upstream_passes_and_ends_the_connection() -> None:
    stage = raw()
    wire = b"".join(chunks(START, DELTA, ERROR)) + LAST
    stage.feed(wire)
    assert stage.calls == [COMMIT, "broke: 529 overloaded_error: too much"]
    assert stage.client.body == wire
    assert stage.client.cut


async def test_a_reset_after_an_error_event() -> None:
    stage = raw()
    stage.feed(*chunks(START, DELTA, ERROR))
    await stage.up.wire.reset()
    assert stage.calls == [COMMIT, "broke: 529 overloaded_error: too much"]
    assert stage.client.body == b"".join(chunks(START, DELTA, ERROR))
    assert stage.attempt.request.exchange.ended


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("fields", [[b"transfer-encoding: chunked"], [b"content-length: 9999"]])
async def test_a_break_in_the_middle(fields: list[bytes], silent: bool) -> None:
    """Cut at every byte: complete events stay, the incomplete one is hidden, and one error follows."""
    for cut in range(len(chunks(DELTA)[0]) + 1):
        check_break(Stage(*fields), cut, silent, framed=b"chunked" in fields[0])


def check_break(stage: Stage, cut: int, silent: bool, *, framed: bool) -> None:
    pieces = chunks(START, DELTA, DELTA) if framed else [START, DELTA, DELTA]
    stage.feed(*pieces[:2])
    if pieces[2][:cut]:
        stage.feed(pieces[2][:cut])
    stage.reader.failed(UpstreamError("it broke", timeout=silent))
    assert stage.calls == [COMMIT, "broke: it broke"]
    names = [each.name for each in stage.events]
    whole = cut >= len(DELTA) + (4 if framed else 0)
    assert names == ["message_start", *["content_block_delta"] * (1 + whole), "error"]
    document = orjson.loads(stage.events[-1].data)
    assert document["error"] == {"type": "timeout_error" if silent else "api_error", "message": "it broke"}
    assert document["request_id"] == stage.attempt.request.request_id
    assert stage.client.cut


async def test_a_break_between_two_events_adds_nothing_but_the_error() -> None:
    stage = raw()
    stage.feed(*chunks(START, DELTA))
    stage.reader.failed(UpstreamError("it broke"))
    error = MESSAGES.error_event("api_error", "it broke", stage.attempt.request.request_id)
    assert stage.client.body == b"".join(chunks(START, DELTA)) + chunked([error])


async def test_a_chunk_too_large_to_fill_up() -> None:
    stage = raw()
    stage.feed(*chunks(START, DELTA), b"%x\r\nevent: x" % (MAX_PADDING + 100))
    sent = stage.client.sent
    await stage.up.close()
    assert stage.calls[-1].startswith("broke: ")
    assert stage.client.sent == sent
    assert stage.client.cut


async def test_usage_is_read_from_a_broken_stream_too() -> None:
    stage = raw()
    stage.feed(*chunks(*EVENTS[:4], STOP))
    await stage.up.close()
    await settle()
    assert stage.attempt.request.record.output_tokens == 3


@pytest.mark.parametrize("size", [500, 5000, 3 * TAIL])
@pytest.mark.parametrize("coding", [None, b"gzip"])
async def test_the_end_of_a_long_stream_is_found(size: int, coding: bytes | None) -> None:
    """However long a stream is and wherever it is cut, its usage is read and the incomplete event is hidden."""
    many = [DELTA] * (8 * TAIL // len(DELTA))
    stage = Stage(b"transfer-encoding: chunked", coding=coding)
    payload = b"".join([*EVENTS[:4], *many, *EVENTS[4:]])
    wire = chunked([gzip.compress(payload)]) if coding else b"".join(chunks(*pieces(payload, 1000))) + LAST
    stage.feed(*pieces(wire, size))
    assert stage.calls == [COMMIT, "done"]
    await settle()
    record = stage.attempt.request.record
    assert (record.input_tokens, record.output_tokens) == (11, 7)


@pytest.mark.parametrize("pieces_of_end", [1, 5])
async def test_an_error_early_in_the_last_bytes_is_found(pieces_of_end: int) -> None:
    """A stream that ends like a complete one, but has an error among its last events."""
    stage = raw()
    wire = b"".join(chunks(START, DELTA, ERROR, *EVENTS[-2:])) + LAST
    stage.feed(*pieces(wire, -(-len(wire) // pieces_of_end)))
    assert stage.calls == [COMMIT, "broke: 529 overloaded_error: too much"]


@pytest.mark.parametrize(
    ("character", "have"), [(mark, have) for mark in "é漢😀\ud7ff\U0010ffff" for have in range(1, 5)]
)
async def test_an_incomplete_character_is_completed_before_the_error(character: str, have: int) -> None:
    """Clients decode lines as UTF-8 before they look at events."""
    encoded = character.encode()[:have]
    stage = Stage(b"content-length: 9999")
    stage.feed(START, DELTA, b"event: content_block_delta\ndata: " + encoded)
    stage.reader.failed(UpstreamError("it broke"))
    stage.payload.decode()
    assert [each.name for each in stage.events] == ["message_start", "content_block_delta", "error"]


async def test_a_short_body_cut_inside_a_character() -> None:
    stage = Stage(b"content-length: 9999")
    stage.feed(b"\x80")
    stage.feed(DELTA)
    stage.reader.failed(UpstreamError("it broke"))
    assert stage.events[-1].name == "error"


# Pings of the gateway's own.


async def test_a_ping_goes_between_events() -> None:
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
async def test_a_ping_goes_between_events_without_chunks(end: bytes, safe: bool) -> None:
    stage = Stage(b"content-length: 9999")
    assert stage.reader.can_ping()
    stage.feed(START, DELTA, b"event: x\ndata: y" + end)
    assert stage.reader.can_ping() is safe


@pytest.mark.parametrize(
    ("events", "complete"), [(EVENTS, True), (EVENTS[:-1], True), (EVENTS[:-2], False), (EVENTS[:2], False)]
)
async def test_whether_the_client_has_had_everything(events: list[bytes], complete: bool) -> None:
    """A client that leaves behind the last event has lost nothing."""
    stage = raw()
    wire = b"".join(chunks(*events))
    stage.feed(wire)
    assert stage.reader.is_complete() is complete
    stage.feed(b"5\r\n")
    assert not stage.reader.is_complete() or complete
    stage.reader.failed(UpstreamError("gone"))


# The gateway's own failure.


@pytest.mark.parametrize("place", ["commit", "done", "broke"])
async def test_an_internal_error_ends_the_request(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = raw()
    monkeypatch.setattr(stage.attempt, place, explode)
    stage.feed(*chunks(START, DELTA))
    if place == "done":
        stage.feed(*chunks(STOP), LAST)
    elif place == "broke":
        await stage.up.close()
    assert stage.attempt.request.exchange.ended
    assert "internal error: KeyError" in stage.client.lines[0]
    assert "secret" not in stage.client.lines[0]
