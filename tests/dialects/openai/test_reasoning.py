"""Reasoning, from a host's fields to thinking blocks and back, byte for byte."""

from typing import Any

import orjson
import pytest

from gateway.config.openai_presets import PRESETS
from gateway.dialects.openai.reasoning import details_signature, read_block, text_signature
from tests.dialects.openai.support import (
    FINISH,
    Response,
    assistant,
    blocks,
    body,
    call,
    chunk,
    dialect,
    encoded,
    message,
    sse,
    text,
    tool_result,
    tool_use,
    upstream,
    user,
)

DETAILS: list[dict[str, Any]] = [
    {"type": "reasoning.text", "text": "Let me ", "signature": None, "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.text", "text": "think", "signature": None, "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.text", "text": "", "signature": "sig==", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.summary", "summary": "So.", "id": "rs_1", "index": 1},
    {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1},
]  # fmt: skip


def thinking(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def sent_back(content: list[dict[str, Any]], **traits: Any) -> dict[str, Any]:
    """The assistant message that goes up for these blocks."""
    messages = [user("a"), {"role": "assistant", "content": content}]
    messages.append(
        user([tool_result(b["id"]) for b in content if b["type"] == "tool_use"] + [text("go on")])
    )
    found: dict[str, Any] = body({"messages": messages}, upstream(**traits))["messages"][1]
    return found


FIELDS = ["reasoning_content", "reasoning", "reasoning_text"]


@pytest.mark.parametrize("field", FIELDS)
def test_text_goes_back_into_the_field_it_came_in(field: str) -> None:
    found = blocks(chunk({field: "Hm, "}), chunk({field: "so"}), chunk({"content": "Yes"}), FINISH)
    assert found == [thinking("Hm, so", f'openai:{{"f":"text","k":"{field}"}}'), text("Yes")]
    assert sent_back(found) == {"role": "assistant", "content": "Yes", field: "Hm, so"}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("echo", ["reasoning_content", "reasoning"])
def test_text_moves_between_hosts_in_each_ones_spelling(field: str, echo: str) -> None:
    assert sent_back([thinking("Hm", text_signature(field)), text("Yes")], echo=echo) == {
        "role": "assistant",
        "content": "Yes",
        echo: "Hm",
    }


def test_copies_of_reasoning_are_read_once() -> None:
    (block,) = blocks(chunk({"reasoning_content": "Hm", "reasoning": "Hm", "reasoning_text": "Hm"}), FINISH)
    assert block["thinking"] == "Hm"


def test_empty_reasoning_opens_nothing() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": ""}]}
    assert blocks(chunk({"reasoning": "", "content": [part]}), chunk({"reasoning_details": []}), FINISH) == []


def test_reasoning_parts_of_mistral() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"type": "reference"}, "!"]},
        {"type": "text", "text": "Yes"},
    ]
    found = blocks(
        chunk({"content": parts}), chunk({"content": [{"type": "thinking", "thinking": None}]}), FINISH
    )
    assert found == [thinking("Hm!", text_signature("parts")), text("Yes")]
    back = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm!"}]}, text("Yes")]
    assert sent_back(found, echo="parts")["content"] == back
    assert sent_back([found[0], tool_use("c")], echo="parts")["content"] == back[:1]


TAGS: list[tuple[str, list[str], str, str]] = [
    ("at once", ["<think>Hm</think>Yes"], "Hm", "Yes"),
    ("cut anywhere", list("<think>Hm</think>Yes"), "Hm", "Yes"),
    ("blanks before", ["\n", "<think>\nHm\n</think>\n\nYes"], "\nHm\n", "\n\nYes"),
    ("no closing tag", ["<think>Hm"], "Hm", ""),
    ("a closing tag cut off", ["<think>Hm</thi"], "Hm</thi", ""),
    ("not at the start", ["Say <think>Hm</think>"], "", "Say <think>Hm</think>"),
    ("only its beginning", ["<thi"], "", "<thi"),
    ("another tag", ["<thing>"], "", "<thing>"),
    ("a stray end", ["Hm</think>Yes"], "", "Hm</think>Yes"),
    ("again later", ["<think>a</think>b<think>c</think>"], "a", "b<think>c</think>"),
]


@pytest.mark.parametrize(
    ("pieces", "reasoning", "spoken"), [pytest.param(*row[1:], id=row[0]) for row in TAGS]
)
def test_tags_at_the_start_are_reasoning_and_elsewhere_text(
    pieces: list[str], reasoning: str, spoken: str
) -> None:
    found = blocks(*(chunk({"content": piece}) for piece in pieces), FINISH)
    expected = [thinking(reasoning, text_signature("think"))] if reasoning else []
    assert found == expected + ([text(spoken)] if spoken else [])
    if reasoning and spoken:
        assert sent_back(found, echo="think")["content"] == f"<think>{reasoning}</think>{spoken}"


def test_templates_that_begin_inside() -> None:
    sent = encoded({"messages": [user("a")]}, upstream(think_tags=(("", "</think>"),)))
    data = sse(*(chunk({"content": piece}) for piece in ("Hm", "</th", "ink>", "Yes")), FINISH)
    found = message(Response(sent).feed(data).end())["content"]
    assert found == [thinking("Hm", text_signature("think")), text("Yes")]
    assert sent_back(found, echo="think", think_tags=(("", "</think>"),))["content"] == "Hm</think>Yes"
    assert sent_back(found, echo="think", think_tags=())["content"] == "<think>Hm</think>Yes"


def test_tags_behind_a_field_of_reasoning_are_text() -> None:
    found = blocks(chunk({"reasoning": "Hm"}), chunk({"content": "<think>x</think>"}), FINISH)
    assert found[1] == text("<think>x</think>")
    off = encoded({"messages": [user("a")]}, upstream(think_tags=()))
    data = sse(chunk({"content": "<think>x</think>"}), FINISH)
    assert message(Response(off).feed(data).end())["content"] == [text("<think>x</think>")]


def test_a_call_ends_the_reading_of_tags() -> None:
    found = blocks(chunk({"content": "<think>Hm"}), call(0, "c", "Run"), FINISH)
    assert [block["type"] for block in found] == ["thinking", "tool_use"]


# Opaque entries.


def chunks_of(details: list[dict[str, Any]]) -> list[Any]:
    """As OpenRouter streams them, with a copy of the text."""
    return [
        chunk({"reasoning": entry.get("text") or entry.get("summary"), "reasoning_details": [entry]})
        for entry in details
    ]


def test_details_come_back_byte_for_byte() -> None:
    found = blocks(*chunks_of(DETAILS), chunk({"content": "Yes"}), FINISH)
    assert found[0]["thinking"] == "Let me thinkSo."
    back = sent_back(found, echo="details")
    assert orjson.dumps(back["reasoning_details"]) == orjson.dumps(DETAILS)
    assert "reasoning" not in back
    assert orjson.dumps(sent_back(found)["reasoning_details"]) == orjson.dumps(DETAILS)


def test_details_that_repeat_take_little_room() -> None:
    entry = {"type": "reasoning.text", "text": "word ", "format": "x", "index": 0}
    (block,) = blocks(*chunks_of([entry] * 1000), FINISH)
    assert len(block["signature"]) < 2500
    assert sent_back([block, text("x")], echo="details")["reasoning_details"] == [entry] * 1000


def test_text_beside_details_without_text() -> None:
    found = blocks(
        chunk({"reasoning": "Hm"}),
        chunk({"reasoning": "m", "reasoning_details": [DETAILS[4]]}),
        chunk({"reasoning": "."}),
        FINISH,
    )
    assert found[0]["thinking"] == "Hmm."
    assert sent_back([*found, text("x")], echo="details")["reasoning_details"] == [DETAILS[4]]


@pytest.mark.parametrize("where", [{"base_url": "https://other.example/v1"}, {"model": "m-2"}])
def test_opaque_entries_go_to_the_same_host_and_model_only(where: dict[str, str]) -> None:
    found = blocks(*chunks_of(DETAILS), chunk({"content": "Yes"}), FINISH)
    messages = [user("a"), {"role": "assistant", "content": found}, user("b")]
    to = upstream(echo="details", base_url=where.get("base_url", ""))
    sent = encoded({"messages": messages}, to, model=where.get("model", "m-1"))
    assert b"gAAA" not in sent.body
    assert b"sig==" not in sent.body
    assert orjson.loads(sent.body)["messages"][1]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Let me thinkSo."}
    ]


def test_a_text_that_a_client_changed_goes_back_as_text() -> None:
    (block,) = blocks(*chunks_of(DETAILS), FINISH)
    block["thinking"] = "Let me"
    assert sent_back([block, text("x")], echo="details")["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Let me"}
    ]


@pytest.mark.parametrize(
    "signature", ["openai:", "openai:[1]", 'openai:{"f":"text","k":"role"}', "openai:{}"]
)
def test_a_signature_that_cannot_be_read_leaves_the_text(signature: str) -> None:
    assert sent_back([thinking("Hm", signature), text("x")]) == {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "Hm",
    }


def test_details_with_a_call_are_a_block_before_it() -> None:
    """So do Gemini and OpenAI behind OpenRouter."""
    with_call = call(0, "c1", "Run", "{}")
    with_call["choices"][0]["delta"]["reasoning_details"] = [DETAILS[4]]
    found = blocks(with_call, FINISH)
    assert [block["type"] for block in found] == ["thinking", "tool_use"]
    assert found[0]["thinking"] == ""
    assert sent_back(found, echo="details")["reasoning_details"] == [DETAILS[4]]


def test_reasoning_after_a_call_is_remembered_under_its_id() -> None:
    made = dialect()
    extra = call(0, "c1", "Run", "{}")
    extra["choices"][0]["delta"]["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "S"}}
    late = chunk({"reasoning_details": [DETAILS[4]]})
    document = {"messages": [user("a")]}
    response = Response(encoded(document, by=made), by=made).feed(sse(extra, late, late, FINISH))
    content = message(response.end())["content"]
    history = [user("a"), {"role": "assistant", "content": content}, user([tool_result("c1")])]
    back = body({"messages": history}, upstream(echo="details"), by=made)["messages"][1]
    assert back["reasoning_details"] == [DETAILS[4]] * 2
    assert back["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "S"}}
    for elsewhere in (body({"messages": history}, by=made, model="m-2"), body({"messages": history})):
        assert elsewhere["messages"][1].keys() == {"role", "content", "tool_calls"}


# Requirements of hosts.


def test_required_reasoning_is_blank_without_any() -> None:
    assert sent_back([text("x")], echo="reasoning_content", echo_required=True)["reasoning_content"] == " "
    assert sent_back([text("x")], echo_required=True)["reasoning_content"] == " "
    assert sent_back([text("x")], echo="details", echo_required=True)["reasoning_details"] == [
        {"type": "reasoning.text", "text": " "}
    ]
    assert sent_back([text("x")], echo="details").keys() == {"role", "content"}


def test_no_reasoning_for_hosts_without_a_field() -> None:
    found = sent_back(
        [thinking("Hm", text_signature("reasoning")), text("x")], echo="none", echo_required=True
    )
    assert found == {"role": "assistant", "content": "x"}


def test_several_blocks_of_one_message_are_joined_by_nothing() -> None:
    content = [thinking(word, text_signature("reasoning")) for word in ("a", "b")]
    assert sent_back([*content, text("x")])["reasoning"] == "ab"


@pytest.mark.parametrize("signature", ["EqQBCgIYAhIM", "gemini:abc", "", None])
def test_thinking_of_others_is_dropped_and_never_prose(signature: Any) -> None:
    block = {"type": "thinking", "thinking": "secret thoughts", "signature": signature}
    redacted = {"type": "redacted_thinking", "data": "gemini-opaque"}
    document = {"messages": [user("a"), assistant(block, redacted, text("x")), user("b")]}
    for preset in PRESETS:
        sent = encoded(document, upstream(preset)).body
        assert b"secret" not in sent
        assert b"opaque" not in sent


def test_a_block_of_another_dialect_is_not_read() -> None:
    assert read_block({"thinking": "x", "signature": "gemini:1"}, "h", "m", opaque=True) is None
    assert (
        read_block({"thinking": None, "signature": text_signature("reasoning")}, "h", "m", opaque=True)
        is not None
    )


def test_without_opaque_entries_the_text_stays() -> None:
    signature = details_signature(DETAILS[:2], "h", "m")
    found = read_block({"thinking": "Let me think", "signature": signature}, "h", "m", opaque=False)
    assert found is not None
    assert (found.text, found.details) == ("Let me think", ())
