from typing import Any

import pytest

from gateway.dialects.request_fields import check_fields
from gateway.messages.errors import THREAD_UNSUPPORTED, RequestError


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": list(blocks)}]}


HUGE = 10**400
TOOL = {"name": "T", "input_schema": {"type": "object"}}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": "10"}, "max_tokens: must be an integer, not a string"),
    ({"max_tokens": 1.5}, "max_tokens: must be an integer, not a number"),
    ({"max_tokens": True}, "max_tokens: must be an integer, not a boolean"),
    ({"temperature": "hot"}, "temperature: must be a number, not a string"),
    ({"temperature": float("nan")}, "temperature: must be a finite number"),
    ({"top_p": [0.5]}, "top_p: must be a number, not an array"),
    ({"top_k": {}}, "top_k: must be an integer, not an object"),
    ({"stop_sequences": "END"}, "stop_sequences: must be an array, not a string"),
    ({"stop_sequences": ["a", 5]}, "stop_sequences.1: must be a string, not a number"),
    ({"stream": "true"}, "stream: must be a boolean, not a string"),
    ({"system": 5}, "system: must be a string or an array, not a number"),
    ({"system": [{"type": "text", "text": 5}]}, "system.0.text: must be a string, not a number"),
    ({"tools": {"a": 1}}, "tools: must be an array, not an object"),
    ({"tools": [TOOL, 5]}, "tools.1: must be an object, not a number"),
    ({"tools": [{"name": 5}]}, "tools.0.name: must be a string, not a number"),
    ({"tools": [TOOL, {"name": "", "input_schema": {}}]}, "tools.1.name: must not be empty"),
    ({"tools": [{"input_schema": {}}]}, "tools.0.name: is required and must be a string"),
    ({"tools": [{"type": "custom"}]}, "tools.0.name: is required and must be a string"),
    ({"tools": [{**TOOL, "description": []}]}, "tools.0.description: must be a string, not an array"),
    ({"tools": [{**TOOL, "input_schema": "x"}]}, "tools.0.input_schema: must be an object, not a string"),
    ({"tools": [TOOL] * 2049}, "tools: 2049 given, but at most 2048 can be translated"),
    ({"tool_choice": "auto"}, "tool_choice: must be an object, not a string"),
    ({"tool_choice": {}}, "tool_choice.type: is required and must be a string"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name: is required and must be a string"),
    ({"tool_choice": {"type": "tool", "name": ""}}, "tool_choice.name: must not be empty"),
    ({"thinking": "enabled"}, "thinking: must be an object, not a string"),
    ({"thinking": {"budget_tokens": "1k"}}, "thinking.budget_tokens: must be an integer, not a string"),
    ({"output_config": []}, "output_config: must be an object, not an array"),
    ({"output_config": {"effort": 5}}, "output_config.effort: must be a string, not a number"),
    ({"output_config": {"format": "json"}}, "output_config.format: must be an object, not a string"),
    ({"output_format": {"schema": 1}}, "output_format.schema: must be an object, not a number"),
    ({"messages": [{"role": 5}]}, "messages.0.role: must be a string, not a number"),
    ({"messages": [{"content": 5}]}, "messages.0.content: must be a string or an array, not a number"),
    (user(5), "messages.1.content.0: must be an object, not a number"),
    (user({"type": ["text"]}), "messages.1.content.0.type: must be a string, not an array"),
    (user("a", {"type": "text", "text": {}}), "messages.1.content.1.text: must be a string, not an object"),
    (user({"type": "image", "source": "x"}), "messages.1.content.0.source: must be an object, not a string"),
    (
        user({"type": "tool_use", "id": 5, "name": "T"}),
        "messages.1.content.0.id: must be a string, not a number",
    ),
    (user({"type": "tool_use", "id": "1", "name": ""}), "messages.1.content.0.name: must not be empty"),
    (user({"type": "tool_use", "id": "1"}), "messages.1.content.0.name: is required and must be a string"),
    (
        user({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": 5}]}),
        "messages.1.content.0.content.0.text: must be a string, not a number",
    ),
    (
        user({"type": "tool_result", "tool_use_id": "1", "content": {"type": "text"}}),
        "messages.1.content.0.content: must be a string or an array, not an object",
    ),
    (
        user({"type": "tool_result", "tool_use_id": "1", "is_error": "no"}),
        "messages.1.content.0.is_error: must be a boolean, not a string",
    ),
]


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_fields({"messages": [], **fields})
    assert (caught.value.status, caught.value.message) == (400, message)


FINE: list[dict[str, Any]] = [
    {},
    {"max_tokens": 10, "temperature": 1, "top_p": 0.5, "top_k": 3, "stop_sequences": ["a"], "stream": False},
    {"max_tokens": 10.0, "temperature": HUGE, "top_k": HUGE},
    dict.fromkeys(
        ("max_tokens", "temperature", "stop_sequences", "system", "tools", "tool_choice", "thinking")
    ),
    {"system": "s", "thinking": {"type": "later"}, "tool_choice": {"type": "auto"}, "metadata": 5},
    {"system": ["s", {"type": "text"}], "output_config": {"format": {"schema": {}}, "more": 5}},
    {"tools": [TOOL, {"type": "web_search_20250305"}, {"type": "later", "name": "x", "input_schema": None}]},
    {"tool_choice": {"type": "tool", "name": "T"}},
    {"messages": [{}, {"role": "user", "content": None}, {"role": "later", "content": "x"}]},
    user(
        "text", {}, {"type": "text"}, {"type": "later", "text": 5}, {"type": "tool_result", "content": None}
    ),
    user({"type": "tool_use", "name": "T", "input": "odd"}, {"type": "image"}, {"type": "tool_result"}),
]


@pytest.mark.parametrize("fields", FINE)
def test_absent_null_and_unknown_fields_pass(fields: dict[str, Any]) -> None:
    check_fields({"messages": [], **fields})


@pytest.mark.parametrize(
    "thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}, 5]
)
def test_a_thread_is_refused_so_that_the_client_sends_the_history(thread: Any) -> None:
    with pytest.raises(RequestError, match="thread: ") as caught:
        check_fields({"messages": [], "thread": thread})
    assert (caught.value.status, caught.value.details) == (400, THREAD_UNSUPPORTED)
