"""What the room's tests share: the requests of real clients, and strategies for odd ones."""

import json
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[2] / "fixtures"

USUAL = frozenset({"thinking_cache_control", "merge_roles", "empty_text", "tool_results", "foreign_thinking"})
"""The repairs that are on for an upstream of the same dialect."""


def client_requests() -> list[tuple[str, dict[str, Any]]]:
    """(name, body) of every request with a body in fixtures/."""
    found = []
    for path in sorted(FIXTURES.glob("*.json")):
        for index, request in enumerate(json.loads(path.read_bytes())):
            if request["body"]:
                found.append((f"{path.stem}.{index}", request["body"]))
    return found


def frozen(document: object) -> bytes:
    """What a document holds, to see later that nobody changed it."""
    return orjson.dumps(document)


words = st.sampled_from(
    ["", " ", "\n", "a", "Read it", "Warmup", "<system-reminder>x</system-reminder>", "é😀"]
)
ids = st.sampled_from(["t1", "t2", "t3"])
marks = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral"}}])
data = st.sampled_from(
    [
        {},
        {"cache_control": {"type": "ephemeral"}, "text": "", "type": "thinking"},
        {"type": "tool_reference", "tool_name": "x", "signature": "gemini:x", "nested": [{"text": " "}]},
    ]
)
"""Tool inputs and schemas that look like the protocol's own blocks."""


@st.composite
def blocks(draw: st.DrawFn, *, inner: bool = True) -> Any:
    """A content block, now and then one that is none; `inner` allows a tool result."""
    kinds = ["text", "text", "thinking", "redacted_thinking", "tool_use", "tool_reference", "image", "odd"]
    kind = draw(st.sampled_from([*kinds, "tool_result", "tool_result"] if inner else kinds))
    block: dict[str, Any] = {"type": kind, **draw(marks)}
    if kind == "text":
        return {**block, "text": draw(words)}
    if kind == "thinking":
        signature = draw(st.sampled_from([None, "", "abc", "gemini:abc"]))
        return {**block, "thinking": draw(words), **({} if signature is None else {"signature": signature})}
    if kind == "redacted_thinking":
        return {**block, "data": draw(st.sampled_from(["abc", "gemini:abc", ""]))}
    if kind == "tool_use":
        return {**block, "id": draw(ids), "name": "Read", "input": draw(data)}
    if kind == "tool_reference":
        return {**block, "tool_name": "Fetch"}
    if kind == "tool_result":
        content = draw(st.one_of(st.none(), words, st.lists(blocks(inner=False), max_size=2)))
        return {**block, "tool_use_id": draw(ids), **({} if content is None else {"content": content})}
    return draw(st.sampled_from([block, "a string", None, 5, {"no": "type"}]))


messages = st.builds(
    lambda role, content, extra: {"role": role, "content": content, **extra},
    st.sampled_from(["user", "user", "user", "assistant", "assistant", "assistant", "system", "odd"]),
    st.one_of(words, st.lists(blocks(), max_size=4), st.sampled_from([None, 7])),
    st.sampled_from([{}, {}, {}, {"output_config": {"effort": "low"}}]),
)

tools = st.builds(
    lambda name, schema, mark: {"name": name, "input_schema": schema, **mark},
    st.sampled_from(["Read", "DeferredToolPlaceholder"]),
    data,
    marks,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A request as `read_request` lets it pass: any history, sensible or not."""
    document: dict[str, Any] = {"model": "m", "messages": draw(st.lists(messages, max_size=7))}
    if draw(st.booleans()):
        text = st.one_of(words, st.just("x-anthropic-billing-header: a=1"))
        system = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, text, marks)
        document["system"] = draw(st.one_of(words, st.lists(system, max_size=3)))
    if draw(st.booleans()):
        document["tools"] = draw(st.lists(tools, max_size=2))
    if draw(st.booleans()):
        document["thinking"] = draw(st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}, 3]))
        document["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    return {**document, **draw(marks)}
