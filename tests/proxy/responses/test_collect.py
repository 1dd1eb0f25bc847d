"""Translated responses, collected into one Message."""

import orjson
import pytest

from gateway.messages.sse import EVENT_LIMIT
from gateway.messages.stream import StreamWriter
from gateway.proxy.responses.collect import Collection
from tests.support.loops import settle
from tests.support.words import Stage, pieces

GOOD = b"START\nHello\nthere\nSTOP\n"


def message_of(stage: Stage) -> dict[str, object]:
    """The Message that the client gets."""
    assert stage.calls == ["commit content-type: application/json", "done"]
    assert stage.client.kept
    found: dict[str, object] = orjson.loads(stage.client.body)
    return found


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_one_message(size: int) -> None:
    stage = Stage(Collection, stream=False)
    stage.feed(*pieces(GOOD, size), ended=True)
    message = message_of(stage)
    assert message["content"] == [{"type": "text", "text": "Hellothere"}]
    assert (message["stop_reason"], message["model"], message["role"]) == ("end_turn", "m", "assistant")
    await settle()
    record = stage.attempt.request.record
    assert (record.input_tokens, record.output_tokens) == (11, 7)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"Hello\nFAIL\n", ["abandon", "failed: 529 overloaded_error: too much"]),
        (b"Hello\n", ["abandon", "failed: 502 : cut short"]),
    ],
)
async def test_an_incomplete_message_is_never_returned(payload: bytes, expected: list[str]) -> None:
    stage = Stage(Collection, stream=False)
    stage.feed(payload, ended=True)
    assert stage.calls == expected
    assert stage.client.sent == b""


@pytest.mark.parametrize("silent", [False, True])
async def test_a_break(silent: bool) -> None:
    stage = Stage(Collection, stream=False)
    stage.feed(b"Hello\n")
    stage.fail(silent=silent)
    assert stage.calls == [f"ended early{' by timeout' * silent}: it broke"]


async def test_a_break_after_a_whole_message_is_ignored() -> None:
    stage = Stage(Collection, stream=False)
    stage.feed(GOOD)
    stage.fail()
    assert message_of(stage)["stop_reason"] == "end_turn"


class Odd:
    """A dialect that writes what no dialect should."""

    complete = True

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer

    def feed(self, data: bytes) -> None:
        if data == b"error":
            self._writer.error("overloaded_error", "too much", "req_1")
        elif data:
            self._writer.text("x" * EVENT_LIMIT)

    def end(self) -> None:
        """Nothing more."""


async def test_an_error_event_has_the_heads_retry_after() -> None:
    stage = Stage(Collection, stream=False, decoder=Odd)
    stage.feed(b"error")
    assert stage.calls == ["abandon", "failed: 529 overloaded_error: too much"]
    assert stage.attempt.failures[0].headers == ((b"request-id", b"req_upstream"),)


async def test_an_event_that_is_too_long() -> None:
    stage = Stage(Collection, stream=False, decoder=Odd)
    stage.feed(b"long")
    assert stage.calls[0] == "abandon"
    assert stage.calls[1].startswith("ended early: the upstream's stream: ")
    assert "xxx" not in stage.calls[1]


async def test_a_body_without_any_message() -> None:
    stage = Stage(Collection, stream=False, decoder=Odd)
    stage.feed(b"", ended=True)
    assert stage.calls == ["ended early: the upstream ended its response early"]
