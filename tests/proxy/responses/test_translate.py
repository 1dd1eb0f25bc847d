"""Translated responses, fed by hand with a dialect of one word a line: streamed on as they come."""

import orjson
import pytest

from gateway.http1.framing import Framing
from gateway.messages.sse import Event, EventDecoder
from gateway.proxy.responses.translate import Translation
from tests.support.loops import settle
from tests.support.words import Stage, pieces


class Streamed(Stage):
    """The client's stream, too."""

    def __init__(self) -> None:
        super().__init__(Translation, stream=True)

    @property
    def events(self) -> list[Event]:
        pieces = Framing("chunked").payload(self.client.body)
        return EventDecoder().feed(b"".join(bytes(piece) for piece in pieces))

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.events]


COMMIT = "commit content-type: text/event-stream; charset=utf-8"
GOOD = b"START\nHello\nthere\nSTOP\n"
BROKEN = "broke: 529 overloaded_error: too much"


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_stream(size: int) -> None:
    stage = Streamed()
    stage.feed(*pieces(GOOD, size), ended=True)
    assert stage.calls == [COMMIT, "done"]
    assert stage.names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert stage.client.kept
    await settle()
    record = stage.attempt.request.record
    assert (record.input_tokens, record.output_tokens) == (11, 7)


async def test_nothing_is_sent_before_there_is_content() -> None:
    stage = Streamed()
    stage.feed(b"START\n", b"Hel")
    assert (stage.calls, stage.client.sent) == ([], b"")
    stage.feed(b"lo\n")
    assert stage.calls == [COMMIT]
    assert stage.names == ["message_start", "content_block_start", "content_block_delta"]
    sent = stage.client.sent
    stage.feed(b"the")
    assert stage.client.sent == sent
    stage.feed(b"re\n")
    assert stage.names[3:] == ["content_block_delta"]


async def test_a_response_without_content_is_a_response() -> None:
    stage = Streamed()
    stage.feed(b"STOP\n", ended=True)
    assert stage.calls == [COMMIT, "done"]
    assert stage.names == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([b"START\nFAIL\n"], ["abandon", "failed: 529 overloaded_error: too much"]),
        ([b"START\n", b""], ["abandon", "failed: 502 : cut short"]),
    ],
)
async def test_a_failure_before_any_content_can_go_elsewhere(reads: list[bytes], expected: list[str]) -> None:
    stage = Streamed()
    stage.feed(*reads, ended=True)
    assert stage.calls == expected
    assert stage.client.sent == b""


@pytest.mark.parametrize("silent", [False, True])
async def test_a_break_before_any_content_can_go_elsewhere(silent: bool) -> None:
    stage = Streamed()
    stage.feed(b"START\n")
    stage.fail(silent=silent)
    assert stage.calls == [f"ended early{' by timeout' * silent}: it broke"]
    assert stage.client.sent == b""


@pytest.mark.parametrize(
    ("read", "expected", "error"),
    [
        (b"FAIL\n", BROKEN, ("overloaded_error", "too much")),
        (b"more\nFAIL\n", BROKEN, ("overloaded_error", "too much")),
        (b"", "broke: 502 : cut short", ("api_error", "cut short")),
    ],
)
async def test_a_failure_in_the_middle(read: bytes, expected: str, error: tuple[str, str]) -> None:
    """The client gets the translated part and one error, and no stop that the upstream did not send."""
    stage = Streamed()
    stage.feed(b"START\nHello\n")
    stage.feed(read, ended=True)
    assert stage.calls == [COMMIT, "abandon", expected]
    more = ["content_block_delta"] * (b"more" in read)
    assert stage.names == ["message_start", "content_block_start", "content_block_delta", *more, "error"]
    document = orjson.loads(stage.events[-1].data)
    assert (document["error"]["type"], document["error"]["message"]) == error
    assert document["request_id"] == stage.attempt.request.request_id
    assert stage.client.cut
    await settle()
    assert stage.attempt.request.record.input_tokens == 11


@pytest.mark.parametrize(("silent", "type"), [(False, "api_error"), (True, "timeout_error")])
async def test_a_break_in_the_middle(silent: bool, type: str) -> None:
    stage = Streamed()
    stage.feed(b"Hello\n")
    stage.fail(silent=silent)
    assert stage.calls == [COMMIT, "broke: it broke"]
    document = orjson.loads(stage.events[-1].data)
    assert document["error"] == {"type": type, "message": "it broke"}
    assert "content_block_stop" not in stage.names


async def test_a_break_after_a_whole_response_is_ignored() -> None:
    stage = Streamed()
    stage.feed(GOOD)
    stage.fail()
    assert stage.calls == [COMMIT, "done"]
    assert stage.names[-1] == "message_stop"


async def test_a_stream_after_a_ping_has_one_head() -> None:
    stage = Streamed()
    stage.attempt.request.exchange.start(200)
    stage.feed(GOOD, ended=True)
    assert stage.client.sent.count(b"HTTP/1.1 200") == 1
    assert stage.names[-1] == "message_stop"


async def test_whether_the_client_has_had_everything() -> None:
    stage = Streamed()
    stage.feed(b"Hello\n")
    assert not stage.reader.is_complete()
    stage.feed(b"STOP\n", ended=True)
    assert stage.reader.is_complete()
