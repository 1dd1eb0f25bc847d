"""The connections behind: which are used again, and responses that come early, late or with too much behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes.messages import (
    Close,
    Script,
    ScriptedUpstream,
    Sleep,
    error_response,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import ask
from tests.support.clock import run
from tests.support.running import FAST, config, running, upstream
from tests.support.stage import good, staged


def joined(*scripts: Script) -> bytes:
    """Everything that they write, in one write."""
    return b"".join(step for script in scripts for step in script if isinstance(step, bytes))


WHOLE = joined(json_response(200, message()))
STREAM = joined(stream_response(text_events()))
PAYLOAD = b"".join(text_events())

REUSE: dict[str, tuple[bool, Script, int]] = {
    # streaming, the response to each of three requests, connections used
    "kept": (False, [WHOLE], 1),
    "a kept stream": (True, [STREAM], 1),
    "an error": (False, error_response(400, "invalid_request_error", "no"), 1),
    "announced close": (False, json_response(200, message(), [("connection", "close")]), 3),
    "close": (False, [WHOLE, Close()], 3),
    "close with the stream": (True, [STREAM, Close()], 3),
    "bytes behind it": (False, [WHOLE + WHOLE], 3),
    "bytes behind a stream": (True, [STREAM + b"HTTP/1.1 200 OK\r\n"], 3),
    "bytes a moment later": (False, [WHOLE, Sleep(0.01), b"0\r\n\r\n"], 3),
}


@pytest.mark.parametrize(("stream", "script", "connections"), REUSE.values(), ids=REUSE)
def test_which_upstream_connections_are_reused(stream: bool, script: Script, connections: int) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            up.script(script)
            for _ in range(3):
                response = await g.post(ask(stream=stream))
                assert response.complete
                if response.status == 200:
                    assert response.body == PAYLOAD if stream else response.document == message()
                await asyncio.sleep(0.1)
            assert (up.connections, len(up.requests)) == (connections, 3)
            assert " attempts=" not in "".join(g.lines)

    run(scenario())


def test_idle_timeout_of_upstream_connections() -> None:
    async def scenario() -> None:
        async with staged(good, "a@x") as stage:
            state = stage.running.pool_state
            await stage.post()
            assert state() == "Active: 0, Idle: 1, Dialling: 0"
            await asyncio.sleep(FAST.pool_idle_timeout + 0.01)
            assert state() == "Active: 0, Idle: 0, Dialling: 0"

    run(scenario())


@pytest.mark.parametrize("stream", [False, True])
def test_informational_responses_are_passed_over(stream: bool) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"

    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            up.script([early + (STREAM if stream else WHOLE)])
            response = await g.post(ask(stream=stream))
            assert response.status == 200
            assert response.body == PAYLOAD if stream else response.document == message()
            assert response.header("link") is None

    run(scenario())


@asynccontextmanager
async def hasty(response: bytes) -> AsyncIterator[str]:
    """An upstream that responds as soon as it has seen a head, and reads nothing more."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**16)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    done.set()
    server.close()


def test_a_response_before_the_request_was_read() -> None:
    """A refusal by size comes while a long body is still under way."""
    (refusal,) = error_response(413, "request_too_large", "too large")
    assert isinstance(refusal, bytes)

    async def scenario() -> None:
        async with hasty(refusal) as url, running(config(upstream(url, "a@x"))) as g:
            for _ in range(2):
                response = await g.post(ask("x" * 20_000_000))
                assert (response.status, response.message) == (413, "too large")
            assert g.pool_state() == "Active: 0, Idle: 0, Dialling: 0"
            await asyncio.sleep(0.1)

    run(scenario())
