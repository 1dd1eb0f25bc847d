"""The soak's upstream: it plays the behaviour that the wire model names, most of them bad ones.

`python -m bench.soak.upstream` prints its port. It counts what it played and which streams went on
although nobody could be reading them, and tells at `GET /tally`.
"""

import asyncio
import json
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import uvloop

from bench import answers

PREFIX = "soak-"
EVENTS = 40
SLOW_SECONDS = 0.02
ENDLESS_SECONDS = 4.0
"""Its readers leave within a fraction of this, and the gateway should cancel at once: a stream that
lasts so long has overstayed."""
LARGE_EVENTS = 20_000
"""About 4 MB: more than all socket buffers on the way."""
RETRY_AFTER = 3
MAX_SEEN = 100_000

_MODEL = re.compile(rb"soak-[a-z0-9-]+")
_NONCE = re.compile(rb"nonce-([0-9]+)")
_LENGTH = re.compile(rb"\r\ncontent-length:\s*([0-9]+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nx-(?:goog-)?api-key:\s*([^\r]+)", re.IGNORECASE)


class Request:
    """One request as a behaviour sees it."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.target = head.split(b" ", 2)[1]
        self.body = body
        self.writer = writer
        key = _KEY.search(head)
        self.key = key[1] if key else b""
        self.gemini = b":streamGenerateContent" in self.target
        self.dialect = answers.GEMINI if self.gemini else answers.MESSAGES
        found = _MODEL.search(self.target) if self.gemini else _MODEL.search(body)
        self.behaviour = found[0].decode().removeprefix(PREFIX) if found else ""
        nonce = _NONCE.search(body)
        self.nonce = nonce[1] if nonce else b""

    async def send(self, data: bytes) -> None:
        """Write and wait until the peer takes it."""
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[["Upstream", Request], Awaitable[bool]]
"""Plays an answer. True: the connection can be used again."""


class Upstream:
    """Counters and memory of the soak's upstream."""

    def __init__(self) -> None:
        self.number = 0
        self.played: Counter[str] = Counter()
        self.seen: set[bytes] = set()
        self.overstayed = 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side has enough."""
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        request = Request(head, body, writer)
        self.number += 1
        behaviour = BEHAVIOURS.get(request.behaviour, plain)
        self.played[request.behaviour or request.target.decode()[:40]] += 1
        return await behaviour(self, request)

    async def json(
        self, request: Request, body: bytes, status: bytes = b"200 OK", extra: bytes = b""
    ) -> bool:
        """A complete answer."""
        head = answers.json_head(self.number, len(body)).replace(b"200 OK", status, 1)
        await request.send(head[:-2] + extra + b"\r\n" + body)
        return True

    async def open(self, request: Request, events: int) -> None:
        """The head and the first events of a stream."""
        start = answers.stream_head(self.number) + request.dialect.start
        await request.send(start + request.dialect.delta * events)


async def plain(upstream: Upstream, request: Request) -> bool:
    """Everything without a behaviour: counts, model lists, tally, JSON."""
    if b"/tally" in request.target:
        tally = {"played": upstream.played, "overstayed": upstream.overstayed}
        return await upstream.json(request, json.dumps(tally).encode())
    if b"/models" in request.target and not request.body:
        return await upstream.json(request, answers.GEMINI_MODELS if request.gemini else answers.MODELS)
    if b"count_tokens" in request.target:
        return await upstream.json(request, answers.COUNT)
    if request.gemini:
        return await stream(upstream, request)
    return await upstream.json(request, answers.MESSAGE)


async def stream(upstream: Upstream, request: Request) -> bool:
    """A good stream."""
    await upstream.open(request, EVENTS)
    await request.send(request.dialect.end)
    return True


async def slow(upstream: Upstream, request: Request) -> bool:
    """A good stream, event by event."""
    await upstream.open(request, 0)
    for _ in range(EVENTS):
        await request.send(request.dialect.delta)
        await asyncio.sleep(SLOW_SECONDS)
    await request.send(request.dialect.end)
    return True


async def large(upstream: Upstream, request: Request) -> bool:
    """A good stream of megabytes, as fast as it is taken."""
    await upstream.open(request, 0)
    for _ in range(LARGE_EVENTS // 100):
        await request.send(request.dialect.delta * 100)
    await request.send(request.dialect.end)
    return True


async def endless(upstream: Upstream, request: Request) -> bool:
    """For clients that leave: goes on until the connection closes, or too long."""
    await upstream.open(request, 1)
    begun = time.monotonic()
    while time.monotonic() - begun < ENDLESS_SECONDS:
        await asyncio.sleep(SLOW_SECONDS)
        await request.send(request.dialect.delta)
        if request.writer.is_closing():
            return False
    upstream.overstayed += 1
    return False


async def limited(upstream: Upstream, request: Request) -> bool:
    """429 with a hint, in the dialect's own words."""
    if request.gemini:
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RETRY_AFTER}s"}
        error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [retry]}
        return await upstream.json(request, json.dumps({"error": error}).encode(), b"429 Too Many Requests")
    return await upstream.json(
        request, _error("rate_limit_error"), b"429 Too Many Requests", b"retry-after: %d\r\n" % RETRY_AFTER
    )


async def rotate(upstream: Upstream, request: Request) -> bool:
    """The first account is limited, the others are not."""
    return await (limited if request.key.endswith(b"-1") else stream)(upstream, request)


async def failing(upstream: Upstream, request: Request) -> bool:
    """500, always."""
    return await upstream.json(request, _error("api_error"), b"500 Internal Server Error")


async def failing_once(upstream: Upstream, request: Request) -> bool:
    """500 for the first try of a request, then well."""
    if request.nonce in upstream.seen or len(upstream.seen) >= MAX_SEEN:
        return await upstream.json(request, answers.MESSAGE)
    upstream.seen.add(request.nonce)
    return await failing(upstream, request)


async def overloaded(upstream: Upstream, request: Request) -> bool:
    """529, always."""
    return await upstream.json(request, _error("overloaded_error"), b"529 Overloaded")


async def refused(upstream: Upstream, request: Request) -> bool:
    """400 that the client must see word for word."""
    return await upstream.json(request, _error("invalid_request_error"), b"400 Bad Request")


async def broken(upstream: Upstream, request: Request) -> bool:
    """Content, then a reset."""
    await upstream.open(request, 5)
    await asyncio.sleep(SLOW_SECONDS)
    return await reset(upstream, request)


async def reset(upstream: Upstream, request: Request) -> bool:
    """A reset in place of whatever should come."""
    connection = request.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.writer.transport.abort()
    return False


async def cut(upstream: Upstream, request: Request) -> bool:
    """Content, then a clean end of the body without an end of the message."""
    await upstream.open(request, 5)
    await asyncio.sleep(SLOW_SECONDS)
    await request.send(answers.LAST_CHUNK)
    return True


async def error_event(upstream: Upstream, request: Request) -> bool:
    """Content, then an error inside the stream."""
    await upstream.open(request, 5)
    await asyncio.sleep(SLOW_SECONDS)
    await request.send(_stream_error(request) + answers.LAST_CHUNK)
    return True


async def error_first(upstream: Upstream, request: Request) -> bool:
    """A 200 whose first event is an error."""
    await request.send(answers.stream_head(upstream.number) + _stream_error(request) + answers.LAST_CHUNK)
    return True


async def empty(upstream: Upstream, request: Request) -> bool:
    """A 200 stream that ends before any content."""
    await request.send(answers.stream_head(upstream.number) + answers.LAST_CHUNK)
    return True


async def bad_chunk(upstream: Upstream, request: Request) -> bool:
    """Content, then a chunk size that is none."""
    await upstream.open(request, 5)
    await asyncio.sleep(SLOW_SECONDS)
    await request.send(b"zz\r\nnothing\r\n")
    return False


def _error(kind: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": f"soak {kind}"}}).encode()


def _stream_error(request: Request) -> bytes:
    if request.gemini:
        error = {"error": {"code": 503, "message": "soak", "status": "UNAVAILABLE"}}
        return answers.chunk(b"data: %b\r\n\r\n" % json.dumps(error).encode())
    return answers.chunk(b"event: error\ndata: %b\n\n" % _error("overloaded_error"))


BEHAVIOURS: dict[str, Behaviour] = {
    "json": plain,
    "stream": stream,
    "slow": slow,
    "large": large,
    "endless": endless,
    "limited": limited,
    "rotate": rotate,
    "failing": failing,
    "failing-once": failing_once,
    "overloaded": overloaded,
    "refused": refused,
    "broken": broken,
    "reset": reset,
    "cut": cut,
    "error-event": error_event,
    "error-first": error_first,
    "empty": empty,
    "bad-chunk": bad_chunk,
}


async def _serve() -> None:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.connection, "127.0.0.1", 0, limit=16 << 20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
