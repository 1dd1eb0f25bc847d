"""messages/repair.py: each repair by a table, and what holds for all of them by properties."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.repair import REPAIRS, apply
from gateway.messages.tool_repairs import MOVED, NO_MESSAGE, NO_RESULT
from tests.messages.samples import (
    MARK,
    USUAL,
    assistant,
    call,
    client_requests,
    documents,
    found,
    frozen,
    history,
    missing,
    odd_documents,
    reminder,
    result,
    search,
    system,
    text,
    thought,
    user,
)

EVERY = frozenset(REPAIRS)


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


CONTINUED = {"thread": {"type": "continue", "previous_message_id": "msg_1"}}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user(result("a:b"), text("go"))], None),
        ([user(result()), user("go"), system("s"), system("s")], None),
        ([system("s"), user(result("s1")), assistant("b"), user("c")], None),
        ([assistant(call()), user(result("t9")), assistant("b")], None),
        ([], None),
        # Messages that are invalid in themselves, and what follows the first turn.
        ([user(text(" "), result())], [user(result())]),
        ([user(result(content="", is_error=True))], [user(result(content=NO_MESSAGE, is_error=True))]),
        (
            [user(result()), assistant(call("t2")), user("stop"), user(result("t3"))],
            [user(result()), assistant(call("t2")), user(missing("t2"), text("done"), text("stop"))],
        ),
    ],
)
def test_repairs_of_a_continued_thread(
    messages: list[dict[str, Any]], expected: list[dict[str, Any]] | None
) -> None:
    document = history(*messages, **CONTINUED)
    repaired, changed = apply(document, EVERY)
    assert repaired == history(*(messages if expected is None else expected), **CONTINUED)
    assert (changed == ()) == (expected is None)
    assert apply(repaired, EVERY) == (repaired, ())


def test_a_thread_that_starts_is_a_history_like_others() -> None:
    document = history(user(result()), thread={"type": "create"})
    assert apply(document, USUAL)[1] == ("tool_results",)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int]]:
    """A history that grew turn by turn, as a client keeps it, with the lengths that it had when it was sent."""
    odd = st.sampled_from(["t1", "t2", "Bash:0", "", "toolu_1", "toolu_2"])
    messages: list[dict[str, Any]] = [user(draw(st.sampled_from(["go", " go"])))]
    lengths = [1]
    for _ in range(draw(st.integers(1, 5))):
        calls = [call(draw(odd)) for _ in range(draw(st.integers(0, 3)))]
        spoken = draw(
            st.lists(
                st.sampled_from([text("a"), text(" "), thought("gemini:x"), search(), found()]), max_size=3
            )
        )
        messages.append(assistant(*spoken, *calls, text("b")))
        results = [
            result(block["id"], draw(st.sampled_from(["ok", "", []])), is_error=draw(st.booleans()))
            for block in calls
        ]
        messages.append(user(*results[draw(st.integers(0, 1)) :], text("next")))
        if draw(st.booleans()):
            messages.append(system("env"))
        lengths.append(len(messages))
    return messages, lengths


@given(conversations(), st.sampled_from([USUAL, EVERY]))
def test_earlier_turns_stay_the_same_after_repairs(
    conversation: tuple[list[dict[str, Any]], list[int]], names: frozenset[str]
) -> None:
    messages, lengths = conversation
    seen: list[dict[str, Any]] = []
    for length in lengths:
        repaired = apply(history(*messages[:length]), names)[0]["messages"]
        assert repaired[: len(seen)] == seen
        seen = repaired


def test_repairs_that_are_off_change_nothing() -> None:
    document = history(user(" "), user(result(**MARK)))
    assert apply(document, ()) == (document, ())
    assert apply(document, {"attribution", "not known"})[0] is document


@pytest.mark.parametrize(("name", "document"), client_requests())
def test_requests_of_real_clients_need_no_repair(name: str, document: dict[str, Any]) -> None:
    repaired, changed = apply(document, USUAL)
    assert changed == ()
    assert repaired is document


def test_many_messages_of_one_role_are_merged_in_one_pass() -> None:
    document = history(*[user("a")] * 20_000)
    repaired, _ = apply(document, USUAL)
    assert len(repaired["messages"][0]["content"]) == 20_000 * 3 - 2


names = st.one_of(st.just(USUAL), st.just(EVERY), st.frozensets(st.sampled_from(sorted(EVERY))))


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


@given(odd_documents(), names)
def test_repairs_ignore_values_of_the_wrong_kind(document: dict[str, Any], names: frozenset[str]) -> None:
    before = json.dumps(document)
    repaired, changed = apply(document, names)
    assert json.dumps(document) == before
    assert (repaired is document) == (changed == ())
    assert apply(repaired, names) == (repaired, ())


@given(documents(), st.sampled_from([USUAL, EVERY]))
def test_a_repaired_history_is_valid(document: dict[str, Any], names: frozenset[str]) -> None:
    document.pop("thread", None)
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
    ids = [id for message in turns if message["role"] == "assistant" for id in call_ids(message)]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", id) for id in ids)
    for block in (block for message in messages for block in content_blocks(message)):
        if block.get("type") == "tool_result" and block.get("is_error") is True:
            assert block["content"].strip() if isinstance(block["content"], str) else block["content"]
            assert isinstance(block["content"], str) or {"text"} == {one["type"] for one in block["content"]}
    if names == EVERY:
        assert all(message["role"] != "system" for message in messages)


@given(documents(), st.sampled_from(sorted(EVERY)))
def test_data_is_never_touched(document: dict[str, Any], name: str) -> None:
    """The remaining tool inputs, schemas and result texts are those of the original."""
    repaired, _ = apply(document, {name})
    for find in (inputs, schemas, result_texts):
        left, there = list(find(repaired)), list(find(document))
        made_up = [NO_RESULT, NO_MESSAGE, MOVED, "Tool loaded: Fetch"]
        assert all(item in [*there, *made_up] for item in left)
        if name not in ("deferred_tools", "tool_results", "empty_results", "failed_results"):
            assert left == there or name in ("merge_roles", "empty_text", "server_tools")
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
        if message["role"] != "system" and message.keys() <= {"role", "content"}:
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
