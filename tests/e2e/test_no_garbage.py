"""Requests leave nothing to the cycle collector, however they end, so that the collector seldom needs to run."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from gateway.config import Auth, Config, Retry, Secret
from gateway.messages.sse import EventDecoder
from tests.dialects.gemini.support import chunk, sse
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Reset,
    Script,
    ScriptedUpstream,
    Stall,
    chunked,
    error_response,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import Client, ask
from tests.support.gemini import MODEL, STREAM_HEAD, gemini, google_error, google_stream
from tests.support.loops import eventually, on_each_loop, settle
from tests.support.running import Running, config, running, upstream

REQUESTS = 2
"""Requests of each kind, after as many that may leave objects which are made only once."""


@pytest.fixture(autouse=True)
def _quick() -> None:
    """Exclude the objects that existed before from collection."""
    gc.collect()
    gc.freeze()


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Count the gateway's objects that only the cycle collector could free, by kind, when the block ends."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(name for name in map(whose, gc.garbage) if name.startswith("gateway."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def whose(thing: object) -> str:
    """Return the qualified name of a function, or of an object's class."""
    module = getattr(thing, "__module__", None)
    return f"{module}.{getattr(thing, '__qualname__', type(thing).__name__)}" if module else ""


class Kind(NamedTuple):
    """A kind of request, and its outcome."""

    status: int
    """0: the client leaves when it has received `until`."""
    script: Script = ()
    """The upstream's script for each attempt."""
    body: bytes | dict[str, Any] = b""
    target: str = "/v1/messages"
    until: bytes = b""
    end: bytes = b""
    """Bytes that the response's body contains."""


STREAM = ask(stream=True)
HANDED_OVER = json_response(200, message())
BEGUN = [SSE_HEAD + chunked(text_events()[:4], end=False)]
GOOD_GOOGLE = google_stream(chunk({"text": "Good."}), chunk({"text": " Bye."}, finish="STOP"))
FIRST = sse(chunk({"text": "Good."}))
WHOLE_OF_GOOGLE = ask(model="g")
STREAM_OF_GOOGLE = ask(model="g", stream=True)

KINDS = {
    "whole": Kind(200, HANDED_OVER, ask()),
    "stream": Kind(200, stream_response(text_events()), STREAM, end=b"message_stop"),
    "stream in pieces": Kind(
        200, [SSE_HEAD, *(chunked([e], end=False) for e in text_events()), chunked([])], STREAM
    ),
    "count": Kind(200, json_response(200, {"input_tokens": 3}), ask(), "/v1/messages/count_tokens"),
    "translated whole": Kind(200, GOOD_GOOGLE, WHOLE_OF_GOOGLE, end=b"Good. Bye."),
    "translated stream": Kind(200, GOOD_GOOGLE, STREAM_OF_GOOGLE, end=b"message_stop"),
    "translated, refused": Kind(400, google_error(400, "INVALID_ARGUMENT", "No."), WHOLE_OF_GOOGLE),
    "translated, broken": Kind(
        200,
        [STREAM_HEAD + chunked([FIRST], end=False), Close()],
        STREAM_OF_GOOGLE,
        end=b"event: error",
    ),
    "refused": Kind(400, error_response(400, "invalid_request_error", "No."), ask()),
    "given up": Kind(529, error_response(529, "overloaded_error", "Later."), ask()),
    "given up, a stream": Kind(500, error_response(500, "api_error", "No."), STREAM),
    "limited": Kind(429, error_response(429, "rate_limit_error", "No.", [("retry-after", "3600")]), ask()),
    "closed": Kind(502, [Close()], ask()),
    "reset": Kind(502, [Reset()], STREAM),
    "not kept by the upstream": Kind(200, json_response(200, message(), close=True), ask()),
    "no HTTP": Kind(502, [b"HTTP/1.1 200 OK\r\n: y\r\n\r\n"], ask()),
    "broken off": Kind(200, [*BEGUN, Close()], STREAM, end=b"event: error"),
    "broken off whole": Kind(502, [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", Close()], ask()),
    "an error in the stream": Kind(
        200,
        stream_response([*text_events()[:4], b'event: error\ndata: {"type":"error","error":{}}\n\n']),
        STREAM,
    ),
    "not of the protocol": Kind(400, (), b'{"nope":1}'),
    "no JSON": Kind(400, (), b"{"),
    "no such model": Kind(404, (), ask(model="other")),
    "no such place": Kind(404, (), b"", "/nowhere"),
    "too large": Kind(413, (), b"x" * 20_000),
    "a warm-up": Kind(200, (), ask("Warmup", max_tokens=1)),
    "left before the response": Kind(0, [Stall()], ask()),
    "left in the middle": Kind(0, [*BEGUN, Stall()], STREAM, until=b"Hello"),
    "left in the middle, translated": Kind(
        0, [STREAM_HEAD + chunked([FIRST], end=False), Stall()], STREAM_OF_GOOGLE, until=b"Good."
    ),
}


def settings(up: ScriptedUpstream) -> Config:
    return config(
        upstream(up.url, "one@x", "two@x", models={"m": "m"}),
        gemini(up.url, "three@x", name="google", models={"g": MODEL}),
        limits={"max_body": 10_000},
        auth=Auth(mode="strict", keys={"laptop": Secret("sk-laptop")}),
        retry=Retry(max_attempts=2, max_wait=0.01),
    )


class Visitor:
    """A client that comes again and again, on one connection or on a new one each time."""

    def __init__(self, g: Running, up: ScriptedUpstream, kept: bool) -> None:
        self._g = g
        self._up = up
        self._kept = kept
        self._client: Client | None = None

    async def visit(self, kind: Kind) -> None:
        client = self._client or await self._g.connect()
        fields = [("x-api-key", "sk-laptop")] + ([] if self._kept else [("connection", "close")])
        known = len(self._up.requests)
        client.send("POST", kind.target, kind.body, fields)
        if kind.status:
            response = await client.response()
            assert response.status == kind.status, response.body
            assert kind.end in response.body
            await settle()
            ended = client.reader.at_eof() or response.header("connection") == "close"
            self._client = None if ended else client
        else:
            await eventually(lambda: len(self._up.requests) > known)
            if kind.until:
                await client.reader.readuntil(kind.until)
        if self._client is None:
            client.close()
        await self._over()

    async def leave(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        await eventually(lambda: not self._g.gateway.server.connections)
        await settle()

    async def _over(self) -> None:
        """The request's upstreams are as they were, so that the next one goes the same way."""
        runtime = self._g.gateway.runtime
        await eventually(lambda: not any(account.in_flight for account in runtime.scheduler.snapshot(0.0)))
        runtime.scheduler.reopen()


@pytest.mark.parametrize("kept", [True, False], ids=["keep-alive", "close"])
@on_each_loop
async def test_a_request_leaves_nothing_to_the_collector(kept: bool) -> None:
    left: dict[str, Counter[str]] = {}
    async with ScriptedUpstream() as up, running(settings(up)) as g:
        for name, kind in KINDS.items():
            up.script(kind.script)
            visitor = Visitor(g, up, kept)
            for _ in range(REQUESTS):
                await visitor.visit(kind)
            await visitor.leave()
            with garbage() as found:
                for _ in range(REQUESTS):
                    await visitor.visit(kind)
                await visitor.leave()
            if found:
                left[name] = found
    assert left == {}


def test_a_cycle_is_detected() -> None:
    with garbage() as found:
        decoder = EventDecoder()
        pieces: Any = decoder._pieces
        pieces.append(decoder)
        del decoder, pieces
    assert found == {"gateway.messages.sse.EventDecoder": 1}
