"""What a request's last turn says: the words of a person, the results of tools, and which calls came before.

Reminders that clients put between are no one's words. What to answer is left to `reply`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Result:
    """What one tool gave back."""

    text: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """The last turn of a conversation."""

    prompt: str
    """What was said in it, last of all; "" when it holds tool results alone."""
    topic: str
    """What was said last, in this turn or before."""
    results: tuple[Result, ...]
    calls: tuple[dict[str, Any], ...]
    """The tool_use blocks of the assistant's turn before."""


def asked_of(document: dict[str, Any]) -> Asked:
    """Read it off a request. An assistant's message at the very end, the beginning of the answer, is passed
    over; and so is every message of another role."""
    messages = [m for m in document["messages"] if m.get("role") in ("user", "assistant")]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    start = len(messages)
    while start and messages[start - 1]["role"] == "user":
        start -= 1
    turn = [block for message in messages[start:] for block in _blocks(message)]
    prompt = _last_words(turn)
    return Asked(
        prompt=prompt,
        topic=prompt or _last_words([b for m in messages[:start] if m["role"] == "user" for b in _blocks(m)]),
        results=tuple(_results(turn)),
        calls=tuple(_calls(messages[start - 1])) if start else (),
    )


def shortened(text: str, limit: int) -> str:
    """The text on one line, of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _blocks(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))


def _last_words(blocks: list[dict[str, Any]]) -> str:
    for block in reversed(blocks):
        words = _words(block)
        if words:
            return words
    return ""


def _words(block: dict[str, Any]) -> str:
    """A text block's text without reminders."""
    text = block.get("text")
    return _REMINDER.sub("", text).strip() if block.get("type") == "text" and isinstance(text, str) else ""


def _results(turn: list[dict[str, Any]]) -> Iterator[Result]:
    for block in turn:
        if block.get("type") == "tool_result":
            parts = (_shown(part) for part in _blocks(block))
            text = "\n".join(part for part in parts if part)
            yield Result(text or "(no output)", block.get("is_error") is True)


def _shown(part: dict[str, Any]) -> str:
    """A part of a result, as it can be shown in words."""
    return _words(part) if part.get("type") == "text" else f"({part.get('type')})"


def _calls(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (block for block in _blocks(message) if block.get("type") == "tool_use")
