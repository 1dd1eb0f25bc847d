"""messages/repair.py, `needed_repairs`: a repair that it does not name changes nothing; real clients need none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.content_repairs import PLACEHOLDER
from gateway.messages.repair import ALL, REPAIRS, apply, needed_repairs
from gateway.messages.thinking import foreign_thinking
from tests.messages.samples import (
    MARK,
    USUAL,
    assistant,
    call,
    client_requests,
    documents,
    found,
    odd_documents,
    result,
    search,
    system,
    text,
    thought,
    user,
)

REFERENCE = {"type": "tool_reference", "tool_name": "x"}
REDACTED = {"type": "redacted_thinking", "data": "x"}

NOTHING: list[Any] = ["", " ", [], None]

ANSWERED_CALLS = [user("a"), assistant(call("t1"), call("t2")), user(result("t2"), result("t1"), text("b"))]

HISTORIES: list[tuple[list[dict[str, Any]], set[str]]] = [
    ([], set()),
    ([user("a"), assistant("b"), user("c")], set()),
    (ANSWERED_CALLS, set()),
    ([*ANSWERED_CALLS, assistant(thought(), REDACTED, text("c"))], set()),
    ([user({"type": "image"}, result(content=[{"type": "image"}]))], {"tool_results"}),
    ([user("a"), user("b")], {"merge_roles"}),
    ([user(" ")], {"empty_text"}),
    ([user("")], {"empty_text"}),
    ([user(text("a"), text("\n"))], {"empty_text"}),
    ([user(text(""))], {"empty_text"}),
    ([{"role": "user", "content": []}], {"empty_text"}),
    ([user("a"), system("s"), user("b")], {"system_role"}),
    ([system("s"), system("s")], {"system_role"}),
    ([system(" ")], {"system_role"}),
    ([assistant(call("a:b")), user(result("a:b"))], {"tool_ids"}),
    ([assistant(call("")), user(result(""))], {"tool_ids"}),
    ([*ANSWERED_CALLS, *ANSWERED_CALLS], {"merge_roles", "tool_ids"}),
    ([assistant(call()), user(result(content=[text(" ")]))], {"empty_results"}),
    ([assistant(call()), user(result(content=[]))], set()),
    *(
        ([assistant(call()), user(result(content=content, is_error=True))], {"empty_results"})
        for content in NOTHING
    ),
    ([assistant(call()), user(result(content="no", is_error=True))], set()),
    ([assistant(call()), user(result(content=[text("no")], is_error=True))], set()),
    (
        [assistant(call()), user(result(content=[text("no"), {"type": "image"}], is_error=True))],
        {"failed_results"},
    ),
    ([assistant(search(), found(), {"type": "compaction", "content": "So far."})], set()),
    ([assistant({"type": "compaction", "content": None})], {"empty_text"}),
    ([assistant({"type": "compaction", "content": ""})], {"empty_text"}),
    ([assistant(search())], {"server_tools"}),
    ([assistant(found())], {"server_tools"}),
    ([assistant(thought("gemini:s"))], {"foreign_thinking"}),
    ([assistant(thought(""))], {"foreign_thinking"}),
    ([assistant({**REDACTED, "data": None})], {"foreign_thinking"}),
    ([assistant(thought(**MARK))], {"thinking_cache_control", "cache_control"}),
    ([assistant({**REDACTED, **MARK})], {"thinking_cache_control", "cache_control"}),
    ([user(text("a", **MARK))], {"cache_control"}),
    ([assistant(call()), user(result(content=[text("a", **MARK)]))], {"cache_control"}),
    ([assistant(call()), user(result(content=[REFERENCE]))], {"deferred_tools"}),
    ([user(REFERENCE)], {"deferred_tools"}),
    ([assistant(call())], {"tool_results"}),
    ([assistant(call()), user("no"), assistant("b"), user("c")], {"tool_results"}),
    ([assistant(call()), user(result("t2"))], {"tool_results"}),
    ([assistant(call()), user(result(), result())], {"tool_results"}),
    ([assistant("a"), user(result())], {"tool_results"}),
    ([assistant(call()), system("s"), user(result()), assistant("b")], {"system_role"}),
    ([user(call()), assistant(result())], set()),
]


@pytest.mark.parametrize(("messages", "due"), HISTORIES)
def test_repairs_that_a_history_needs(messages: list[dict[str, Any]], due: set[str]) -> None:
    assert needed_repairs({"messages": messages}) == due


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({"system": "x-anthropic-billing-header: a"}, set()),
        ({"system": []}, set()),
        ({"system": [text("a"), text("x-anthropic-billing-header: a")]}, {"attribution"}),
        ({"system": [text("x-anthropic-billing-header: a"), text("a")]}, {"attribution"}),
        ({"system": [text("a"), text(" ")]}, {"empty_text"}),
        ({"system": [text("a"), text("b", **MARK)]}, {"cache_control"}),
        ({"tools": [{"name": "a", "input_schema": MARK}]}, set()),
        ({"tools": [{"name": "a", **MARK}]}, {"cache_control"}),
        ({"tools": [{"name": "a"}, {"name": PLACEHOLDER}]}, {"deferred_tools"}),
        ({"tools": [{"name": "a", "defer_loading": True}]}, {"deferred_tools"}),
        ({"tools": "odd", "metadata": MARK}, set()),
        (MARK, {"cache_control"}),
    ],
)
def test_repairs_that_fields_need(fields: dict[str, Any], due: set[str]) -> None:
    assert needed_repairs({"messages": [], **fields}) == due


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": "odd", "content": "a"},
        {"role": ["user"], "content": "a"},
        {"role": "user"},
        {"role": "user", "content": 5},
        {"role": "user", "content": {"a": 1}},
        user(None),
        user(5),
        user("a", "b") | {"content": ["a"]},
        user(["type"]),
        user({"text": "a"}),
        user(text(5)),
        user({"type": "text"}),
        assistant(call(5)),
        assistant(call([])),
        assistant({"type": "tool_use"}),
        assistant({"type": "thinking"}),
        user({"type": "tool_result"}),
        user(result([])),
        user(result(content=["a"])),
        user(result(content=[result()])),
    ],
)
def test_unknown_block_types_may_need_any_repair(message: dict[str, Any]) -> None:
    assert needed_repairs({"messages": [message]}) == ALL


def test_malformed_system_and_tools_may_need_any_repair() -> None:
    assert needed_repairs({"messages": [], "system": [5]}) == ALL
    assert needed_repairs({"messages": [], "tools": ["a"]}) == ALL


def test_every_repair_is_known() -> None:
    assert set(REPAIRS) == ALL


def test_thinking_repairs_depend_on_the_dialect() -> None:
    document = {"messages": [assistant(thought("gemini:s"))]}
    assert needed_repairs(document, "gemini:") == set()
    assert needed_repairs({"messages": [assistant(thought())]}, "gemini:") == {"foreign_thinking"}


@pytest.mark.parametrize(("name", "document"), client_requests())
def test_requests_of_real_clients_need_no_repair(name: str, document: dict[str, Any]) -> None:
    assert needed_repairs(document).isdisjoint(USUAL)


words = st.sampled_from(["a", "a", "a", " ", ""])
ids = st.sampled_from(["t1", "t2", "a:b"])
extra = st.sampled_from([{}, {}, {}, MARK])
inner = st.builds(text, words) | st.builds(lambda more: {**REFERENCE, **more}, extra)
users = st.builds(text, words) | st.builds(
    lambda id, content, more: result(id, content=content, **more),
    ids,
    words | st.lists(inner, max_size=2),
    extra | st.just({"is_error": True}),
)
assistants = st.one_of(
    st.builds(text, words),
    st.builds(lambda id, more: call(id, **more), ids, extra),
    st.builds(thought, st.sampled_from(["s", "gemini:s", ""])),
    st.builds(search, ids),
    st.builds(found, ids),
)


@st.composite
def ordinary(draw: st.DrawFn) -> dict[str, Any]:
    """A history that keeps the protocol's forms, if not its rules."""
    messages = []
    for _ in range(draw(st.integers(0, 6))):
        role = draw(st.sampled_from(["user", "user", "assistant", "assistant", "system"]))
        blocks = assistants if role == "assistant" else users
        content = draw(words | st.lists(blocks, max_size=3))
        messages.append({"role": role, "content": content})
    return {"model": "m", "messages": messages, **draw(extra)}


def repaired_by_all(
    document: dict[str, Any], names: frozenset[str], own_mark: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What `apply` would do without `needed_repairs`: every repair, in order."""
    changed = []
    for name, repair in REPAIRS.items():
        before = document
        if name in names:
            document = foreign_thinking(before, own_mark) if name == "foreign_thinking" else repair(before)
        if document is not before:
            changed.append(name)
    return document, tuple(changed)


names = st.one_of(st.just(USUAL), st.just(ALL), st.frozensets(st.sampled_from(sorted(ALL))))


@pytest.mark.parametrize(
    ("messages", "changed"),
    [
        ([user("a"), system("s"), user("b")], ("system_role", "merge_roles")),
        ([assistant(call()), system("s"), assistant("b"), user(result())], ("system_role", "tool_results")),
        ([user("a"), assistant(thought("")), user("b")], ("foreign_thinking",)),
        ([user("a"), assistant(" "), user("b")], ("empty_text",)),
    ],
)
def test_a_repair_may_make_work_for_another(messages: list[dict[str, Any]], changed: tuple[str, ...]) -> None:
    document = {"model": "m", "messages": messages}
    assert apply(document, ALL) == repaired_by_all(document, ALL, "")
    assert apply(document, ALL)[1] == changed


def test_a_blank_block_may_hide_an_attribution() -> None:
    document = {"messages": [], "system": [text(""), text("x-anthropic-billing-header: a"), text("b")]}
    assert apply(document, ALL) == ({"messages": [], "system": [text("b")]}, ("empty_text", "attribution"))


@given(ordinary() | documents() | odd_documents(), names, st.sampled_from(["", "gemini:"]))
def test_repairs_that_are_not_named_would_change_nothing(
    document: dict[str, Any], names: frozenset[str], own_mark: str
) -> None:
    # The first turn of a continued thread is in test_repair.py.
    document.pop("thread", None)
    assert apply(document, names, own_mark=own_mark) == repaired_by_all(document, names, own_mark)


@given(ordinary(), st.sampled_from(["", "gemini:"]))
def test_repairs_that_are_not_needed_change_nothing_alone(document: dict[str, Any], own_mark: str) -> None:
    due = needed_repairs(document, own_mark)
    for name in ALL - due:
        assert repaired_by_all(document, frozenset({name}), own_mark) == (document, ())
