"""Cures of what a host refuses with every turn again, since the history or the tools hold it.

Pure functions, each in the table of `cures`, of whose kind they are.
"""

from typing import Any

import orjson

from gateway.messages.history import Block, Document, changed_blocks, changed_message_blocks
from gateway.messages.json_documents import write_document
from gateway.messages.thinking import unthinking

ALTERNATIVES = frozenset({"oneOf", "anyOf", "allOf"})
"""Keywords of JSON Schema that the API does not take at the top level of a tool's."""

GO_ON = "Go on exactly where your last message ends, and repeat nothing of it."
"""Stands behind a prefill, of which the reply must hold nothing: clients join the two."""


def thinking_off(document: Document, detail: str = "") -> Document:
    """Turn thinking off in so many words: some models think unless they are told not to."""
    thinking = document.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "disabled":
        return document
    return {**unthinking(document), "thinking": {"type": "disabled"}}


def prefill_behind(document: Document, detail: str = "") -> Document:
    """Ask to go on where the last message, the assistant's, ends: for models that do not by themselves."""
    messages = document["messages"]
    if not messages or messages[-1].get("role") != "assistant":
        return document
    return {**document, "messages": [*messages, {"role": "user", "content": GO_ON}]}


def trimmed_prefill(document: Document, detail: str = "") -> Document:
    """Remove the blanks with which the last message ends, if it is the assistant's."""
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
    """Make an object of each call's input that is none: of the JSON text of one, or with the value in it."""

    def change(block: Block) -> Block:
        given = block.get("input")
        return block if isinstance(given, dict) else {**block, "input": _object_of(given)}

    return changed_message_blocks(document, change, ("tool_use",))


def is_flat(schema: dict[str, Any]) -> bool:
    """Return whether a tool's schema is an object's without alternatives at its top level: the API takes no other."""
    return schema.get("type") == "object" and ALTERNATIVES.isdisjoint(schema)


def flat_schemas(document: Document, detail: str = "") -> Document:
    """Make a tool's schema one of an object with the properties of all its alternatives, requiring what each does.

    It allows more than the client's, who checks what comes by its own.
    """
    tools = document.get("tools")

    def change(tool: Block) -> Block:
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or is_flat(schema):
            return tool
        return {**tool, "input_schema": _flat(schema)}

    kept = changed_blocks(tools, change) if type(tools) is list else tools
    return document if kept is tools else {**document, "tools": kept}


def unique_tools(document: Document, detail: str = "") -> Document:
    """Leave of tools with one name the first."""
    tools, names = document.get("tools"), set[str]()

    def unless_known(tool: Block) -> Block | None:
        name = tool.get("name")
        if not isinstance(name, str) or name not in names:
            names.add(str(name))
            return tool
        return None

    kept = changed_blocks(tools, unless_known) if type(tools) is list else tools
    return document if kept is tools else {**document, "tools": kept}


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that takes what any of the alternatives does."""
    properties: dict[str, dict[bytes, Any]] = {}
    """Of each name the different schemas, by what they are as JSON."""
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
    """Return the names that a schema requires, each once, in order."""
    names = schema.get("required")
    return dict.fromkeys(name for name in (names if isinstance(names, list) else ()) if isinstance(name, str))


def _object_of(given: object) -> Document:
    """Return what stands for a call's input that is no object."""
    if isinstance(given, str):
        try:
            read = orjson.loads(given)
        except orjson.JSONDecodeError:
            read = None
        if isinstance(read, dict):
            return read
    return {} if given is None else {"input": given}
