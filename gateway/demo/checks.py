"""What an embedded upstream refuses, in the words that the API has for it: clients recover by its wording.

Only what a client of a real upstream would trip over early; everything else is let pass.
"""

from collections.abc import Callable
from typing import Any

from gateway.demo.signatures import is_signed
from gateway.messages.errors import RequestError

Document = dict[str, Any]

ROLES = ("user", "assistant", "system")


def check(document: Document, *, counting: bool = False) -> None:
    """Raises RequestError (400) for the first thing that is wrong. `counting`: it asks for a token count only."""
    for find_fault in _ALWAYS if counting else (*_ALWAYS, *_TO_ANSWER):
        fault = find_fault(document)
        if fault is not None:
            raise RequestError(400, fault)


def _messages(document: Document) -> str | None:
    if not document["messages"]:
        return "messages: at least one message is required"
    for index, message in enumerate(document["messages"]):
        if message.get("role") not in ROLES:
            return f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'"
    return None


def _thinking_blocks(document: Document) -> str | None:
    """Thinking that was signed elsewhere, or changed on the way."""
    for index, message in enumerate(document["messages"]):
        content = message.get("content")
        for position, block in enumerate(content if isinstance(content, list) else ()):
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "thinking" and not is_signed(block):
                return f"messages.{index}.content.{position}: Invalid `signature` in `thinking` block"
            if kind == "redacted_thinking":
                return f"messages.{index}.content.{position}: Invalid `data` in `redacted_thinking` block"
    return None


def _max_tokens(document: Document) -> str | None:
    if "max_tokens" not in document:
        return "max_tokens: Field required"
    limit = document["max_tokens"]
    if isinstance(limit, bool) or not isinstance(limit, int):
        return "max_tokens: Input should be a valid integer"
    if limit < 1:
        return "max_tokens: Input should be greater than or equal to 1"
    return None


def _budget(document: Document) -> str | None:
    thinking = document.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(budget, int) and budget >= document["max_tokens"]:
        return "`max_tokens` must be greater than `thinking.budget_tokens`"
    return None


_ALWAYS: tuple[Callable[[Document], str | None], ...] = (_messages, _thinking_blocks)
_TO_ANSWER: tuple[Callable[[Document], str | None], ...] = (_max_tokens, _budget)
