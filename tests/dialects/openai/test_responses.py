"""The Responses wire: requests of items, responses of items."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.dialects.openai.support import (
    Response,
    assistant,
    body,
    dialect,
    encoded,
    failure_of,
    message,
    text,
    tool,
    tool_result,
    tool_use,
    upstream,
    user,
)
from tests.fakes.openai.validate import validate_request
from tests.support.strategies import singly

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
PDF = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"},
}
HI = {"messages": [user("hi")]}


def sent(document: dict[str, Any], **traits: Any) -> dict[str, Any]:
    found = body(document, upstream("openai", **traits))
    validate_request(found)
    return found


# Requests.


def test_the_frame() -> None:
    found = sent(
        {
            **HI,
            "system": [text("S"), text("T")],
            "max_tokens": 5,
            "stop_sequences": ["x"],
            "temperature": 1,
            "top_k": 4,
        }
    )
    key = found.pop("prompt_cache_key")
    assert len(key) == 32
    assert found == {
        "model": "m-1",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "instructions": "S\n\nT",
        "stream": True,
        "temperature": 1,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 16,
    }


def test_items() -> None:
    history = [
        user([text("look"), PNG, PDF]),
        assistant(text("so"), tool_use("c1", a=1), tool_use("c2")),
        user([tool_result("c2", [text("x"), PNG]), tool_result("c1", "one"), text("on")]),
    ]
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}
    assert sent({"messages": history})["input"] == [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                image,
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
        {"type": "function_call", "call_id": "c1", "name": "Read", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "Read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "x"}, image],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "on"}]},
    ]


def test_tools_choice_and_format() -> None:
    form = {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}
    choice = {"tool_choice": {"type": "tool", "name": "Read", "disable_parallel_tool_use": True}}
    found = sent({**HI, **form, **choice, "tools": [tool("Read")]})
    assert found["tools"][0].keys() == {"type", "name", "description", "parameters", "strict"}
    assert found["tools"][0]["strict"] is False
    assert found["tool_choice"] == {"type": "function", "name": "Read"}
    assert found["parallel_tool_calls"] is False
    assert found["text"] == {
        "format": {"type": "json_schema", "name": "output", "schema": {"type": "object"}}
    }
    assert sent({**HI, "tools": [tool("Read")], "tool_choice": {"type": "any"}})["tool_choice"] == "required"
    assert sent({**HI, **form}, json="object")["text"] == {"format": {"type": "json_object"}}


THINKING: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({}, None),
    (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        {"effort": "max", "summary": "auto"},
    ),
    ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, {"effort": "high", "summary": "auto"}),
    ({"thinking": {"type": "disabled"}}, {"effort": "none"}),
    ({"output_config": {"effort": "low"}, "thinking": {"type": "disabled"}}, {"effort": "none"}),
]


@pytest.mark.parametrize(("document", "reasoning"), THINKING)
def test_reasoning(document: dict[str, Any], reasoning: dict[str, Any] | None) -> None:
    assert sent({**HI, **document}).get("reasoning") == reasoning
    assert "reasoning" not in body({**HI, **document}, upstream("xai"))


def test_no_stream_and_own_fields() -> None:
    found = sent(HI, stream=False, body={"service_tier": "flex"}, strip=("include",))
    assert found["stream"] is False
    assert found["service_tier"] == "flex"
    assert "include" not in found


# Responses.


def events(*events: dict[str, Any], named: bool = True) -> bytes:
    """Return events as they are streamed; `response.` is put in front of their types."""
    out = b""
    for event in events:
        kind = event["type"] if event["type"] == "error" else f"response.{event['type']}"
        data = orjson.dumps({**event, "type": kind})
        out += (f"event: {kind}\n".encode() if named else b"") + b"data: " + data + b"\n\n"
    return out


def added(item: Any, **where: Any) -> dict[str, Any]:
    return {"type": "output_item.added", "item": item, **where}


def done(item: Any, **where: Any) -> dict[str, Any]:
    return {"type": "output_item.done", "item": item, **where}


def completed(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": status, "response": {"object": "response", "status": status, "usage": USAGE, **fields}}


USAGE = {
    "input_tokens": 41,
    "output_tokens": 4,
    "total_tokens": 45,
    "input_tokens_details": {"cached_tokens": 16},
}
MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Then."}],
    "encrypted_content": "gAAA",
}
CALL: dict[str, Any] = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "Read",
    "arguments": '{"a":1}',
}
READ = {"type": "tool_use", "id": "call_1", "name": "Read", "input": {"a": 1}}


def streamed(*items: dict[str, Any], indexes: bool = True) -> list[dict[str, Any]]:
    """The events for whole items, with their text in deltas."""
    out = []
    for at, item in enumerate(items):
        where: dict[str, Any] = {"output_index": at} if indexes else {}
        ids = {"item_id": item["id"], **where}
        bare = {**item, "content": [], "summary": [], "arguments": ""}
        out.append(added({k: v for k, v in bare.items() if k in item}, **where))
        if item["type"] == "message":
            out += [
                {"type": "output_text.delta", "delta": piece, **ids} for piece in item["content"][0]["text"]
            ]
        if item["type"] == "reasoning":
            for part in item["summary"]:
                out.append({"type": "reasoning_summary_part.added", "part": {}, **ids})
                out += [
                    {"type": "reasoning_summary_text.delta", "delta": piece, **ids} for piece in part["text"]
                ]
        if item["type"] == "function_call":
            out += [
                {"type": "function_call_arguments.delta", "delta": piece, **ids}
                for piece in item["arguments"]
            ]
            out.append({"type": "function_call_arguments.done", "arguments": item["arguments"], **ids})
        out.append(done(item, **where))
    return out


def response(by: Any = None, document: dict[str, Any] | None = None, **how: Any) -> Response:
    return Response(encoded(document or HI, upstream("openai"), by=by), by=by, **how)


def blocks_of(data: bytes, **how: Any) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = message(response(**how).feed(data).end())["content"]
    return content


def test_every_item_in_every_form() -> None:
    everything = [REASONING, MESSAGE, CALL, {**CALL, "id": "fc_2", "call_id": "call_2"}]
    whole = orjson.dumps({"object": "response", "status": "completed", "output": everything, "usage": USAGE})
    by_index = events(*streamed(*everything), completed())
    by_id = events(*streamed(*everything, indexes=False), completed())
    only_done = events(*(done(item, output_index=at) for at, item in enumerate(everything)), completed())
    unnamed = events(*streamed(*everything), completed(), named=False)
    for data in (
        by_index,
        by_id,
        only_done,
        unnamed,
        whole,
        events(completed(output=everything)),
        events({"type": "created", "response": {}}, completed(output=everything)),
        by_index.replace(b"\n", b"\r\n"),
        by_index.rstrip(),
    ):
        for pieces in ([data], singly(data)):
            found = message(response().feed(*pieces).end())
            thought, spoken, *calls = found["content"]
            assert thought["thinking"] == "First.\n\nThen."
            assert spoken == text("Hello")
            assert calls == [READ, {**READ, "id": "call_2"}]
            assert found["stop_reason"] == "tool_use"
            assert found["usage"]["input_tokens"] == 25
            assert found["usage"]["cache_read_input_tokens"] == 16


def test_reasoning_comes_back_as_the_item_that_it_was() -> None:
    made = dialect()
    content = blocks_of(events(*streamed(REASONING, MESSAGE, CALL), completed()), by=made)
    history = [user("a"), {"role": "assistant", "content": content}, user([tool_result("call_1")])]
    items = sent({"messages": history})["input"]
    assert items[1] == {key: value for key, value in REASONING.items() if key != "id"}
    assert [item["type"] for item in items] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call_output",
    ]
    other_model = body({"messages": history}, upstream("openai"), model="m-2")["input"]
    assert "reasoning" not in [item["type"] for item in other_model]
    on_chat = body({"messages": history}, upstream("deepseek-openai"))["messages"][1]
    assert on_chat["reasoning_content"] == "First.\n\nThen."
    assert "gAAA" not in str(on_chat)
    from gateway.dialects.base import WITHOUT_THINKING

    assert "gAAA" not in str(body({"messages": history}, upstream("openai"), cures=[WITHOUT_THINKING]))


def test_items_stand_in_the_order_in_which_they_came() -> None:
    again = {**REASONING, "id": "rs_2", "encrypted_content": "B"}
    second = {**CALL, "id": "fc_2", "call_id": "call_2"}
    content = blocks_of(events(*streamed(REASONING, CALL, again, MESSAGE, second), completed()))
    content.insert(4, text("!"))
    history = [user("a"), {"role": "assistant", "content": content}]
    history.append(user([tool_result("call_1"), tool_result("call_2")]))
    items = sent({"messages": history})["input"][1:-2]
    assert [item["type"] for item in items] == [
        "reasoning",
        "function_call",
        "reasoning",
        "message",
        "function_call",
    ]
    assert items[3]["content"][0]["text"] == "Hello!"
    history[1] = {"role": "assistant", "content": [*content, content[0]]}
    assert sent({"messages": history})["input"][1:-2] == items
    without = sent({"messages": history}, echo="none")["input"][1:-2]
    assert [item["type"] for item in without] == ["function_call", "message", "function_call"]


def test_reasoning_without_a_summary_is_an_empty_signed_block() -> None:
    bare = {**REASONING, "summary": []}
    thought, spoken = blocks_of(events(*streamed(bare, MESSAGE), completed()))
    assert thought["thinking"] == ""
    history = [user("a"), {"role": "assistant", "content": [thought, spoken]}, user("b")]
    assert sent({"messages": history})["input"][1] == {
        "type": "reasoning",
        "summary": [],
        "encrypted_content": "gAAA",
    }


def test_two_items_of_reasoning_are_two_blocks() -> None:
    content = blocks_of(
        events(
            *streamed(REASONING, {**REASONING, "id": "rs_2", "encrypted_content": "B"}, MESSAGE), completed()
        )
    )
    assert [block["type"] for block in content] == ["thinking", "thinking", "text"]
    items = sent({"messages": [user("a"), {"role": "assistant", "content": content}, user("b")]})["input"]
    assert [item.get("encrypted_content") for item in items[1:3]] == ["gAAA", "B"]


def test_reasoning_text_of_other_hosts() -> None:
    plain = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm"}],
    }
    stream = [
        added({**plain, "content": []}),
        {"type": "reasoning_text.delta", "delta": "Hm", "item_id": "rs_1"},
        done(plain),
    ]
    for data in (events(*stream, completed()), events(done(plain), completed())):
        (thought,) = blocks_of(data)
        assert thought == {
            "type": "thinking",
            "thinking": "Hm",
            "signature": 'openai:{"f":"text","k":"reasoning_content"}',
        }


def test_a_real_response() -> None:
    raw = (
        (Path(__file__).parents[3] / "fixtures" / "responses_stream.http")
        .read_bytes()
        .partition(b"\r\n\r\n")[2]
    )
    for limit, stop in ((4, "max_tokens"), (100, "end_turn")):
        found = message(response(max_tokens=limit).feed(raw).end())
        assert found["content"] == [text("<|im_")]
        assert found["stop_reason"] == stop
        assert found["usage"]["output_tokens"] == 4


def test_arguments_only_at_the_end() -> None:
    stream = [
        added({**CALL, "arguments": ""}, output_index=0),
        {
            "type": "function_call_arguments.done",
            "arguments": '{"a":1}',
            "output_index": 0,
            "item_id": "fc_1",
        },
        done(CALL, output_index=0),
    ]
    assert blocks_of(events(*stream, completed())) == [READ]


def test_interleaved_items() -> None:
    one, two = CALL, {**CALL, "id": "fc_2", "call_id": "call_2"}
    first, second = streamed(one), streamed(two)
    for event in second:
        event["output_index"] = 1
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    assert blocks_of(events(*mixed, completed())) == [READ, {**READ, "id": "call_2"}]


def test_calls_without_ids() -> None:
    bare = {"type": "function_call", "name": "Read", "arguments": '{"a":1}'}
    (block,) = blocks_of(events(done(bare), completed()))
    assert block["input"] == {"a": 1}


def test_refusals_citations_and_odd_events() -> None:
    cited = {"type": "url_citation", "url": "https://a", "title": "A"}
    refusal = {"type": "message", "id": "m", "content": [{"type": "refusal", "refusal": "No."}, 7]}
    stream = [
        {"type": "refusal.delta", "delta": "No.", "item_id": "m"},
        {"type": "refusal.delta"},
        done(refusal),
    ]
    for data in (events(*stream, completed()), events(done(refusal), completed())):
        found = message(response().feed(data).end())
        assert (found["content"], found["stop_reason"]) == ([text("No.")], "refusal")
    with_page = {**MESSAGE, "content": [{"type": "output_text", "text": "Hello", "annotations": [cited]}]}
    assert blocks_of(events(*streamed(with_page), completed()))[0]["citations"][0]["url"] == "https://a"
    odd = [
        added(7),
        done(7),
        {"type": "queued"},
        {"type": "function_call_arguments.delta"},
        {"type": "reasoning_text.delta"},
    ]
    odd += [{"type": "output_text.delta"}, {"type": "function_call_arguments.done"}, done({"type": "novel"})]
    data = b"data: hello\n\ndata: 7\n\n" + events(*odd, *streamed(MESSAGE), completed()) + b"data: [DONE]\n\n"
    assert blocks_of(data) == [text("Hello")]


ENDINGS: list[tuple[dict[str, Any], str]] = [
    (completed(), "end_turn"),
    (completed("incomplete", incomplete_details={"reason": "max_output_tokens"}), "max_tokens"),
    (completed("incomplete", incomplete_details={"reason": "content_filter"}), "refusal"),
]


@pytest.mark.parametrize(("ending", "stop"), ENDINGS)
def test_endings(ending: dict[str, Any], stop: str) -> None:
    made = response().feed(events(*streamed(MESSAGE), ending))
    assert made.writer.finished
    assert made.decoder.complete
    assert message(made.end())["stop_reason"] == stop


FAILURES: list[tuple[str, bytes, int, str]] = [
    ("an early end", events(*streamed(MESSAGE)), 502, "early"),
    ("nothing", b"", 502, "early"),
    ("only [DONE]", b"data: [DONE]\n\n", 502, "early"),
    ("failed", events(completed("failed", error={"code": "server_error", "message": "no"})), 500, "no"),
    ("failed without a word", events(completed("failed", error=None)), 500, "failed"),
    ("cancelled", events(completed("cancelled")), 500, "cancelled"),
    ("another reason", events(completed("incomplete", incomplete_details=None)), 502, "None"),
    (
        "an error event",
        events({"type": "error", "code": "rate_limit_exceeded", "message": "no", "param": None}),
        429,
        "no",
    ),
    (
        "its other form",
        events({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}),
        400,
        "no",
    ),
    ("an error document", b'{"error":{"message":"no","code":"insufficient_quota"}}', 402, "no"),
    (
        "an overflow",
        events(
            completed(
                "failed",
                error={"code": "context_length_exceeded", "message": "Your input exceeds the context window"},
            )
        ),
        400,
        "prompt is too long",
    ),
    ("what cannot be read", events(*streamed(MESSAGE)) + b"data: {\n\n", 502, "cannot be read"),
    ("too large", b"{" + b" " * (17 * 2**20), 502, "16777216"),
]


@pytest.mark.parametrize(("data", "status", "words"), [pytest.param(*row[1:], id=row[0]) for row in FAILURES])
def test_failures(data: bytes, status: int, words: str) -> None:
    failure, _ = failure_of([data], outgoing=encoded(HI, upstream("openai")))
    assert failure.failure.status == status
    assert words in failure.message


def test_a_call_cut_by_the_limit() -> None:
    stream = [
        added({**CALL, "arguments": ""}),
        {"type": "function_call_arguments.delta", "delta": '{"a', "item_id": "fc_1"},
    ]
    ending = completed("incomplete", incomplete_details={"reason": "max_output_tokens"})
    found = message(response().feed(events(*stream, ending)).end())
    assert (found["content"][0]["input"], found["stop_reason"]) == ('{"a', "max_tokens")
    failure_of([events(*stream, completed())], outgoing=encoded(HI, upstream("openai")))


def test_stop_sequences_are_always_cut() -> None:
    document = {**HI, "stop_sequences": ["ll"]}
    made = response(document=document).feed(events(*streamed(MESSAGE)))
    assert made.decoder.complete
    found = message(made.feed(events({"type": "error", "message": "late"})).end())
    assert (found["content"], found["stop_sequence"]) == ([text("He")], "ll")


def test_arguments_keep_the_hosts_bytes_on_this_wire_too() -> None:
    made = dialect()
    spaced = {**CALL, "arguments": '{"a": 1}'}
    content = blocks_of(events(*streamed(spaced), completed()), by=made)
    history = [user("a"), {"role": "assistant", "content": content}, user([tool_result("call_1")])]
    sent_back = json.loads(encoded({"messages": history}, upstream("openai"), by=made).body)["input"][1]
    assert sent_back["arguments"] == '{"a": 1}'
