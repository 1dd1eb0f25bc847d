"""The responses and the log when the gateway stops before responses are complete."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.config import Stream
from tests.dialects.gemini.support import chunk, sse
from tests.fakes.messages import SSE_HEAD, Script, Sleep, Stall, chunked, text_events
from tests.support.client import ask
from tests.support.clock import run
from tests.support.gemini import STREAM_HEAD, gemini
from tests.support.running import upstream
from tests.support.stage import staged

EVENTS = [event for event in text_events("one two") if b"event: ping" not in event]
HALF = b"".join(EVENTS[:3])
STARTED = ["message_start", "content_block_start", "content_block_delta"]
IN_GEMINI = STREAM_HEAD + chunked([sse(chunk({"text": "Half of it"}))], end=False)
STOPPED = "the gateway was stopped; the next one that starts will serve this request"


@pytest.mark.parametrize(
    ("script", "made", "names"),
    [
        ([SSE_HEAD + chunked([HALF], end=False), Stall()], upstream, STARTED),
        # Inside an event, and inside a chunk.
        ([SSE_HEAD + chunked([HALF, b"event: content_bl"], end=False), Stall()], upstream, STARTED),
        ([SSE_HEAD + chunked([HALF + b"event: content_bl"], end=False)[:-4], Stall()], upstream, STARTED),
        ([IN_GEMINI, Stall()], gemini, STARTED),
        # Only pings so far.
        ([SSE_HEAD + chunked(EVENTS[:1], end=False), Stall()], upstream, ["ping"]),
        ([Stall()], upstream, ["ping"]),
    ],
)
def test_shutdown_ends_a_stream_with_an_error_event(
    script: Script, made: Callable[..., Any], names: list[str]
) -> None:
    async def scenario() -> None:
        stream = Stream(ping_after=1.5)
        async with staged(lambda _: script, "a@x", made=made, stream=stream) as stage:
            g = stage.running
            request = asyncio.create_task(g.post(ask(stream=True)))
            await asyncio.sleep(1.0 if names != ["ping"] else 2.0)
            began = stage.now
            assert not await g.gateway.stop(0.2)
            assert stage.now - began < 0.3
            response = await request
            assert response.complete
            assert response.names == [*names, "error"]
            assert STOPPED.encode() in response.events[-1].data
            assert " 200 shutdown " in g.lines[-1]
            assert f'error="{STOPPED}"' in g.lines[-1]
            assert stage.cooling() == {}

    run(scenario())


@pytest.mark.parametrize("mode", ["whole", "stream", "count"])
def test_shutdown_error_is_retried_by_clients(mode: str) -> None:
    async def scenario() -> None:
        async with staged(lambda _: [Stall()], "a@x") as stage:
            request = asyncio.create_task(stage.post(mode))
            await asyncio.sleep(1.0)
            await stage.running.gateway.stop(0.0)
            response = await request
            assert (response.status, response.error_type) == (503, "overloaded_error")
            assert (response.message, response.header("retry-after")) == (STOPPED, "1")
            assert " 503 shutdown " in stage.running.lines[-1]

    run(scenario())


def test_responses_that_end_within_the_grace_period_are_whole() -> None:
    whole: Script = [SSE_HEAD + chunked(EVENTS[:3], end=False), Sleep(1.0), chunked(EVENTS[3:])]

    async def scenario() -> None:
        async with staged(lambda _: whole, "a@x") as stage:
            request = asyncio.create_task(stage.post("stream"))
            await asyncio.sleep(0.5)
            assert await stage.running.gateway.stop(2.0)
            assert (await request).names[-1] == "message_stop"
            assert " 200 ok " in stage.running.lines[-1]

    run(scenario())
