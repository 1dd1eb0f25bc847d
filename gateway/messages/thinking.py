"""Thinking blocks in a history: whose they are, which must go, and what an upstream says when one may
not stay. What a signature means is known to the dialect that made it, and to no one here.
"""

import re

from gateway.config.kinds import SIGNATURE_MARKS
from gateway.messages.history import Block, Document, changed_message_blocks, last_kinds, without
from gateway.messages.json_values import as_dict
from gateway.patterns import Late

DIALECT_MARKS = SIGNATURE_MARKS
"""What signatures of translated upstreams begin with. The Messages protocol's own have no mark."""

KINDS = ("thinking", "redacted_thinking")

_WORDINGS = Late(
    r"(?<![\w.])signatures?\b"  # "Invalid `signature` in `thinking` block"; not ".properties.signature"
    r"|thought[\W_]?signature"  # "Function call is missing a thought_signature in functionCall parts"
    r"|(thinking|content\.\d+)\.signature\b"  # "messages.3.content.0.thinking.signature: Field required"
    r"|thinking\W+blocks?\b"  # "`thinking` or `redacted_thinking` blocks ... cannot be modified"
    r"|expected\W+(redacted_)?thinking\W+(or|but)\b",  # "Expected `thinking` or ..., but found `text`"
    re.IGNORECASE,
)
"""How upstreams say 400 to a signature or to a thinking block."""

_LONGEST_TEXT = 8192
"""Characters of an error text that are looked at; those of the known wordings have 500."""


def foreign_thinking(document: Document, own_mark: str = "") -> Document:
    """Remove the thinking that the upstream cannot know: its signature has another dialect's mark, or there is none.

    `own_mark` is the mark of the dialect asked for, "" for the protocol's own.
    """

    def unless_foreign(block: Block) -> Block | None:
        signature = block.get("signature" if block["type"] == "thinking" else "data")
        return block if is_own(signature, own_mark) else None

    return changed_message_blocks(document, unless_foreign, KINDS)


def is_own(signature: object, own_mark: str) -> bool:
    """Return whether it is a signature of the dialect asked for."""
    if not isinstance(signature, str) or not signature:
        return False
    return signature.startswith(own_mark) if own_mark else not signature.startswith(DIALECT_MARKS)


def without_thinking(document: Document) -> Document:
    """Remove all thinking from the history, for an upstream that refused a block of it.

    A last assistant turn with a tool call would have to begin with one while `thinking` is on: then
    `thinking` goes too, and the context edits that need it.
    """
    out = changed_message_blocks(document, lambda block: None, KINDS)
    return unthinking(out) if _thinks(out) and _calls_without_thinking(out) else out


def unthinking(document: Document) -> Document:
    """Turn `thinking` off: without the parameter, and the context edits that hosts refuse then."""
    out = without(document, "thinking")
    management = out.get("context_management")
    if not isinstance(management, dict) or not isinstance(management.get("edits"), list):
        return out
    kept = [edit for edit in management["edits"] if not _clears_thinking(edit)]
    if kept or len(management) > 1:
        return {**out, "context_management": {**management, "edits": kept}}
    return without(out, "context_management")


def speaks_of_signature(text: str) -> bool:
    """Return whether the text of a 400 is about a signature or a thinking block.

    Not one about the `thinking` parameter, its budget, or a signature of some other kind.
    """
    return _WORDINGS.compiled.search(text, 0, _LONGEST_TEXT) is not None


def _thinks(document: Document) -> bool:
    return as_dict(document.get("thinking")).get("type") in ("enabled", "adaptive")


def _calls_without_thinking(document: Document) -> bool:
    """Return whether the last assistant turn holds a tool call.

    Text may come before it: hosts refuse that as well ("found `text`").
    """
    return "tool_use" in last_kinds(document)


def _clears_thinking(edit: object) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking_")
