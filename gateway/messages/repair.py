"""Repairs of requests that an upstream would refuse: a table of named pure functions.

A repair takes a document as `read_request` checked it and returns one; the same object if nothing changes. An
upstream's configuration says which repairs it needs. One walk over the history finds which of them may have something
to do: a real history mostly needs none, and then no repair runs.
"""

from collections.abc import Callable, Collection, Set
from typing import Any

from gateway.messages.content_repairs import (
    PLACEHOLDER,
    attribution,
    cache_control,
    deferred_tools,
    empty_text,
    merge_roles,
    system_role,
    thinking_cache_control,
)
from gateway.messages.history import Block, Document, is_blank
from gateway.messages.request import BILLING_HEADER, thread_of
from gateway.messages.thinking import KINDS, foreign_thinking, is_own
from gateway.messages.tool_repairs import (
    TOOL_ID,
    empty_results,
    failed_results,
    is_server_call,
    is_server_result,
    server_tools,
    tool_ids,
    tool_results,
)

REPAIRS: dict[str, Callable[[Document], Document]] = {
    "deferred_tools": deferred_tools,
    "system_role": system_role,
    "foreign_thinking": foreign_thinking,
    "empty_text": empty_text,
    "attribution": attribution,
    "merge_roles": merge_roles,
    "server_tools": server_tools,
    "tool_ids": tool_ids,
    "tool_results": tool_results,
    "empty_results": empty_results,
    "failed_results": failed_results,
    "cache_control": cache_control,
    "thinking_cache_control": thinking_cache_control,
}
"""In the order of their application: first those that create or empty messages, then those that join messages, then
those that need whole turns, and last those that change single blocks."""

ALL = frozenset(REPAIRS)

_OF_TURNS = frozenset({"system_role", "merge_roles", "server_tools", "tool_ids", "tool_results"})
"""Repairs that depend on earlier turns: they skip the first turn of a continued thread."""

_MAKES_WORK = frozenset({"system_role", "tool_ids"})
"""Repairs that cause others: new user messages have neighbours and end turns, new ids have no results."""


def apply(
    document: Document, names: Collection[str], *, own_mark: str = ""
) -> tuple[Document, tuple[str, ...]]:
    """Apply the named repairs; return the document and the names of those that changed something.

    `own_mark`: the prefix of signatures of the upstream's dialect, "" for the protocol's own.
    """
    due = needed_repairs(document, own_mark)
    if due.isdisjoint(names):
        return document, ()
    changed = []
    for name, repair in REPAIRS.items():
        if name not in names or name not in due:
            continue
        before = document
        if repair is foreign_thinking:
            document = foreign_thinking(before, own_mark)
        else:
            document = _behind_first_turn(before, repair) if name in _OF_TURNS else repair(before)
        if document is not before:
            changed.append(name)
            if name in _MAKES_WORK:
                due = needed_repairs(document, own_mark)
    return document, tuple(changed)


def needed_repairs(document: Document, own_mark: str = "") -> Set[str]:
    """Return the names of the repairs that may have something to do in a document that `read_request` checked.

    It may return more than are needed, never fewer: all, if the document has things that the protocol does not know.
    `own_mark`: the prefix of signatures of the upstream's dialect.
    """
    due: set[str] = set()
    ids: list[str] = []
    # Calls in the assistant's turn, and server calls in this message, that have no result so far.
    calls: set[str] = set()
    served: set[str] = set()
    before = ""
    try:
        for message in document["messages"]:
            role, content = message["role"], message["content"]
            if role == "system":
                due.add("system_role")
            elif role == before:
                due.add("merge_roles")
            elif role == "assistant":
                if calls:
                    due.add("tool_results")
            elif role != "user":
                return ALL
            before = role
            if type(content) is not list or not content:
                if (not content or content.isspace()) and role != "system":
                    due.add("empty_text")
                continue
            for block in content:
                kind = block["type"]
                if "cache_control" in block:
                    due.add("cache_control")
                if kind == "text":
                    text = block["text"]
                    if not text or text.isspace():
                        due.add("empty_text")
                elif kind == "tool_use" and role == "assistant":
                    call = block["id"]
                    ids.append(call)
                    calls.add(call)
                elif kind == "tool_result":
                    _look_at_result(block, role, calls, due)
                elif kind != "image":
                    _look_at_rare_block(block, own_mark, served, due)
            if served:
                due.add("server_tools")
        if calls:
            due.add("tool_results")
        # All in one match, which takes a fifth of one for each.
        if ids and ("" in ids or len(set(ids)) < len(ids) or not TOOL_ID.fullmatch("".join(ids))):
            due.add("tool_ids")
        if "tools" in document or type(document.get("system")) is list or "cache_control" in document:
            _look_at_fields(document, due)
    except (KeyError, TypeError, AttributeError):
        return ALL
    return due


def _look_at_result(result: Block, role: str, calls: set[str], due: set[str]) -> None:
    """Note the repairs for a tool result, and the call that it belongs to. Raises KeyError, TypeError."""
    if role == "user":
        call = result["tool_use_id"]
        if call in calls:
            calls.remove(call)
        else:
            due.add("tool_results")
    content = result.get("content")
    if type(content) is list:
        for block in content:
            kind = block["type"]
            if "cache_control" in block:
                due.add("cache_control")
            if kind == "text" and is_blank(block["text"]):
                due.add("empty_results")
            elif kind == "tool_reference":
                due.add("deferred_tools")
            elif kind == "tool_result":
                raise KeyError(kind)
    if result.get("is_error") is True:
        if not content or is_blank(content):
            due.add("empty_results")
        elif type(content) is list and any(block["type"] != "text" for block in content):
            due.add("failed_results")


def _look_at_rare_block(block: Block, own_mark: str, served: set[str], due: set[str]) -> None:
    """Note the repairs for a block that is no text, call or result. Raises KeyError, TypeError."""
    kind = block["type"]
    if kind in KINDS:
        if not is_own(block["signature" if kind == "thinking" else "data"], own_mark):
            due.add("foreign_thinking")
        if "cache_control" in block:
            due.add("thinking_cache_control")
    elif kind == "tool_reference":
        due.add("deferred_tools")
    elif kind == "compaction":
        content = block.get("content")
        if content is None or is_blank(content):
            due.add("empty_text")
    elif is_server_call(kind):
        served.add(block["id"])
    elif is_server_result(kind):
        if block["tool_use_id"] in served:
            served.remove(block["tool_use_id"])
        else:
            due.add("server_tools")


def _look_at_fields(document: Document, due: set[str]) -> None:
    """Note the repairs for system prompt and tools. Raises KeyError, TypeError, AttributeError."""
    system = document.get("system")
    if type(system) is list:
        for block in system:
            text = block["text"]
            # It must be removed if it comes first, and blocks before it may be blank.
            if text.startswith(BILLING_HEADER):
                due.add("attribution")
            if is_blank(text):
                due.add("empty_text")
            if "cache_control" in block:
                due.add("cache_control")
    tools: Any = document.get("tools")
    if type(tools) is list:
        for tool in tools:
            if "cache_control" in tool:
                due.add("cache_control")
            if "defer_loading" in tool or tool.get("name") == PLACEHOLDER:
                due.add("deferred_tools")
    if "cache_control" in document:
        due.add("cache_control")


def _behind_first_turn(document: Document, repair: Callable[[Document], Document]) -> Document:
    """Apply a repair to the messages whose history is known: all but the first turn of a continued thread.

    That turn ends with the first assistant message after a user message.
    """
    thread = thread_of(document)
    if thread is None or thread.kind != "continue":
        return repair(document)
    messages = document["messages"]
    first = 0
    has_user = False
    for message in messages:
        has_user = has_user or message.get("role") == "user"
        if has_user and message.get("role") == "assistant":
            break
        first += 1
    known = {**document, "messages": messages[first:]}
    repaired = repair(known)
    if repaired is known:
        return document
    return {**repaired, "messages": messages[:first] + repaired["messages"]}
