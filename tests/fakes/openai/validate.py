"""Is it OpenAI's shape? Holds request bodies to the types of the `openai` package, and histories to the rules
that hosts enforce beyond shape."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses
from pydantic import TypeAdapter

BODY_FIELDS = frozenset(
    {
        *("top_k", "thinking", "reasoning", "chat_template_kwargs", "enable_thinking", "thinking_budget"),
        *("reasoning_split", "tool_stream", "session_id", "plugins", "enable_search"),
    }
)
"""Fields of a body that only some hosts know."""

MESSAGE_FIELDS = frozenset(
    {"reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "prefix"}
)


@cache
def _adapter(wire: str, stream: bool) -> TypeAdapter[Any]:
    if wire == "chat":
        kind: Any = (
            chat.CompletionCreateParamsStreaming if stream else chat.CompletionCreateParamsNonStreaming
        )
    else:
        kind = (
            responses.ResponseCreateParamsStreaming if stream else responses.ResponseCreateParamsNonStreaming
        )
    return TypeAdapter(kind)


def validate_request(body: Mapping[str, Any]) -> None:
    """Raise for anything that OpenAI would not know, once the fields of traits are taken away."""
    if "input" in body:
        validate_responses(body)
        return
    bare = deepcopy(dict(body))
    for field in BODY_FIELDS:
        bare.pop(field, None)
    for message in bare["messages"]:
        for field in MESSAGE_FIELDS:
            message.pop(field, None)
        parts = message.get("content")
        if isinstance(parts, list):
            message["content"] = [part for part in parts if part["type"] != "thinking"]
            for part in parts:
                part.pop("cache_control", None)
        for call in message.get("tool_calls", ()):
            call.pop("extra_content", None)
    conforms("chat", bare)
    validate_history(body["messages"])


def validate_responses(body: Mapping[str, Any]) -> None:
    """The same on the Responses wire: items without ids, which the types want and the API does not."""
    bare = deepcopy(dict(body))
    for item in bare["input"]:
        assert "id" not in item
        if item["type"] == "reasoning":
            item["id"] = "rs_1"
        if item.get("role") == "assistant":
            item.update(id="msg_1", status="completed")
            for part in item["content"]:
                part["annotations"] = []
    conforms("responses", bare)
    assert bare["store"] is False
    assert "previous_response_id" not in bare
    open_calls: list[str] = []
    seen: set[str] = set()
    reasoning = False
    for item in body["input"]:
        if item["type"] == "function_call_output":
            assert item["call_id"] == open_calls.pop(0)
            assert item["output"]
        else:
            assert item.get("role") != "user" or not open_calls
            assert item.get("role") != "user" or not reasoning, "reasoning without its following item"
        if item["type"] == "function_call":
            assert item["call_id"] not in seen
            seen.add(item["call_id"])
            open_calls.append(item["call_id"])
        reasoning = item["type"] == "reasoning"
    assert not open_calls


def conforms(wire: str, body: Mapping[str, Any]) -> None:
    """Read the body by the types, lazy parts to their end: equal, or it held an unknown field."""
    read = _whole(_adapter(wire, bool(body.get("stream"))).validate_python(dict(body)))
    assert read == body, _difference(read, body)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_whole(item) for item in value]
    return value


def _difference(read: Any, given: Any, path: str = "") -> str:
    if isinstance(read, dict) and isinstance(given, dict):
        for key in given:
            if key not in read:
                return f"{path}.{key} is unknown"
            if read[key] != given[key]:
                return _difference(read[key], given[key], f"{path}.{key}")
    if isinstance(read, list) and isinstance(given, list):
        for at, (one, other) in enumerate(zip(read, given, strict=False)):
            if one != other:
                return _difference(one, other, f"{path}.{at}")
    return f"{path}: {given!r} was read as {read!r}"


def validate_history(messages: list[dict[str, Any]], *, alternate: bool = False) -> None:
    """Hold messages to the rules for their order: one result for each call, at once, in its order; one system
    prompt, at the beginning; nothing empty."""
    open_calls: list[str] = []
    seen: set[str] = set()
    for index, message in enumerate(messages):
        role, content = message["role"], message.get("content")
        if role == "tool":
            assert open_calls, "a tool message without a call"
            assert message["tool_call_id"] == open_calls.pop(0), "results in another order than the calls"
            assert content, "an empty tool message"
            continue
        assert not open_calls, f"{role} before the results of {open_calls}"
        if role in ("system", "developer"):
            assert index == 0, "a second system prompt"
        if role == "assistant":
            assert "content" in message, "content is missing"
            calls = message.get("tool_calls", [])
            assert "tool_calls" not in message or calls, "an empty list of calls"
            assert content or calls, "an empty assistant message"
            open_calls = [call["id"] for call in calls]
            assert len(set(open_calls)) == len(open_calls)
            assert not seen & set(open_calls), "an id used twice"
            seen |= set(open_calls)
        else:
            assert content, f"an empty {role} message"
    assert not open_calls, f"calls without results: {open_calls}"
