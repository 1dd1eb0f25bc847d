"""What the package's tests share: requests of real clients, a short way to write a history, strategies for odd ones."""

import json
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

from gateway.config.values import REPAIRS_OF_KIND
from gateway.messages.repair import REPAIRS, apply

FIXTURES = Path(__file__).parents[2] / "fixtures"

USUAL = REPAIRS_OF_KIND["anthropic"]
"""The repairs that are on for an upstream of the same dialect."""

MARK: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}


def text(text: Any, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def user(*content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content), **more}


def assistant(*content: Any) -> dict[str, Any]:
    return {**user(*content), "role": "assistant"}


def system(*content: Any, **more: Any) -> dict[str, Any]:
    return {**user(*content, **more), "role": "system"}


def call(id: Any = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "Read", "input": {}, **more}


def result(id: Any = "t1", content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def missing(id: str = "t1") -> dict[str, Any]:
    return result(id, "no result was provided", is_error=True)


def reminder(content: str) -> str:
    return f"<system-reminder>\n{content}\n</system-reminder>"


def search(id: Any = "s1", **more: Any) -> dict[str, Any]:
    return {"type": "server_tool_use", "id": id, "name": "web_search", "input": {}, **more}


def found(id: Any = "s1", **more: Any) -> dict[str, Any]:
    return {"type": "web_search_tool_result", "tool_use_id": id, "content": [], **more}


def thought(signature: Any = "s", **more: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": signature, **more}


def history(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **more}


def check(name: str, document: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """The repair makes `expected` of the document; None: it hands back the very same object."""
    before = frozen(document)
    repaired, changed = apply(document, {name})
    alone = REPAIRS[name](document)
    assert alone == repaired
    if expected is None:
        assert repaired is alone is document
        assert changed == ()
    else:
        assert repaired == expected
        assert changed == (name,)
        assert apply(repaired, {name}) == (expected, ())
    assert frozen(document) == before


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
ids = st.sampled_from(["t1", "t2", "t3", "Read:0", "", "toolu_1"])
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
    outer = ["tool_result", "tool_result", "server_tool_use", "web_search_tool_result", "compaction"]
    kind = draw(st.sampled_from([*kinds, *outer] if inner else kinds))
    block: dict[str, Any] = {"type": kind, **draw(marks)}
    if kind == "text":
        return {**block, "text": draw(words)}
    if kind == "thinking":
        signature = draw(st.sampled_from([None, "", "abc", "gemini:abc"]))
        return {**block, "thinking": draw(words), **({} if signature is None else {"signature": signature})}
    if kind == "redacted_thinking":
        return {**block, "data": draw(st.sampled_from(["abc", "gemini:abc", ""]))}
    if kind in ("tool_use", "server_tool_use"):
        return {**block, "id": draw(ids), "name": "Read", "input": draw(data)}
    if kind == "web_search_tool_result":
        return {**block, "tool_use_id": draw(ids), "content": []}
    if kind == "compaction":
        return {**block, "content": draw(st.none() | words)}
    if kind == "tool_reference":
        return {**block, "tool_name": "Fetch"}
    if kind == "tool_result":
        content = draw(st.one_of(st.none(), words, st.lists(blocks(inner=False), max_size=2)))
        failed = draw(st.sampled_from([{}, {}, {"is_error": True}, {"is_error": False}]))
        return {
            **block,
            "tool_use_id": draw(ids),
            **failed,
            **({} if content is None else {"content": content}),
        }
    return draw(st.sampled_from([block, "a string", None, 5, {"no": "type"}]))


messages = st.builds(
    lambda role, content, extra: {"role": role, "content": content, **extra},
    st.sampled_from(["user", "user", "user", "assistant", "assistant", "assistant", "system", "odd"]),
    st.one_of(words, st.lists(blocks(), max_size=4), st.sampled_from([None, 7])),
    st.sampled_from([{}, {}, {}, {"output_config": {"effort": "low"}}]),
)

tools = st.builds(
    lambda name, schema, mark, deferred: {"name": name, "input_schema": schema, **mark, **deferred},
    st.sampled_from(["Read", "DeferredToolPlaceholder"]),
    data,
    marks,
    st.sampled_from([{}, {"defer_loading": True}]),
)


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | words
    | st.sampled_from(["adaptive", "tool_use", "tool_result", "image"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "id",
                    "tool_use_id",
                    "content",
                    "source",
                    "data",
                    "text",
                    "cache_control",
                    "name",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
"""Values of any kind, with the protocol's keys in the wrong places."""

odd_fields = st.dictionaries(
    st.sampled_from(
        [
            "system",
            "tools",
            "metadata",
            "thinking",
            "output_config",
            "tool_choice",
            "max_tokens",
            "thread",
            "stream",
        ]
    ),
    odd,
    max_size=3,
)


@st.composite
def odd_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A request as `read_request` lets it pass, with values of the wrong kinds in it."""
    document = {**draw(documents()), **draw(odd_fields)}
    for role in draw(st.lists(st.sampled_from(["user", "assistant", "system"]) | odd, max_size=2)):
        at = draw(st.integers(0, len(document["messages"])))
        message = {"role": role, "content": draw(odd | st.lists(odd, max_size=3))}
        document["messages"].insert(at, draw(st.sampled_from([message, message, {"role": role}, {}])))
    return document


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
    if draw(st.sampled_from([False, False, True])):
        kind = draw(st.sampled_from(["create", "continue", "continue"]))
        document["thread"] = {"type": kind, "previous_message_id": "msg_1"}
    return {**document, **draw(marks)}
