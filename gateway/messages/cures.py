"""Cures: changes to a request in the client's own protocol that an upstream has refused.

Each is a pure function of a document and a detail of the refusal. It returns another document, or the same object if
nothing changes, and never changes its argument. The result for a message depends only on that message and earlier ones,
so that a history's beginning stays the same in every turn. `routing` knows which refusal needs which cure, and how long
it is remembered.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from gateway.messages.content_repairs import cache_control, deferred_tools, system_role
from gateway.messages.history import (
    Block,
    Document,
    as_text_block,
    change_blocks,
    change_message_blocks,
    changed_list,
    is_tool_result,
    last_kinds,
    without,
)
from gateway.messages.history_cures import (
    flat_schemas,
    object_inputs,
    prefill_behind,
    thinking_off,
    trimmed_prefill,
    unique_tools,
)
from gateway.messages.imagesize import image_size
from gateway.messages.json_values import as_dict, as_text, texts_in
from gateway.messages.thinking import KINDS, turn_thinking_off, without_thinking
from gateway.messages.tool_repairs import with_tool_ids
from gateway.patterns import LazyPattern

MAX_CACHE_MARKS = 4
"""The API's limit for one request."""

MIN_BUDGET = 1024
"""Tokens: the smallest thinking budget that the API accepts."""

BUDGETS = {"low": 4096, "medium": 10_240, "high": 16_384, "xhigh": 31_999, "max": 31_999}
"""Tokens of thinking by effort: the highest is Claude Code's own, the others are steps up to it."""

USUAL_EFFORT = "high"
"""The API's own default."""

MANY_IMAGES, MANY_IMAGES_SIDE = 20, 2000
"""With more than MANY_IMAGES images in a request, the API refuses images with more pixels per side than this."""

_PATH = LazyPattern(r"[^\s.\[\]>]+")
"""Matches a step of a path: `tools.3.custom.x`, `tools[3].x` and `body -> tools -> 3 -> x` are all in use."""

_LONGEST_PATH = 12
"""Steps of a path. The protocol's deepest field takes eight."""

_MOST_PATHS = 32
"""Paths of a detail that are used: a refusal names one or a few."""

_LONGEST_DETAIL = 4096
"""Characters of a detail that are read: it comes from an upstream."""

_KEPT_AT_TOP = frozenset({"model", "messages", "max_tokens", "system", "tools", "stream"})
"""Fields that cannot be left out without changing the request's meaning."""

_KEPT_INSIDE = frozenset(
    {"type", "role", "content", "id", "name", "text", "thinking", "signature", "data", "source", "input"}
    | {"input_schema", "tool_use_id"}
)
"""The same for a message, a block or a tool."""

_DATA = frozenset({"input", "input_schema"})
"""Fields whose content is not part of the protocol."""

_TYPE = LazyPattern(r"[a-z][a-z0-9_]*")
_UNTYPED = "custom"
"""The type of a tool without a `type`."""

_ID_PREFIX = LazyPattern(r"\^\(?([A-Za-z]{1,12}_)")
"""Matches a pattern for ids that require a prefix."""


def without_fields(document: Document, paths: str) -> Document:
    """Remove the fields that paths name, from all elements of a list: "tools.3.custom.x" is `x` of every tool.

    `paths` are separated by commas. A number, or `*`, stands for any index. A step that is no key names a type; then
    only values of that type are changed. Essential fields and data are kept.
    """
    out: Document = document
    for path in paths[:_LONGEST_DETAIL].split(",")[:_MOST_PATHS]:
        steps = _PATH.compiled.findall(path.replace("->", " "))
        if steps[:1] == ["body"]:
            del steps[0]
        keys = [step for step in steps if not step.isdecimal() and step != "*"]
        if not keys or len(steps) > _LONGEST_PATH or steps[-1] != keys[-1] or not _DATA.isdisjoint(keys):
            continue
        if keys[-1] in (_KEPT_AT_TOP if len(keys) == 1 else _KEPT_INSIDE):
            continue
        out = _without(out, keys)
    return out


def hash_user_id(document: Document, detail: str = "") -> Document:
    """Replace `metadata.user_id` by 32 hexadecimal digits of its hash."""
    metadata = as_dict(document.get("metadata"))
    user_id = metadata.get("user_id")
    if not isinstance(user_id, str):
        return document
    hashed = sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return {**document, "metadata": {**metadata, "user_id": hashed}}


def cap_cache_marks(document: Document, detail: str = "") -> Document:
    """Remove cache marks until MAX_CACHE_MARKS are left: first the oldest in messages, then those before messages."""
    contents = [message.get("content") for message in document["messages"]]
    marks = sum(map(_marks, [*contents, document.get("system"), document.get("tools")]))
    excess = marks + ("cache_control" in document) - MAX_CACHE_MARKS

    def unmarked(block: Block) -> Block:
        nonlocal excess
        if excess > 0 and is_tool_result(block):
            block = changed_list(block, "content", unmarked)
        if excess > 0 and "cache_control" in block:
            excess -= 1
            return without(block, "cache_control")
        return block

    if excess <= 0:
        return document
    out = change_message_blocks(document, unmarked)
    return changed_list(changed_list(out, "tools", unmarked), "system", unmarked)


def rewrite_tool_ids(document: Document, detail: str = "") -> Document:
    """Give every call an id of nine letters and digits, made from its number, and its result the same.

    That is the narrowest rule seen at a host. If the detail has a pattern with a prefix ("^fc_"), ids begin with it
    instead.
    """
    wanted = _ID_PREFIX.compiled.search(detail, 0, _LONGEST_DETAIL)
    prefix = wanted[1] if wanted else "call"
    return with_tool_ids(document, lambda id: False, lambda number: f"{prefix}{number:05}")


def images_as_text(document: Document, detail: str = "") -> Document:
    """Replace each image by a note, in messages and inside tool results."""
    return _replace_blocks(document, "image", _image_note)


def documents_as_text(document: Document, detail: str = "") -> Document:
    """Replace each document (also a PDF) by its text, or else a note, in messages and inside tool results."""
    return _replace_blocks(document, "document", _document_note)


def adaptive_as_enabled(document: Document, detail: str = "") -> Document:
    """Turn adaptive thinking into `enabled`, with a budget by effort and `max_tokens`; off if none fits.

    Off, too, where the API does not allow it: for a forced tool, or if the last turn has a call without thinking.
    """
    if as_dict(document.get("thinking")).get("type") != "adaptive":
        return document
    effort = as_text(as_dict(document.get("output_config")).get("effort"))
    most = document.get("max_tokens")
    # At least half of the tokens are left for the reply.
    room = most // 2 if type(most) is int else 0
    budget = min(BUDGETS.get(effort, BUDGETS[USUAL_EFFORT]), room)
    forced = as_dict(document.get("tool_choice")).get("type") in ("any", "tool")
    if budget < MIN_BUDGET or forced or _calls_before_thinking(document):
        return turn_thinking_off(document)
    return {**document, "thinking": {"type": "enabled", "budget_tokens": budget}}


def enabled_as_adaptive(document: Document, detail: str = "") -> Document:
    """Turn `enabled` thinking into adaptive; a budget below that of the default effort becomes the matching effort.

    An effort set by the client is kept.
    """
    thinking = document.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return document
    out = {**document, "thinking": {**without(thinking, "budget_tokens"), "type": "adaptive"}}
    budget, output = thinking.get("budget_tokens"), document.get("output_config", {})
    fits = (effort for effort, most in BUDGETS.items() if type(budget) is int and budget <= most)
    effort = next(fits, USUAL_EFFORT)
    if BUDGETS[effort] < BUDGETS[USUAL_EFFORT] and isinstance(output, dict) and "effort" not in output:
        out["output_config"] = {**output, "effort": effort}
    return out


def thinking_unsaid(document: Document, detail: str = "") -> Document:
    """Remove disabled `thinking`, for a model that always thinks."""
    thinking = document.get("thinking")
    is_off = isinstance(thinking, dict) and thinking.get("type") == "disabled"
    return without(document, "thinking") if is_off else document


def fitting_effort(document: Document, detail: str = "") -> Document:
    """Change the effort to the next lower one in the detail, else to the lowest; remove it if the detail is empty."""
    output = document.get("output_config")
    effort = output.get("effort") if isinstance(output, dict) else None
    taken = [word for word in BUDGETS if word in detail.split(",")]
    if not isinstance(output, dict) or "effort" not in output or effort in taken:
        return document
    efforts = [*BUDGETS]
    rank = efforts.index(effort if effort in BUDGETS else USUAL_EFFORT)
    lower = [word for word in taken if efforts.index(word) < rank]
    if taken:
        return {**document, "output_config": {**output, "effort": lower[-1] if lower else taken[0]}}
    rest = without(output, "effort")
    return {**document, "output_config": rest} if rest else without(document, "output_config")


def many_images_as_text(document: Document, detail: str = "") -> Document:
    """Replace each image larger than the limit (the detail: pixels per side) by a note.

    The API has this limit for requests with more than MANY_IMAGES: without the cure a long conversation could not go
    on.
    """
    most = int(detail) if re.fullmatch("[0-9]{3,5}", detail) else MANY_IMAGES_SIDE

    def note(block: Block) -> str | None:
        source = block.get("source")
        data = source.get("data") if isinstance(source, dict) else None
        size = image_size(data) if isinstance(data, str) else None
        if size is None or max(size) <= most:
            return None
        return f"[An image was here, too large beside so many others: {_describe_source(source)}]"

    images = sum(_images(message.get("content")) for message in document["messages"])
    return _replace_blocks(document, "image", note) if images > MANY_IMAGES else document


CURES: dict[str, Callable[[Document, str], Document]] = {
    "without_thinking": lambda document, detail: without_thinking(document),
    "system_role": lambda document, detail: system_role(document),
    "deferred_tools": lambda document, detail: deferred_tools(document),
    "fields": without_fields,
    "user_id": hash_user_id,
    "cache_marks": cap_cache_marks,
    "tool_ids": rewrite_tool_ids,
    "images": images_as_text,
    "many_images": many_images_as_text,
    "documents": documents_as_text,
    "adaptive_thinking": adaptive_as_enabled,
    "enabled_thinking": enabled_as_adaptive,
    "disabled_thinking": thinking_unsaid,
    "effort": fitting_effort,
    "thinking_off": thinking_off,
    "prefill": prefill_behind,
    "trailing_space": trimmed_prefill,
    "tool_inputs": object_inputs,
    "tool_names": unique_tools,
    "tool_schemas": flat_schemas,
    "cache_control": lambda document, detail: cache_control(document),
}
"""Name in configuration and log lines -> cure. The detail is the paths for `fields`, the refusal's text or pattern for
`tool_ids`, the accepted efforts for `effort`, pixels for `many_images`; the others ignore it."""


def _without(value: Any, keys: list[str]) -> Any:
    """Return an object, or the objects of a list, without the fields at a path."""
    if type(value) is list:
        return change_blocks(value, lambda block: _without(block, keys))
    key, rest = keys[0], keys[1:]
    if not rest:
        return without(value, key)
    inner = value.get(key)
    if type(inner) in (dict, list):
        changed = _without(inner, rest)
        if changed is inner:
            return value
        return {**value, key: changed} if changed else without(value, key)
    kind = value.get("type")
    if kind not in (None, key) and key != _UNTYPED and _TYPE.compiled.fullmatch(key):
        return value
    return _without(value, rest)


def _marks(blocks: object) -> int:
    """Count the cache marks of blocks, including those inside tool results."""
    if type(blocks) is not list:
        return 0
    return sum(
        ("cache_control" in block) + (_marks(block.get("content")) if is_tool_result(block) else 0)
        for block in blocks
        if type(block) is dict
    )


def _images(content: object) -> int:
    """Count the images of a content, including those in tool results."""
    if type(content) is not list:
        return 0
    return sum(
        (block.get("type") == "image") + (_images(block.get("content")) if is_tool_result(block) else 0)
        for block in content
        if type(block) is dict
    )


def _replace_blocks(document: Document, kind: str, note: Callable[[Block], str | None]) -> Document:
    """Replace blocks of a type by the text that `note` returns; None keeps the block."""

    def change(block: Block) -> Block:
        if block["type"] == kind:
            noted = note(block)
            return block if noted is None else as_text_block(block, noted)
        return changed_list(block, "content", change, (kind,))

    return change_message_blocks(document, change, (kind, "tool_result"))


def _image_note(block: Block) -> str:
    """Describe an image that the model cannot see."""
    return f"[An image was here, which this model cannot see: {_describe_source(block.get('source'))}]"


def _document_note(block: Block) -> str:
    """Return the text of a document, or a description if it has none."""
    source = as_dict(block.get("source"))
    kind, text = source.get("type"), None
    if kind == "text":
        text = source.get("data")
    elif kind == "content":
        text = source.get("content")
        if type(text) is list:
            text = "\n\n".join(texts_in(text))
    title = block.get("title")
    if isinstance(text, str) and text.strip():
        return f"{title}\n\n{text}" if isinstance(title, str) and title else text
    name = f"{title[:200]}, " if isinstance(title, str) and title else ""
    return (
        f"[A document was here, which this model cannot read: {name}{_describe_source(block.get('source'))}]"
    )


def _describe_source(source: object) -> str:
    """Describe type and size of a source, as far as they are known."""
    if not isinstance(source, dict):
        return "unknown"
    kind, data = source.get("media_type"), source.get("data")
    said = kind[:100] if isinstance(kind, str) else str(source.get("type"))[:100]
    return f"{said}, {len(data) * 3 // 4096} KiB" if isinstance(data, str) else said


def _calls_before_thinking(document: Document) -> bool:
    """Return whether the last assistant turn contains a tool call and does not begin with thinking."""
    kinds = last_kinds(document)
    return "tool_use" in kinds and kinds[0] not in KINDS
