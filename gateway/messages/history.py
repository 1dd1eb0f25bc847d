"""Changes message histories without modifying the original: copies only what changes, and returns the same object if
nothing does. The repairs decide which change is needed.

Lenient, like the reading of requests: what is no block or no content is kept as it is.
"""

from collections.abc import Callable
from typing import Any

from gateway.messages.json_values import dicts_in

Block = dict[str, Any]
Message = dict[str, Any]
Document = dict[str, Any]

MERGEABLE = ("user", "assistant")
"""Roles whose adjacent messages are one turn. Messages of role system are separate: they may contain settings."""


def change_blocks(
    content: list[Any], change: Callable[[Block], Block | None], kinds: tuple[str, ...] = ()
) -> list[Any]:
    """Return the list with each block changed, or only those of the types in `kinds`.

    A block for which `change` returns None is left out. Returns the same list if nothing changes.
    """
    out: list[Any] | None = None
    for index, block in enumerate(content):
        new = block
        if type(block) is dict and (not kinds or block.get("type") in kinds):
            new = change(block)
        if out is None:
            if new is block:
                continue
            out = content[:index]
        if new is not None or block is None:
            out.append(new)
    return content if out is None else out


def changed_list(
    holder: dict[str, Any], key: str, change: Callable[[Block], Block | None], kinds: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the object with `change_blocks` applied to the list under `key`."""
    blocks = holder.get(key)
    if type(blocks) is not list:
        return holder
    kept = change_blocks(blocks, change, kinds)
    return holder if kept is blocks else {**holder, key: kept}


def change_message_blocks(
    document: Document, change: Callable[[Block], Block | None], kinds: tuple[str, ...] = ()
) -> Document:
    """Return the document with the content blocks of all messages changed, as `change_blocks` does it.

    A message that loses its last block is left out.
    """
    if kinds and not _holds(document, kinds):
        return document

    def change_content(content: Any) -> Any:
        return change_blocks(content, change, kinds) if type(content) is list else content

    return change_contents(document, change_content)


def _holds(document: Document, kinds: tuple[str, ...]) -> bool:
    """Return whether there is a block of one of these types. Usually there is none, which this finds fast."""
    for message in document["messages"]:
        content = message.get("content")
        if type(content) is list:
            for block in content:
                if type(block) is dict and block.get("type") in kinds:
                    return True
    return False


def change_contents(document: Document, change: Callable[[Any], Any]) -> Document:
    """Return the document with each message's content changed; see `with_contents`."""
    return with_contents(document, [change(message.get("content")) for message in document["messages"]])


def with_contents(document: Document, contents: list[Any]) -> Document:
    """Return the document with other contents, one for each message.

    A message whose new content is None or [] is left out; if two messages of one role become neighbours, they are
    merged. Returns the same document if no content differs.
    """
    messages = document["messages"]
    if all(new is message.get("content") for new, message in zip(contents, messages, strict=True)):
        return document
    out: list[Message] = []
    run: list[Message] = []
    """Messages that are neighbours because those between them were left out."""
    gap = False
    for message, content in zip(messages, contents, strict=True):
        if content is not message.get("content"):
            if not content:
                gap = True
                continue
            message = {**message, "content": content}
        if run and not (gap and are_mergeable(run[-1], message)):
            out.append(merge_messages(run))
            run = []
        run.append(message)
        gap = False
    if run:
        out.append(merge_messages(run))
    return {**document, "messages": out}


def are_mergeable(first: Message, second: Message) -> bool:
    """Return whether two messages belong to one turn."""
    return (
        first.get("role") == second.get("role")
        and first.get("role") in MERGEABLE
        and isinstance(first.get("content"), (str, list))
        and isinstance(second.get("content"), (str, list))
    )


def merge_messages(run: list[Message]) -> Message:
    """Merge messages of one turn; a single one is returned as it is.

    Strings are joined with a blank line, otherwise each becomes a text block. In a user message the tool results come
    first, as the protocol requires.
    """
    if len(run) == 1:
        return run[0]
    contents = [message["content"] for message in run]
    content: Any
    if all(isinstance(content, str) for content in contents):
        content = "\n\n".join(contents)
    else:
        content = [block for content in contents for block in blocks_of(content)]
        if run[0]["role"] == "user":
            content.sort(key=lambda block: not is_tool_result(block))
    out: Message = {}
    for message in run:
        out.update(message)
    out["content"] = content
    return out


def last_kinds(document: Document) -> list[Any]:
    """Return the types of the blocks in the assistant's last message."""
    for message in reversed(document["messages"]):
        if message.get("role") == "assistant":
            return [block.get("type") for block in dicts_in(message.get("content"))]
    return []


def as_text_block(block: Block, text: str) -> Block:
    """Return a text block that replaces `block` and keeps its cache mark."""
    made = {"type": "text", "text": text}
    return {**made, "cache_control": block["cache_control"]} if "cache_control" in block else made


def is_blank(text: object) -> bool:
    """Return whether a value is a blank text."""
    return isinstance(text, str) and (not text or text.isspace())


def drop_blank(block: Block) -> Block | None:
    """Return a text block, or None for one without text."""
    return None if is_blank(block.get("text", "")) else block


def blocks_of(content: str | list[Any]) -> list[Any]:
    """Return a content as a list of blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def is_tool_result(block: object) -> bool:
    """Return whether it is a block with the result of a client's tool."""
    return isinstance(block, dict) and block.get("type") == "tool_result"


def without(block: Block, key: str) -> Block:
    """Return the block without a key; the same object if it has none."""
    return {name: value for name, value in block.items() if name != key} if key in block else block
