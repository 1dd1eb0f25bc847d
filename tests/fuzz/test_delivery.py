"""An upstream's streamed answer on its way to the client, whatever its bytes.

Contract: no exception. The attempt hears one end. What the client got by then is nothing, or an answer that h11 reads:
whole if it ended well, and else with an error as its last event, or cut so that nobody takes it for whole. An answer
that is made here has the grammar of events, and ends as a message only if it ended well.
"""

import asyncio
from functools import partial

import h11
import orjson
from hypothesis import strategies as st

from gateway.delivery.readers import reader_of
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, Outgoing
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.messages.sse import Decoder, Event
from tests.fuzz.fuzz import CUTS, cut, edited, fuzz
from tests.support.attempt import Recorder, upstream_connection
from tests.support.breaking import EVENTS
from tests.support.clock import JumpingLoop
from tests.support.leftovers import leftovers
from tests.support.upstream import chunked, event

JUNK = [b"\n", b"\n\n", b"\r", b"{", b"}", b'"', b"[", b"]", b"null", b"0", b"data: ", b"event: error\n", b":"]
ERROR = event("error", error={"type": "overloaded_error", "message": "busy"})
PARTS = [{"text": "Hi"}, {"text": "hm", "thought": True}, {"functionCall": {"name": "Read", "args": {"a": 1}}}]
CHUNKS = [
    *({"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in PARTS),
    {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2}},
    {"candidates": [{"finishReason": "SAFETY"}]},
    {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}},
]
BODIES: dict[str, list[bytes]] = {
    "anthropic": [*EVENTS, ERROR],
    "gemini": [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in CHUNKS],
}
DIALECTS: dict[str, Dialect] = {
    "anthropic": AnthropicDialect(),
    "gemini": GeminiDialect(lambda: 0.5, lambda warning: None),
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ENDS = ("done", "broke", "failed", "whole")
