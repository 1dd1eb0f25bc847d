"""Reading off a request what its last turn says."""

from typing import Any

import pytest

from gateway.demo.asked import Asked, Result, asked_of, shortened

CALL = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
REMINDER = "<system-reminder>\nTo whom it may concern\n</system-reminder>"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*content: object) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: object) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def result(**fields: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t1", **fields}


@pytest.mark.parametrize(
    ("messages", "prompt", "topic"),
    [
        ([{"role": "user", "content": " hi "}], "hi", "hi"),
        ([user(text("one"), text("two"))], "two", "two"),
        ([user(text(REMINDER), text("hi"), text(REMINDER))], "hi", "hi"),
        ([user(text(f"{REMINDER}\nhi{REMINDER}"))], "hi", "hi"),
        ([user(text("hi")), {"role": "system", "content": "Environment"}], "hi", "hi"),
        ([user(text("hi")), user(text(REMINDER))], "hi", "hi"),
        ([user(text("first")), assistant(text("yes")), user(text("next"))], "next", "next"),
        ([user(text("first")), assistant(CALL), user(result())], "", "first"),
        ([user(text("first")), assistant(text("{"))], "first", "first"),
        ([user({"type": "image"}, "no block", {"type": "text"}, {"type": "text", "text": 1})], "", ""),
        ([{"role": "user"}], "", ""),
        ([{"role": "assistant", "content": "hello"}], "", ""),
        ([], "", ""),
    ],
)
def test_what_was_said(messages: list[dict[str, Any]], prompt: str, topic: str) -> None:
    asked = asked_of({"messages": messages})

    assert (asked.prompt, asked.topic) == (prompt, topic)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (result(content="hi"), Result("hi", False)),
        (result(content="hi", is_error=True), Result("hi", True)),
        (result(content=[text("a"), text("b")]), Result("a\nb", False)),
        (result(content=[text("a"), {"type": "image"}]), Result("a\n(image)", False)),
        (result(content=f"file\n{REMINDER}"), Result("file", False)),
        (result(), Result("(no output)", False)),
        (result(content=""), Result("(no output)", False)),
        (result(content=[]), Result("(no output)", False)),
    ],
)
def test_what_a_tool_gave_back(block: dict[str, Any], expected: Result) -> None:
    asked = asked_of({"messages": [user(text("ls")), assistant(CALL), user(block, text(REMINDER))]})

    assert asked == Asked(prompt="", topic="ls", results=(expected,), calls=(CALL,))


def test_results_of_an_earlier_turn_are_history() -> None:
    messages = [user(text("ls")), assistant(CALL), user(result()), assistant(text("done")), user(text("ta"))]

    assert asked_of({"messages": messages}) == Asked(prompt="ta", topic="ta", results=(), calls=())


@pytest.mark.parametrize(
    ("long", "limit", "short"),
    [("a b", 3, "a b"), (" a\n\tb ", 9, "a b"), ("one two", 6, "one t…"), ("one two", 5, "one…")],
)
def test_shortening(long: str, limit: int, short: str) -> None:
    assert shortened(long, limit) == short
