# ruff: noqa: E501 - rows of tables are one line
"""What holds for any response and any history: grammar, nothing lost, the same in every form, there and back."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.openai_presets import PRESETS
from gateway.dialects.base import StreamFailure
from gateway.messages.errors import RequestError
from tests.dialects.openai.support import (
    Response,
    assistant,
    body,
    call,
    check_grammar,
    chunk,
    dialect,
    encoded,
    message,
    sse,
    text,
    tool,
    tool_result,
    upstream,
    user,
)
from tests.fakes.openai.validate import validate_request
from tests.support.strategies import CUTS, cut, singly

PIECES = st.sampled_from(["Hel", "lo", " ", "\n", "é😀", "<think>", "</think>", "data: ", '{"a":1}', "STOP"])
JSON_TEXT = st.sampled_from(
    ['{"a":1}', '{"a": {"b": [1, "}"]}}', '{"t": "x\\"}{"}', "{}", '{"n": 12345678901234567890123}']
)


# One: any sequence of chunks.


@st.composite
def deltas(draw: st.DrawFn) -> list[Any]:
    """Chunks of text, reasoning and calls, nearly right: shuffled, repeated, with missing fields."""
    chunks: list[Any] = []
    for index in range(draw(st.integers(0, 3))):
        id = draw(st.sampled_from([f"c{index}", None, f"c{index}"]))
        name = draw(st.sampled_from(["Read", "Run"]))
        arguments = draw(JSON_TEXT)
        at = draw(st.integers(0, len(arguments)))
        where = draw(st.sampled_from([index, index, None, 0]))
        again = draw(st.booleans())
        chunks += [
            call(where, id, name, draw(st.sampled_from(["", None, "{}", arguments[:at]]))),
            call(where, id if again else None, name if again else None, arguments[:at]),
            call(where, id if again else None, None, arguments[at:]),
        ]
    for piece in draw(st.lists(PIECES, max_size=5)):
        chunks.insert(draw(st.integers(0, len(chunks))), chunk({"content": piece}))
    for piece in draw(st.lists(PIECES, max_size=3)):
        field = draw(st.sampled_from(["reasoning", "reasoning_content"]))
        chunks.insert(draw(st.integers(0, len(chunks))), chunk({field: piece, "content": None}))
    if draw(st.booleans()):
        chunks = draw(st.permutations(chunks))
    extra = [
        {"choices": []},
        {"choices": [{}]},
        chunk({"role": "assistant"}),
        chunk({}, ""),
        chunk({"tool_calls": [None, {}]}),
    ]
    for odd in draw(st.lists(st.sampled_from(extra), max_size=2)):
        chunks.insert(draw(st.integers(0, len(chunks))), odd)
    finish = draw(st.sampled_from(["stop", "tool_calls", "length", None, "novel"]))
    if finish:
        chunks.append(chunk(finish=finish))
    return chunks


def texts_of(events: Sequence[dict[str, Any]], key: str) -> str:
    return "".join(
        e["delta"][key] for e in events if e["type"] == "content_block_delta" and key in e["delta"]
    )


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(chunks=deltas(), cuts=CUTS, done=st.booleans())
def test_any_chunks_end_in_one_finish_or_one_failure(chunks: list[Any], cuts: list[int], done: bool) -> None:
    """Only calls cut by the limit are incomplete; no text is lost, doubled or reordered."""
    response = Response(stops=())
    try:
        response.feed(*cut(sse(*chunks, done=done), cuts))
        response.decoder.end()
        failed = False
    except StreamFailure:
        failed = True
    events = response.events()
    check_grammar(events, broken=failed)
    stop = events[-2]["delta"]["stop_reason"] if not failed else ""
    assert failed or events[-1]["type"] == "message_stop"
    for block in message(events)["content"] if events else ():
        if block["type"] == "tool_use" and "json" not in block and stop != "max_tokens":
            assert isinstance(block["input"], dict)
    given = "".join(
        c["choices"][0]["delta"].get("content") or ""
        for c in chunks
        if c["choices"] and c["choices"][0].get("delta")
    )
    spoken = texts_of(events, "text") + texts_of(events, "thinking")
    if not failed and not any("reasoning" in json.dumps(c) for c in chunks) and "<think>" not in given:
        assert squeezed(spoken) == squeezed(given)
    assert len(squeezed(spoken)) <= len(squeezed(given)) + 50


@given(
    data=st.lists(
        st.sampled_from(
            [
                *(sse(c, done=False) for c in (chunk({"content": "x"}), call(0, "c", "Read", '{"a"'), chunk(finish="stop"))),
                b'data: {"error": {"message": "no"}}\n\n', b"error: {}\n\n", b"event: error\n", b"data: [DONE]\n\n",
                b"data: {\n\n", b"data: []\n\n", b'data: [{"choices": [{"delta": 7}]}, 7]\n\n', b"data: 7\n\n", b"\r\n", b"{", b"[", b"\xff",
                b'data: {"choices": {"a": 1}, "usage": []}\n\n', b'data: {"choices": [{"delta": {"tool_calls": {"a": 1}, "content": 7}}]}\n\n',
            ]
        ),
        max_size=8,
    ),
    cuts=CUTS,
)  # fmt: skip
def test_any_bytes_are_a_response_or_a_failure(data: list[bytes], cuts: list[int]) -> None:
    response = Response()
    try:
        response.feed(*cut(b"".join(data), cuts))
        response.decoder.end()
    except StreamFailure:
        check_grammar(response.events(), broken=True)
    else:
        check_grammar(response.events())


# Two: one response in every form.


@st.composite
def responses(draw: st.DrawFn) -> dict[str, Any]:
    """A message as a host means it."""
    calls = draw(st.lists(st.tuples(st.sampled_from(["Read", "Run"]), JSON_TEXT), max_size=3))
    return {
        "reasoning": draw(st.sampled_from(["", "Hm.\n", "a\n\nb "])),
        "content": draw(st.sampled_from(["", "Yes", "two\nlines ", "<thi", "x<think>"])),
        "calls": [(f"call_{at}", name, arguments) for at, (name, arguments) in enumerate(calls)],
    }


def pieces(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def in_sequence(meant: dict[str, Any]) -> list[Any]:
    chunks = [chunk({"reasoning_content": piece}) for piece in pieces(meant["reasoning"])]
    chunks += [chunk({"content": piece}) for piece in pieces(meant["content"])]
    for index, (id, name, arguments) in enumerate(meant["calls"]):
        chunks.append(call(index, id, name, ""))
        chunks += [call(index, None, None, piece) for piece in pieces(arguments)]
    return chunks


def interleaved(meant: dict[str, Any]) -> list[Any]:
    chunks = in_sequence({**meant, "calls": []})
    chunks += [call(index, id, name, "") for index, (id, name, _) in enumerate(meant["calls"])]
    rest = [pieces(arguments) for _, _, arguments in meant["calls"]]
    for at in range(max(map(len, rest), default=0)):
        chunks += [call(index, None, None, left[at]) for index, left in enumerate(rest) if at < len(left)]
    return chunks


def as_document(meant: dict[str, Any]) -> bytes:
    calls = [
        {"id": id, "type": "function", "function": {"name": n, "arguments": a}} for id, n, a in meant["calls"]
    ]
    made = {
        "role": "assistant",
        "content": meant["content"] or None,
        "reasoning_content": meant["reasoning"],
        "tool_calls": calls,
    }
    return orjson.dumps({"choices": [{"index": 0, "message": made, "finish_reason": "stop"}]})


def forms(meant: dict[str, Any]) -> Iterator[list[bytes]]:
    end = chunk(finish="stop")
    stream = sse(*in_sequence(meant), end)
    yield [stream]
    yield singly(stream)
    yield [stream.replace(b"\n", b"\r\n")]
    yield [stream.replace(b"data: ", b": PROCESSING\n\ndata:")]
    yield [sse(*interleaved(meant), end)]
    yield [as_document(meant)]
    yield singly(as_document(meant))


@given(meant=responses())
def test_one_response_in_every_form_has_equal_blocks(meant: dict[str, Any]) -> None:
    found = [message(Response().feed(*form).end()) for form in forms(meant)]
    assert all(other["content"] == found[0]["content"] for other in found[1:])
    kinds = {block["type"] for block in found[0]["content"]}
    assert ("tool_use" in kinds) == bool(meant["calls"])
    assert [json.loads(a) for _, _, a in meant["calls"]] == [
        block["input"] for block in found[0]["content"] if block["type"] == "tool_use"
    ]


# Three: there and back.


@given(turns=st.lists(responses(), min_size=1, max_size=4), preset=st.sampled_from([*PRESETS]))
def test_history_repeats_a_hosts_own_bytes_after_the_same_prefix(
    turns: list[dict[str, Any]], preset: str
) -> None:
    made, to = dialect(), upstream(preset, wire="chat")
    history: list[dict[str, Any]] = [user("begin")]
    before: list[Any] = []
    for number, turn in enumerate(turns):
        meant = {**turn, "calls": [(f"call_{number}_{id}", name, a) for id, name, a in turn["calls"]]}
        document = {"messages": history, "tools": [tool("Read"), tool("Run")], "max_tokens": 100}
        request = encoded(document, to, by=made)
        sent = json.loads(request.body)
        validate_request(sent)
        prefix = json.dumps(before)[:-1]
        assert json.dumps(sent["messages"]).startswith(prefix)
        before = sent["messages"]
        content = message(
            Response(request, by=made).feed(sse(*in_sequence(meant), chunk(finish="stop"))).end()
        )["content"]
        calls = [block for block in content if block["type"] == "tool_use"]
        if not any(block["type"] != "thinking" for block in content):
            return
        history = [
            *history,
            {"role": "assistant", "content": content},
            user([*(tool_result(c["id"]) for c in calls), text("on")]),
        ]
        again = json.loads(encoded({"messages": history}, to, by=made).body)["messages"]
        back = next(
            m
            for m in reversed(again)
            if m["role"] == "assistant" and m.get("content") != "(tool results received)"
        )
        assert [c["function"]["arguments"] for c in back.get("tool_calls", ())] == [
            a for _, _, a in meant["calls"]
        ]
        if to.options.echo == "reasoning_content" and meant["reasoning"]:
            assert back["reasoning_content"] == meant["reasoning"]


# Four: any legal history.

BLOCKS = st.sampled_from(
    [
        text("hi"), text(" "), text(""), {"type": "novel"}, {"type": "image", "source": {"type": "url", "url": "https://a"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "tool_use", "id": "c1", "name": "Read", "input": {"a": 1}}, {"type": "tool_use", "id": "c2", "name": "Run", "input": {}},
        {"type": "tool_result", "tool_use_id": "c1", "content": "x"}, {"type": "tool_result", "tool_use_id": "c2"},
        {"type": "tool_result", "tool_use_id": "c9", "content": [text("late")], "is_error": True},
        {"type": "thinking", "thinking": "Hm", "signature": 'openai:{"f":"text","k":"reasoning"}'},
        {"type": "redacted_thinking", "data": "x"},
    ]
)  # fmt: skip
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "user", "system"]),
        st.lists(BLOCKS, max_size=4) | st.sampled_from(["hi", ""]),
    ),
    max_size=6,
)


@given(
    messages=MESSAGES,
    preset=st.sampled_from([*PRESETS]),
    documents=st.sampled_from(["file", "note", "error"]),
)
def test_any_history_becomes_a_valid_one_or_an_error_that_names_the_place(
    messages: list[dict[str, Any]], preset: str, documents: str
) -> None:
    refused = None
    try:
        validate_request(body({"messages": messages, "system": "S"}, upstream(preset, documents=documents)))
    except RequestError as error:
        refused = error
    assert refused is None or (refused.status == 400 and "messages." in refused.message)


# Five: between dialects.


def test_no_upstream_sees_another_ones_signature() -> None:
    from gateway.config import Upstream
    from gateway.config.values import REPAIRS_OF_KIND
    from gateway.dialects.anthropic import AnthropicDialect
    from gateway.dialects.gemini.dialect import GeminiDialect
    from tests.dialects.gemini.support import upstream as gemini
    from tests.dialects.openai.support import incoming

    marks = {
        "gemini": "gemini:G-OWN",
        "anthropic": "A-OWN",
        "openai": 'openai:{"f":"details","h":"h.example","m":"m-1","d":[[{"data":"O-OWN"}],[null,"",[9]]]}',
    }
    history = [user("a")]
    for name, signature in marks.items():
        history += [
            assistant({"type": "thinking", "thinking": f"of {name}", "signature": signature}, text("x")),
            user("b"),
        ]
    request = incoming({"messages": history, "max_tokens": 5, "thinking": {"type": "adaptive"}})
    claude = Upstream(name="a", kind="anthropic", base_url="https://a", repairs=REPAIRS_OF_KIND["anthropic"])
    bodies = {
        "gemini": GeminiDialect(lambda: 0.5, print)
        .encode(gemini(), "gemini-3-pro", request, stream=True)
        .body,
        "anthropic": AnthropicDialect().encode(claude, "claude", request, stream=True).body,
        "openai": dialect().encode(upstream(echo="details"), "m-1", request, stream=True).body,
    }
    for name, sent in bodies.items():
        for other in marks:
            assert (f"{other[0].upper()}-OWN".encode() in sent) is (other == name)
            assert other == name or f"of {other}".encode() not in sent
