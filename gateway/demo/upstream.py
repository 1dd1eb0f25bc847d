"""The demo's upstream: an application of the HTTP server that speaks the Messages protocol.

It has two accounts, serves any model name, streams with small pauses, refuses mistakes that a real upstream would
refuse, and rate-limits its first account now and then. `reply` decides what it says.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.demo.reply import SIGNATURE, Reply, reply_to
from gateway.http1.exchange import Exchange
from gateway.http1.heads import render_lines
from gateway.messages.errors import THREAD_UNSUPPORTED, RequestError, error_body
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_list
from gateway.messages.request import read_request
from gateway.messages.stream import StreamWriter
from gateway.messages.token_estimate import estimate
from gateway.proxy.request import new_id
from gateway.proxy.response_headers import EVENT_STREAM, JSON, STREAM_LINES

ACCOUNTS = {"first@demo.example": "demo-1", "second@demo.example": "demo-2"}
"""Name -> key."""

LIMITED = "demo-1"
"""The key that is rate-limited now and then; the other never is, so that every request can be served."""

EVERY = 3
"""Every third request is limited: often enough to see it within a minute, and most requests pass at once."""

PAUSE = 5
"""Seconds of `retry-after`. Above the 2 s that are worth waiting for, so that the other account takes over."""

MODELS = {
    "claude-opus-5-5": "Claude Opus 5.5 (demo)",
    "claude-sonnet-5-5": "Claude Sonnet 5.5 (demo)",
    "claude-haiku-5-5": "Claude Haiku 5.5 (demo)",
    "claude-opus-4-8": "Claude Opus 4.8 (demo)",
    "claude-haiku-4-5": "Claude Haiku 4.5 (demo)",
}
"""The listed models, id -> display name. Other names are served as well."""

LISTED_SINCE = "2026-01-01T00:00:00Z"

WORD_PAUSE = 0.03
"""Seconds between two words: as fast as a quick model, and slow enough to be seen."""

KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "max_tokens": ((int,), "integer"),
    "metadata": ((dict,), "dictionary"),
    "output_config": ((dict,), "dictionary"),
    "output_format": ((dict,), "dictionary"),
    "stop_sequences": ((list,), "list"),
    "stream": ((bool,), "boolean"),
    "system": ((str, list), "string or list"),
    "temperature": ((int, float), "number"),
    "thinking": ((dict,), "dictionary"),
    "tool_choice": ((dict,), "dictionary"),
    "tools": ((list,), "list"),
}
"""Field -> the types that its value may have, and their name in an error."""

_WORD = re.compile(r"\s*\S+|\s+")
_PIECE = re.compile(".{1,24}", re.DOTALL)
"""Pieces of a tool's input: enough to show that a client must join them."""


class DemoUpstream:
    """Accepts every request. Its only state are two counts: of requests, and for the rate limit."""

    def __init__(self, pause: float = WORD_PAUSE) -> None:
        """`pause`: seconds between two words of a stream."""
        self.pause = pause
        self.posts = 0
        """Requests with a body that reached it: messages and counts, not the list of models."""
        self._served = 0

    def accept(self, exchange: Exchange) -> "DemoRequest":
        """Accept every request; see http1.server_connection.Application."""
        self.posts += exchange.head.method == "POST"
        return DemoRequest(exchange, self)

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        """Return a violation of HTTP as an error; see http1.server_connection.Application."""
        request_id = new_id("req_")
        return JSON + _request_id(request_id), error_body(status, message, request_id)

    def check_limit(self, key: str) -> None:
        """Count a request with this key. Raises RequestError (429) for every third one of the limited account."""
        self._served += key == LIMITED
        if key == LIMITED and self._served % EVERY == 0:
            raise RequestError(
                429,
                f"This account of the demo rests for {PAUSE} s, so that another one is seen to take over.",
                headers=[(b"retry-after", b"%d" % PAUSE)],
            )


class DemoRequest:
    """Handles one request; a stream is sent piece by piece."""

    __slots__ = ("_exchange", "_pieces", "_timer", "_upstream")

    def __init__(self, exchange: Exchange, upstream: DemoUpstream) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._pieces: Iterator[bytes] = iter(())
        self._timer: asyncio.TimerHandle | None = None
        exchange.handler = self

    def request_received(self, body: bytes) -> None:
        """Respond to a whole request."""
        try:
            document = self._document(body)
        except RequestError as error:
            request_id = new_id("req_")
            body = error_body(error.status, error.message, request_id, type=error.type, details=error.details)
            lines = JSON + _request_id(request_id) + render_lines(error.headers)
            self._exchange.respond(error.status, body, lines)
            return
        lines = _request_id(new_id("req_"))
        if document is not None:
            self._exchange.respond(200, write_document(document), JSON + lines)
        else:
            self._exchange.start(200, EVENT_STREAM + STREAM_LINES + lines)
            self._step()

    def _document(self, body: bytes) -> dict[str, Any] | None:
        """Return the response's document; None for a stream, after setting its pieces. Raises RequestError."""
        head = self._exchange.head
        bearer = (head.get(b"authorization") or b"").partition(b" ")[2]
        key = (head.get(b"x-api-key") or bearer).decode("latin-1")
        if key not in ACCOUNTS.values():
            raise RequestError(401, "invalid x-api-key")
        path = head.target.partition("?")[0]
        if (head.method, path) == ("GET", "/v1/models"):
            return {"data": [_model(id) for id in MODELS], "has_more": False}
        counting = path == "/v1/messages/count_tokens"
        if head.method != "POST" or not (counting or path == "/v1/messages"):
            raise RequestError(404, f"Not found: {head.method} {path}")
        request = read_request(body)
        check(request.document, counting=counting)
        tokens = estimate(request.document)
        if counting:
            return {"input_tokens": tokens}
        self._upstream.check_limit(key)
        reply = reply_to(request.document, tokens, new_id)
        if not request.stream:
            return message(reply, request.model)
        self._pieces = pieces(reply, request.model)
        return None

    def _step(self) -> None:
        """Send the next piece, and schedule the one after it."""
        piece = next(self._pieces, None)
        self._timer = None
        if piece is None:
            self._exchange.finish()
        else:
            self._exchange.write(piece)
            self._timer = self._exchange.loop.call_later(self._upstream.pause, self._step)

    def writable(self, ready: bool) -> None:
        """Ignore back-pressure: pieces are small."""

    def ended(self) -> None:
        """Stop the stream."""
        if self._timer is not None:
            self._timer.cancel()

    def crashed(self, error: Exception) -> None:
        """Cut the connection off."""
        self._exchange.abort()


def check(document: Mapping[str, Any], *, counting: bool = False) -> None:
    """Raise RequestError (400) for the first mistake. `counting`: a request to count tokens."""
    fault = next(_faults(document, counting), None)
    if fault is not None:
        raise RequestError(400, fault)
    if document.get("thread") is not None and not counting:
        raise RequestError(
            400, "thread: the demo keeps no threads; send the history", details=THREAD_UNSUPPORTED
        )


def _faults(document: Mapping[str, Any], counting: bool) -> Iterator[str]:
    """Yield mistakes in the API's wording, since clients recover by it."""
    for field, (types, name) in KINDS.items():
        if document.get(field) is not None and type(document[field]) not in types:
            yield f"{field}: Input should be a valid {name}"
    if not counting and document.get("max_tokens") is None:
        yield "max_tokens: Field required"
    elif not counting and document["max_tokens"] < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    for at, tool in enumerate(document.get("tools") or ()):
        if type(tool) is not dict or type(tool.get("name")) is not str:
            yield f"tools.{at}.name: Field required"
    if not document["messages"]:
        yield "messages: at least one message is required"
    for at, message in enumerate(document["messages"]):
        yield from (f"messages.{at}.{fault}" for fault in _faults_of_message(message))


def _faults_of_message(message: Mapping[str, Any]) -> Iterator[str]:
    if message.get("role") not in ("user", "assistant", "system"):
        yield "role: Input should be 'user', 'assistant' or 'system'"
    content = message.get("content")
    if not isinstance(content, str | list):
        yield "content: Input should be a valid string or list"
    for at, block in enumerate(as_list(content)):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            yield f"content.{at}.type: Field required"
        elif block["type"] == "thinking" and block.get("signature") != SIGNATURE:
            yield f"content.{at}: Invalid `signature` in `thinking` block"
        elif block["type"] == "redacted_thinking":
            yield f"content.{at}: Invalid `data` in `redacted_thinking` block"


def message(reply: Reply, model: str) -> dict[str, Any]:
    """Return the reply as a Message."""
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": reply.content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
        "usage": reply.usage,
    }


def pieces(reply: Reply, model: str) -> Iterator[bytes]:
    """Yield the reply as a stream: the start, then each word or piece of a tool's input, then the end."""
    writer = StreamWriter(message_id=new_id("msg_"), model=model)
    writer.start({**reply.usage, "output_tokens": 1})
    writer.ping()
    yield writer.take()
    for block in reply.content:
        kind = block["type"]
        write: Callable[[str], None]
        if kind == "tool_use":
            writer.tool_start(block["id"], block["name"])
            write, parts = writer.tool_input, _PIECE.findall(write_document(block["input"]).decode())
        else:
            write = writer.thinking if kind == "thinking" else writer.text
            parts = _WORD.findall(block[kind])
        for part in parts:
            write(part)
            yield writer.take()
        writer.signature(block.get("signature", ""))
        writer.stop_block()
    writer.finish(reply.stop_reason, reply.usage)
    yield writer.take()


def _model(id: str) -> dict[str, str]:
    return {"type": "model", "id": id, "display_name": MODELS[id], "created_at": LISTED_SINCE}


def _request_id(request_id: str) -> bytes:
    return b"request-id: %b\r\n" % request_id.encode()
