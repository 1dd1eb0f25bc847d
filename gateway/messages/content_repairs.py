"""Repairs of messages' content and order; tool_repairs.py has those of tool calls.

A repair is a pure function: it takes a document as `read_request` checked it and returns another, or the same object if
nothing changes. It never changes its argument, and leaves data alone: tool arguments, tool schemas, texts of tool
results.
"""

from itertools import dropwhile
from typing import Any

from gateway.messages.history import (
    Block,
    Document,
    Message,
    are_mergeable,
    as_text_block,
    blocks_of,
    change_blocks,
    change_message_blocks,
    changed_list,
    drop_blank,
    is_blank,
    is_tool_result,
    merge_messages,
    with_contents,
    without,
)
from gateway.messages.request import BILLING_HEADER
from gateway.messages.thinking import KINDS

PLACEHOLDER = "DeferredToolPlaceholder"
"""A tool that is never called; it stands for tools whose schemas are loaded later."""

_TEXT = ("text",)


def attribution(document: Document) -> Document:
    """Remove the attribution line at the beginning of `system`, which is a separate block.

    It differs between conversations, and so changes the prefix that an upstream caches.
    """
    system = document.get("system")
    if not isinstance(system, list):
        return document
    kept = list(dropwhile(_is_attribution, system))
    return document if len(kept) == len(system) else _with_system(document, kept)


def deferred_tools(document: Document) -> Document:
    """Remove the placeholder tool and the marks of deferred tools; references to loaded tools become text."""
    out = change_message_blocks(document, without_references, ("tool_reference", "tool_result"))
    return changed_list(out, "tools", _without_deferral)


def system_role(document: Document) -> Document:
    """Turn messages of role system into reminders at the end of the user message before them.

    Without one they become a user message. Earlier messages do not change, so that their cached prefix stays valid.
    """
    if all(message.get("role") != "system" for message in document["messages"]):
        return document
    out: list[Message] = []
    grown: list[Any] | None = None
    """The content of the last message, if it is a new list that may be extended."""
    for message in document["messages"]:
        if message.get("role") != "system":
            out.append(message)
            grown = None
            continue
        reminders = _reminders(message.get("content"))
        if not reminders:
            continue
        last = out[-1] if out else {}
        if grown is not None:
            grown.extend(reminders)
        elif last.get("role") == "user" and isinstance(last.get("content"), (str, list)):
            grown = [*blocks_of(last["content"]), *reminders]
            out[-1] = {**last, "content": grown}
        else:
            grown = list(reminders)
            out.append({"role": "user", "content": grown})
    return {**document, "messages": out}


def empty_text(document: Document) -> Document:
    """Remove blank text blocks and empty compactions, in messages and in `system`, and messages that become empty.

    A message of role system, or with keys beside role and content, is kept: it may be a directive without text.
    """
    out = with_contents(document, [_without_blanks(message) for message in document["messages"]])
    system = document.get("system")
    if isinstance(system, list):
        kept = change_blocks(system, drop_blank, _TEXT)
        if kept is not system:
            out = _with_system(out, kept)
    return out


def merge_roles(document: Document) -> Document:
    """Join consecutive messages of a user, or of an assistant."""
    messages = document["messages"]
    out: list[Message] = []
    run: list[Message] = []
    for message in messages:
        if run and not are_mergeable(run[-1], message):
            out.append(merge_messages(run))
            run = []
        run.append(message)
    if run:
        out.append(merge_messages(run))
    return document if len(out) == len(messages) else {**document, "messages": out}


def cache_control(document: Document) -> Document:
    """Remove cache marks: on the request, its tools, system blocks, content blocks, and those inside a tool result."""
    out = change_message_blocks(document, _without_marks)
    for key in ("system", "tools"):
        out = changed_list(out, key, lambda block: without(block, "cache_control"))
    return without(out, "cache_control")


def thinking_cache_control(document: Document) -> Document:
    """Remove cache marks on thinking blocks, where the protocol forbids them."""
    return change_message_blocks(document, lambda block: without(block, "cache_control"), KINDS)


def tool_loaded(name: object) -> str:
    """Return a text in place of a reference to a loaded tool."""
    return f"Tool loaded: {name}"


def without_references(block: Block) -> Block:
    """Return a content block with tool references, its own or those in a tool result, as text."""
    if block.get("type") == "tool_reference":
        return as_text_block(block, tool_loaded(block.get("tool_name")))
    return changed_list(block, "content", without_references) if is_tool_result(block) else block


def _without_deferral(tool: Block) -> Block | None:
    """Return a tool without its deferral; None for the placeholder."""
    return None if tool.get("name") == PLACEHOLDER else without(tool, "defer_loading")


def _is_attribution(block: object) -> bool:
    """Return whether it is a text block with an attribution line."""
    text = block.get("text") if isinstance(block, dict) else None
    return isinstance(text, str) and text.startswith(BILLING_HEADER)


def _with_system(document: Document, system: list[Any]) -> Document:
    """Return the document with these system blocks, or without the key if there are none, as hosts require."""
    return {**document, "system": system} if system else without(document, "system")


def _without_marks(block: Block) -> Block:
    """Return a content block without its cache mark, and without those inside a tool result."""
    if is_tool_result(block):
        block = changed_list(block, "content", _without_marks)
    return without(block, "cache_control")


def _reminders(content: object) -> list[Any]:
    """Return a system message's content as blocks of a user message, without blank text."""
    if not isinstance(content, (str, list)):
        return []
    return change_blocks(blocks_of(content), _reminder, _TEXT)


def _reminder(block: Block) -> Block | None:
    """Return a text block as a reminder; None for a blank one."""
    text = block.get("text")
    if not isinstance(text, str):
        return block
    if is_blank(text):
        return None
    if text.startswith("<system-reminder>"):
        return block
    return {**block, "text": f"<system-reminder>\n{text}\n</system-reminder>"}


def _without_blanks(message: Message) -> Any:
    """Return a message's content without empty blocks; None if it is or becomes empty."""
    content = message.get("content")
    if message.get("role") == "system" or not message.keys() <= {"role", "content"}:
        return content
    if type(content) is list:
        return change_blocks(content, _drop_empty, ("text", "compaction")) or None
    return None if is_blank(content) else content


def _drop_empty(block: Block) -> Block | None:
    """Return a text block or a compaction; None for an empty one.

    The API itself sends a compaction of null or "" where it failed, and hosts refuse that in a request.
    """
    if block["type"] == "text":
        return drop_blank(block)
    content = block.get("content")
    is_empty = (content is None or is_blank(content)) and not block.get("encrypted_content")
    return None if is_empty else block
