"""The part of a request that prompt caches depend on, as hashes, to find where two requests first differ.

A prompt is cached from its beginning: tools, then system prompt, then messages. Each tool, each block of the system
prompt and each content block becomes a 64-bit hash; no text is kept. Cache marks are ignored, since they move with each
turn, and so is the difference between a string and one text block.
"""

from array import array
from bisect import bisect_right
from itertools import compress, count
from operator import ne
from typing import Any, NamedTuple

from gateway.messages.json_documents import write_document
from gateway.messages.request import BILLING_HEADER

BRIEF, HOUR = 300.0, 3600.0
"""Seconds that a cache lives after its last use: the API's default, and with `"ttl": "1h"`."""

NO_NUMBERS = array("q")

OPTIONS = ("tool_choice", "thinking", "output_config")
"""Fields that the API's caches of messages depend on besides their content."""


class Prefix(NamedTuple):
    """One request's prompt, as hashes by Python's `hash`, which are valid in this process only."""

    tools: "array[int]"
    system: "array[int]"
    billing: int
    """The hash of an attribution block before the system prompt, which `system` does not include; 0 without one."""
    options: tuple[int, ...]
    blocks: "array[int]"
    """Blocks of all messages, in order; the first of a message includes its role."""
    starts: "array[int]"
    """The index in `blocks` at which each message begins."""
    system_is_text: bool
    """Whether the system prompt is one string."""
    messages_are_text: bytes
    """The same for each message's content: 1 if it is."""
    marked: bool
    """Whether the client asked for caching."""
    lives: float
    """Seconds that its cache lives: the shortest of the client's marks."""

    @property
    def size(self) -> int:
        """The number of hashes."""
        return len(self.tools) + len(self.system) + len(self.blocks) + 2 * len(self.starts)


class _Marks:
    """The cache marks found so far."""

    __slots__ = ("brief", "found")

    def __init__(self) -> None:
        self.found = False
        self.brief = False

    def off(self, block: Any) -> Any:
        """Return a block without its mark and those of its inner blocks; other values unchanged."""
        if type(block) is not dict:
            return block
        if "cache_control" in block:
            mark = block["cache_control"]
            self.found = True
            self.brief = self.brief or not (isinstance(mark, dict) and mark.get("ttl") == "1h")
            block = {name: value for name, value in block.items() if name != "cache_control"}
        inner = block.get("content")
        if type(inner) is list and any(type(one) is dict and "cache_control" in one for one in inner):
            block = {**block, "content": [self.off(one) for one in inner]}
        return block


def _hash(value: object) -> int:
    return hash(write_document(value, finite=True))


def _blocks(content: Any) -> list[Any]:
    """Return any content as a list of blocks."""
    if type(content) is str:
        return [{"type": "text", "text": content}]
    return content if type(content) is list else [content]


def prefix_of(document: dict[str, Any]) -> Prefix:
    """Return the prompt of a request that `read_request` accepted. Unchecked fields may have any value."""
    marks = _Marks()
    tools, prompt = document.get("tools"), document.get("system")
    marks.off({name: document[name] for name in ("cache_control",) if name in document})
    billing = 0
    system = array("q")
    for place, block in enumerate(_blocks(prompt) if prompt is not None else ()):
        text = block.get("text") if type(block) is dict else None
        if place == 0 and type(text) is str and text.startswith(BILLING_HEADER):
            billing = hash(text)
        else:
            system.append(_hash(marks.off(block)))
    hashed_tools = array(
        "q", [_hash(marks.off(tool)) for tool in _blocks(tools)] if tools is not None else ()
    )
    blocks, starts, strings = array("q"), array("q"), bytearray()
    for message in document["messages"]:
        starts.append(len(blocks))
        content = message.get("content")
        strings.append(type(content) is str)
        first: Any = message.get("role")
        for block in _blocks(content) or [None]:
            value = _hash(marks.off(block))
            blocks.append(value if first is None else hash((str(first), value)))
            first = None
    return Prefix(
        hashed_tools,
        system,
        billing,
        tuple(_hash(document[name]) if name in document else 0 for name in OPTIONS),
        blocks,
        starts,
        type(prompt) is str,
        bytes(strings),
        marks.found,
        HOUR if marks.found and not marks.brief else BRIEF,
    )


def continues(new: Prefix, old: Prefix) -> bool:
    """Return whether the newer prompt begins with all of the older one."""
    return (
        new.tools == old.tools
        and new.system == old.system
        and new.options == old.options
        and new.blocks[: len(old.blocks)] == old.blocks
    )


def are_of_one_thread(new: Prefix, old: Prefix) -> bool:
    """Return whether two prompts are turns of one thread of work.

    A session has several: the main one, sub-agents, some with equal tools and system prompts, requests for a title, and
    what follows a compaction. Turns of one thread have the same first message, or share most of the later ones.
    """
    ours, theirs = _first_message(new), _first_message(old)
    if new.blocks[:ours] == old.blocks[:theirs]:
        # Two empty fronts are not alike.
        same_front = new.tools == old.tools != NO_NUMBERS or new.system == old.system != NO_NUMBERS
        return same_front or new.blocks[: theirs + 1] == old.blocks[: theirs + 1] != old.blocks[:theirs]
    later = set(old.blocks[theirs:])
    return bool(later) and 2 * len(later.intersection(new.blocks[ours:])) >= len(later)


def common_blocks(new: Prefix, old: Prefix) -> int:
    """Return the number of equal content blocks at the beginning."""
    return _first_difference(new.blocks, old.blocks)


def difference(new: Prefix, old: Prefix) -> str:
    """Return the path in the newer request at which the prompts first differ; "" if they do not."""
    if new.tools != old.tools:
        return f"tools.{_first_difference(new.tools, old.tools)}"
    if new.system != old.system:
        if new.system_is_text:
            return "system"
        return f"system.{_first_difference(new.system, old.system) + bool(new.billing)}"
    for name, ours, theirs in zip(OPTIONS, new.options, old.options, strict=True):
        if ours != theirs:
            return name
    at = _first_difference(new.blocks, old.blocks)
    if at < len(old.blocks):
        return _path_of_block(new, at)
    return "cache_control" if old.marked and not new.marked else ""


def _first_message(prefix: Prefix) -> int:
    """Return the index in `blocks` at which the first message ends."""
    return prefix.starts[1] if len(prefix.starts) > 1 else len(prefix.blocks)


def _first_difference(new: "array[int]", old: "array[int]") -> int:
    """Return the first index at which two lists differ; the shorter one's length if it is the other's beginning."""
    return next(compress(count(), map(ne, new, old)), min(len(new), len(old)))


def _path_of_block(prefix: Prefix, at: int) -> str:
    if at >= len(prefix.blocks):
        return f"messages.{len(prefix.starts)}"
    message = bisect_right(prefix.starts, at) - 1
    if prefix.messages_are_text[message]:
        return f"messages.{message}.content"
    return f"messages.{message}.content.{at - prefix.starts[message]}"
