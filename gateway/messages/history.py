"""Ways to change a message history without touching the original: copies only what changes, and hands
back the very same object when nothing does. Which change is due is left to the repairs.

Contents are taken as leniently as requests are: what is no block, or no content, stays as it is.
"""

from collections.abc import Callable
from typing import Any

from gateway.messages.json_values import dicts_in

Block = dict[str, Any]
Message = dict[str, Any]
Document = dict[str, Any]

MERGEABLE = ("user", "assistant")
"""Roles that take turns. A message of role system is none: it may carry settings of its own."""


def changed_blocks(
    content: list[Any], change: Callable[[Block], Block | None], kinds: tuple[str, ...] = ()
) -> list[Any]:
    """Return the list with each block changed, or each one of the types in `kinds`.

    None from `change` leaves a block out. The very same list if nothing changes.
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
    """Return an object with each block of the list under a key changed, as `changed_blocks` does it."""
    blocks = holder.get(key)
    if type(blocks) is not list:
        return holder
    kept = changed_blocks(blocks, change, kinds)
    return holder if kept is blocks else {**holder, key: kept}


def changed_message_blocks(
    document: Document, change: Callable[[Block], Block | None], kinds: tuple[str, ...] = ()
) -> Document:
    """Return the document with each content block of each message changed, as `changed_blocks` does it.

    A message that loses its last block is left out.
    """
    if kinds and not _holds(document, kinds):
        return document

    def change_content(content: Any) -> Any:
        return changed_blocks(content, change, kinds) if type(content) is list else content

    return changed_contents(document, change_content)


def _holds(document: Document, kinds: tuple[str, ...]) -> bool:
    """Return whether there is a block of one of these types: mostly there is none, and this finds it fast."""
    for message in document["messages"]:
        content = message.get("content")
        if type(content) is list:
            for block in content:
                if type(block) is dict and block.get("type") in kinds:
                    return True
    return False


def changed_contents(document: Document, change: Callable[[Any], Any]) -> Document:
    """Return the document with each message's content changed, as `with_contents` puts them in."""
    return with_contents(document, [change(message.get("content")) for message in document["messages"]])


def with_contents(document: Document, contents: list[Any]) -> Document:
    """Return the document with other contents, one for each message.

    A message whose new content is None or [] is left out; if that puts two messages of one role side
    by side, they become one. The very same document if no content is another one.
    """
    messages = document["messages"]
    if all(new is message.get("content") for new, message in zip(contents, messages, strict=True)):
        return document
    out: list[Message] = []
    run: list[Message] = []
    """Messages that stand side by side since what was between them was left out."""
    gap = False
    for message, content in zip(messages, contents, strict=True):
        if content is not message.get("content"):
            if not content:
                gap = True
                continue
            message = {**message, "content": content}
        if run and not (gap and are_mergeable(run[-1], message)):
            out.append(merged(run))
            run = []
        run.append(message)
        gap = False
    if run:
        out.append(merged(run))
    return {**document, "messages": out}


def are_mergeable(first: Message, second: Message) -> bool:
    """Return whether the two are parts of one turn."""
    return (
        first.get("role") == second.get("role")
        and first.get("role") in MERGEABLE
        and isinstance(first.get("content"), (str, list))
        and isinstance(second.get("content"), (str, list))
    )


def merged(run: list[Message]) -> Message:
    """Join mergeable messages; a single one is returned as it is.

    Strings are joined with a blank line, else each becomes a text block. In a user's message the tool
    results come first, where the protocol wants them.
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
    """Return a text block in the place of another, with that one's cache mark."""
    made = {"type": "text", "text": text}
    return {**made, "cache_control": block["cache_control"]} if "cache_control" in block else made


def is_blank(text: object) -> bool:
    """Return whether it is a text that says nothing."""
    return isinstance(text, str) and (not text or text.isspace())


def unless_blank(block: Block) -> Block | None:
    """Return a text block, or None for one without text."""
    return None if is_blank(block.get("text", "")) else block


def blocks_of(content: str | list[Any]) -> list[Any]:
    """Return a content as a list of blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def is_tool_result(block: object) -> bool:
    """Return whether it is a block with the result of a client's tool."""
    return isinstance(block, dict) and block.get("type") == "tool_result"


def without(block: Block, key: str) -> Block:
    """Return the block without a key; the very same one if it has none."""
    return {name: value for name, value in block.items() if name != key} if key in block else block
