"""Shared by the package's tests: requests of real clients, a short way to write a history, strategies for odd ones."""

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
    """Return a copy of a document, to check later that it was not changed."""
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


# Strategies are module constants: creating one inside another costs as much as many draws.
_KINDS = ["text", "text", "thinking", "redacted_thinking", "tool_use", "tool_reference", "image", "odd"]
_OUTER = ["tool_result", "tool_result", "server_tool_use", "web_search_tool_result", "compaction"]
_kinds, _all_kinds = st.sampled_from(_KINDS), st.sampled_from([*_KINDS, *_OUTER])
_signatures = st.sampled_from([None, "", "abc", "gemini:abc"])
_redacted = st.sampled_from(["abc", "gemini:abc", ""])
_compacted = st.none() | words
_failed = st.sampled_from([{}, {}, {"is_error": True}, {"is_error": False}])
_odd_blocks = st.sampled_from(["the block", "a string", None, 5, {"no": "type"}])


@st.composite
def blocks(draw: st.DrawFn, *, inner: bool = True) -> Any:
    """A content block, sometimes an invalid one; `inner` allows a tool result."""
    kind = draw(_all_kinds if inner else _kinds)
    block: dict[str, Any] = {"type": kind, **draw(marks)}
    if kind == "text":
        return {**block, "text": draw(words)}
    if kind == "thinking":
        signature = draw(_signatures)
        return {**block, "thinking": draw(words), **({} if signature is None else {"signature": signature})}
    if kind == "redacted_thinking":
        return {**block, "data": draw(_redacted)}
    if kind in ("tool_use", "server_tool_use"):
        return {**block, "id": draw(ids), "name": "Read", "input": draw(data)}
    if kind == "web_search_tool_result":
        return {**block, "tool_use_id": draw(ids), "content": []}
    if kind == "compaction":
        return {**block, "content": draw(_compacted)}
    if kind == "tool_reference":
        return {**block, "tool_name": "Fetch"}
    if kind == "tool_result":
        content = draw(_results)
        failed = draw(_failed)
        return {
            **block,
            "tool_use_id": draw(ids),
            **failed,
            **({} if content is None else {"content": content}),
        }
    odd = draw(_odd_blocks)
    return block if odd == "the block" else odd


_results = st.one_of(st.none(), words, st.lists(blocks(inner=False), max_size=2))

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


_odd_roles = st.lists(st.sampled_from(["user", "assistant", "system"]) | odd, max_size=2)
_odd_contents = odd | st.lists(odd, max_size=3)
_kept = st.sampled_from([("role", "content"), ("role", "content"), ("role",), ()])


@st.composite
def odd_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A request as `read_request` lets it pass, with values of the wrong kinds in it."""
    document = {**draw(documents()), **draw(odd_fields)}
    for role in draw(_odd_roles):
        at = draw(st.integers(0, len(document["messages"])))
        message = {"role": role, "content": draw(_odd_contents)}
        document["messages"].insert(at, {key: message[key] for key in draw(_kept)})
    return document


_histories = st.lists(messages, max_size=7)
_systems = st.one_of(
    words,
    st.lists(
        st.builds(
            lambda text, mark: {"type": "text", "text": text, **mark},
            st.one_of(words, st.just("x-anthropic-billing-header: a=1")),
            marks,
        ),
        max_size=3,
    ),
)
_toolboxes = st.lists(tools, max_size=2)
_thinking = st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}, 3])
_threads = st.sampled_from([None, None, None, None, "create", "continue", "continue"])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A request as `read_request` lets it pass: any history, sensible or not."""
    document: dict[str, Any] = {"model": "m", "messages": draw(_histories)}
    if draw(st.booleans()):
        document["system"] = draw(_systems)
    if draw(st.booleans()):
        document["tools"] = draw(_toolboxes)
    if draw(st.booleans()):
        document["thinking"] = draw(_thinking)
        document["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    kind = draw(_threads)
    if kind is not None:
        document["thread"] = {"type": kind, "previous_message_id": "msg_1"}
    return {**document, **draw(marks)}
