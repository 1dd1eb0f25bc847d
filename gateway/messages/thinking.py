"""Thinking blocks in a history: their origin, their removal, and upstreams' errors about them. Only the dialect that
made a signature knows its content.
"""

import re

from gateway.config.kinds import SIGNATURE_MARKS
from gateway.messages.history import Block, Document, change_message_blocks, last_kinds, without
from gateway.messages.json_values import as_dict
from gateway.patterns import LazyPattern

DIALECT_MARKS = SIGNATURE_MARKS
"""Prefixes of translated upstreams' signatures. The Messages protocol's own have no prefix."""

KINDS = ("thinking", "redacted_thinking")

_WORDINGS = LazyPattern(
    r"(?<![\w.])signatures?\b"  # "Invalid `signature` in `thinking` block"; not ".properties.signature"
    r"|thought[\W_]?signature"  # "Function call is missing a thought_signature in functionCall parts"
    r"|(thinking|content\.\d+)\.signature\b"  # "messages.3.content.0.thinking.signature: Field required"
    r"|thinking\W+blocks?\b"  # "`thinking` or `redacted_thinking` blocks ... cannot be modified"
    r"|expected\W+(redacted_)?thinking\W+(or|but)\b",  # "Expected `thinking` or ..., but found `text`"
    re.IGNORECASE,
)
"""Matches upstreams' errors (400) about a signature or a thinking block."""

_LONGEST_TEXT = 8192
"""Characters of an error text that are searched; the known messages have up to 500."""


def foreign_thinking(document: Document, own_mark: str = "") -> Document:
    """Remove thinking of other origin: its signature has another dialect's mark, or there is none.

    `own_mark`: the mark of the upstream's dialect, "" for the protocol's own.
    """

    def unless_foreign(block: Block) -> Block | None:
        signature = block.get("signature" if block["type"] == "thinking" else "data")
        return block if is_own(signature, own_mark) else None

    return change_message_blocks(document, unless_foreign, KINDS)


def is_own(signature: object, own_mark: str) -> bool:
    """Return whether it is a signature of the upstream's dialect."""
    if not isinstance(signature, str) or not signature:
        return False
    return signature.startswith(own_mark) if own_mark else not signature.startswith(DIALECT_MARKS)


def without_thinking(document: Document) -> Document:
    """Remove all thinking from the history, for an upstream that refused a block of it.

    While `thinking` is on, a last assistant turn with a tool call must begin with a thinking block: then `thinking` is
    removed, too, and the context edits that need it.
    """
    out = change_message_blocks(document, lambda block: None, KINDS)
    return turn_thinking_off(out) if _thinks(out) and _calls_without_thinking(out) else out


def turn_thinking_off(document: Document) -> Document:
    """Turn `thinking` off: remove the parameter, and the context edits that hosts refuse without it."""
    out = without(document, "thinking")
    management = out.get("context_management")
    if not isinstance(management, dict) or not isinstance(management.get("edits"), list):
        return out
    kept = [edit for edit in management["edits"] if not _clears_thinking(edit)]
    if kept or len(management) > 1:
        return {**out, "context_management": {**management, "edits": kept}}
    return without(out, "context_management")


def mentions_signature(text: str) -> bool:
    """Return whether the text of a 400 is about a signature or a thinking block.

    It is not if it is about the `thinking` parameter, its budget, or another kind of signature.
    """
    return _WORDINGS.compiled.search(text, 0, _LONGEST_TEXT) is not None


def _thinks(document: Document) -> bool:
    return as_dict(document.get("thinking")).get("type") in ("enabled", "adaptive")


def _calls_without_thinking(document: Document) -> bool:
    """Return whether the last assistant turn contains a tool call.

    Text may precede it: hosts refuse that, too ("found `text`").
    """
    return "tool_use" in last_kinds(document)


def _clears_thinking(edit: object) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking_")
