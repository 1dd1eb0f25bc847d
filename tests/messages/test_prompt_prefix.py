"""The cached prefix of a prompt: changes that do not matter, the first difference of two prompts, threads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.prompt_prefix import (
    BRIEF,
    HOUR,
    Prefix,
    are_of_one_thread,
    continues,
    difference,
    prefix_of,
)
from tests.messages.samples import assistant, call, documents, history, result, text, user

MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
BILLING = "x-anthropic-billing-header: cc_version=2.1; cch="

TOOLS: list[dict[str, Any]] = [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b", "c")]
SYSTEM: list[dict[str, Any]] = [text(f"{BILLING}11;"), text("You are an agent."), text("Today is Monday.")]
FIRST = user(text("a reminder"), text("do it"))
ROUND = (assistant(text("well"), call("t1")), user(result("t1", [text("a"), text("b")])))


def session(*messages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return history(FIRST, *messages, **{"tools": TOOLS, "system": SYSTEM, **changes})


def of(document: dict[str, Any]) -> Prefix:
    return prefix_of(document)


BASE = session(*ROUND)


def marked(value: Any, mark: Any = MARK) -> Any:
    return {**value, "cache_control": mark}


SAME: dict[str, dict[str, Any]] = {
    "the next turn": session(*ROUND, assistant(text("done")), user("more")),
    "a block more in the last message": session(ROUND[0], user(*ROUND[1]["content"], text("and"))),
    "marks that move": session(
        ROUND[0],
        user(marked(result("t1", [text("a"), marked(text("b"))]))),
        tools=[*TOOLS[:2], marked(TOOLS[2])],
        system=[*SYSTEM[:2], marked(SYSTEM[2])],
    ),
    "a mark on all": session(*ROUND, cache_control=MARK),
    "another attribution line": session(*ROUND, system=[text(f"{BILLING}22;"), *SYSTEM[1:]]),
    "no attribution line": session(*ROUND, system=SYSTEM[1:]),
    "fields that no cache sees": session(*ROUND, temperature=0.5, metadata={}, stream=True, max_tokens=9),
}


@pytest.mark.parametrize("name", SAME)
def test_changes_that_a_cache_ignores(name: str) -> None:
    old, new = of(BASE), of(SAME[name])
    assert continues(new, old)
    assert difference(new, old) == ""
    assert are_of_one_thread(new, old)


def test_a_string_is_a_block_of_text() -> None:
    old = of(history(user("a"), assistant("b"), system="s"))
    new = of(history(user(marked(text("a"))), assistant(text("b")), user("c"), system=[text("s")]))
    assert continues(new, old)


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "a tool's words": (session(*ROUND, tools=[*TOOLS[:2], {**TOOLS[2], "description": "x"}]), "tools.2"),
    "tools in another order": (session(*ROUND, tools=[TOOLS[0], TOOLS[2], TOOLS[1]]), "tools.1"),
    "a tool less": (session(*ROUND, tools=TOOLS[:2]), "tools.2"),
    "a tool more": (session(*ROUND, tools=[*TOOLS, TOOLS[0]]), "tools.3"),
    "no tools": ({key: value for key, value in BASE.items() if key != "tools"}, "tools.0"),
    "the date": (session(*ROUND, system=[*SYSTEM[:2], text("Today is Tuesday.")]), "system.2"),
    "without attribution": (session(*ROUND, system=[text("x"), *SYSTEM[1:]]), "system.0"),
    "a prompt that is a string": (session(*ROUND, system="You."), "system"),
    "thinking": (session(*ROUND, thinking={"type": "adaptive"}), "thinking"),
    "tool choice": (session(*ROUND, tool_choice={"type": "any"}), "tool_choice"),
    "a reminder": (
        history(user(text("another"), text("do it")), *ROUND, tools=TOOLS, system=SYSTEM),
        "messages.0.content.0",
    ),
    "an old result": (
        session(ROUND[0], user(result("t1", [text("cleared")])), assistant("x")),
        "messages.2.content.0",
    ),
    "a text": (session(ROUND[0], user("no")), "messages.2.content"),
    "a block less": (session(assistant(text("well")), ROUND[1]), "messages.2.content.0"),
    "an end": (session(ROUND[0]), "messages.2"),
    "roles": (session(user(*ROUND[0]["content"]), ROUND[1]), "messages.1.content.0"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_the_first_path_that_differs(name: str) -> None:
    document, path = CHANGED[name]
    old, new = of(BASE), of(document)
    assert not continues(new, old)
    assert difference(new, old) == path
    assert are_of_one_thread(new, old)


def test_a_client_that_stops_caching() -> None:
    assert difference(of(BASE), of(SAME["a mark on all"])) == "cache_control"


OTHERS: dict[str, dict[str, Any]] = {
    "a sub-agent": history(user("look"), tools=TOOLS[:1], system="You look."),
    "a sub-agent with the same prompt": session(*ROUND)
    | {"messages": [user(text("a reminder"), text("look")), assistant(text("ok"))]},
    "a title": history(user("do it"), system="Write a title."),
    "the same task for another agent": history(FIRST, tools=TOOLS[:1], system="You look."),
    "what follows a compaction": session()
    | {"messages": [user("This session continues."), assistant("yes")]},
}


def test_two_questions_of_one_text_are_no_thread() -> None:
    """A probe and a title request, both without tools, each with its own system prompt."""
    probe, title, plain = (
        of(history(user("Warmup"), **fields)) for fields in ({"system": "a"}, {"system": "b"}, {})
    )
    assert not are_of_one_thread(title, probe)
    assert not are_of_one_thread(plain, probe)
    responded = of(history(user("Warmup"), assistant("yes"), user("go"), system="b"))
    assert are_of_one_thread(responded, of(history(user("Warmup"), assistant("yes"), system="a")))


@pytest.mark.parametrize("name", OTHERS)
def test_other_threads(name: str) -> None:
    new = of(OTHERS[name])
    for old in (of(BASE), of(session())):
        assert not are_of_one_thread(new, old)
        assert not are_of_one_thread(old, new)


@pytest.mark.parametrize(
    ("marks", "lives"),
    [((), BRIEF), ((MARK,), BRIEF), ((LONG,), HOUR), ((LONG, MARK), BRIEF), (("odd",), BRIEF)],
)
def test_how_long_a_cache_lives(marks: tuple[Any, ...], lives: float) -> None:
    prefix = of(history(user(*(marked(text("a"), mark) for mark in marks), text("b"))))
    assert (prefix.marked, prefix.lives) == (bool(marks), lives)


@given(documents())
def test_any_document_has_a_prefix_that_it_continues(document: dict[str, Any]) -> None:
    prefix = of(document)
    assert continues(prefix, of(document))
    assert difference(prefix, prefix) == ""
    longer = of({**document, "messages": [*document["messages"], user("more")]})
    assert continues(longer, prefix)
    assert prefix.size < longer.size


ODD: list[Any] = [
    None,
    7,
    "x",
    [],
    {},
    [7],
    [None],
    {"a": 1},
    [{"type": "text", "text": 7}],
    [{"content": [{}]}],
]


@given(st.sampled_from(ODD), st.sampled_from(ODD), st.sampled_from(ODD))
def test_values_of_any_kind_are_taken(tools: Any, system: Any, content: Any) -> None:
    document = {
        "tools": tools,
        "system": system,
        "messages": [{"content": content}, {}],
        "cache_control": tools,
    }
    assert continues(of(document), of(document))
