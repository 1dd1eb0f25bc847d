"""Requests that are answered without an upstream: warm-ups and quota probes, and the answer they get.

Claude Code starts sub-agents with the prompt "Warmup" and throws the answers away. Anything that could
be a real prompt is none of these: when in doubt, an upstream answers.
"""

from typing import Any

from gateway.messages.json_documents import write_document
from gateway.messages.stream import StreamWriter

_WARMUP = "Warmup"
_QUOTA = "quota"
_TEXT = "OK"
_USAGE = {"input_tokens": 1, "output_tokens": 1}

_OPEN = "<system-reminder>"
_CLOSE = "</system-reminder>"


def is_warmup(document: dict[str, Any]) -> bool:
    """Whether the last message (of another role than system) is a user's and says "Warmup" and nothing
    else, reminders aside, or consists only of tool results that failed with it."""
    for message in reversed(document["messages"]):
        if message.get("role") != "system":
            return message.get("role") == "user" and _is_warmup_content(message.get("content"))
    return False


def is_quota_probe(document: dict[str, Any]) -> bool:
    """Whether it asks for one token in answer to the single message "quota"."""
    messages = document["messages"]
    if document.get("max_tokens") != 1 or len(messages) != 1 or messages[0].get("role") != "user":
        return False
    content = messages[0].get("content")
    if isinstance(content, list) and len(content) == 1:
        content = _text_of(content[0])
    return isinstance(content, str) and content.strip() == _QUOTA


def answer(model: str, message_id: str) -> bytes:
    """The canned answer as a JSON body."""
    return write_document(
        {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": _TEXT}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                **_USAGE,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
            },
        }
    )


def events(model: str, message_id: str) -> bytes:
    """The canned answer as a whole event stream."""
    writer = StreamWriter(message_id=message_id, model=model)
    writer.start(_USAGE)
    writer.text(_TEXT)
    writer.finish("end_turn", _USAGE)
    return writer.take()


def _is_warmup_content(content: object) -> bool:
    if isinstance(content, str):
        return content.strip() == _WARMUP
    if not isinstance(content, list):
        return False
    prompts = failures = 0
    for block in content:
        text = _text_of(block)
        if text is None:
            if not _is_failed_warmup(block):
                return False
            failures += 1
        elif text.strip() == _WARMUP:
            prompts += 1
        elif not _is_reminder(text):
            return False
    return failures > 0 if not prompts else prompts == 1 and not failures


def _text_of(block: object) -> str | None:
    """A text block's text; None for anything else."""
    if isinstance(block, dict) and block.get("type") == "text":
        text = block.get("text")
        return text if isinstance(text, str) else None
    return None


def _is_reminder(text: str) -> bool:
    """Whether a text is reminders from end to end."""
    at, end = 0, len(text)
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        close = text.find(_CLOSE, at)
        if close < 0 or not text.startswith(_OPEN, at):
            return False
        at = close + len(_CLOSE)
    return _OPEN in text


def _is_failed_warmup(block: object) -> bool:
    if not isinstance(block, dict) or block.get("type") != "tool_result" or block.get("is_error") is not True:
        return False
    content = block.get("content")
    if isinstance(content, list):
        content = _text_of(content[0]) if content else None
    return isinstance(content, str) and content.startswith(_WARMUP)
