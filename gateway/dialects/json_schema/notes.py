"""Constraints without a keyword in the target, as text in a description."""

from collections.abc import Iterable
from typing import Any

from gateway.dialects.json_schema.budget import Budget
from gateway.messages.json_documents import write_document

NOTE_LENGTH = 240
"""Characters of a constraint's value in a description: a long pattern, two dozen values of an enum."""


def note(key: str, value: object, budget: Budget) -> str:
    """Return "(key: value)", with the value as JSON unless it is text, and cut if it is long."""
    text = value if isinstance(value, str) else write_document(value).decode()
    budget.charge_text(len(text))
    return f"({key}: {text[:NOTE_LENGTH]}{'…' if len(text) > NOTE_LENGTH else ''})"


def describe(schema: dict[str, Any], notes: Iterable[str]) -> None:
    """Append notes to a schema's description, in place."""
    texts = [text for text in (schema.get("description"), *notes) if isinstance(text, str) and text]
    if texts:
        schema["description"] = " ".join(texts)
