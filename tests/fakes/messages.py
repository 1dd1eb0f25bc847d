"""A scriptable upstream: real sockets, and any response, cut, stalled, reset or misframed at any byte."""

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

import h11
import orjson

from tests.support.loops import settle


class Close:
    """Close the connection cleanly."""


class Reset:
    """Reset the connection (RST)."""


class Stall:
    """Send nothing more, until the peer leaves."""


@dataclass(frozen=True)
class Until:
    """Wait for what a test sets."""

    event: asyncio.Event


@dataclass(frozen=True)
class Sleep:
    """Wait before the next step."""

    seconds: float


Step = bytes | Close | Reset | Stall | Sleep | Until
Script = Iterable[Step]
"""A generator that is resumed knows that the peer is still there."""


@dataclass
class Received:
    """One request that came."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        for known, value in self.headers:
            if known.decode() == name:
                return value.decode()
        return None

    @property
    def key(self) -> str | None:
        """The credential it came with."""
        return self.header("x-api-key") or self.header("authorization") or self.header("x-goog-api-key")

    @property
    def document(self) -> object:
        return json.loads(self.body)


def json_response(
    status: int, document: object, headers: Iterable[tuple[str, str]] = (), *, close: bool = False
) -> list[Step]:
    """Return a JSON response with Content-Length."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if close:
        lines.append("connection: close")
    whole = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
    return [whole, Close()] if close else [whole]


def error_response(
    status: int, type: str, message: str, headers: Iterable[tuple[str, str]] = ()
) -> list[Step]:
    """An error in the protocol's shape, with a request id of the upstream's own."""
    document = {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_upstream"}
    return json_response(status, document, [("request-id", "req_upstream"), *headers])


SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"request-id: req_upstream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def event(name: str, **fields: object) -> bytes:
    """One event as an upstream writes it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **fields}))


def message_start(model: str = "m") -> bytes:
    return event(
        "message_start",
        message={
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 1, "cache_read_input_tokens": 5},
        },
    )


def text_events(text: str = "Hello there", stop_reason: str = "end_turn") -> list[bytes]:
    """A whole streamed response, event by event."""
    words = [
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
        for word in text.split(" ")
    ]
    return [
        message_start(),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *words,
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": stop_reason, "stop_sequence": None},
            usage={"output_tokens": 7},
        ),
        event("message_stop"),
    ]


def chunked(pieces: Iterable[bytes], *, end: bool = True) -> bytes:
    """Pieces as chunks, with the last chunk unless `end` is false."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return body + (b"0\r\n\r\n" if end else b"")


def stream_response(events: Iterable[bytes], *, end: bool = True) -> list[Step]:
    """A streamed response, all of it in one write."""
    return [SSE_HEAD + chunked(events, end=end)]


def message(text: str = "Hello there", model: str = "m") -> dict[str, object]:
    """A whole Message."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 5},
    }


Responder = Callable[[Received], Script]


@dataclass
class ScriptedUpstream:
    """Responds to each request by the next script, the last one again and again; or by `respond`.

    `keeps`: the requests, for a test to look at.
    """

    scripts: deque[Script] = field(default_factory=deque)
    respond: Responder | None = None
    keeps: bool = True
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    """Connections accepted so far."""
    open: int = 0
    """Connections open now."""
    left: int = 0
    """Times the peer left while a script was stalling or sleeping."""
    port: int = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await settle(10)  # a server that is closed would leave open a connection it has just accepted
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await settle()  # a transport is closed in a turn after

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, *scripts: Script) -> None:
        """Replace the scripts for the next requests."""
        self.scripts = deque(scripts)

    def _next(self, request: Received) -> Script:
        if self.respond is not None:
            return self.respond(request)
        return self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await read_request(reader)
        if request is None:
            return False
        if self.keeps:
            self.requests.append(request)
        for step in self._next(request):
            if isinstance(step, bytes):
                if writer.is_closing():
                    return False
                writer.write(step)
                await writer.drain()
                # Two turns of the loop, so that the peer reads this before the next step is written.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            elif isinstance(step, Close):
                return False
            elif isinstance(step, Reset):
                # Without lingering, close sends RST instead of FIN.
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            elif isinstance(step, Until):
                await step.event.wait()
            else:
                seconds = step.seconds if isinstance(step, Sleep) else None
                if await self._peer_left(reader, seconds):
                    self.left += 1
                    return False
        return True

    async def _peer_left(self, reader: asyncio.StreamReader, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return not await reader.read(1)
        except TimeoutError:
            return False
        except ConnectionError:
            return True


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """One request off a connection; None when the peer has closed it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    head: h11.Request | None = None
    body: list[bytes] = []
    while True:
        item = connection.next_event()
        if item is h11.NEED_DATA:
            data = await reader.read(2**16)
            if not data and head is None:
                return None
            connection.receive_data(data)
        elif isinstance(item, h11.Request):
            head = item
        elif isinstance(item, h11.Data):
            body.append(bytes(item.data))
        elif isinstance(item, h11.EndOfMessage):
            assert head is not None
            return Received(head.method.decode(), head.target.decode(), list(head.headers), b"".join(body))
        else:
            return None
