"""messages/collect.py: streams as hosts send them, and the message of each, or why there is none."""

from typing import Any

import orjson
import pytest

from gateway.messages.collect import Collector
from gateway.messages.sse import Event

START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 2, "output_tokens": 1},
    },
}
END: list[dict[str, Any]] = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 9},
    },
    {"type": "message_stop"},
]
CALL = {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}


def collected(*events: Any) -> Collector:
    collector = Collector()
    for event in events:
        if isinstance(event, Event):
            collector.feed(event)
        else:
            name = event.get("type", "") if isinstance(event, dict) else ""
            collector.feed(Event(name, orjson.dumps(event)))
    return collector


def block(content: Any, *deltas: Any, index: Any = 0, stop: bool = True) -> list[dict[str, Any]]:
    events = [{"type": "content_block_start", "index": index, "content_block": content}]
    events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [*events, {"type": "content_block_stop", "index": index}] if stop else events


def pieces(*parts: str) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": part} for part in parts]


def content(*events: Any) -> Any:
    collector = collected(START, *events, *END)
    assert collector.error is None
    assert collector.message is not None
    return collector.message["content"]


def text(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        (block({"type": "text", "text": ""}, text("a"), text("é")), [{"type": "text", "text": "aé"}]),
        (block({"type": "text", "text": "a"}, text("b")), [{"type": "text", "text": "ab"}]),
        (block({"type": "text", "text": "a"}), [{"type": "text", "text": "a"}]),
        (block({"type": "text"}, text("b")), [{"type": "text", "text": "b"}]),
        (
            block(
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "h"},
                {"type": "thinking_delta", "thinking": "m"},
                {"type": "signature_delta", "signature": "s0"},
                {"type": "signature_delta", "signature": "s1"},
            ),
            [{"type": "thinking", "thinking": "hm", "signature": "s1"}],
        ),
        (block(CALL, *pieces("", '{"a', '":', "[1]}")), [{**CALL, "input": {"a": [1]}}]),
        (block(CALL, *pieces('{"n":36893488147419103232}')), [{**CALL, "input": {"n": 2**65}}]),
        (block(CALL, *pieces('{"n":"\\ud83d"}')), [{**CALL, "input": {"n": "\ud83d"}}]),
        (block(CALL), [CALL]),
        (block(CALL, *pieces("", " ")), [CALL]),
        (block({**CALL, "input": {"a": 1}}), [{**CALL, "input": {"a": 1}}]),
        (block({**CALL, "type": "server_tool_use"}, *pieces("{}")), [{**CALL, "type": "server_tool_use"}]),
        (
            block(
                {"type": "text", "text": ""},
                {"type": "citations_delta", "citation": {"a": 1}},
                text("x"),
                {"type": "citations_delta", "citation": {"b": 2}},
            ),
            [{"type": "text", "text": "x", "citations": [{"a": 1}, {"b": 2}]}],
        ),
        (
            block(
                {"type": "text", "text": "", "citations": None}, {"type": "citations_delta", "citation": 1}
            ),
            [{"type": "text", "text": "", "citations": [1]}],
        ),
        (
            block({"type": "redacted_thinking", "data": "x"}, {"type": "unheard_of_delta", "x": 1}),
            [{"type": "redacted_thinking", "data": "x"}],
        ),
        # Interleaved, out of order, never stopped.
        (
            [
                *block({"type": "text", "text": ""}, text("b"), index=1, stop=False),
                *block({"type": "text", "text": ""}, text("a"), index=0),
                *block({"type": "text", "text": ""}, text("c"), index=1, stop=False)[1:],
            ],
            [{"type": "text", "text": "a"}, {"type": "text", "text": "bc"}],
        ),
        # Events without content: pings, unknown events, other data.
        (
            [
                {"type": "ping"},
                {"type": "vendor_event", "index": 3},
                Event("", b"[DONE]"),
                Event("ping", b"{}"),
                Event("", b"[1]"),
                Event("", b"{}"),
            ],
            [],
        ),
    ],
)
def test_content(events: list[Any], expected: list[Any]) -> None:
    assert content(*events) == expected


def test_the_type_may_be_the_events_name() -> None:
    unnamed = [Event("", orjson.dumps(event)) for event in [START, *END]]
    untyped = [
        Event(event["type"], orjson.dumps({key: value for key, value in event.items() if key != "type"}))
        for event in [START, *END]
    ]
    assert collected(*unnamed).complete
    assert collected(*untyped).complete


def test_the_whole_message() -> None:
    collector = collected(
        START,
        *block({"type": "text", "text": ""}, text("a")),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END", "container": {"id": "c"}},
            "usage": {
                "output_tokens": 9,
                "input_tokens": None,
                "server_tool_use": {"web_search_requests": 1},
            },
            "context_management": {"applied_edits": []},
        },
        END[1],
    )
    assert collector.complete
    assert collector.message == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "container": {"id": "c"},
        "context_management": {"applied_edits": []},
        "usage": {
            "input_tokens": 7,
            "cache_read_input_tokens": 2,
            "output_tokens": 9,
            "server_tool_use": {"web_search_requests": 1},
        },
    }


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_a_host_that_reports_no_usage(usage: dict[str, Any]) -> None:
    start = {"type": "message_start", "message": {"id": "msg_1", **usage}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **usage}
    message = collected(start, delta, END[1]).message
    assert message is not None
    assert not message.get("usage")


def test_there_is_no_message_before_its_end() -> None:
    collector = collected(START, *block({"type": "text", "text": "a"}), END[0])
    assert (collector.message, collector.complete, collector.error) == (None, False, None)


def test_nothing_counts_after_the_end() -> None:
    collector = collected(
        START, *END, {"type": "error", "error": {"type": "api_error"}}, Event("", b"{broken")
    )
    assert collector.complete
    assert collector.error is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"error": {"type": "overloaded_error", "message": "full"}}, ("overloaded_error", "full")),
        ({"error": {"type": "api_error"}}, ("api_error", "unknown error")),
        ({"error": "odd"}, ("api_error", "unknown error")),
        ({}, ("api_error", "unknown error")),
    ],
)
def test_an_error_event_ends_it(data: dict[str, Any], expected: tuple[str, str]) -> None:
    collector = collected(START, {"type": "error", **data}, *END)
    assert collector.error == expected
    assert collector.message is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Event("message_delta", b"{broken"), "a broken message_delta event"),
        (Event("", b"\xff"), "a broken unnamed event"),
        ({"type": "content_block_delta", "index": 5, "delta": text("a")}, "content_block_delta"),
        ({"type": "content_block_delta", "index": 0}, "content_block_delta"),
        ({"type": "content_block_delta", "index": 0, "delta": {}}, "content_block_delta"),
        ({"type": "content_block_delta", "index": 0, "delta": 5}, "content_block_delta"),
        ({"type": "content_block_delta", "index": [], "delta": text("a")}, "content_block_delta"),
        ({"type": "content_block_start", "index": 0}, "content_block_start"),
        ({"type": "content_block_start", "index": 0, "content_block": 5}, "content_block_start"),
        ({"type": "content_block_stop", "index": 7}, "content_block_stop"),
        ({"type": "message_start"}, "message_start"),
        ({"type": "message_delta"}, "message_delta"),
        ({"type": "message_delta", "delta": {}, "usage": 5}, "message_delta"),
    ],
)
def test_malformed_events_are_an_error(event: Any, message: str) -> None:
    collector = collected(START, *block({"type": "text", "text": ""}, stop=False), event, *END)
    assert collector.error is not None
    assert collector.error[0] == "api_error"
    assert message in collector.error[1]
    assert not collector.complete


@pytest.mark.parametrize("events", [END, END[1:]])
def test_an_end_without_a_start_is_an_error(events: list[Any]) -> None:
    collector = collected(*events)
    assert collector.error is not None
    assert "before message_start" in collector.error[1]


@pytest.mark.parametrize("parts", [('{"a":',), ('{"a":1}}',), ("[" * 5000,), ("\ud800",)])
def test_a_call_with_broken_input_is_an_error(parts: tuple[str, ...]) -> None:
    events = [
        START,
        *block(CALL, stop=False),
        *[
            Event(
                "",
                b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":'
                + (b'"\\ud800"' if part == "\ud800" else orjson.dumps(part))
                + b"}}",
            )
            for part in parts
        ],
        {"type": "content_block_stop", "index": 0},
    ]
    assert collected(*events).error is None
    collector = collected(*events, *END)
    assert collector.error is not None
    assert "a tool call's input" in collector.error[1]
    assert collector.message is None


def test_a_call_that_the_token_limit_cut_off_is_left_out() -> None:
    delta = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}}
    collector = collected(
        START,
        *block({"type": "text", "text": "a"}),
        *block(CALL, *pieces("{}"), index=1),
        *block(CALL, *pieces('{"a": "b'), index=2),
        delta,
        END[1],
    )
    assert collector.message is not None
    assert collector.message["content"] == [{"type": "text", "text": "a"}, CALL]
    assert collector.message["stop_reason"] == "max_tokens"


def test_the_events_own_objects_stay_as_they_were() -> None:
    collector = collected(START, *block(CALL, *pieces('{"a":1}')), *END)
    assert collector.message is not None
    assert CALL["input"] == {}
