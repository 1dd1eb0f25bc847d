"""Cures: what is changed of a request, in the client's own dialect, that an upstream has refused.

Each is a pure function of a document and a detail of the refusal. It returns another document, or the very same object
where there is nothing to change; it never changes what it was given. What it makes of a message follows from that
message and those before it, so that a history's beginning comes out the same with every turn. Which refusal calls for
which cure, and for how long it is remembered, is known to routing.
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
    changed_blocks,
    changed_list,
    changed_message_blocks,
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
from gateway.messages.thinking import KINDS, unthinking, without_thinking
from gateway.messages.tool_repairs import with_tool_ids
from gateway.patterns import Late

MAX_CACHE_MARKS = 4
"""The API's limit for one request."""

MIN_BUDGET = 1024
"""Tokens: the smallest thinking budget that the API takes."""

BUDGETS = {"low": 4096, "medium": 10_240, "high": 16_384, "xhigh": 31_999, "max": 31_999}
"""Tokens of thinking by effort: the highest is what Claude Code asks for by itself, the others are steps towards it."""

USUAL_EFFORT = "high"
"""The API's own default."""

MANY_IMAGES, MANY_IMAGES_SIDE = 20, 2000
"""With more images than that in one request, the API takes none with more pixels a side than that."""

_PATH = Late(r"[^\s.\[\]>]+")
"""A step of a path: `tools.3.custom.x`, `tools[3].x` and `body -> tools -> 3 -> x` are all in use."""

_LONGEST_PATH = 12
"""Steps. The deepest field of the protocol takes eight."""

_MOST_PATHS = 32
"""Paths in a detail: a refusal names one or a few."""

_LONGEST_DETAIL = 4096
"""Characters of a detail that are looked at: it is an upstream's text."""

_KEPT_AT_TOP = frozenset({"model", "messages", "max_tokens", "system", "tools", "stream"})
"""Fields without which a request is another one."""

_KEPT_INSIDE = frozenset(
    {"type", "role", "content", "id", "name", "text", "thinking", "signature", "data", "source", "input"}
    | {"input_schema", "tool_use_id"}
)
"""The same for a message, a block or a tool."""

_DATA = frozenset({"input", "input_schema"})
"""What is in there is no part of the protocol."""

_TYPE = Late(r"[a-z][a-z0-9_]*")
_UNTYPED = "custom"
"""A tool without a type is called so."""

_ID_PREFIX = Late(r"\^\(?([A-Za-z]{1,12}_)")
"""How a pattern for ids begins that wants a certain beginning."""


def without_fields(document: Document, paths: str) -> Document:
    """Remove the fields that paths name, wherever their shape matches: "tools.3.custom.x" is `x` of every tool.

    `paths` are joined by commas. A number, or `*`, stands for any number. A step that is no key names a type, and then
    values of another one are not meant. Nothing goes without which the request would be another one, and nothing that
    is data.
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


def hashed_user_id(document: Document, detail: str = "") -> Document:
    """Put 32 hexadecimal digits in the place of `metadata.user_id`, the same for the same id."""
    metadata = as_dict(document.get("metadata"))
    user_id = metadata.get("user_id")
    if not isinstance(user_id, str):
        return document
    hashed = sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return {**document, "metadata": {**metadata, "user_id": hashed}}


def capped_cache_marks(document: Document, detail: str = "") -> Document:
    """Remove cache marks until MAX_CACHE_MARKS are left: the oldest in messages, and only then those before them."""
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
    out = changed_message_blocks(document, unmarked)
    return changed_list(changed_list(out, "tools", unmarked), "system", unmarked)


def rewritten_tool_ids(document: Document, detail: str = "") -> Document:
    """Give every call an id of nine letters and digits by its number, and its result the same.

    That is the narrowest form that a host was seen to ask for. If the detail holds a pattern that asks for a certain
    beginning ("^fc_"), they begin with it instead.
    """
    wanted = _ID_PREFIX.compiled.search(detail, 0, _LONGEST_DETAIL)
    prefix = wanted[1] if wanted else "call"
    return with_tool_ids(document, lambda id: False, lambda number: f"{prefix}{number:05}")


def images_as_text(document: Document, detail: str = "") -> Document:
    """Put a note in the place of each image, in messages and inside tool results."""
    return _noted(document, "image", _image_note)


def documents_as_text(document: Document, detail: str = "") -> Document:
    """Put its text, or else a note, in the place of each document (a PDF too), in messages and inside tool results."""
    return _noted(document, "document", _document_note)


def adaptive_as_enabled(document: Document, detail: str = "") -> Document:
    """Turn adaptive thinking into `enabled`, with the budget that fits effort and `max_tokens`; off if none fits.

    Off too where the API allows no such thinking: a tool is forced, or the last turn calls one without a thought.
    """
    if as_dict(document.get("thinking")).get("type") != "adaptive":
        return document
    effort = as_text(as_dict(document.get("output_config")).get("effort"))
    most = document.get("max_tokens")
    # Half of the tokens at least are left for the reply.
    room = most // 2 if type(most) is int else 0
    budget = min(BUDGETS.get(effort, BUDGETS[USUAL_EFFORT]), room)
    forced = as_dict(document.get("tool_choice")).get("type") in ("any", "tool")
    if budget < MIN_BUDGET or forced or _calls_without_a_thought(document):
        return unthinking(document)
    return {**document, "thinking": {"type": "enabled", "budget_tokens": budget}}


def enabled_as_adaptive(document: Document, detail: str = "") -> Document:
    """Turn `enabled` thinking into adaptive, and a budget below that of the usual effort into the effort it stands for.

    An effort that the client named stays.
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
    """Remove the wish for no thinking, for a model that always thinks."""
    thinking = document.get("thinking")
    is_off = isinstance(thinking, dict) and thinking.get("type") == "disabled"
    return without(document, "thinking") if is_off else document


def fitting_effort(document: Document, detail: str = "") -> Document:
    """Lower the effort to the next one that the detail names, or else raise it to the lowest; without any it goes."""
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
    """Put a note in the place of each image that is too large beside many others; the detail is the limit in pixels.

    The API has that limit for more than MANY_IMAGES, and each turn adds some: without this a conversation ends there.
    """
    most = int(detail) if re.fullmatch("[0-9]{3,5}", detail) else MANY_IMAGES_SIDE

    def note(block: Block) -> str | None:
        source = block.get("source")
        data = source.get("data") if isinstance(source, dict) else None
        size = image_size(data) if isinstance(data, str) else None
        if size is None or max(size) <= most:
            return None
        return f"[An image was here, too large beside so many others: {_described(source)}]"

    images = sum(_images(message.get("content")) for message in document["messages"])
    return _noted(document, "image", note) if images > MANY_IMAGES else document


CURES: dict[str, Callable[[Document, str], Document]] = {
    "without_thinking": lambda document, detail: without_thinking(document),
    "system_role": lambda document, detail: system_role(document),
    "deferred_tools": lambda document, detail: deferred_tools(document),
    "fields": without_fields,
    "user_id": hashed_user_id,
    "cache_marks": capped_cache_marks,
    "tool_ids": rewritten_tool_ids,
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
"""By the names that configuration and log lines have for them. The detail is the paths for `fields`, the refusal's text
or pattern for `tool_ids`, the efforts that are taken for `effort`, pixels for `many_images`, else of no account."""


def _without(value: Any, keys: list[str]) -> Any:
    """Return an object, or the objects of a list, without what the keys lead to."""
    if type(value) is list:
        return changed_blocks(value, lambda block: _without(block, keys))
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
    """Count the cache marks of blocks, and of those inside tool results."""
    if type(blocks) is not list:
        return 0
    return sum(
        ("cache_control" in block) + (_marks(block.get("content")) if is_tool_result(block) else 0)
        for block in blocks
        if type(block) is dict
    )


def _images(content: object) -> int:
    """Count the images of a content, and those inside tool results."""
    if type(content) is not list:
        return 0
    return sum(
        (block.get("type") == "image") + (_images(block.get("content")) if is_tool_result(block) else 0)
        for block in content
        if type(block) is dict
    )


def _noted(document: Document, kind: str, note: Callable[[Block], str | None]) -> Document:
    """Return the document with each block of a type as the text that `note` makes of it; None: it stays."""

    def change(block: Block) -> Block:
        if block["type"] == kind:
            noted = note(block)
            return block if noted is None else as_text_block(block, noted)
        return changed_list(block, "content", change, (kind,))

    return changed_message_blocks(document, change, (kind, "tool_result"))


def _image_note(block: Block) -> str:
    """Describe an image that the model does not get."""
    return f"[An image was here, which this model cannot see: {_described(block.get('source'))}]"


def _document_note(block: Block) -> str:
    """Return the text of a document, or describe one that has none."""
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
    return f"[A document was here, which this model cannot read: {name}{_described(block.get('source'))}]"


def _described(source: object) -> str:
    """Say of what type and size a source is, as far as it tells."""
    if not isinstance(source, dict):
        return "unknown"
    kind, data = source.get("media_type"), source.get("data")
    said = kind[:100] if isinstance(kind, str) else str(source.get("type"))[:100]
    return f"{said}, {len(data) * 3 // 4096} KiB" if isinstance(data, str) else said


def _calls_without_a_thought(document: Document) -> bool:
    """Return whether the last assistant turn holds a tool call and does not begin with thinking."""
    kinds = last_kinds(document)
    return "tool_use" in kinds and kinds[0] not in KINDS
