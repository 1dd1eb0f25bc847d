"""Requests that need no upstream (warm-ups and quota probes), and the response to them.

Claude Code starts sub-agents with the prompt "Warmup" and discards the responses. A request that could be a real prompt
is none of these: in doubt it goes to an upstream.
"""

from typing import Any, Literal

from gateway.messages.json_documents import write_document
from gateway.messages.stream import StreamWriter

_WARMUP = "Warmup"
_QUOTA = "quota"
_TEXT = "OK"
_USAGE = {"input_tokens": 1, "output_tokens": 1}

_OPEN = "<system-reminder>"
_CLOSE = "</system-reminder>"

_LONGEST = 1024 * 1024
"""Characters of a warm-up's message: project instructions in its reminders have up to some 100,000."""


def is_warmup(document: dict[str, Any]) -> bool:
    """Return whether the only message is a user's "Warmup", or the last message reports the failure of such a prompt.

    Reminders and messages of role system are ignored. A failure: the first message was such a prompt, and the last
    consists of tool results that failed with it.
    """
    messages = document["messages"]
    for message in reversed(messages):
        role = message.get("role")
        if role != "system":
            break
    else:
        return False
    what = _says(message.get("content")) if role == "user" else ""
    if not what:
        return False
    first = next(other for other in messages if other.get("role") != "system")
    if what == "prompt":
        return first is message
    return first.get("role") == "user" and _says(first.get("content")) == "prompt"


def is_quota_probe(document: dict[str, Any]) -> bool:
    """Return whether a request asks for one token in reply to the single message "quota"."""
    messages = document["messages"]
    if document.get("max_tokens") != 1 or len(messages) != 1 or messages[0].get("role") != "user":
        return False
    content = messages[0].get("content")
    if isinstance(content, list) and len(content) == 1:
        content = _text_of(content[0])
    return isinstance(content, str) and content.strip() == _QUOTA


def response_body(model: str, message_id: str) -> bytes:
    """Return the fixed response as a JSON body."""
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


def response_events(model: str, message_id: str) -> bytes:
    """Return the fixed response as a whole event stream."""
    writer = StreamWriter(message_id=message_id, model=model)
    writer.start(_USAGE)
    writer.text(_TEXT)
    writer.finish("end_turn", _USAGE)
    return writer.take()


def _says(content: object) -> Literal["prompt", "failure", ""]:
    """Return what a user message is, without its reminders: a warm-up's prompt, its failed calls, or something else."""
    if type(content) is str:
        return "prompt" if content.strip() == _WARMUP else ""
    if type(content) is not list:
        return ""
    prompts = failures = length = 0
    # The prompt is the last block, and usually not a warm-up.
    for block in reversed(content):
        text = _text_of(block)
        if text is None:
            if not _is_failed_warmup(block):
                return ""
            failures += 1
            continue
        if _WARMUP not in text and _OPEN not in text:
            return ""
        length += len(text)
        if length > _LONGEST:
            return ""
        if text.strip() == _WARMUP:
            prompts += 1
        elif not _is_reminder(text):
            return ""
    if prompts == 1 and not failures:
        return "prompt"
    return "failure" if failures and not prompts else ""


def _text_of(block: object) -> str | None:
    """Return a text block's text; None for anything else."""
    if type(block) is dict and block.get("type") == "text":
        text = block.get("text")
        return text if type(text) is str else None
    return None


def _is_reminder(text: str) -> bool:
    """Return whether a text consists of reminders only."""
    *reminders, rest = text.split(_CLOSE)
    return not rest.strip() and all(part.lstrip().startswith(_OPEN) for part in reminders)


def _is_failed_warmup(block: object) -> bool:
    """Return whether a block is the result of a tool call that failed with a warm-up."""
    if not isinstance(block, dict) or block.get("type") != "tool_result" or block.get("is_error") is not True:
        return False
    content = block.get("content")
    if isinstance(content, list):
        content = _text_of(content[0]) if content else None
    return isinstance(content, str) and content.startswith(_WARMUP)
