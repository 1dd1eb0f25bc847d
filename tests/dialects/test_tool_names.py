import re
from typing import Any

import pytest

from gateway.dialects.tool_names import NameRule, ToolNames, tool_names

GEMINI = NameRule(first="A-Za-z_", characters="A-Za-z0-9_.:-")
OPENAI = NameRule(first="A-Za-z0-9_-", characters="A-Za-z0-9_-")
LEGAL = {GEMINI: r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", OPENAI: r"[A-Za-z0-9_-]{1,64}"}

both = pytest.mark.parametrize("rule", LEGAL, ids=["Gemini", "OpenAI"])


@both
@pytest.mark.parametrize("name", ["Read", "mcp__a__b", "_x-y", "x" * 64])
def test_legal_names_stay(rule: NameRule, name: str) -> None:
    names = ToolNames(rule)
    assert names.wire(name) == name
    assert names.changed == {}


@both
@pytest.mark.parametrize(
    "name", ["my tool", "a/b", "ümlaut", "x" * 65, "x" * 10_000, "1 st", "日本", "\ud800", "a\n"]
)
def test_others_are_changed_the_same_way_each_time(rule: NameRule, name: str) -> None:
    names = ToolNames(rule)
    wire = names.wire(name)
    assert re.fullmatch(LEGAL[rule], wire)
    assert names.wire(name) == wire
    assert ToolNames(rule, ["Read", name]).wire(name) == wire
    assert names.changed == {wire: name}


@pytest.mark.parametrize(
    ("name", "to_gemini", "to_openai"), [("a.b:c", True, False), ("1st", False, True), ("-", False, True)]
)
def test_rules_differ(name: str, to_gemini: bool, to_openai: bool) -> None:
    assert (GEMINI.is_legal(name), OPENAI.is_legal(name)) == (to_gemini, to_openai)


def test_changed_names_stay_different() -> None:
    names = ToolNames(GEMINI)
    given = ["a b", "a/b", "a_b", "x" * 65, "x" * 66]
    assert len({names.wire(name) for name in given}) == 5


def test_a_tool_may_have_the_name_that_another_would_get() -> None:
    first = ToolNames(GEMINI).wire("a b")
    names = ToolNames(GEMINI, ["a b", first])
    assert names.wire(first) == first
    assert names.wire("a b") not in ("a b", first)


def test_a_name_from_the_history_may_be_taken() -> None:
    names = ToolNames(GEMINI, ["a b"])
    taken = names.wire("a b")
    other = names.wire(taken)
    assert other != taken
    assert names.changed == {taken: "a b", other: taken}


@pytest.mark.parametrize(
    ("called", "original"),
    [
        ("Read", "Read"),
        ("default_api:Read", "Read"),
        ("default_api.Read", "Read"),
        ("a:b.Read", "Read"),
        ("ns:mcp.x", "mcp.x"),
        ("ns.mcp.x", "mcp.x"),
        ("x", "x"),
        ("default_api:Write", "default_api:Write"),
        ("Read:", "Read:"),
        (":" * 10_000 + "Read", ":" * 10_000 + "Read"),
    ],
)
def test_names_in_a_namespace_of_the_model(called: str, original: str) -> None:
    names = ToolNames(GEMINI, ["Read", "mcp.x", "my tool"])
    assert names.original(called) == original
    wire = names.wire("my tool")
    assert names.original(wire) == names.original(f"default_api:{wire}") == "my tool"


@pytest.mark.parametrize("name", ["", " ", "日"])
def test_the_search_for_a_free_name_ends(name: str) -> None:
    candidates: list[str] = []
    for _ in range(50):
        names = ToolNames(GEMINI, candidates)
        candidates.append(names.wire(name))
    assert len(set(candidates)) == 50


@pytest.mark.parametrize("tools", [None, 5, [], [5, {}, {"name": 5}]])
def test_no_tools(tools: Any) -> None:
    assert tool_names(GEMINI, tools).changed == {}


def test_names_of_a_request() -> None:
    assert tool_names(GEMINI, [{"name": "Read"}]).wire("Read") == "Read"
