"""messages/replay.py: the events of a whole message are collected to the same message again."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from gateway.messages.collect import Collector
from gateway.messages.replay import message_events
from gateway.messages.sse import Event, EventDecoder
from tests.messages.samples import call, found, odd, search, text, thought

BLOCKS = [
    text("a", citations=[{"a": 1}, {"b": 2}]),
    text(""),
    thought("s"),
    thought(""),
    {"type": "redacted_thinking", "data": "x"},
    call(input={"a": [1]}),
    search(input={"q": "x"}),
    found(),
    {"type": "unheard of", "x": 1},
]


def message(*content: Any, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 5}
    stop: dict[str, Any] = {"stop_reason": "end_turn", "stop_sequence": None}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return {**head, "content": list(content), **stop, "usage": usage, **more}


def events(document: dict[str, Any]) -> list[Event]:
    return EventDecoder().feed(message_events(document))


@pytest.mark.parametrize("content", [[], *([block] for block in BLOCKS), BLOCKS])
def test_a_replayed_message_is_collected_again(content: list[Any]) -> None:
    document = message(*content, container={"id": "c"})
    collector = Collector()
    for event in events(document):
        collector.feed(event)
    assert collector.message == document


def test_tool_input_comes_as_a_delta_and_a_signature_last() -> None:
    documents = [orjson.loads(event.data) for event in events(message(thought("s"), call(input={"a": 1})))]
    assert [data["delta"]["type"] for data in documents if data["type"] == "content_block_delta"] == [
        "thinking_delta",
        "signature_delta",
        "input_json_delta",
    ]
    assert all(
        not data["content_block"].get("input") for data in documents if data["type"] == "content_block_start"
    )


@given(odd, odd, odd)
def test_values_of_the_wrong_kind_are_replayed_too(content: Any, usage: Any, block: Any) -> None:
    odd_text = {"type": "text", "text": content, "citations": block, "signature": usage}
    for document in (message(content, block, odd_text), message(content=content, usage=usage), {"x": block}):
        names = [event.name for event in events(document)]
        assert names[0] == "message_start"
        assert names[-2:] == ["message_delta", "message_stop"]
