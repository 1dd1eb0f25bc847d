"""The upstream's responses as bytes: heads, events of Messages, Gemini and OpenAI. Rendered once, at import.

Shapes and header fields are those of the real services, so that a peer has the usual work with
them: a head of fifteen fields, of which some differ with every response; one event, one chunk.
"""

import json
from typing import Any

from bench.programs import FILLER, JSON_SIZE, stamp

SLOT = stamp(0)
"""Stands in a template where a paced event's time goes; also the text of events without a time."""


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def chunk(data: bytes) -> bytes:
    """One chunk of Transfer-Encoding: chunked."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"

_COMMON_FIELDS = (
    b"date: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
    b"anthropic-ratelimit-requests-limit: 4000\r\n"
    b"anthropic-ratelimit-requests-remaining: %(left)d\r\n"
    b"anthropic-ratelimit-requests-reset: 2026-11-21T10:00:01Z\r\n"
    b"anthropic-ratelimit-tokens-limit: 400000\r\n"
    b"anthropic-ratelimit-tokens-remaining: %(left)d00\r\n"
    b"anthropic-ratelimit-tokens-reset: 2026-11-21T10:00:01Z\r\n"
    b"request-id: req_%(number)024d\r\n"
    b"anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    b"server: cloudflare\r\n"
    b"cf-cache-status: DYNAMIC\r\n"
    b"x-robots-tag: none\r\n"
)
_JSON_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %(size)d\r\n"
    + _COMMON_FIELDS
    + b"\r\n"
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n" + _COMMON_FIELDS + b"\r\n"
)


def json_head(number: int, size: int) -> bytes:
    """The head of a complete response; `number` counts responses and shows in the request id."""
    return _JSON_HEAD % {b"size": size, b"left": 4000 - number % 4000, b"number": number}


def stream_head(number: int) -> bytes:
    """The head of a streamed response."""
    return _STREAM_HEAD % {b"left": 4000 - number % 4000, b"number": number}


def _message(content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_000000000000000000000001",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 420,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 200,
        },
    }


def message(size: int = JSON_SIZE) -> bytes:
    """A complete Message of exactly `size` bytes."""
    empty = len(_json(_message([{"type": "text", "text": ""}], "end_turn")))
    text = (FILLER * (size // len(FILLER) + 1))[: size - empty]
    return _json(_message([{"type": "text", "text": text}], "end_turn"))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return chunk(b"event: %b\ndata: %b\n\n" % (name.encode(), _json({"type": name, **data})))


class Dialect:
    """The pieces of a stream in one dialect, each piece whole chunks."""

    __slots__ = ("_after", "_before", "delta", "end", "start")

    def __init__(self, start: bytes, delta: bytes, end: bytes) -> None:
        self.start = start
        """Everything before the first delta."""
        self.delta = delta
        """One delta; its text begins with a stamp of zeros."""
        self.end = end
        """Everything after the last delta, the last chunk included."""
        self._before, self._after = delta.split(SLOT)

    def stamped(self, microseconds: int) -> bytes:
        """A delta that carries the time `microseconds`."""
        return b"%b%b%b" % (self._before, stamp(microseconds), self._after)


def _messages() -> Dialect:
    text = {"type": "text_delta", "text": SLOT.decode() + FILLER}
    return Dialect(
        start=_event("message_start", {"message": _message([], None)})
        + _event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
        + _event("ping", {}),
        delta=_event("content_block_delta", {"index": 0, "delta": text}),
        end=_event("content_block_stop", {"index": 0})
        + _event(
            "message_delta",
            {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 200}},
        )
        + _event("message_stop", {})
        + LAST_CHUNK,
    )


def _gemini_event(text: str, finish: str | None = None) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    document = {
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 420, "candidatesTokenCount": 200, "totalTokenCount": 620},
        "modelVersion": "bench",
        "responseId": "bench000000000000000001",
    }
    return chunk(b"data: %b\r\n\r\n" % _json(document))


def _gemini() -> Dialect:
    return Dialect(
        start=b"",
        delta=_gemini_event(SLOT.decode() + FILLER),
        end=_gemini_event("", "STOP") + LAST_CHUNK,
    )


def _openai_event(delta: dict[str, str], finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    return chunk(b"data: %b\n\n" % _json({**document, "choices": [choice], **fields}))


def _openai() -> Dialect:
    usage = {"prompt_tokens": 420, "completion_tokens": 200, "total_tokens": 620}
    return Dialect(
        start=_openai_event({"role": "assistant", "content": ""}),
        delta=_openai_event({"content": SLOT.decode() + FILLER}),
        end=_openai_event({}, "stop", usage=usage) + chunk(b"data: [DONE]\n\n") + LAST_CHUNK,
    )


MESSAGES = _messages()
GEMINI = _gemini()
OPENAI = _openai()
MESSAGE = message()
MODELS = _json(
    {
        "data": [
            {"id": "bench", "type": "model", "display_name": "Bench", "created_at": "2026-01-01T00:00:00Z"}
        ],
        "has_more": False,
        "first_id": "bench",
        "last_id": "bench",
    }
)
GEMINI_MODELS = _json(
    {
        "models": [
            {
                "name": "models/bench",
                "displayName": "Bench",
                "supportedGenerationMethods": ["generateContent"],
            }
        ]
    }
)
COUNT = b'{"input_tokens":420}'
