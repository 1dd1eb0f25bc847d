"""Repairs of what messages hold and of how they follow each other; those of tool calls are in tool_repairs.py.

A repair is a pure function: it takes a document as `read_request` checked it and returns another, or the very same
object when there was nothing to do. It never changes what it was given, and never reaches into what is data: tool
arguments, tool schemas, texts of tool results.
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
    changed_blocks,
    changed_list,
    changed_message_blocks,
    is_blank,
    is_tool_result,
    merged,
    unless_blank,
    with_contents,
    without,
)
from gateway.messages.request import BILLING_HEADER
from gateway.messages.thinking import KINDS

PLACEHOLDER = "DeferredToolPlaceholder"
"""A tool that is never to be called: it stands for tools whose schemas are loaded later."""

_TEXT = ("text",)


def attribution(document: Document) -> Document:
    """Remove the attribution line that `system` may begin with, a block of its own.

    It differs between conversations, and so spoils the prefix that an upstream caches.
    """
    system = document.get("system")
    if not isinstance(system, list):
        return document
    kept = list(dropwhile(_is_attribution, system))
    return document if len(kept) == len(system) else _with_system(document, kept)


def deferred_tools(document: Document) -> Document:
    """Remove the placeholder tool and the marks of deferred ones; references to loaded tools become text."""
    out = changed_message_blocks(document, without_references, ("tool_reference", "tool_result"))
    return changed_list(out, "tools", _undeferred)


def system_role(document: Document) -> Document:
    """Turn messages of role system into reminders at the end of the user message before them.

    Where there is none they become a user message. What came before them stays as it was, and so does the prefix
    that is cached.
    """
    if all(message.get("role") != "system" for message in document["messages"]):
        return document
    out: list[Message] = []
    grown: list[Any] | None = None
    """The content of the last message, if it is a list of ours that may grow."""
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
    """Remove blank text blocks and empty compactions, in messages and in `system`, and messages that hold nothing.

    A message of role system, or with keys beside role and content, stays as it is: it may be a directive that has
    no text.
    """
    out = with_contents(document, [_without_blanks(message) for message in document["messages"]])
    system = document.get("system")
    if isinstance(system, list):
        kept = changed_blocks(system, unless_blank, _TEXT)
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
            out.append(merged(run))
            run = []
        run.append(message)
    if run:
        out.append(merged(run))
    return document if len(out) == len(messages) else {**document, "messages": out}


def cache_control(document: Document) -> Document:
    """Remove cache marks: on the request, its tools, system blocks, content blocks, and those inside a tool result."""
    out = changed_message_blocks(document, _without_marks)
    for key in ("system", "tools"):
        out = changed_list(out, key, lambda block: without(block, "cache_control"))
    return without(out, "cache_control")


def thinking_cache_control(document: Document) -> Document:
    """Remove cache marks on thinking blocks, where the protocol forbids them."""
    return changed_message_blocks(document, lambda block: without(block, "cache_control"), KINDS)


def tool_loaded(name: object) -> str:
    """Return a reference to a loaded tool in words."""
    return f"Tool loaded: {name}"


def without_references(block: Block) -> Block:
    """Return a content block with tool references as text: itself one, or those inside a tool result."""
    if block.get("type") == "tool_reference":
        return as_text_block(block, tool_loaded(block.get("tool_name")))
    return changed_list(block, "content", without_references) if is_tool_result(block) else block


def _undeferred(tool: Block) -> Block | None:
    """Return a tool that is there from the start; None for the placeholder."""
    return None if tool.get("name") == PLACEHOLDER else without(tool, "defer_loading")


def _is_attribution(block: object) -> bool:
    """Return whether it is a text block with an attribution line."""
    text = block.get("text") if isinstance(block, dict) else None
    return isinstance(text, str) and text.startswith(BILLING_HEADER)


def _with_system(document: Document, system: list[Any]) -> Document:
    """Return the document with these system blocks; without the key when there are none, as hosts want it."""
    return {**document, "system": system} if system else without(document, "system")


def _without_marks(block: Block) -> Block:
    """Return a content block without its cache mark, and without those inside a tool result."""
    if is_tool_result(block):
        block = changed_list(block, "content", _without_marks)
    return without(block, "cache_control")


def _reminders(content: object) -> list[Any]:
    """Return a system message's content as blocks of a user message; blank text says nothing."""
    if not isinstance(content, (str, list)):
        return []
    return changed_blocks(blocks_of(content), _reminder, _TEXT)


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
    """Return a message's content without what is empty; None if nothing is left or there was nothing."""
    content = message.get("content")
    if message.get("role") == "system" or not message.keys() <= {"role", "content"}:
        return content
    if type(content) is list:
        return changed_blocks(content, _unless_empty, ("text", "compaction")) or None
    return None if is_blank(content) else content


def _unless_empty(block: Block) -> Block | None:
    """Return a text block or a compaction; None for one that says nothing.

    The API itself sends a compaction of null or "" where it failed, and hosts refuse that in a request.
    """
    if block["type"] == "text":
        return unless_blank(block)
    content = block.get("content")
    is_empty = (content is None or is_blank(content)) and not block.get("encrypted_content")
    return None if is_empty else block
