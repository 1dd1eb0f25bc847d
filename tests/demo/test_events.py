"""A reply on the wire, whole or in pieces."""

from typing import Any

import orjson
import pytest

from gateway.demo.events import message, pieces
from gateway.demo.reply import Reply
from gateway.demo.signatures import sign
from gateway.messages.collect import Collector
from gateway.messages.sse import EventDecoder

USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 9,
}
TEXT = {"type": "text", "text": " Two words,\n\nand more. "}
THINKING = {"type": "thinking", "thinking": "So it is.", "signature": sign("So it is.")}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "echo " + "hi " * 20}}


@pytest.mark.parametrize(
    "content",
    [
        (),
        (TEXT,),
        (THINKING, TEXT, CALL),
        (CALL, {**CALL, "id": "toolu_2", "input": {}}),
        ({"type": "thinking", "thinking": "", "signature": sign("")}, TEXT),
    ],
)
@pytest.mark.parametrize("ending", [("end_turn", None), ("stop_sequence", "x")])
def test_pieces_are_the_message(content: tuple[dict[str, Any], ...], ending: tuple[str, str | None]) -> None:
    reply = Reply(content, *ending, USAGE)
    decoder, collector = EventDecoder(), Collector()

    for piece in pieces(reply, "msg_1", "m"):
        assert piece
        for event in decoder.feed(piece):
            collector.feed(event)

    assert collector.message == orjson.loads(message(reply, "msg_1", "m"))


def test_a_word_is_a_piece() -> None:
    sent = list(pieces(Reply((TEXT,), "end_turn", None, USAGE), "msg_1", "m"))

    texts = [
        orjson.loads(event.data)["delta"]["text"]
        for piece in sent[1:-1]
        for event in EventDecoder().feed(piece)[-1:]
    ]
    assert texts == [" Two", " words,", "\n\nand", " more.", " "]


def test_the_start_tells_the_input_and_not_yet_the_output() -> None:
    start = next(pieces(Reply((), "end_turn", None, USAGE), "msg_1", "m"))

    first, ping = EventDecoder().feed(start)
    assert orjson.loads(first.data)["message"]["usage"] == {**USAGE, "output_tokens": 1}
    assert ping.name == "ping"
