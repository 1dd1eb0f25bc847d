"""messages/content_repairs.py: what each repair makes of a history and of a request's fields, by tables."""

from typing import Any

import pytest

from gateway.messages.content_repairs import system_role, tool_loaded
from tests.messages.samples import (
    MARK,
    assistant,
    call,
    check,
    history,
    reminder,
    result,
    system,
    text,
    thought,
    user,
)

COMPACTION = {"type": "compaction", "content": "So far."}


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
        # A directive without text is not nothing.
        ([system(" "), user("a")], None),
        ([user("a"), system(text(" ")), {"role": "system", "content": [], "output_config": {}}], None),
        ([user(text(" "), id="x"), assistant("b"), user("", name="y")], None),
        ([assistant(COMPACTION, {**COMPACTION, "content": " "})], [assistant(COMPACTION)]),
        ([user("a"), assistant({**COMPACTION, "content": ""}), user("b")], [user("a\n\nb")]),
        (
            [assistant({**COMPACTION, "content": None}, {"type": "compaction"}, COMPACTION)],
            [assistant(COMPACTION)],
        ),
        (
            [
                assistant(
                    {**COMPACTION, "content": None, "encrypted_content": "x"}, {**COMPACTION, "content": 5}
                )
            ],
            None,
        ),
        ([user(result(content="")), user(result("t2", [text("")]))], None),
        ([{"role": "user"}, {"role": "user", "content": None}, user({"type": "text", "text": 5})], None),
        ([user({"type": "image"}, "")], None),
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
DEFERRED_SCHEMA = {"name": "Load", "input_schema": {"defer_loading": True}}
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
    ("deferred_tools", {"tools": [{**READ, "defer_loading": True}, READ]}, {"tools": [READ, READ]}),
    (
        "deferred_tools",
        {"tools": [{**DEFERRED_SCHEMA, "defer_loading": False}]},
        {"tools": [DEFERRED_SCHEMA]},
    ),
    ("deferred_tools", {"tools": "odd"}, None),
    ("cache_control", {"system": [text("a", **MARK)], **MARK}, {"system": [text("a")]}),
    ("cache_control", {"tools": [{**READ, **MARK}, READ]}, {"tools": [READ, READ]}),
    ("cache_control", {"tools": [READ], "system": [text("a")], "metadata": MARK}, None),
]


@pytest.mark.parametrize(("name", "before", "after"), FIELDS)
def test_fields(name: str, before: dict[str, Any], after: dict[str, Any] | None) -> None:
    base = history(user("a"))
    check(name, {**base, **before}, None if after is None else {**base, **after})


def test_reminders_in_a_row_leave_the_clients_own_content_alone() -> None:
    content = [text("a")]
    document = history({"role": "user", "content": content}, *[system("s")] * 3)
    assert len(system_role(document)["messages"][0]["content"]) == 4
    assert content == [text("a")]


def test_a_loaded_tool_in_words() -> None:
    assert tool_loaded("Fetch") == "Tool loaded: Fetch"
