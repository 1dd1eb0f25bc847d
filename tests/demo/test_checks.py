"""What an embedded upstream refuses, and in which words."""

from typing import Any

import pytest

from gateway.demo.checks import check
from gateway.demo.signatures import sign
from gateway.messages.errors import RequestError
from gateway.messages.thinking import speaks_of_signature

USER = {"role": "user", "content": "hi"}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": sign("hm")}


def turn(*blocks: object) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": [USER, {"role": "system", "content": "x"}]},
        {"messages": [USER, turn(SIGNED, {"type": "text", "text": "x"}), USER]},
        {"messages": [{"role": "user"}, turn("no block", {"no": "type"}, 5)]},
        {"thinking": {"type": "enabled", "budget_tokens": 99}},
        {"thinking": {"type": "adaptive"}},
        {"thinking": "on"},
        {"thinking": {"budget_tokens": "many"}},
    ],
)
def test_what_passes(fields: dict[str, Any]) -> None:
    check({"max_tokens": 100, "messages": [USER], **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "messages: at least one message is required"),
        (
            {"messages": [USER, {"role": "tool"}]},
            "messages.1.role: Input should be 'user', 'assistant' or 'system'",
        ),
        (
            {"messages": [USER, turn(SIGNED, {**SIGNED, "thinking": "changed"}), USER]},
            "messages.1.content.1: Invalid `signature` in `thinking` block",
        ),
        (
            {"messages": [USER, turn({"type": "redacted_thinking", "data": "x"}), USER]},
            "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        ),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 100}},
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        check({"max_tokens": 100, "messages": [USER], **fields})

    assert (caught.value.status, caught.value.message) == (400, message)
    assert speaks_of_signature(message) == ("block" in message)


def test_an_answer_needs_a_limit_and_a_count_does_not() -> None:
    with pytest.raises(RequestError, match="max_tokens: Field required"):
        check({"messages": [USER]})
    check({"messages": [USER]}, counting=True)


def test_a_count_is_checked_too() -> None:
    with pytest.raises(RequestError, match="at least one message"):
        check({"messages": []}, counting=True)
