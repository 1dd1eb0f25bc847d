"""messages/repair.py: each repair by a table, and what holds for all of them by properties."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages.repair import REPAIRS, apply
from tests.messages.samples import USUAL, client_requests, documents, frozen

EVERY = frozenset(REPAIRS)
MARK: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
NO_RESULT = "no result was provided"


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def user(*content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content), **more}


def assistant(*content: Any) -> dict[str, Any]:
    return {**user(*content), "role": "assistant"}


def system(*content: Any, **more: Any) -> dict[str, Any]:
    return {**user(*content, **more), "role": "system"}


def call(id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "Read", "input": {}, **more}


def result(id: str = "t1", content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def missing(id: str = "t1") -> dict[str, Any]:
    return result(id, NO_RESULT, is_error=True)


def reminder(content: str) -> str:
    return f"<system-reminder>\n{content}\n</system-reminder>"


def thought(signature: str, **more: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": signature, **more}


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


def history(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages)}


HISTORIES: dict[str, list[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]] = {
    "merge_roles": [
        ([], None),
        ([user("a"), assistant("b"), user("c")], None),
        ([user("a"), user("b"), assistant("c")], [user("a\n\nb"), assistant("c")]),
        ([user("a"), user(text("b"), result())], [user(result(), text("a"), text("b"))]),
        (
            [assistant(thought("s"), text("a")), assistant(call())],
            [assistant(thought("s"), text("a"), call())],
        ),
        ([user(text("a"), result())], None),
        ([system("a"), system("b", output_config={})], None),
        ([user("a"), system("b"), user("c")], None),
        ([user("a"), {"role": "user"}], None),
    ],
    "empty_text": [
        ([user("a"), assistant(text("b"), call())], None),
        ([user(text(" \n"), text("a"))], [user(text("a"))]),
        ([user({"type": "text"}, text("a"))], [user(text("a"))]),
        ([user("a"), assistant(text("")), user("b")], [user("a\n\nb")]),
        ([user("a"), assistant(" \t"), user(result())], [user(result(), text("a"))]),
        ([user("a"), {"role": "assistant", "content": []}], [user("a")]),
        ([user("a"), assistant(call()), user("")], [user("a"), assistant(call())]),
        ([system(" "), user("a")], [user("a")]),
        ([user(result(content="")), user(result("t2", [text("")]))], None),
        ([{"role": "user"}, {"role": "user", "content": None}, user({"type": "text", "text": 5})], None),
        ([user({"type": "image"}, "")], None),
    ],
    "tool_results": [
        ([user("a"), assistant(call()), user(result())], None),
        ([assistant(call("t1"), call("t2")), user(result("t2"), result("t1"), text("go"))], None),
        ([assistant(call("t1")), user(text("a"), result("t1"))], None),
        # Turns of several messages, and messages that take no turn.
        ([assistant(call("t1")), assistant(call("t2")), user(result("t1")), user(result("t2"))], None),
        ([assistant(call("t1")), system("s"), user(result("t1"))], None),
        ([assistant(call()), user("stop")], [assistant(call()), user(missing(), text("stop"))]),
        ([assistant(call())], [assistant(call()), user(missing())]),
        ([assistant(call()), system("s")], [assistant(call()), user(missing()), system("s")]),
        (
            [assistant(call("t1"), call("t2"), call("t3")), user(result("t2"), text("a")), assistant("b")],
            [
                assistant(call("t1"), call("t2"), call("t3")),
                user(result("t2"), missing("t1"), missing("t3"), text("a")),
                assistant("b"),
            ],
        ),
        (
            [assistant(call()), system("s"), user("stop"), user("really")],
            [assistant(call()), system("s"), user(missing(), text("stop")), user("really")],
        ),
        (
            [assistant(call("t1")), user("x"), assistant(call("t2")), user("y")],
            [
                assistant(call("t1")),
                user(missing("t1"), text("x")),
                assistant(call("t2")),
                user(missing("t2"), text("y")),
            ],
        ),
        (
            [assistant(call()), {"role": "user", "content": None}, assistant("b")],
            [assistant(call()), user(missing()), {"role": "user", "content": None}, assistant("b")],
        ),
        # Results without their call: nowhere, too late, a second time.
        ([user(result(content="done"))], [user(text("done"))]),
        (
            [assistant("a"), user(text("b"), result("t0"), result("t9", [text("c"), {"type": "image"}]))],
            [assistant("a"), user(text("b"), text("done"), text("c"), {"type": "image"})],
        ),
        (
            [assistant(call("t1")), user(text("b"), result("t0"), result("t1"))],
            [assistant(call("t1")), user(result("t1"), text("b"), text("done"))],
        ),
        (
            [assistant(call()), user("no"), assistant("a"), user(result())],
            [assistant(call()), user(missing(), text("no")), assistant("a"), user(text("done"))],
        ),
        (
            [assistant(call()), user(result(), result(content="again"))],
            [assistant(call()), user(result(), text("again"))],
        ),
        ([user(result(content=" "))], [user(text("(an empty tool result)"))]),
        ([user(result(content=[]))], [user(text("(an empty tool result)"))]),
        ([user({"type": "tool_result", "tool_use_id": 5})], [user(text("(an empty tool result)"))]),
        (
            [user(result(content=[{"type": "tool_reference", "tool_name": "Fetch"}, text("")]))],
            [user(text("Tool loaded: Fetch"))],
        ),
        (
            [user(result(content=[thought("s"), "odd"]))],
            [user(text('{"type":"thinking","thinking":"hm","signature":"s"}'), text('"odd"'))],
        ),
        # Only an assistant calls a client's tools, and a call has a name to answer to.
        ([user(call()), assistant({"type": "server_tool_use", "id": "s1"})], None),
        ([assistant({"type": "tool_use"}, {"type": "tool_use", "id": 5}, "tool_use")], None),
        ([assistant("tool_use"), {"role": "odd", "content": [call()]}], None),
    ],
    "foreign_thinking": [
        ([user("a"), assistant(thought("abc"), text("b"))], None),
        ([user("a"), assistant(thought("gemini:abc"), text("b"))], [user("a"), assistant(text("b"))]),
        ([user("a"), assistant(thought("")), user("b")], [user("a\n\nb")]),
    ],
    "system_role": [
        ([user("a"), assistant("b")], None),
        ([user("a"), system("s")], [user(text("a"), text(reminder("s")))]),
        (
            [user(text("a")), system(text("s", **MARK), text("t")), assistant("b")],
            [user(text("a"), text(reminder("s"), **MARK), text(reminder("t"))), assistant("b")],
        ),
        ([system("s", output_config={}), user("a")], [user(text(reminder("s"))), user("a")]),
        (
            [user("a"), assistant(call()), system("s"), user(result())],
            [user("a"), assistant(call()), user(text(reminder("s"))), user(result())],
        ),
        ([user("a"), system("s"), system("t")], [user(text("a"), text(reminder("s")), text(reminder("t")))]),
        (
            [user("a"), system("<system-reminder>s</system-reminder>")],
            [user(text("a"), text("<system-reminder>s</system-reminder>"))],
        ),
        ([user("a"), system(" "), {"role": "system"}, {"role": "system", "content": []}], [user("a")]),
        (
            [user("a"), system({"type": "image"}, {"type": "text"})],
            [user(text("a"), {"type": "image"}, {"type": "text"})],
        ),
        ([{"role": "user"}, system("s")], [{"role": "user"}, user(text(reminder("s")))]),
    ],
    "deferred_tools": [
        ([user(result(content="tool_reference"), text("a"))], None),
        (
            [
                user(
                    result(
                        content=[{"type": "tool_reference", "tool_name": "Fetch", **MARK}, text("x")], **MARK
                    )
                )
            ],
            [user(result(content=[text("Tool loaded: Fetch", **MARK), text("x")], **MARK))],
        ),
        ([user({"type": "tool_reference", "tool_name": "Fetch"})], [user(text("Tool loaded: Fetch"))]),
        ([user(result(content=[text("x")]), call(input={"type": "tool_reference"}))], None),
    ],
    "cache_control": [
        ([user("a"), assistant(text("b"), call(input=MARK)), user(result(content="c"))], None),
        (
            [user(text("a", **MARK)), assistant(call(input=MARK, **MARK), thought("s", **MARK))],
            [user(text("a")), assistant(call(input=MARK), thought("s"))],
        ),
        (
            [user(result(content=[text("a", **MARK), {"type": "odd", "inner": [MARK]}], **MARK))],
            [user(result(content=[text("a"), {"type": "odd", "inner": [MARK]}]))],
        ),
    ],
    "thinking_cache_control": [
        ([user(text("a", **MARK)), assistant(thought("s"), call(**MARK))], None),
        (
            [
                assistant(
                    thought("s", **MARK),
                    {"type": "redacted_thinking", "data": "x", **MARK},
                    text("a", **MARK),
                )
            ],
            [assistant(thought("s"), {"type": "redacted_thinking", "data": "x"}, text("a", **MARK))],
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "before", "after"), [(name, *case) for name, cases in HISTORIES.items() for case in cases]
)
def test_histories(name: str, before: list[dict[str, Any]], after: list[dict[str, Any]] | None) -> None:
    check(name, history(*before), None if after is None else history(*after))


BILLING = text("x-anthropic-billing-header: cc_version=2.1")
PLACEHOLDER = {"name": "DeferredToolPlaceholder", "input_schema": {}}
READ = {"name": "Read", "input_schema": {"properties": MARK}}

FIELDS: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    ("attribution", {"system": [BILLING, text("a")]}, {"system": [text("a")]}),
    ("attribution", {"system": [BILLING]}, {}),
    ("attribution", {"system": [BILLING, BILLING, text("a"), BILLING]}, {"system": [text("a"), BILLING]}),
    ("attribution", {"system": [text("a"), BILLING]}, None),
    ("attribution", {"system": [text("a x-anthropic-billing-header")]}, None),
    ("attribution", {"system": "x-anthropic-billing-header: a"}, None),
    ("attribution", {"system": []}, None),
    ("attribution", {"system": ["x"]}, None),
    ("attribution", {"system": [{"type": "odd"}]}, None),
    ("attribution", {}, None),
    ("empty_text", {"system": [text(" "), text("a")]}, {"system": [text("a")]}),
    ("empty_text", {"system": [text("")]}, {}),
    ("empty_text", {"system": ""}, None),
    ("empty_text", {"system": []}, None),
    ("deferred_tools", {"tools": [READ, PLACEHOLDER]}, {"tools": [READ]}),
    ("deferred_tools", {"tools": [READ]}, None),
    ("deferred_tools", {"tools": "odd"}, None),
    ("cache_control", {"system": [text("a", **MARK)], **MARK}, {"system": [text("a")]}),
    ("cache_control", {"tools": [{**READ, **MARK}, READ]}, {"tools": [READ, READ]}),
    ("cache_control", {"tools": [READ], "system": [text("a")], "metadata": MARK}, None),
]


@pytest.mark.parametrize(("name", "before", "after"), FIELDS)
def test_fields(name: str, before: dict[str, Any], after: dict[str, Any] | None) -> None:
    base = history(user("a"))
    check(name, {**base, **before}, None if after is None else {**base, **after})


def test_a_dialect_keeps_its_own_thinking() -> None:
    document = history(user("a"), assistant(thought("gemini:x"), thought("x"), text("b")))
    repaired, changed = apply(document, EVERY, own_mark="gemini:")
    assert repaired["messages"][1] == assistant(thought("gemini:x"), text("b"))
    assert changed == ("foreign_thinking",)


def test_repairs_work_together_in_their_order() -> None:
    document = history(
        user("a"),
        system("s"),
        assistant(thought("gemini:x", **MARK)),
        user(text(" ")),
        assistant(text("b"), call()),
        assistant(call("t2")),
        system("late"),
        user(result("t2", **MARK), result("t0", "stray")),
    )
    repaired, changed = apply(document, EVERY)
    assert repaired == history(
        user(text("a"), text(reminder("s"))),
        assistant(text("b"), call(), call("t2")),
        user(result("t2"), missing("t1"), text("stray"), text(reminder("late"))),
    )
    assert changed == (
        "system_role",
        "foreign_thinking",
        "empty_text",
        "merge_roles",
        "tool_results",
        "cache_control",
    )


def test_repairs_that_are_off_change_nothing() -> None:
    document = history(user(" "), user(result(**MARK)))
    assert apply(document, ()) == (document, ())
    assert apply(document, {"attribution", "not known"})[0] is document


@pytest.mark.parametrize(("name", "document"), client_requests())
def test_what_real_clients_send_needs_no_repair(name: str, document: dict[str, Any]) -> None:
    repaired, changed = apply(document, USUAL)
    assert changed == ()
    assert repaired is document


def test_many_messages_of_one_role_are_merged_in_one_go() -> None:
    document = history(*[user("a")] * 20_000)
    repaired, _ = apply(document, USUAL)
    assert len(repaired["messages"][0]["content"]) == 20_000 * 3 - 2


names = st.one_of(st.just(USUAL), st.just(EVERY), st.frozensets(st.sampled_from(sorted(EVERY))))


@settings(max_examples=60, deadline=None)
@given(documents(), names, st.sampled_from(["", "gemini:"]))
def test_repairing_twice_is_repairing_once_and_touches_no_original(
    document: dict[str, Any], names: frozenset[str], own_mark: str
) -> None:
    before = frozen(document)
    repaired, changed = apply(document, names, own_mark=own_mark)
    assert frozen(document) == before
    assert (repaired is document) == (changed == ())
    again, changed_again = apply(repaired, names, own_mark=own_mark)
    assert changed_again == ()
    assert again is repaired


@settings(max_examples=60, deadline=None)
@given(documents(), st.sampled_from([USUAL, EVERY]))
def test_a_repaired_history_is_one_that_upstreams_take(
    document: dict[str, Any], names: frozenset[str]
) -> None:
    repaired, _ = apply(document, names)
    messages = repaired["messages"]
    turns = [message for message in messages if message["role"] in ("user", "assistant")]
    for at, message in enumerate(turns):
        if message["role"] == "assistant":
            after = [id for other in following_user_turn(turns, at) for id in result_ids(other)]
            assert all(id in after for id in call_ids(message))
    for first, second in pairwise(messages):
        if first["role"] == second["role"] and first["role"] in ("user", "assistant"):
            assert not all(isinstance(message["content"], (str, list)) for message in (first, second))
    for block in texts(messages):
        assert block["text"].strip()
    if names == EVERY:
        assert all(message["role"] != "system" for message in messages)


@settings(max_examples=60, deadline=None)
@given(documents(), st.sampled_from(sorted(EVERY)))
def test_data_is_never_touched(document: dict[str, Any], name: str) -> None:
    """Whatever else happens, the tool inputs, schemas and result texts that are left are those that were there."""
    repaired, _ = apply(document, {name})
    for find in (inputs, schemas, result_texts):
        left, there = list(find(repaired)), list(find(document))
        made_up = [NO_RESULT, "Tool loaded: Fetch"]
        assert all(item in [*there, *made_up] for item in left)
        if name not in ("deferred_tools", "tool_results"):
            assert left == there or name in ("merge_roles", "empty_text")
            assert sorted(map(repr, left)) == sorted(map(repr, there))


def content_blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def call_ids(message: dict[str, Any]) -> list[str]:
    return [block["id"] for block in content_blocks(message) if block.get("type") == "tool_use"]


def result_ids(message: dict[str, Any]) -> list[str]:
    return [block["tool_use_id"] for block in content_blocks(message) if block.get("type") == "tool_result"]


def following_user_turn(turns: list[dict[str, Any]], at: int) -> list[dict[str, Any]]:
    while at < len(turns) and turns[at]["role"] == "assistant":
        at += 1
    end = at
    while end < len(turns) and turns[end]["role"] == "user":
        end += 1
    return turns[at:end]


def texts(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        yield from (block for block in content_blocks(message) if block.get("type") == "text")


def inputs(document: dict[str, Any]) -> Iterator[Any]:
    for message in document["messages"]:
        yield from (block["input"] for block in content_blocks(message) if block.get("type") == "tool_use")


def schemas(document: dict[str, Any]) -> Iterator[Any]:
    yield from (tool["input_schema"] for tool in document.get("tools", ()))


def result_texts(document: dict[str, Any]) -> Iterator[Any]:
    for message in document["messages"]:
        for block in content_blocks(message):
            if block.get("type") == "tool_result":
                content = block.get("content")
                yield from (inner["text"] for inner in content_blocks(block) if inner.get("type") == "text")
                if isinstance(content, str):
                    yield content
