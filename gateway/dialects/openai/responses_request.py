"""Converts a body for chat.completions to one for `POST /responses`.

The host stores nothing, and no ids of items are sent. Reasoning is sent back as the items that it came in; pictures and
files of tool results stay in their place.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.config.openai_traits import Traits
from gateway.dialects.openai.history import ORDER
from gateway.dialects.openai.reasoning import ITEMS
from gateway.dialects.openai.thinking import is_forced
from gateway.messages.json_values import as_dict

Body = dict[str, Any]

LEAST_TOKENS = 16
"""The API's lower limit of `max_output_tokens`."""

KEPT = ("model", "stream", "temperature", "top_p", "parallel_tool_calls")
"""Fields that are equal on both wires."""

INCLUDE = ["reasoning.encrypted_content"]
"""Requests encrypted reasoning: only that can be sent back, since nothing is stored."""


def responses_traits(traits: Traits) -> Traits:
    """Return the traits for a body that `responses_body` converts."""
    return replace(
        traits,
        echo="none" if traits.echo == "none" else ITEMS,
        echo_required=False,
        stop="cut",
        tool_images="tool",
        prompt_role="system",
        after_tool="none",
        prefill="plain",
        cache_control=False,
        stream_usage=False,
        top_k=False,
        max_tokens_field="max_output_tokens",
        least_tokens=max(traits.least_tokens, LEAST_TOKENS),
    )


def responses_body(chat: Body, document: Mapping[str, Any], traits: Traits) -> Body:
    """Return the body for the Responses wire. `document` is the client's request."""
    chat = dict(chat)
    messages: list[Body] = chat.pop("messages")
    body: Body = {"model": chat["model"], "input": []}
    if messages and messages[0]["role"] == "system":
        body["instructions"] = messages.pop(0)["content"]
    for message in messages:
        body["input"] += _items(message)
    body.update({key: chat.pop(key) for key in KEPT if key in chat})
    body.update(store=False, include=INCLUDE)
    if "max_output_tokens" in chat:
        body["max_output_tokens"] = chat.pop("max_output_tokens")
    if "tools" in chat:
        body["tools"] = [
            {"type": "function", **tool["function"], "strict": False} for tool in chat.pop("tools")
        ]
    choice = chat.pop("tool_choice", None)
    if choice is not None:
        body["tool_choice"] = (
            {"type": "function", **choice["function"]} if isinstance(choice, dict) else choice
        )
    form = chat.pop("response_format", None)
    if form is not None:
        body["text"] = {"format": {"type": form["type"], **form.get("json_schema", {})}}
    reasoning = _reasoning(chat.pop("reasoning_effort", None), document, traits)
    if reasoning:
        body["reasoning"] = reasoning
    return {**body, **chat}


def _reasoning(effort: object, document: Mapping[str, Any], traits: Traits) -> Body:
    """Return the `reasoning` field, with a summary if there will be reasoning."""
    if traits.thinking != "effort":
        return {}
    mode = as_dict(document.get("thinking")).get("type")
    is_shown = mode in ("enabled", "adaptive") or (mode is None and effort is not None)
    found: Body = {} if effort is None else {"effort": effort}
    if is_shown and effort != "none" and not is_forced(document.get("tool_choice")):
        found["summary"] = "auto"
    return found


def _items(message: Body) -> list[Body]:
    """Return a message's items."""
    role, content = message["role"], message["content"]
    parts: list[Body] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if role == "tool":
        output = content if isinstance(content, str) else [_input_part(part) for part in parts]
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}]
    if role == "user":
        return [{"type": "message", "role": "user", "content": [_input_part(part) for part in parts]}]
    return _output_items(message[ORDER])


def _output_items(order: list[tuple[str, Any]]) -> list[Body]:
    """Return an assistant message's items, in the order of its blocks."""
    items: list[Body] = []
    for kind, value in order:
        if kind == "reasoning":
            items.append(value)
        elif kind == "call":
            items.append({"type": "function_call", "call_id": value["id"], **value["function"]})
        elif items and items[-1]["type"] == "message":
            items[-1]["content"][0]["text"] += value
        else:
            said = {"type": "output_text", "text": value}
            items.append({"type": "message", "role": "assistant", "content": [said]})
    while items and items[-1]["type"] == "reasoning":
        # The host refuses reasoning without the item that followed it.
        items.pop()
    return items


def _input_part(part: Body) -> Body:
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto"}
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return {"type": "input_text", "text": part["text"]}
