"""Cures of what a host refuses with every turn again, since the history or the tools hold it.

Pure functions, each in the table of `cures`, of whose kind they are.
"""

from typing import Any

import orjson

from gateway.messages.history import Block, Document, changed_blocks, changed_message_blocks
from gateway.messages.thinking import unthinking

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
