"""messages/stream.py: transcripts of calls and the events they write, and the grammar under any calls."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.messages.collect import Collector
from gateway.messages.json_documents import write_document
from gateway.messages.sse import EventDecoder
from gateway.messages.stream import PING, StreamWriter

Calls = Callable[[StreamWriter], object]


def writer() -> StreamWriter:
    return StreamWriter(message_id="msg_1", model="m")


def names_of(raw: bytes) -> list[str]:
    """A transcript of events: one short line each."""
    decoder = EventDecoder()
    lines = []
    for event in decoder.feed(raw):
        data = orjson.loads(event.data)
        assert data["type"] == event.name
        lines.append(LINES[event.name](data))
    assert decoder.end() == []
    return lines


def compact(value: object) -> str:
    return orjson.dumps(value).decode()


LINES: dict[str, Callable[[Any], str]] = {
    "message_start": lambda data: "start",
    "content_block_start": lambda data: f"{data['index']} + {compact(data['content_block'])}",
    "content_block_delta": lambda data: f"{data['index']} {' '.join(map(str, data['delta'].values()))}",
    "content_block_stop": lambda data: f"{data['index']} -",
    "message_delta": lambda data: f"{compact(data['delta'])} {compact(data['usage'])}",
    "message_stop": lambda data: "stop",
    "error": lambda data: f"error {compact(data['error'])} {data['request_id']}",
    "ping": lambda data: "ping",
}

TEXT = '{"type":"text","text":""}'
THINKING = '{"type":"thinking","thinking":"","signature":""}'


def tool(name: str = "t1", type: str = "tool_use") -> str:
    return f'{{"type":"{type}","id":"{name}","name":"Read","input":{{}}}}'


TRANSCRIPTS: dict[str, tuple[list[Calls], list[str]]] = {
    "nothing": ([], []),
    "text in pieces": (
        [lambda w: w.text("a"), lambda w: w.text(""), lambda w: w.text("é\n")],
        ["start", f"0 + {TEXT}", "0 text_delta a", "0 text_delta é\n"],
    ),
    "empty pieces open nothing": (
        [lambda w: w.text(""), lambda w: w.thinking(""), lambda w: w.signature(""), lambda w: w.stop_block()],
        [],
    ),
    "thinking in pieces, signed right before its stop": (
        [
            lambda w: w.thinking("a"),
            lambda w: w.thinking("é"),
            lambda w: w.signature("s0"),
            lambda w: w.signature("s1"),
            lambda w: w.text("b"),
        ],
        [
            "start",
            f"0 + {THINKING}",
            "0 thinking_delta a",
            "0 thinking_delta é",
            "0 signature_delta s1",
            "0 -",
            f"1 + {TEXT}",
            "1 text_delta b",
        ],
    ),
    "thinking after a signature is another block": (
        [
            lambda w: w.thinking("a"),
            lambda w: w.signature("s"),
            lambda w: w.thinking("b"),
            lambda w: w.stop_block(),
        ],
        [
            "start",
            f"0 + {THINKING}",
            "0 thinking_delta a",
            "0 signature_delta s",
            "0 -",
            f"1 + {THINKING}",
            "1 thinking_delta b",
            "1 -",
        ],
    ),
    "a signature without thinking": (
        [lambda w: w.text("a"), lambda w: w.signature("s"), lambda w: w.stop_block()],
        ["start", f"0 + {TEXT}", "0 text_delta a", "0 -", f"1 + {THINKING}", "1 signature_delta s", "1 -"],
    ),
    "a whole call": (
        [
            lambda w: w.text("a"),
            lambda w: w.tool_use("t1", "Read", b'{"a":"\xc3\xa9"}'),
            lambda w: w.text("b"),
        ],
        [
            "start",
            f"0 + {TEXT}",
            "0 text_delta a",
            "0 -",
            f"1 + {tool()}",
            '1 input_json_delta {"a":"é"}',
            "1 -",
            f"2 + {TEXT}",
            "2 text_delta b",
        ],
    ),
    "calls in pieces": (
        [
            lambda w: w.tool_start("t1", "Read"),
            lambda w: w.tool_input('{"a'),
            lambda w: w.tool_input(""),
            lambda w: w.tool_input('":1}'),
            lambda w: w.tool_start("t2", "Read"),
            lambda w: w.tool_input(""),
            lambda w: w.stop_block(),
        ],
        [
            "start",
            f"0 + {tool()}",
            '0 input_json_delta {"a',
            '0 input_json_delta ":1}',
            "0 -",
            f"1 + {tool('t2')}",
            "1 input_json_delta {}",
            "1 -",
        ],
    ),
    "citations": (
        [
            lambda w: w.thinking("a"),
            lambda w: w.citation({"type": "x"}),
            lambda w: w.text("b"),
            lambda w: w.citation({"type": "y"}),
        ],
        [
            "start",
            f"0 + {THINKING}",
            "0 thinking_delta a",
            "0 -",
            '1 + {"type":"text","text":"","citations":[]}',
            "1 citations_delta {'type': 'x'}",
            "1 text_delta b",
            "1 citations_delta {'type': 'y'}",
        ],
    ),
    "whole blocks": (
        [
            lambda w: w.block({"type": "redacted_thinking", "data": "x"}),
            lambda w: w.block({"type": "text", "text": "a", "citations": [{"type": "x"}]}),
            lambda w: w.block({"type": "text", "text": "b", "citations": None}),
            lambda w: w.block({"type": "thinking", "thinking": "c", "signature": "s"}),
            lambda w: w.block({"type": "thinking", "thinking": "d"}),
            lambda w: w.block({"type": "server_tool_use", "id": "t1", "name": "Read", "input": {"q": 1}}),
            lambda w: w.block({"type": "web_search_tool_result", "content": []}),
        ],
        [
            "start",
            '0 + {"type":"redacted_thinking","data":"x"}',
            "0 -",
            '1 + {"type":"text","text":"","citations":[]}',
            "1 citations_delta {'type': 'x'}",
            "1 text_delta a",
            "1 -",
            f"2 + {TEXT}",
            "2 text_delta b",
            "2 -",
            f"3 + {THINKING}",
            "3 thinking_delta c",
            "3 signature_delta s",
            "3 -",
            f"4 + {THINKING}",
            "4 thinking_delta d",
            "4 -",
            f"5 + {tool(type='server_tool_use')}",
            '5 input_json_delta {"q":1}',
            "5 -",
            '6 + {"type":"web_search_tool_result","content":[]}',
            "6 -",
        ],
    ),
    "the end": (
        [lambda w: w.text("a"), lambda w: w.finish("end_turn", {"output_tokens": 5, "input_tokens": 2})],
        [
            "start",
            f"0 + {TEXT}",
            "0 text_delta a",
            "0 -",
            '{"stop_reason":"end_turn","stop_sequence":null} {"output_tokens":5,"input_tokens":2}',
            "stop",
        ],
    ),
    "an empty response": (
        [lambda w: w.finish("stop_sequence", {}, "END")],
        ["start", '{"stop_reason":"stop_sequence","stop_sequence":"END"} {"output_tokens":0}', "stop"],
    ),
    "an error leaves the block open": (
        [lambda w: w.tool_start("t1", "Read"), lambda w: w.error("api_error", "lost", "req_1")],
        ["start", f"0 + {tool()}", 'error {"type":"api_error","message":"lost"} req_1'],
    ),
    "an error before anything": (
        [lambda w: w.error("overloaded_error", "full", "req_1")],
        ['error {"type":"overloaded_error","message":"full"} req_1'],
    ),
    "pings": (
        [lambda w: w.ping(), lambda w: w.text("a"), lambda w: w.ping()],
        ["ping", "start", f"0 + {TEXT}", "0 text_delta a", "ping"],
    ),
}

ANYTHING: list[Calls] = [
    lambda w: w.start(),
    lambda w: w.text("x"),
    lambda w: w.thinking("x"),
    lambda w: w.signature("x"),
    lambda w: w.citation({}),
    lambda w: w.tool_use("t9", "x", b"{}"),
    lambda w: w.tool_start("t9", "x"),
    lambda w: w.tool_input("{}"),
    lambda w: w.block({"type": "x"}),
    lambda w: w.stop_block(),
    lambda w: w.ping(),
    lambda w: w.finish("refusal", {}),
    lambda w: w.error("api_error", "x", "x"),
]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcripts(name: str) -> None:
    calls, events = TRANSCRIPTS[name]
    w = writer()
    for call in calls:
        call(w)
    assert names_of(w.take()) == events
    assert w.take() == b""


@pytest.mark.parametrize(
    "end", [lambda w: w.finish("end_turn", {}), lambda w: w.error("api_error", "x", "r")]
)
@pytest.mark.parametrize(
    "open", [lambda w: None, lambda w: w.text("a"), lambda w: w.tool_start("t1", "Read")]
)
def test_nothing_follows_the_end(open: Calls, end: Calls) -> None:
    w = writer()
    open(w)
    end(w)
    w.take()
    for call in ANYTHING:
        call(w)
    assert w.take() == b""


def test_the_start_has_a_whole_message_with_a_whole_usage() -> None:
    w = writer()
    w.start({"input_tokens": 7, "cache_read_input_tokens": 2, "service_tier": "standard"})
    w.start({"input_tokens": 9})
    (event,) = EventDecoder().feed(w.take())
    assert orjson.loads(event.data) == {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 7,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 2,
                "output_tokens": 0,
                "service_tier": "standard",
            },
        },
    }


def test_a_start_without_usage_counts_nothing() -> None:
    w = writer()
    w.start()
    (event,) = EventDecoder().feed(w.take())
    usage = orjson.loads(event.data)["message"]["usage"]
    assert len(usage) == 4
    assert not any(usage.values())


def test_repr_shows_the_state() -> None:
    w = writer()
    assert (w.started, w.finished, w.has_content) == (False, False, False)
    w.start()
    assert w.started
    assert not w.has_content
    w.text("a")
    assert w.has_content
    w.finish("end_turn", {})
    assert w.finished

    broken = writer()
    broken.error("api_error", "x", "r")
    assert (broken.started, broken.finished, broken.has_content) == (False, False, False)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda w: w.ping(), False),
        (lambda w: w.text(""), False),
        (lambda w: w.thinking("a"), True),
        (lambda w: w.signature("s"), True),
        (lambda w: w.citation({}), True),
        (lambda w: w.tool_start("t1", "Read"), True),
        (lambda w: w.block({"type": "redacted_thinking", "data": "x"}), True),
        (lambda w: w.finish("end_turn", {}), False),
    ],
)
def test_has_content(call: Calls, expected: bool) -> None:
    w = writer()
    call(w)
    assert w.has_content is expected


def test_input_without_a_call_is_a_mistake_of_the_caller() -> None:
    w = writer()
    w.text("a")
    with pytest.raises(RuntimeError, match="without an open call"):
        w.tool_input("{}")


def test_values_that_orjson_refuses_are_written() -> None:
    w = writer()
    w.text("\ud83d")
    w.block({"type": "tool_use", "id": "t1", "name": "Read", "input": {"n": 2**70}})
    events = [
        orjson.loads(event.data) for event in EventDecoder().feed(w.take().replace(b"\\ud83d", b"half"))
    ]
    assert events[2]["delta"]["text"] == "half"
    assert events[5]["delta"]["partial_json"] == '{"n":1180591620717411303424}'


def test_take_returns_bytes_since_the_last_take() -> None:
    w = writer()
    w.ping()
    assert w.take() == PING
    w.ping()
    w.ping()
    assert w.take() == PING + PING


def test_the_sdks_models_take_every_event() -> None:
    place = {
        "type": "web_search_result_location",
        "url": "u",
        "title": "t",
        "cited_text": "c",
        "encrypted_index": "e",
    }
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}}
    w = writer()
    w.thinking("a")
    w.signature("s")
    w.text("b")
    w.citation(place)
    w.tool_use("t1", "Read", b"{}")
    w.block({"type": "redacted_thinking", "data": "x"})
    w.block(search)
    w.block({"type": "web_search_tool_result", "tool_use_id": "s1", "content": []})
    w.finish("end_turn", {"output_tokens": 5})
    adapter: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
    events = EventDecoder().feed(w.take())
    assert len(events) == 21
    for event in events:
        adapter.validate_json(event.data)


words = st.text(st.characters(codec="utf-8"), max_size=4)
inputs = st.dictionaries(words, st.integers() | words, max_size=2)
steps = st.one_of(
    st.tuples(st.just("text"), words),
    st.tuples(st.just("thinking"), words),
    st.tuples(st.just("signature"), words),
    st.tuples(st.just("citation"), st.dictionaries(words, words, max_size=1)),
    st.tuples(st.just("tool_use"), inputs),
    st.tuples(st.just("pieces"), inputs),
    st.tuples(st.just("block"), words),
    st.tuples(st.just("stop_block"), st.none()),
    st.tuples(st.just("ping"), st.none()),
    st.tuples(st.just("start"), st.none()),
)


@given(st.lists(steps), st.integers(1, 50))
def test_written_streams_are_collected_again(calls: list[tuple[str, Any]], cut: int) -> None:
    """A plain model of the same calls, against writer, decoder and collector in a row."""
    w = writer()
    model = Model()
    for name, value in calls:
        getattr(model, name)(value)
        if name == "tool_use":
            w.tool_use("t1", "Read", write_document(value))
        elif name == "pieces":
            w.tool_start("t1", "Read")
            for character in write_document(value).decode():
                w.tool_input(character)
        elif name == "block":
            w.block({"type": "redacted_thinking", "data": value})
        elif value is None:
            getattr(w, name)()
        else:
            getattr(w, name)(value)
    w.finish("end_turn", {"output_tokens": 3})

    raw = w.take()
    decoder, collector = EventDecoder(), Collector()
    events = [event for at in range(0, len(raw), cut) for event in decoder.feed(raw[at : at + cut])]
    for event in events:
        collector.feed(event)
    assert collector.error is None
    assert collector.message is not None
    assert collector.message["content"] == model.blocks
    assert (collector.message["stop_reason"], collector.message["usage"]["output_tokens"]) == ("end_turn", 3)

    datas = [orjson.loads(event.data) for event in events]
    starts = [data["index"] for data in datas if data["type"] == "content_block_start"]
    assert starts == list(range(len(model.blocks)))
    kinds = [data["type"] for data in datas if data["type"] != "ping"]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    signed = [data["index"] for data in datas if data.get("delta", {}).get("type") == "signature_delta"]
    assert len(signed) == len({*signed})


class Model:
    """The blocks that calls should lead to."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.open = ""

    def _last(self, kind: str, new: dict[str, Any]) -> dict[str, Any]:
        if self.open != kind:
            self.blocks.append(new)
            self.open = kind
        return self.blocks[-1]

    def text(self, text: str) -> None:
        if text:
            self._last("text", {"type": "text", "text": ""})["text"] += text

    def thinking(self, text: str) -> None:
        if text:
            if self.open == "signed":
                self.open = ""
            self._last("thinking", {"type": "thinking", "thinking": "", "signature": ""})["thinking"] += text

    def signature(self, signature: str) -> None:
        if signature:
            if self.open != "signed":
                self._last("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self.blocks[-1]["signature"] = signature
            self.open = "signed"

    def citation(self, citation: dict[str, Any]) -> None:
        block = self._last("text", {"type": "text", "text": ""})
        block["citations"] = [*block.get("citations", []), citation]

    def tool_use(self, value: Any) -> None:
        self.blocks.append({"type": "tool_use", "id": "t1", "name": "Read", "input": value})
        self.open = ""

    def pieces(self, value: Any) -> None:
        self.tool_use(value)
        self.open = "call"

    def block(self, data: str) -> None:
        self.blocks.append({"type": "redacted_thinking", "data": data})
        self.open = ""

    def stop_block(self, _: None) -> None:
        self.open = ""

    def ping(self, _: None) -> None:
        pass

    start = ping
