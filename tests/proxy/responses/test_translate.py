"""Translated answers, fed by hand with a dialect of one word a line: streamed on, or collected into one Message."""

import gzip
import zlib
from collections.abc import Sequence

import orjson
import pytest

from gateway.dialects.base import StreamFailure
from gateway.http1.client_connection import UpstreamError
from gateway.http1.framing import Framing
from gateway.messages.sse import Event, EventDecoder
from gateway.messages.stream import StreamWriter
from gateway.proxy.content_encoding import content_decoder
from gateway.proxy.responses import translate
from gateway.proxy.responses.translate import Collection, Translation
from gateway.routing.failures import Failure, FailureKind
from tests.support.attempt import Recorder, head_of
from tests.support.upstream import event, text_events

OVERLOADED = Failure(kind=FailureKind.STREAM_ERROR, status=529, type="overloaded_error", message="too much")
EARLY = Failure(kind=FailureKind.INCOMPLETE, status=502, message="cut short")
USAGE = {"input_tokens": 11, "output_tokens": 7}
HEAD = head_of()


class Words:
    """A dialect: each line is a word of text, but for `STOP`, `FAIL`, `BOOM` and `START`."""

    def __init__(self, writer: StreamWriter) -> None:
        self.complete = False
        self._writer = writer
        self._line = b""

    def feed(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._take(line.decode())

    def _take(self, word: str) -> None:
        if word == "FAIL":
            raise StreamFailure(OVERLOADED, "overloaded_error", "too much")
        if word == "BOOM":
            raise KeyError("secret")
        if word == "STOP":
            self.complete = True
        elif word == "START":
            self._writer.start(USAGE)
        else:
            self._writer.text(word)

    def end(self) -> None:
        if not self.complete:
            raise StreamFailure(EARLY, "api_error", "cut short")
        self._writer.finish("end_turn", USAGE)


class Stage:
    """A client and a reader between it and an upstream that is fed by hand."""

    def __init__(self, *, stream: bool, coding: bytes | None = None, own: bool = False) -> None:
        """`own`: the upstream's events are the client's own dialect."""
        self.attempt = Recorder(stream=stream)
        self.wire = self.attempt.wire
        content = content_decoder(coding)
        writer = StreamWriter(message_id="msg_1", model="m")
        self.reader: Translation | Collection
        if stream:
            self.reader = Translation(self.attempt, HEAD, content, Words(writer), writer)
        elif own:
            self.reader = Collection(self.attempt, HEAD, content, None, None)
        else:
            self.reader = Collection(self.attempt, HEAD, content, Words(writer), writer)
        assert self.reader.decode
        assert self.reader.can_ping()

    @property
    def told(self) -> list[str]:
        return self.attempt.told

    def feed(self, *reads: bytes, ended: bool = False) -> None:
        """These reads, then the body's end with the last one."""
        for index, data in enumerate(reads):
            self.reader.body_received(data, ended and index == len(reads) - 1)

    def fail(self, *, silent: bool = False) -> None:
        self.reader.failed(UpstreamError("body", "it broke", timeout=silent))

    @property
    def events(self) -> list[Event]:
        pieces = Framing("chunked").payload(self.wire.body)
        return EventDecoder().feed(b"".join(bytes(piece) for piece in pieces))

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.events]


def pieces(data: bytes, size: int) -> Sequence[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


COMMIT = "stream text/event-stream; charset=utf-8"
GOOD = b"START\nHello\nthere\nSTOP\n"
BROKEN = "broke: 529 overloaded_error: too much"


# Streamed.


@pytest.mark.parametrize("coding", [None, b"gzip"])
@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_stream(size: int, coding: bytes | None) -> None:
    stage = Stage(stream=True, coding=coding)
    stage.feed(*pieces(GOOD if coding is None else gzip.compress(GOOD, mtime=0), size), ended=True)
    assert stage.told == [COMMIT, "done"]
    assert stage.names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert stage.wire.ended
    assert stage.wire.persistent
    record = stage.attempt.answer.record
    assert (record.input_tokens, record.output_tokens) == (11, 7)


async def test_nothing_is_sent_before_there_is_content() -> None:
    stage = Stage(stream=True)
    stage.feed(b"START\n", b"Hel")
    assert (stage.told, stage.wire.sent) == ([], b"")
    stage.feed(b"lo\n")
    assert stage.told == [COMMIT]
    assert stage.names == ["message_start", "content_block_start", "content_block_delta"]
    sent = stage.wire.sent
    stage.feed(b"the")
    assert stage.wire.sent == sent
    stage.feed(b"re\n")
    assert stage.names[3:] == ["content_block_delta"]


async def test_an_answer_without_content_is_an_answer() -> None:
    stage = Stage(stream=True)
    stage.feed(b"STOP\n", ended=True)
    assert stage.told == [COMMIT, "done"]
    assert stage.names == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        ([b"START\nFAIL\n"], ["abandon", "failed: 529 overloaded_error: too much"]),
        ([b"START\n", b""], ["abandon", "failed: 502 : cut short"]),
    ],
)
async def test_a_failure_before_any_content_can_go_elsewhere(reads: list[bytes], told: list[str]) -> None:
    stage = Stage(stream=True)
    stage.feed(*reads, ended=True)
    assert stage.told == told
    assert stage.wire.sent == b""


@pytest.mark.parametrize("silent", [False, True])
async def test_a_break_before_any_content_can_go_elsewhere(silent: bool) -> None:
    stage = Stage(stream=True)
    stage.feed(b"START\n")
    stage.fail(silent=silent)
    assert stage.told == [f"failed early{' by timeout' * silent}: it broke"]
    assert stage.wire.sent == b""


@pytest.mark.parametrize(
    ("read", "told", "error"),
    [
        (b"FAIL\n", BROKEN, ("overloaded_error", "too much")),
        (b"more\nFAIL\n", BROKEN, ("overloaded_error", "too much")),
        (b"", "broke: 502 : cut short", ("api_error", "cut short")),
    ],
)
async def test_a_failure_in_the_middle(read: bytes, told: str, error: tuple[str, str]) -> None:
    """What was translated, one error, and no end that was not the upstream's."""
    stage = Stage(stream=True)
    stage.feed(b"START\nHello\n")
    stage.feed(read, ended=True)
    assert stage.told == [COMMIT, "abandon", told]
    more = ["content_block_delta"] * (b"more" in read)
    assert stage.names == ["message_start", "content_block_start", "content_block_delta", *more, "error"]
    document = orjson.loads(stage.events[-1].data)
    assert (document["error"]["type"], document["error"]["message"]) == error
    assert document["request_id"] == stage.attempt.answer.request_id
    assert stage.wire.ended
    assert not stage.wire.persistent
    assert stage.attempt.answer.record.input_tokens == 11


@pytest.mark.parametrize(("silent", "type"), [(False, "api_error"), (True, "timeout_error")])
async def test_a_break_in_the_middle(silent: bool, type: str) -> None:
    stage = Stage(stream=True)
    stage.feed(b"Hello\n")
    stage.fail(silent=silent)
    assert stage.told == [COMMIT, "broke: it broke"]
    document = orjson.loads(stage.events[-1].data)
    assert document["error"] == {"type": type, "message": "it broke"}
    assert "content_block_stop" not in stage.names


async def test_a_break_behind_a_whole_answer_takes_nothing_away() -> None:
    stage = Stage(stream=True)
    stage.feed(GOOD)
    stage.fail()
    assert stage.told == [COMMIT, "done"]
    assert stage.names[-1] == "message_stop"


@pytest.mark.parametrize("committed", [False, True])
async def test_a_coding_that_breaks(committed: bool) -> None:
    stage = Stage(stream=True, coding=b"deflate")
    coder = zlib.compressobj()
    first = coder.compress(b"Hello\n" if committed else b"START\n") + coder.flush(zlib.Z_SYNC_FLUSH)
    stage.feed(first, b"", ended=True)
    words = "the upstream's deflate body ends early"
    if committed:
        assert stage.told == [COMMIT, "abandon", f"broke: {words}"]
    else:
        assert stage.told == ["abandon", f"failed early: {words}"]


# Collected.


def message_of(stage: Stage) -> dict[str, object]:
    """The Message that the client gets."""
    (line,) = stage.told
    kind, _, body = line.partition(" application/json ")
    assert kind == "whole"
    found: dict[str, object] = orjson.loads(body)
    return found


@pytest.mark.parametrize("coding", [None, b"gzip"])
@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("own", [False, True])
async def test_one_message(own: bool, size: int, coding: bytes | None) -> None:
    stage = Stage(stream=False, coding=coding, own=own)
    payload = b"".join(text_events("Hello there")) if own else GOOD
    stage.feed(*pieces(payload if coding is None else gzip.compress(payload, mtime=0), size), ended=True)
    message = message_of(stage)
    assert message["content"] == [{"type": "text", "text": "Hellothere"}]
    assert (message["stop_reason"], message["model"], message["role"]) == ("end_turn", "m", "assistant")
    usage = message["usage"]
    assert isinstance(usage, dict)
    assert (usage["input_tokens"], usage["output_tokens"]) == (11, 7)


async def test_a_last_event_without_its_blank_line() -> None:
    stage = Stage(stream=False, own=True)
    stage.feed(b"".join(text_events())[:-1], b"", ended=True)
    assert message_of(stage)["stop_reason"] == "end_turn"


EARLY_END = "failed early: the upstream ended its answer early"


@pytest.mark.parametrize(
    ("own", "payload", "told"),
    [
        (True, b"".join(text_events()[:-1]), [EARLY_END]),
        (True, b"", [EARLY_END]),
        (True, b"<html>", [EARLY_END]),
        (
            True,
            b"".join(text_events()[:4])
            + event("error", error={"type": "overloaded_error", "message": "too much"}),
            ["abandon", "failed: 529 overloaded_error: too much"],
        ),
        (
            True,
            event("error", error={"type": "new_error", "message": "m"}),
            ["abandon", "failed: 500 new_error: m"],
        ),
        (False, b"Hello\nFAIL\n", ["abandon", "failed: 529 overloaded_error: too much"]),
        (False, b"Hello\n", ["abandon", "failed: 502 : cut short"]),
    ],
)
async def test_never_half_a_message(own: bool, payload: bytes, told: list[str]) -> None:
    stage = Stage(stream=False, own=own)
    stage.feed(payload, ended=True)
    assert stage.told == told
    assert stage.wire.sent == b""


async def test_an_error_tells_the_heads_hints() -> None:
    stage = Stage(stream=False, own=True)
    stage.feed(event("error", error={"type": "rate_limit_error", "message": "m"}))
    assert stage.attempt.failures[0].headers == ((b"request-id", b"req_upstream"),)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("own", [False, True])
async def test_a_break(own: bool, silent: bool) -> None:
    stage = Stage(stream=False, own=own)
    stage.feed(text_events()[0] if own else b"Hello\n")
    stage.fail(silent=silent)
    assert stage.told == [f"failed early{' by timeout' * silent}: it broke"]


async def test_a_break_behind_a_whole_message_takes_nothing_away() -> None:
    stage = Stage(stream=False)
    stage.feed(GOOD)
    stage.fail()
    assert message_of(stage)["stop_reason"] == "end_turn"


@pytest.mark.parametrize("raw", [b"plain", gzip.compress(GOOD, mtime=0)[:-2]])
async def test_a_coding_of_a_message_that_breaks(raw: bytes) -> None:
    stage = Stage(stream=False, coding=b"gzip", own=True)
    stage.feed(raw, ended=True)
    assert stage.told[0] == "abandon"
    assert stage.told[1].startswith("failed early: the upstream's gzip body")


async def test_an_event_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translate, "EventDecoder", lambda: EventDecoder(limit=50))
    stage = Stage(stream=False, own=True)
    stage.feed(b"data: " + b"x" * 100)
    assert stage.told[0] == "abandon"
    assert stage.told[1].startswith("failed early: the upstream's stream: ")
    assert "xxx" not in stage.told[1]


# The gateway's own failure.


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_internal_error_ends_the_request(stream: bool, committed: bool, ended: bool) -> None:
    stage = Stage(stream=stream)
    if committed:
        stage.feed(b"Hello\n")
    stage.feed(b"BOOM\n", ended=ended)
    assert stage.wire.ended
    if stream and committed:
        assert not stage.wire.persistent
        assert b"content_block_stop" not in stage.wire.sent
    else:
        assert stage.wire.sent.startswith(b"HTTP/1.1 500 ")
    assert "internal error: KeyError at test_translate.py:" in stage.attempt.lines[0]
    assert "secret" not in stage.attempt.lines[0]
