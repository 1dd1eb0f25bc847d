"""messages/history.py: changes copy only the blocks that change, and merging follows its rules."""

from typing import Any

import pytest

from gateway.messages.history import (
    are_mergeable,
    blocks_of,
    change_blocks,
    change_contents,
    change_message_blocks,
    is_tool_result,
    merge_messages,
    without,
)


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


RESULT = {"type": "tool_result", "tool_use_id": "t1"}
OTHER = {"type": "image"}


def shout(block: dict[str, Any]) -> dict[str, Any] | None:
    if block.get("text") == "drop":
        return None
    return {**block, "text": block["text"].upper()} if block.get("text", "").islower() else block


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], []),
        ([text("A"), OTHER], [text("A"), OTHER]),
        ([text("a")], [text("A")]),
        ([OTHER, text("a"), OTHER, text("b")], [OTHER, text("A"), OTHER, text("B")]),
        ([text("drop")], []),
        ([text("A"), text("drop"), text("b")], [text("A"), text("B")]),
        ([text("a"), "no block", None, 5], [text("A"), "no block", None, 5]),
        ([None, text("A")], [None, text("A")]),
    ],
)
def test_blocks_are_changed_in_a_copy(content: list[Any], expected: list[Any]) -> None:
    before = list(content)
    out = change_blocks(content, shout)
    assert out == expected
    assert content == before
    assert (out is content) == (expected == content)


def test_blocks_of_other_types_are_not_looked_at() -> None:
    content = [{"type": "odd", "text": "a"}, {"type": ["unhashable"], "text": "a"}, text("a")]
    assert change_blocks(content, shout, ("text",)) == [*content[:2], text("A")]


@pytest.mark.parametrize("kinds", [(), ("text",)])
def test_blocks_of_all_messages_are_changed(kinds: tuple[str, ...]) -> None:
    document = {"model": "m", "messages": [user("a"), assistant([text("a"), OTHER]), user(None), user([])]}
    out = change_message_blocks(document, shout, kinds)
    assert out["messages"] == [user("a"), assistant([text("A"), OTHER]), user(None), user([])]
    assert document["messages"][1] == assistant([text("a"), OTHER])
    assert out["messages"][0] is document["messages"][0]


@pytest.mark.parametrize("kinds", [(), ("text",), ("image",)])
def test_nothing_to_change_is_the_same_document(kinds: tuple[str, ...]) -> None:
    document = {"messages": [user("a"), assistant([text("A"), None, "text"]), user([]), {"role": "user"}]}
    assert change_message_blocks(document, shout, kinds) is document


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user("drop")], []),
        ([user("a"), assistant("drop"), user("b")], [user("a\n\nb")]),
        ([user("a"), assistant("drop"), assistant("drop"), user("b")], [user("a\n\nb")]),
        (
            [user("a"), assistant("drop"), user("b"), assistant("drop"), user("c"), assistant("d")],
            [user("a\n\nb\n\nc"), assistant("d")],
        ),
        # Only what a removal brought together is merged.
        (
            [user("a"), user("b"), assistant("drop"), user("c"), user("d")],
            [user("a"), user("b\n\nc"), user("d")],
        ),
        ([user("a"), assistant("drop"), assistant("b")], [user("a"), assistant("b")]),
        ([user("a"), assistant("drop"), user(None)], [user("a"), user(None)]),
        ([assistant("drop"), user("a")], [user("a")]),
        ([user("a"), assistant("drop")], [user("a")]),
    ],
)
def test_removing_a_message_merges_its_neighbours(messages: list[Any], expected: list[Any]) -> None:
    out = change_contents({"messages": messages}, lambda content: None if content == "drop" else content)
    assert out == {"messages": expected}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (user("a"), user("b"), True),
        (assistant([]), assistant("b"), True),
        (user("a"), assistant("b"), False),
        ({"role": "system", "content": "a"}, {"role": "system", "content": "b"}, False),
        ({"content": "a"}, {"content": "b"}, False),
        (user("a"), user(None), False),
        (user({}), user("a"), False),
    ],
)
def test_which_messages_are_merged(first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:
    assert are_mergeable(first, second) is expected


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ([user("a"), user("b"), user("c")], user("a\n\nb\n\nc")),
        ([user("a"), user([OTHER])], user([text("a"), OTHER])),
        ([user([OTHER]), user("a")], user([OTHER, text("a")])),
        (
            [user([text("a"), RESULT, text("b")]), user([OTHER, {**RESULT, "tool_use_id": "t2"}])],
            user([RESULT, {**RESULT, "tool_use_id": "t2"}, text("a"), text("b"), OTHER]),
        ),
        ([assistant([text("a"), RESULT]), assistant("b")], assistant([text("a"), RESULT, text("b")])),
        ([user("a", x=1, y=1), user("b", y=2)], user("a\n\nb", x=1, y=2)),
        ([user(["no block"]), user("a")], user(["no block", text("a")])),
    ],
)
def test_merging(run: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    before = repr(run)
    assert merge_messages(run) == expected
    assert repr(run) == before


def test_a_run_of_one_message_is_unchanged() -> None:
    message = user("a")
    assert merge_messages([message]) is message


def test_small_helpers() -> None:
    assert blocks_of("a") == [text("a")]
    content = [OTHER]
    assert blocks_of(content) is content
    assert is_tool_result(RESULT)
    assert not is_tool_result(OTHER)
    assert not is_tool_result("tool_result")
    assert without({"a": 1, "b": 2}, "a") == {"b": 2}
    assert without(OTHER, "a") is OTHER
