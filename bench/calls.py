"""How many calls the interpreter makes for one request: exact, so it holds on any machine and may be asserted.

A gateway runs in this process, configured like the benchmark's peer, on its own uvloop. Client and upstream
are plain sockets that are used between the turns of that loop, so that a profile function sees the gateway alone:
from the client's bytes to the log line, until the loop has nothing more to do. Connections are warm and kept.
"""

import asyncio
import gc
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self

import uvloop

from bench import requests, responses
from bench.peers import gateway as peer
from bench.peers.base import ROOT, Site
from bench.programs import FEW, JSON, client_model
from gateway.app import Gateway
from gateway.config.loader import parse
from gateway.telemetry.access_log import AccessLog

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)

ROW = "calls"
EVENTS = 3
"""Deltas of the streamed response, between the events that open and end it."""
WARM = 5
"""Requests before those that count: connections, templates, lazily made objects."""
TRIES = 5
"""Requests of which the one with the fewest calls counts: another may meet a new second, or a timer."""
QUIET_TURNS = 3
"""Turns of the loop without a call after which it is idle: uvloop writes and closes a turn later."""
PORT = 8080
"""Value of the Host field: the head has the same length with each run."""
PATIENCE = 5.0
"""Seconds until a request that does not come through is given up."""


PLAIN = """\
[server]
host = "127.0.0.1"
port = 0

[auth]
mode = "off"

[upstreams.bench]
kind = "anthropic"
base_url = "http://127.0.0.1:{upstream_port}"

[[upstreams.bench.accounts]]
email = "first@example.com"
api_key = "sk-upstream-1"
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One request to count, and the most calls that it may take."""

    name: str
    python: int
    c: int
    streamed: bool = False
    apart: bool = False
    """The upstream writes the stream's opening and each delta separately, and the gateway reads them so."""
    configured: bool = False
    """The gateway is as the benchmark's peer: a key to check, a model table, two accounts. Else it has one account."""

    def config(self, upstream_port: int) -> str:
        """Return the text of gateway.toml."""
        site = Site(0, upstream_port, Path())
        return peer.render(site) if self.configured else PLAIN.format(upstream_port=upstream_port)

    def request(self) -> bytes:
        """Return what the client sends: a request of an SDK with 2 KB of body."""
        shape = requests.small()
        body = requests.body_for(shape, client_model(FEW if self.streamed else JSON), stream=self.streamed)
        headers = requests.headers_for(shape, requests.session(0))
        return requests.render("POST", shape.path, PORT, headers, body)

    def response(self, number: int) -> list[bytes]:
        """Return what the upstream writes, piece by piece; its head differs with each number, as real ones do."""
        if not self.streamed:
            return [responses.json_head(number, len(responses.MESSAGE)) + responses.MESSAGE]
        events = responses.MESSAGES
        opening = responses.stream_head(number) + events.start
        pieces = [opening, *[events.delta] * (EVENTS - 1), events.delta + events.end]
        return pieces if self.apart else [b"".join(pieces)]


CASES = (
    Case("json", 75, 75),
    Case("stream", 100, 120, streamed=True),
    Case("stream in four reads", 120, 145, streamed=True, apart=True),
    Case("json, configured", 75, 75, configured=True),
    Case("stream, configured", 100, 120, streamed=True, configured=True),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, in the order they were made."""

    depth: int
    """How many calls of Python functions it is inside of."""
    python: bool
    """Of a function in Python; else of one in C, called from Python."""
    name: str
    place: str
    """File and line: where a Python function begins, or where a C function was called."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The calls of one request."""

    calls: tuple[Call, ...]

    @property
    def python(self) -> int:
        """Return the number of calls of Python functions, resumed generators included."""
        return sum(call.python for call in self.calls)

    @property
    def c(self) -> int:
        """Return the number of calls of C functions that Python code made."""
        return len(self.calls) - self.python


class Recorder:
    """A profile function that records every call, without those of this module."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._depth = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note an event; see `sys.setprofile`."""
        code = frame.f_code
        if code.co_filename == __file__:
            return
        if event == "call":
            name = code.co_qualname
            self.calls.append(Call(self._depth, True, name, _place(code.co_filename, code.co_firstlineno)))
            self._depth += 1
        elif event == "return":
            self._depth -= 1
        elif event == "c_call":
            self.calls.append(
                Call(self._depth, False, _c_name(argument), _place(code.co_filename, frame.f_lineno))
            )

    def has_more_than(self, count: int) -> bool:
        """Return whether more calls than that were noted."""
        return len(self.calls) > count


def _place(file: str, line: int) -> str:
    path = Path(file)
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{line}"


def _c_name(function: Any) -> str:
    name = getattr(function, "__qualname__", repr(function))
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module and module != "builtins" else name


class Bench:
    """A gateway, its client and its upstream, all used by one thread in turn."""

    def __init__(self, case: Case) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        config = parse(case.config(self._listener.getsockname()[1]), {})
        self._gateway = Gateway(config, AccessLog(lambda line: None, "text", "info"), environ={})
        self._client = socket.socket()
        self._upstream: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await self._gateway.start(listing=False)
        self._client.connect(("127.0.0.1", self._gateway.port))
        self._client.setblocking(False)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for sock in (self._client, self._upstream, self._listener):
            if sock is not None:
                sock.close()
        await self._gateway.stop(0.0)

    async def trace(self, request: bytes, pieces: Sequence[bytes]) -> Trace:
        """Have one request served by an upstream that writes `pieces` one by one; return the gateway's calls.

        Raises TimeoutError when no response comes through, ValueError when the response is not a success.
        """
        recorder = Recorder()
        forwarded = bytearray()
        received = bytearray()
        self._client.sendall(request)
        await _until(
            recorder,
            lambda: _is_whole(_read(self._accepted(), forwarded)) or _is_whole(_read(self._client, received)),
        )
        if self._upstream is not None:
            for piece in pieces:
                self._upstream.sendall(piece)
                # Each piece is read separately: the loop turns until the gateway was notified.
                await _until(recorder, partial(recorder.has_more_than, len(recorder.calls)))
        await _until(recorder, lambda: _is_whole(_read(self._client, received)))
        if not received.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"not a success: {bytes(received)!r}")
        return Trace(tuple(recorder.calls))

    def _accepted(self) -> socket.socket | None:
        """Return the connection that the gateway opened, None before it has."""
        if self._upstream is None:
            try:
                self._upstream = self._listener.accept()[0]
                self._upstream.setblocking(False)
            except BlockingIOError:
                return None
        return self._upstream


class _Turn:
    """One turn of the loop, without a call of asyncio's own in Python."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def _until(recorder: Recorder, done: Callable[[], bool]) -> None:
    """Turn the loop, recording, until it is idle and `done`. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < QUIET_TURNS or not done():
        before = len(recorder.calls)
        sys.setprofile(recorder)
        try:
            await _Turn()
        finally:
            sys.setprofile(None)
        quiet = quiet + 1 if len(recorder.calls) == before else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing more after {len(recorder.calls)} calls")


def _read(sock: socket.socket | None, into: bytearray) -> bytearray:
    """Add received bytes to `into`, which is returned."""
    with suppress(BlockingIOError):
        into += sock.recv(2**20) if sock is not None else b""
    return into


def _is_whole(data: bytearray) -> bool:
    """Return whether a request or response is complete, by its Content-Length or the last chunk."""
    head, found, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(found) and (len(body) >= int(length[1]) if length else body.endswith(responses.LAST_CHUNK))


def count(case: Case) -> Trace:
    """Return the calls of one warm request."""
    # Other tools add their own functions to the collector's callbacks, which would be counted.
    gc.disable()
    try:
        with asyncio.Runner(debug=False, loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_count(case))
    finally:
        gc.enable()


async def _count(case: Case) -> Trace:
    async with Bench(case) as bench:
        traces = [await bench.trace(case.request(), case.response(n)) for n in range(WARM + TRIES)]
    return min(traces[WARM:], key=lambda trace: len(trace.calls))


def in_order(trace: Trace) -> str:
    """Return each call in the order they were made, indented by its depth."""
    return "\n".join(
        f"{number:4} {'  ' * call.depth}{call.name}{'' if call.python else ' (C)'}  {call.place}"
        for number, call in enumerate(trace.calls, 1)
    )


def by_function(trace: Trace) -> str:
    """Return how often each function was called, the most frequent first."""
    counted = Counter(call.name + ("" if call.python else " (C)") for call in trace.calls)
    return "\n".join(f"{number:4} {name}" for name, number in counted.most_common())


def main(*, detail: bool) -> int:
    """Print the counts of each case beside their limits; the exit status."""
    for case in CASES:
        trace = count(case)
        print(
            f"{case.name}: {trace.python} Python calls, {trace.c} C calls (at most {case.python} and {case.c})"
        )
        if detail:
            print(f"\n{in_order(trace)}\n\n{by_function(trace)}\n")
    return 0
