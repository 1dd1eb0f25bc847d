"""Requests in, replies out."""

from collections.abc import Callable
from itertools import count
from typing import Any

import orjson
import pytest

from gateway.demo.reply import HINT, HINT_WITHOUT_TOOLS, RESULT, WHO, Reply, reply_to
from gateway.demo.signatures import is_signed

BASH = {
    "name": "Bash",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
        "required": ["command"],
    },
}
CALL = {"type": "tool_use", "id": "toolu_9", "name": "Bash", "input": {"command": "echo hi"}}


def ids() -> Callable[[str], str]:
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def reply(*messages: dict[str, Any], **fields: Any) -> Reply:
    return reply_to({"max_tokens": 1000, "messages": list(messages), **fields}, 42, ids())


def user(*content: object) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "text", "text": c} if isinstance(c, str) else c for c in content],
    }


def result(content: object = "hi", **fields: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_9", "content": content, **fields}


def after(*content: object) -> list[dict[str, Any]]:
    """A conversation whose tool has answered."""
    return [user("run echo hi"), {"role": "assistant", "content": [CALL]}, user(*content)]


def words(answer: Reply) -> str:
    return "".join(block["text"] for block in answer.content if block["type"] == "text")


@pytest.mark.parametrize(
    ("prompt", "tools", "text"),
    [
        ("Hello\nyou", [], f'You said: "Hello you". {WHO} {HINT_WITHOUT_TOOLS}'),
        ("Hello", [BASH], f'You said: "Hello". {WHO} {HINT}'),
        ({"type": "image"}, [], f"You said nothing in words. {WHO} {HINT_WITHOUT_TOOLS}"),
        ("run ls", [], f"I would run `ls`, but this request offers no tool for it. {WHO}"),
    ],
)
def test_words(prompt: object, tools: list[object], text: str) -> None:
    answer = reply(user(prompt), tools=tools)

    assert answer.content == ({"type": "text", "text": text},)
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)


def test_a_long_prompt_is_quoted_in_part() -> None:
    assert '…".' in words(reply(user("word " * 100)))


def test_a_tool_is_called_when_asked_for() -> None:
    answer = reply(user("run echo hi"), tools=[BASH])

    assert answer.content == (
        {"type": "text", "text": "I run `echo hi` with Bash."},
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "echo hi"}},
    )
    assert answer.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([result()], ["The tool says: hi\n"]),
        ([result("no", is_error=True)], ["The tool failed: no\n"]),
        ([result("a\nb")], ["The tool says:\n\n```\na\nb\n```"]),
        ([result("one"), result("two")], ["The tool says: one\n", "The tool says: two\n"]),
        ([result("x" * (RESULT + 1))], ["x" * RESULT + "…"]),
    ],
)
def test_a_tools_result_is_answered_in_words(results: list[Any], said: list[str]) -> None:
    answer = reply(*after(*results), tools=[BASH])

    assert all(line in words(answer) for line in said)
    assert answer.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("prompt", "stop_reason"),
    [("run echo ho", "tool_use"), ("run echo hi", "end_turn"), ("thanks", "end_turn")],
)
def test_words_beside_a_result_may_ask_for_another_call_but_not_for_the_same(
    prompt: str, stop_reason: str
) -> None:
    answer = reply(*after(result(), prompt), tools=[BASH])

    assert answer.stop_reason == stop_reason
    assert ("The tool says: hi" in words(answer)) == (stop_reason == "end_turn")


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "Bash"}])
def test_a_forced_call_is_made_whatever_was_said(choice: dict[str, Any]) -> None:
    answer = reply(user("Hello"), tools=[BASH], tool_choice=choice)

    assert answer.content == (
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "Hello"}},
    )


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_an_answer_that_must_fit_a_schema(place: str) -> None:
    format = {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
    }
    answer = reply(user("Hello there"), **{place: {"format": format} if place == "output_config" else format})

    assert orjson.loads(words(answer)) == {"title": "Hello there"}


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"effort": "low"},
        {"format": "json"},
        {"format": {"type": "text"}},
        {"format": {"type": "json_schema"}},
    ],
)
def test_no_schema_to_fit(config: object) -> None:
    assert "You said" in words(reply(user("Hello"), output_config=config))


@pytest.mark.parametrize("thinking", [{"type": "enabled", "budget_tokens": 500}, {"type": "adaptive"}])
@pytest.mark.parametrize("prompt", ["Hello", "run ls", "run echo hi"])
def test_thinking_comes_first_and_is_signed(thinking: dict[str, Any], prompt: str) -> None:
    answer = reply(user(prompt), thinking=thinking, tools=[BASH] if "echo" in prompt else [])

    first, *others = answer.content
    assert first["type"] == "thinking"
    assert first["thinking"]
    assert is_signed(first)
    assert others


@pytest.mark.parametrize("thinking", [{"type": "disabled"}, {}, "enabled", None])
def test_no_thinking_unless_it_is_enabled(thinking: object) -> None:
    assert [block["type"] for block in reply(user("Hello"), thinking=thinking).content] == ["text"]


def test_thinking_that_is_not_to_be_shown_is_signed_and_counted_all_the_same() -> None:
    shown = reply(user("Hello"), thinking={"type": "adaptive"})
    hidden = reply(user("Hello"), thinking={"type": "adaptive", "display": "omitted"})

    assert hidden.content[0]["thinking"] == ""
    assert is_signed(hidden.content[0])
    assert hidden.usage == shown.usage


def test_usage() -> None:
    answer = reply(user("run echo hi"), tools=[BASH], thinking={"type": "adaptive"})

    counted = {name: value for name, value in answer.usage.items() if name != "output_tokens"}
    assert counted == {"input_tokens": 42, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    assert 20 < answer.usage["output_tokens"] < 60


@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}])
@pytest.mark.parametrize("prompt", ["Hello", "run echo hi"])
def test_max_tokens_at_every_limit(prompt: str, thinking: object) -> None:
    def limited(tokens: int) -> Reply:
        return reply(user(prompt), tools=[BASH], thinking=thinking, max_tokens=tokens)

    whole = limited(1000)
    needed = whole.usage["output_tokens"]
    for tokens in range(1, needed):
        cut = limited(tokens)
        assert cut.stop_reason == "max_tokens"
        assert cut.usage["output_tokens"] <= tokens
        assert all(is_signed(block) for block in cut.content if block["type"] == "thinking")
        assert "tool_use" not in [block["type"] for block in cut.content]
        assert words(whole).startswith(words(cut))
        assert all(block.get("text", "-") for block in cut.content)
    assert limited(needed) == whole


@pytest.mark.parametrize(
    ("stops", "text", "stop"),
    [
        (["said"], "You ", "said"),
        (["one", ": "], "You said", ": "),
        (["You said"], "", "You said"),
        (["nowhere", "", 5], None, None),
        ("said", None, None),
    ],
)
def test_stop_sequences(stops: object, text: str | None, stop: str | None) -> None:
    answer = reply(user("one"), stop_sequences=stops)

    assert answer.stop_sequence == stop
    assert answer.stop_reason == ("stop_sequence" if stop else "end_turn")
    assert text is None or words(answer) == text
    assert len(answer.content) == (text != "")


def test_a_stop_sequence_keeps_a_call_from_being_made() -> None:
    answer = reply(user("run echo hi"), tools=[BASH], stop_sequences=["with"])

    assert [block["type"] for block in answer.content] == ["text"]
    assert answer.stop_reason == "stop_sequence"


def test_max_tokens_before_the_stop_sequence_wins() -> None:
    answer = reply(user("Hello"), stop_sequences=["demo"], max_tokens=3)

    assert (answer.stop_reason, answer.stop_sequence) == ("max_tokens", None)


@pytest.mark.parametrize("prompt", ["\ud800", "a\u2028b \U0001f600", "x" * 5000])
def test_odd_texts(prompt: str) -> None:
    assert reply(user(prompt), thinking={"type": "adaptive"}).stop_reason == "end_turn"
