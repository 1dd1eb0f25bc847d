"""A client that leaves, in every phase: its upstream request ends at once, and nothing of it continues."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson
import pytest

from gateway.config import Secret
from tests.fakes.messages import (
    SSE_HEAD,
    Script,
    ScriptedUpstream,
    Sleep,
    Stall,
    Step,
    chunked,
    error_response,
    message_start,
    text_events,
)
from tests.support.client import Client, ask
from tests.support.clock import run
from tests.support.loops import eventually
from tests.support.running import Running, account, config, running, upstream

AT_ONCE = 0.05
"""Seconds of loop time."""


def close(client: Client) -> None:
    client.close()


def reset(client: Client) -> None:
    """As a process that dies does, or one that leaves bytes unread."""
    connection = client.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


LEAVE = pytest.mark.parametrize("leave", [close, reset])
Leave = Callable[[Client], None]


def free(g: Running) -> bool:
    """No slot is taken, no connection to an upstream is open or being made."""
    in_flight = sum(account.in_flight for account in g.gateway.runtime.scheduler.snapshot(0.0))
    return in_flight == 0 and g.pool_state() == "Active: 0, Idle: 0, Dialling: 0"


class Peer(Protocol):
    """An upstream: its open connections, all connections, and requests."""

    open: int
    connections: int
    requests: list[Any]


async def left_at_once(g: Running, up: Peer, lines: int = 1) -> None:
    """The client has just left: so has the gateway, and it begins nothing more."""
    await eventually(lambda: up.open == 0 and free(g) and len(g.lines) == lines, AT_ONCE)
    assert " 499 canceled " in g.lines[-1]
    known = up.connections, len(up.requests)
    await asyncio.sleep(100)
    assert (up.connections, len(up.requests)) == known
    assert len(g.lines) == lines


BEGINNING = chunked(text_events()[:4], end=False)
COMMENT = chunked([b":" * 65534 + b"\n\n"], end=False)
FLOOD: tuple[Step, ...] = (SSE_HEAD + BEGINNING, *(COMMENT,) * 400)
"""26 MB."""
MOVING: tuple[Step, ...] = (SSE_HEAD, *(BEGINNING, Sleep(0.002)) * 1000)

PHASES: dict[str, tuple[bool, Script]] = {
    # phase: streaming, what the upstream does
    "before the head": (False, [Stall()]),
    "before the head, streaming": (True, [Stall()]),
    "in the head": (True, [SSE_HEAD[:40], Stall()]),
    "before any content": (True, [SSE_HEAD, Stall()]),
    "held back before content": (True, [SSE_HEAD + chunked([message_start()], end=False), Stall()]),
    "between two events": (True, [SSE_HEAD + BEGINNING, Stall()]),
    "inside an event": (
        True,
        [SSE_HEAD + BEGINNING + b"ff\r\nevent: x", Stall()],
    ),
    "inside a whole response": (False, [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", Stall()]),
    "inside an error": (False, [b"HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\n{", Stall()]),
    "with bytes under way": (True, MOVING),
    "paused, because it reads nothing": (True, FLOOD),
}


@LEAVE
@pytest.mark.parametrize(("stream", "script"), PHASES.values(), ids=PHASES)
def test_leaving_while_an_upstream_responds(stream: bool, script: Script, leave: Leave) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", "b@x"))) as g:
            up.script(script)
            client = await g.connect()
            client.send("POST", "/v1/messages", ask(stream=stream))
            await eventually(lambda: len(up.requests) == 1, AT_ONCE)
            await asyncio.sleep(0.02)
            assert not g.lines
            assert up.open == 1
            leave(client)
            await left_at_once(g, up)

    run(scenario())


@LEAVE
def test_leaving_a_kept_connection(leave: Leave) -> None:
    """The second request of a client, over the connection of an earlier one."""

    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            up.script([SSE_HEAD + chunked(text_events())], [Stall()])
            client = await g.connect()
            await client.request("POST", "/v1/messages", ask(stream=True))
            client.send("POST", "/v1/messages", ask(stream=True))
            await eventually(lambda: len(up.requests) == 2, AT_ONCE)
            assert up.connections == 1
            leave(client)
            await left_at_once(g, up, lines=2)

    run(scenario())


@LEAVE
def test_leaving_while_sending_the_body(leave: Leave) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            client = await g.connect()
            body = orjson.dumps(ask(stream=True))
            head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            client.writer.write(head.encode() + body[:-1])
            await asyncio.sleep(0.02)
            leave(client)
            await left_at_once(g, up)
            assert up.connections == 0

    run(scenario())


@LEAVE
def test_leaving_while_waiting_for_a_slot(leave: Leave) -> None:
    async def scenario() -> None:
        full = account("a@x", max_concurrent=1)
        async with ScriptedUpstream() as up, running(config(upstream(up.url, full))) as g:
            up.script([Stall()])
            first, second = await g.connect(), await g.connect()
            for client in (first, second):
                client.send("POST", "/v1/messages", ask(stream=True))
                await asyncio.sleep(0.02)
            leave(second)
            await eventually(lambda: len(g.lines) == 1, AT_ONCE)
            assert " 499 canceled " in g.lines[0]
            assert up.open == 1
            leave(first)
            await left_at_once(g, up, lines=2)
            assert len(up.requests) == 1

    run(scenario())


@LEAVE
@pytest.mark.parametrize(
    "refusal",
    [
        error_response(500, "api_error", "oh"),
        error_response(529, "overloaded_error", "busy"),
        error_response(429, "rate_limit_error", "wait", [("retry-after", "1")]),
    ],
)
def test_leaving_while_backing_off(refusal: Script, leave: Leave) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            up.script(refusal)
            client = await g.connect()
            client.send("POST", "/v1/messages", ask(stream=True))
            await eventually(lambda: len(up.requests) == 1, AT_ONCE)
            await asyncio.sleep(0.1)
            leave(client)
            await eventually(lambda: " 499 canceled " in "".join(g.lines), AT_ONCE)
            await asyncio.sleep(100)
            assert len(up.requests) == 1

    run(scenario())


class Silent:
    """Accepts connections and never sends a byte."""

    def __init__(self) -> None:
        self.open = 0
        self.connections = 0
        self.requests: list[Any] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def silent() -> AsyncIterator[Silent]:
    server = Silent()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()


@LEAVE
@pytest.mark.parametrize("how", ["TLS", "tunnel"])
def test_leaving_while_connecting(how: str, leave: Leave) -> None:
    async def scenario() -> None:
        async with silent() as up:
            address = f"127.0.0.1:{up.port}"
            hanging = (
                upstream(f"https://{address}", "a@x", "b@x")
                if how == "TLS"
                else upstream("http://10.0.0.1", "a@x", "b@x", proxy=Secret(f"http://{address}"))
            )
            async with running(config(hanging)) as g:
                client = await g.connect()
                client.send("POST", "/v1/messages", ask(stream=True))
                await eventually(lambda: up.connections == 1, AT_ONCE)
                await asyncio.sleep(0.02)
                leave(client)
                await left_at_once(g, up)

    run(scenario())


def test_back_pressure_of_a_client_that_reads_nothing() -> None:
    """The gateway's buffers are bounded, and all bytes arrive once the client reads on."""

    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            end = chunked(text_events()[4:])
            up.script([*FLOOD, end])
            client = await g.connect()
            client.send("POST", "/v1/messages", ask(stream=True))
            await eventually(lambda: len(up.requests) == 1, AT_ONCE)
            await asyncio.sleep(0.5)
            (connection,) = g.gateway.server.connections
            assert connection.transport.get_write_buffer_size() < 2**20
            response = await client.response()
            assert response.complete
            assert len(response.body) > 400 * len(COMMENT) - 10_000
            assert response.body.endswith(text_events()[-1])
            client.close()

    run(scenario())
