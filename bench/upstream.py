"""A fast upstream on loopback that speaks the Messages protocol, Gemini's and OpenAI's: `python -m bench.upstream`.

A bare uvloop protocol: it looks no deeper into a request than it must to know which program to play
(bench/programs.py), and writes prepared bytes. Prints its port when it listens; ends on SIGTERM.
"""

import argparse
import asyncio
import gc
import os
import re
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import cast

import uvloop

from bench import responses
from bench.programs import BURST, FEW_EVENTS, HOLD, JSON, PACED

TICK = 0.001
"""Seconds between two looks at which paced events are due: uvloop's timer resolution."""
MAX_EVENTS = 100_000
GOLDEN = 0.6180339887
"""Spreads the phases of paced streams evenly, however many there are."""

_MODEL = re.compile(rb"bench-(?:json|few|burst|hold|paced-[0-9]+)")
_EVENTS = re.compile(rb'"(?:max_tokens|maxOutputTokens)"\s*:\s*([0-9]{1,9})')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
MAX_KNOWN_HEADS = 1024
USUAL_MODEL_PLACE = 4096
"""Clients write `model` first, or in a small body; then a large one need not be joined to be searched."""
UNTIL_LAST_CHUNK = -1


class Pacer:
    """Sends the events of all paced streams when they are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[tuple[float, int, Connection]] = []
        self._opened = 0
        self._ticking = False

    def add(self, connection: "Connection", period: float) -> None:
        """The stream's first event has gone out; the next follow in its own phase."""
        self._opened += 1
        phase = (self._opened * GOLDEN) % 1.0
        heappush(self._due, (time.monotonic() + period * (0.5 + phase), self._opened, connection))
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        due = self._due
        while due and due[0][0] <= time.monotonic():
            at, number, connection = heappop(due)
            if connection.paced_event():
                heappush(due, (at + connection.period, number, connection))
        self._ticking = bool(due)
        if due:
            self._loop.call_later(TICK, self._tick)


class Shared:
    """State shared by all connections of one upstream."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pacer = Pacer(loop)
        self.responded = 0
        self.known_heads: dict[bytes, tuple[bytes, int]] = {}
        """Head -> (target, length of the body): peers send few different heads."""


class Connection(asyncio.Protocol):
    """A peer's connection: requests in, one program at a time out."""

    def __init__(self, shared: "Shared") -> None:
        self._shared = shared
        self._loop = shared.loop
        self._pending = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self._target = b""
        self._left = 0
        self._dialect = responses.MESSAGES
        self._paused = False
        self._bursting = False
        self.period = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._fd: int = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left = 0
        self._fd = -1

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._bursting:
            self._loop.call_soon(self._burst)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._body(data)
            return
        if self._pending:
            data = self._pending + data
            self._pending = b""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._pending = data
            return
        head = data[:end]
        self._target, self._missing = self._shared.known_heads.get(head) or self._read_head(head)
        body = data[end + 4 :]
        if self._missing == 0:
            self._respond([b""])
        elif body:
            self._body(body)

    def _read_head(self, head: bytes) -> tuple[bytes, int]:
        target = head.split(b" ", 2)[1]
        length = _LENGTH.search(head)
        missing = int(length[1]) if length else UNTIL_LAST_CHUNK if _CHUNKED.search(head) else 0
        if len(self._shared.known_heads) < MAX_KNOWN_HEADS:
            self._shared.known_heads[head] = (target, missing)
        return target, missing

    def _body(self, data: bytes) -> None:
        self._parts.append(data)
        if self._missing == UNTIL_LAST_CHUNK:
            tail = data if len(data) >= 7 else b"".join(self._parts[-8:])
            if not tail.endswith(b"0\r\n\r\n"):
                return
            self._missing = 0
        else:
            self._missing -= len(data)
            if self._missing > 0:
                return
        parts, self._parts, self._missing = self._parts, [], 0
        self._respond(parts)

    # Responses

    def _respond(self, parts: list[bytes]) -> None:
        self._shared.responded += 1
        target = self._target
        if b":streamGenerateContent" in target:
            self._dialect = responses.GEMINI
            self._play(_MODEL.search(target), parts)
        elif b"/chat/completions" in target:
            self._dialect = responses.OPENAI
            self._play(_MODEL.search(b"".join(parts)), parts)
        elif b"count_tokens" in target or b":countTokens" in target:
            self._json(responses.COUNT)
        elif b"/messages" in target:
            self._dialect = responses.MESSAGES
            found = _MODEL.search(parts[0], 0, USUAL_MODEL_PLACE) or _MODEL.search(b"".join(parts))
            self._play(found, parts)
        elif b"/models" in target:
            self._json(responses.GEMINI_MODELS if b"v1beta" in target else responses.MODELS)
        else:
            self._json(b"{}")

    def _play(self, found: re.Match[bytes] | None, parts: list[bytes]) -> None:
        model = found[0].decode() if found else JSON
        if model == JSON and self._dialect is responses.MESSAGES:
            self._json(responses.MESSAGE)
            return
        dialect = self._dialect
        opening = responses.stream_head(self._shared.responded) + dialect.start
        if model == HOLD:
            self._send(opening + dialect.delta)
        elif model == BURST:
            self._left = _events(parts)
            self._send(opening)
            self._bursting = True
            self._burst()
        elif model.startswith(PACED):
            self._left = _events(parts)
            self.period = 1.0 / int(model.removeprefix(PACED))
            self._send(opening)
            if self.paced_event():
                self._shared.pacer.add(self, self.period)
        else:
            self._send(opening + dialect.delta * FEW_EVENTS + dialect.end)

    def _json(self, body: bytes) -> None:
        self._send(responses.json_head(self._shared.responded, len(body)) + body)

    def _burst(self) -> None:
        """One event, one write, as a model server does it; then the other connections get their turn."""
        if self._paused or self._fd < 0 or not self._bursting:
            return
        self._left -= 1
        if self._left:
            self._send(self._dialect.delta)
            self._loop.call_soon(self._burst)
        else:
            self._bursting = False
            self._send(self._dialect.delta + self._dialect.end)

    def paced_event(self) -> bool:
        """Send one event with the time in it. False: it was the last, or the peer has gone."""
        if self._left <= 0:
            return False
        self._left -= 1
        event = self._dialect.stamped(time.monotonic_ns() // 1000)
        self._send(event if self._left else event + self._dialect.end)
        return self._left > 0

    def _send(self, data: bytes) -> None:
        """Write at once: a transport would wait for the end of the loop's turn, and the stamp would lie."""
        if self._fd < 0:
            return
        if self._transport.get_write_buffer_size():
            self._transport.write(data)
            return
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._transport.abort()
            return
        if sent < len(data):
            self._transport.write(data[sent:])


def _events(parts: list[bytes]) -> int:
    found = _EVENTS.search(b"".join(parts))
    return min(max(int(found[1]), 1), MAX_EVENTS) if found else 1


async def serve(port: int, announce: Callable[[int], None]) -> None:
    """Serve on loopback until cancelled. `port` 0 takes a free one; `announce` is called with the port."""
    loop = asyncio.get_running_loop()
    shared = Shared(loop)
    server = await loop.create_server(lambda: Connection(shared), "127.0.0.1", port, backlog=4096)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """`python -m bench.upstream [--port N]`."""
    parser = argparse.ArgumentParser(description="Play canned Messages and Gemini responses on loopback.")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    gc.disable()
    uvloop.run(serve(arguments.port, lambda port: print(port, flush=True)))


if __name__ == "__main__":
    main()
