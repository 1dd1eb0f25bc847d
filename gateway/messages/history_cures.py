"""Cures for refusals that would recur with every turn, because their cause is in the history or the tools.

Pure functions of the same signature as those in cures.py, whose table lists them.
"""

from typing import Any

import orjson

from gateway.messages.history import Block, Document, change_blocks, change_message_blocks
from gateway.messages.json_documents import write_document
from gateway.messages.thinking import turn_thinking_off

ALTERNATIVES = frozenset({"oneOf", "anyOf", "allOf"})
"""JSON Schema keywords that the API refuses at the top level of a tool's schema."""

GO_ON = "Go on exactly where your last message ends, and repeat nothing of it."
"""User message after a prefill. The reply must not repeat the prefill: clients join the two."""


def thinking_off(document: Document, detail: str = "") -> Document:
    """Turn thinking off explicitly: some models think by default."""
    thinking = document.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "disabled":
        return document
    return {**turn_thinking_off(document), "thinking": {"type": "disabled"}}


def prefill_behind(document: Document, detail: str = "") -> Document:
    """Add a user message that asks to continue the assistant's last message, for models without prefill."""
    messages = document["messages"]
    if not messages or messages[-1].get("role") != "assistant":
        return document
    return {**document, "messages": [*messages, {"role": "user", "content": GO_ON}]}


def trimmed_prefill(document: Document, detail: str = "") -> Document:
    """Remove trailing blanks from the last message if it is the assistant's."""
    messages: list[Any] = document["messages"]
    content: Any = (
        messages[-1].get("content") if messages and messages[-1].get("role") == "assistant" else None
    )
    last: Any = content[-1] if type(content) is list and content else content
    text = last.get("text") if isinstance(last, dict) else last
    if not isinstance(text, str) or text == text.rstrip():
        return document
    kept = text.rstrip() if type(content) is str else [*content[:-1], {**last, "text": text.rstrip()}]
    return {**document, "messages": [*messages[:-1], {**messages[-1], "content": kept}]}


def object_inputs(document: Document, detail: str = "") -> Document:
    """Turn each call's `input` that is no object into one: parsed from JSON text, else with the value in it."""

    def change(block: Block) -> Block:
        given = block.get("input")
        return block if isinstance(given, dict) else {**block, "input": _object_of(given)}

    return change_message_blocks(document, change, ("tool_use",))


def is_flat(schema: dict[str, Any]) -> bool:
    """Return whether a schema describes an object, without alternatives at its top level, as the API requires."""
    return schema.get("type") == "object" and ALTERNATIVES.isdisjoint(schema)


def flat_schemas(document: Document, detail: str = "") -> Document:
    """Merge a schema's alternatives into one object schema: all properties; required is what each alternative requires.

    The result allows more than the client's schema; the client validates by its own.
    """
    tools = document.get("tools")

    def change(tool: Block) -> Block:
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or is_flat(schema):
            return tool
        return {**tool, "input_schema": _flat(schema)}

    kept = change_blocks(tools, change) if type(tools) is list else tools
    return document if kept is tools else {**document, "tools": kept}


def unique_tools(document: Document, detail: str = "") -> Document:
    """Keep only the first of several tools with the same name."""
    tools, names = document.get("tools"), set[str]()

    def unless_known(tool: Block) -> Block | None:
        name = tool.get("name")
        if not isinstance(name, str) or name not in names:
            names.add(str(name))
            return tool
        return None

    kept = change_blocks(tools, unless_known) if type(tools) is list else tools
    return document if kept is tools else {**document, "tools": kept}


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object schema that accepts whatever one of the alternatives accepts."""
    properties: dict[str, dict[bytes, Any]] = {}
    """Property name -> its different schemas, keyed by their JSON."""
    required = _required(schema)
    branches = {key: [one for one in schema[key] if isinstance(one, dict)] for key in _alternatives(schema)}
    for branch in (schema, *(one for found in branches.values() for one in found)):
        own = branch.get("properties")
        for name, value in own.items() if isinstance(own, dict) else ():
            properties.setdefault(name, {})[write_document(value)] = value
    for key, found in branches.items():
        needs = [{*_required(branch)} for branch in found]
        if needs:
            common = set.union(*needs) if key == "allOf" else set.intersection(*needs)
            required |= dict.fromkeys(name for each in found for name in _required(each) if name in common)
    out = {key: value for key, value in schema.items() if key not in ALTERNATIVES}
    out["type"] = "object"
    out["properties"] = {
        name: next(iter(found.values())) if len(found) == 1 else {"anyOf": [*found.values()]}
        for name, found in properties.items()
    }
    return {**out, "required": [*required]} if required else out


def _alternatives(schema: dict[str, Any]) -> list[str]:
    return [key for key in schema if key in ALTERNATIVES and isinstance(schema[key], list)]


def _required(schema: dict[str, Any]) -> dict[str, None]:
    """Return a schema's required names without duplicates, in order."""
    names = schema.get("required")
    return dict.fromkeys(name for name in (names if isinstance(names, list) else ()) if isinstance(name, str))


def _object_of(given: object) -> Document:
    """Return the object that replaces a call's `input`."""
    if isinstance(given, str):
        try:
            read = orjson.loads(given)
        except orjson.JSONDecodeError:
            read = None
        if isinstance(read, dict):
            return read
    return {} if given is None else {"input": given}
