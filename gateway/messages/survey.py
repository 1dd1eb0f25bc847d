"""What there is to repair in a request, seen in one walk over its history.

A real client's history needs nothing, and nothing but this walk then looks at it. It may see more to
do than there is, never less; what is done about it is left to the repairs.
"""

from collections.abc import Set
from typing import Any

from gateway.messages.history import Document, Message
from gateway.messages.request import BILLING_HEADER
from gateway.messages.thinking import KINDS, is_own

PLACEHOLDER = "DeferredToolPlaceholder"
"""A tool that is never to be called: it stands for tools whose schemas are loaded later."""

ALL = frozenset(
    {
        "deferred_tools",
        "system_role",
        "foreign_thinking",
        "empty_text",
        "attribution",
        "merge_roles",
        "tool_results",
        "cache_control",
        "thinking_cache_control",
    }
)
"""Every repair."""


def survey(document: Document, own_mark: str = "") -> Set[str]:
    """The repairs that may find something to do in a document as `read_request` checked it.

    All of them, if it holds what the protocol does not know. `own_mark` is what signatures of the
    dialect asked for begin with.
    """
    due: set[str] = set()
    try:
        _look_at_messages(document["messages"], own_mark, due)
        _look_at_fields(document, due)
    except (KeyError, TypeError, AttributeError):
        return ALL
    return due


def _look_at_messages(messages: list[Message], own_mark: str, due: set[str]) -> None:
    """Raises KeyError, TypeError or AttributeError where the protocol is not kept."""
    before = ""
    calls: set[str] = set()
    """Of the assistant's turn, as far as they have no result yet."""
    is_answering = False
    for message in messages:
        role = message["role"]
        if role == before and role != "system":
            due.add("merge_roles")
        before = role
        if role == "user":
            is_answering = True
        elif role == "system":
            due.add("system_role")
        elif role != "assistant":
            raise KeyError(role)
        elif is_answering:
            is_answering = False
            if calls:
                due.add("tool_results")
        content = message["content"]
        if type(content) is list and content:
            _look_at_blocks(content, role, calls, own_mark, due)
        elif not content or content.isspace():
            due.add("empty_text")
    if calls:
        due.add("tool_results")


def _look_at_blocks(blocks: list[Any], role: str, calls: set[str], own_mark: str, due: set[str]) -> None:
    for block in blocks:
        kind = block["type"]
        if "cache_control" in block:
            due.add("cache_control")
            if kind in KINDS:
                due.add("thinking_cache_control")
        if kind == "text":
            text = block["text"]
            if not text or text.isspace():
                due.add("empty_text")
        elif kind == "tool_use":
            if role == "assistant":
                # Adding "" to it raises TypeError for an id that is none.
                calls.add(block["id"] + "")
        elif kind == "tool_result":
            if role == "user":
                call = block["tool_use_id"]
                if call in calls:
                    calls.remove(call)
                else:
                    due.add("tool_results")
            if type(block.get("content")) is list:
                _look_inside(block["content"], due)
        elif kind in KINDS:
            if not is_own(block["signature" if kind == "thinking" else "data"], own_mark):
                due.add("foreign_thinking")
        elif kind == "tool_reference":
            due.add("deferred_tools")


def _look_inside(blocks: list[Any], due: set[str]) -> None:
    """The blocks of a tool result."""
    for block in blocks:
        kind = block["type"]
        if "cache_control" in block:
            due.add("cache_control")
        if kind == "tool_reference":
            due.add("deferred_tools")
        elif kind == "tool_result":
            raise KeyError(kind)


def _look_at_fields(document: Document, due: set[str]) -> None:
    system = document.get("system")
    if type(system) is list:
        for block in system:
            # It must go where it comes first, and what stands before it may be blank.
            if block["text"].startswith(BILLING_HEADER):
                due.add("attribution")
        _look_at_blocks(system, "system", set(), "", due)
    tools = document.get("tools")
    if type(tools) is list:
        for tool in tools:
            if "cache_control" in tool:
                due.add("cache_control")
            if tool.get("name") == PLACEHOLDER:
                due.add("deferred_tools")
    if "cache_control" in document:
        due.add("cache_control")
