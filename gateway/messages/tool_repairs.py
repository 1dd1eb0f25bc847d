"""Repairs of tool calls and results: each gets its counterpart, and an id that every upstream accepts.

Pure functions like those of content_repairs.py. The result for a turn depends only on that turn and earlier ones, so
that a history's beginning stays the same when turns are added, and an upstream's cache matches.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway.messages.content_repairs import without_references
from gateway.messages.history import (
    Block,
    Document,
    Message,
    blocks_of,
    change_blocks,
    change_contents,
    change_message_blocks,
    drop_blank,
    is_blank,
    is_tool_result,
    with_contents,
)
from gateway.messages.json_documents import write_document

NO_RESULT = "no result was provided"
NO_MESSAGE = "the tool failed without a message"
NO_CONTENT = "(an empty tool result)"
MOVED = "(what else the tool returned stands below)"

TOOL_ID = re.compile(r"[A-Za-z0-9_-]+")
"""Ids of calls that every host accepts."""

_TEXT = ("text",)

_USER_KINDS = ("text", "image", "document", "search_result")
"""Blocks that both a tool result and a user message may contain."""


def tool_ids(document: Document) -> Document:
    """Replace the id of a call that is empty, used before or has other characters, and that of its result."""
    return with_tool_ids(document, TOOL_ID.fullmatch, lambda number: f"toolu_{number}")


def with_tool_ids(
    document: Document, is_fine: Callable[[str], object], new_id: Callable[[int], str]
) -> Document:
    """Replace the id of each call that is not fine, or was used before, and that of its result.

    `new_id` returns an id for a call's number among all calls of the history. A result belongs to the first call of its
    id, in the turn before it, that has none so far.
    """
    used: set[str] = set()
    calls: dict[str, deque[str]] = {}
    """New ids of the assistant's turn, by the old ones."""
    number = 0
    is_answering = False

    def change(block: Block) -> Block:
        nonlocal number
        key = "id" if block["type"] == "tool_use" else "tool_use_id"
        old = block.get(key)
        if not isinstance(old, str):
            return block
        if key == "tool_use_id":
            new = calls[old].popleft() if calls.get(old) else old
        else:
            number += 1
            new = old
            if old in used or not is_fine(old):
                new = new_id(number)
                while new in used:
                    new += "_"
            used.add(new)
            calls.setdefault(old, deque()).append(new)
        return block if new == old else {**block, key: new}

    contents = []
    for message in document["messages"]:
        role, content = message.get("role"), message.get("content")
        if role == "assistant" and is_answering:
            calls.clear()
        if role in ("assistant", "user"):
            is_answering = role == "user"
            if type(content) is list:
                content = change_blocks(content, change, ("tool_result" if is_answering else "tool_use",))
        contents.append(content)
    return with_contents(document, contents)


def tool_results(document: Document) -> Document:
    """Give each tool call of an assistant's turn one result in the user's turn after it, and remove other results.

    A missing result is added as an error; a result without a call in the turn before it (the call is gone, or has a
    result already) becomes text.
    """
    turns = _Turns()
    for message in document["messages"]:
        role = message.get("role")
        if role == "assistant":
            turns.assistant(message)
        elif role == "user":
            turns.user(message)
        else:
            turns.out.append(message)
    turns.end()
    return {**document, "messages": turns.out} if turns.changed else document


def empty_results(document: Document) -> Document:
    """Remove blank text blocks inside tool results, and give a failed one without text a message."""
    return change_message_blocks(document, _with_words, ("tool_result",))


def failed_results(document: Document) -> Document:
    """Move all but text out of failed tool results, behind the results of the message: the API refuses it inside."""
    return change_contents(document, _with_failures_in_words)


def server_tools(document: Document) -> Document:
    """Remove a call of a server tool without a result in the same turn, and a result without its call.

    A call without a result is kept if the upstream is to continue it: its turn is the last, or also calls tools of the
    client. Then the result comes in a later turn.
    """
    messages = document["messages"]
    contents: list[Any] = []
    waiting: set[str] = set()
    """Calls of earlier turns whose results are still to come."""
    turn = _ServerTurn()
    for message in messages:
        content = message.get("content")
        if message.get("role") == "user":
            turn.drop(contents, waiting)
            turn = _ServerTurn()
        elif message.get("role") == "assistant" and type(content) is list:
            turn.add(len(contents), content)
        contents.append(content)
    turn.drop(contents, waiting, is_last=True)
    return with_contents(document, contents)


def is_server_call(kind: object) -> bool:
    """Return whether blocks of a type are server calls: `server_tool_use`, `mcp_tool_use`, ..."""
    return isinstance(kind, str) and kind.endswith("_tool_use")


def is_server_result(kind: object) -> bool:
    """Return whether blocks of a type are results of server calls: `web_search_tool_result`, ..."""
    return isinstance(kind, str) and kind.endswith("_tool_result")


class _ServerTurn:
    """The server tools of an assistant's turn, which may consist of several messages."""

    def __init__(self) -> None:
        self._contents: list[tuple[int, list[Any]]] = []
        """Indexes among the history's contents, with the contents."""
        self._calls: set[str] = set()
        self._results: set[str] = set()
        self._calls_client = False
        """Whether tools of the client are called as well."""

    def add(self, at: int, content: list[Any]) -> None:
        """Add the content of another message of the turn."""
        self._contents.append((at, content))
        for block in content:
            kind = block.get("type") if type(block) is dict else None
            if kind == "tool_use":
                self._calls_client = True
            elif is_server_call(kind) and isinstance(block.get("id"), str):
                self._calls.add(block["id"])
            elif is_server_result(kind) and isinstance(block.get("tool_use_id"), str):
                self._results.add(block["tool_use_id"])

    def drop(self, contents: list[Any], waiting: set[str], is_last: bool = False) -> None:
        """Store the contents without calls and results that lack their counterpart."""
        goes_on = is_last or self._calls_client

        def change(block: Block) -> Block | None:
            kind = block.get("type")
            if is_server_call(kind):
                id = block.get("id")
                stays = goes_on or not isinstance(id, str) or id in self._results
            elif is_server_result(kind):
                id = block.get("tool_use_id")
                stays = not isinstance(id, str) or id in self._calls or id in waiting
            else:
                return block
            return block if stays else None

        for at, content in self._contents:
            contents[at] = change_blocks(content, change)
        if goes_on:
            waiting |= self._calls


class _Turns:
    """Walks a history and gives each assistant turn's calls their results in the user turn that follows it.

    A turn may consist of several messages, with messages of other roles in between.
    """

    def __init__(self) -> None:
        self.out: list[Message] = []
        self.changed = False
        self._calls: dict[str, None] = {}
        """Calls of the current turns without a result so far, in order."""
        self._assistant = -1
        """The index in `out` at which the assistant's turn ends."""
        self._user = -1
        """The index in `out` at which the user's turn after it begins; -1 before that."""

    def assistant(self, message: Message) -> None:
        """Add a message of the assistant's."""
        if self._user >= 0:
            self.end()
        self._assistant = len(self.out)
        self.out.append(message)
        content = message.get("content")
        if type(content) is list:
            for block in content:
                if (
                    type(block) is dict
                    and block.get("type") == "tool_use"
                    and isinstance(block.get("id"), str)
                ):
                    self._calls[block["id"]] = None

    def user(self, message: Message) -> None:
        """Add a message of the user's."""
        if self._user < 0:
            self._user = len(self.out)
        content = message.get("content")
        if type(content) is list:
            results: list[Any] = []
            rest: list[Any] = []
            is_stray = False
            for block in content:
                if not is_tool_result(block):
                    rest.append(block)
                elif self._is_due(block):
                    results.append(block)
                else:
                    rest.extend(_as_text(block))
                    is_stray = True
            if is_stray:
                message = {**message, "content": results + rest}
                self.changed = True
        self.out.append(message)

    def end(self) -> None:
        """Close the turns: calls without a result get one."""
        if self._calls:
            self.changed = True
            self._add_results(
                [
                    {"type": "tool_result", "tool_use_id": call, "is_error": True, "content": NO_RESULT}
                    for call in self._calls
                ]
            )
            self._calls = {}
        self._user = -1

    def _is_due(self, result: Block) -> bool:
        """Return whether this is the first result of one of the calls."""
        call = result.get("tool_use_id")
        if not isinstance(call, str) or call not in self._calls:
            return False
        del self._calls[call]
        return True

    def _add_results(self, results: list[Any]) -> None:
        """Insert results behind those at the beginning of the user's turn, or as a turn of their own."""
        message = self.out[self._user] if self._user >= 0 else {}
        content = message.get("content")
        if not isinstance(content, (str, list)):
            self.out.insert(self._assistant + 1, {"role": "user", "content": results})
            return
        blocks = blocks_of(content)
        first = next((at for at, block in enumerate(blocks) if not is_tool_result(block)), len(blocks))
        self.out[self._user] = {**message, "content": [*blocks[:first], *results, *blocks[first:]]}


def _with_words(result: Block) -> Block:
    """Return a tool result without blank text blocks, and with a message if it failed without one."""
    content = kept = result.get("content")
    if type(content) is list:
        kept = change_blocks(content, drop_blank, _TEXT)
    if result.get("is_error") is True and (kept is None or kept == [] or is_blank(kept)):
        kept = NO_MESSAGE
    return result if kept is content else {**result, "content": kept}


def _with_failures_in_words(content: Any) -> Any:
    """Return a content whose failed tool results hold only text; their other blocks follow behind the results."""
    moved: list[Any] = []

    def in_words(result: Block) -> Block:
        inner = result.get("content")
        if result.get("is_error") is not True or type(inner) is not list:
            return result
        blocks = [_as_user_block(block) for block in inner]
        texts = [block for block in blocks if block["type"] == "text"]
        if len(texts) < len(blocks):
            moved.extend(block for block in blocks if block["type"] != "text")
            texts.append({"type": "text", "text": MOVED})
        return result if texts == inner else {**result, "content": texts}

    if type(content) is not list:
        return content
    kept = change_blocks(content, in_words, ("tool_result",))
    if not moved:
        return kept
    end = max(at for at, block in enumerate(kept) if is_tool_result(block)) + 1
    return [*kept[:end], *moved, *kept[end:]]


def _as_text(result: Block) -> list[Any]:
    """Return a tool result's content as blocks for a user message."""
    content = result.get("content")
    blocks = blocks_of(content) if isinstance(content, (str, list)) else []
    inner = [_as_user_block(block) for block in blocks]
    return change_blocks(inner, drop_blank, _TEXT) or [{"type": "text", "text": NO_CONTENT}]


def _as_user_block(block: Any) -> Any:
    """Return a block of a tool result as one for a user message."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind in _USER_KINDS:
        return block
    if kind == "tool_reference":
        return without_references(block)
    return {"type": "text", "text": write_document(block).decode()}
