"""The check that a gateway leaves nothing behind sees what would be left."""

import asyncio
from functools import partial

import pytest

from gateway.http1.client_connection import ClientConnection
from gateway.http1.deadline import Deadline
from gateway.http1.exchange import Exchange
from gateway.http1.limits import Limits
from gateway.http1.server import Server
from tests.fakes.messages import ScriptedUpstream
from tests.support.leftovers import leftovers
from tests.support.loops import settle
from tests.support.running import config, running, upstream


class Nothing:
    """An application that no request reaches."""

    def accept(self, exchange: Exchange) -> None:
        raise AssertionError(exchange.head)

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        raise AssertionError(message)


async def test_leftovers_of_the_test_itself_are_ignored() -> None:
    async def wait() -> None:
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    waiting = loop.create_task(wait())
    timer = loop.call_later(60, print)
    async with ScriptedUpstream() as up:
        _, writer = await asyncio.open_connection("127.0.0.1", up.port)
        await settle()
        assert leftovers() == []
        writer.close()
    timer.cancel()
    waiting.cancel()


async def test_pending_tasks_are_leftovers() -> None:
    event = asyncio.Event()
    task = asyncio.get_running_loop().create_task(event.wait())
    assert [line.partition(" name=")[0] for line in leftovers()] == ["is left: <Task pending"]
    event.set()
    await task
    assert leftovers() == []


async def test_armed_timers_are_leftovers() -> None:
    loop = asyncio.get_running_loop()
    deadline = Deadline(loop, print)
    deadline.set(60.0)
    other = loop.call_later(60, partial(Server(Nothing(), Limits()).drain))
    lines = leftovers()
    assert len(lines) == 2
    assert "Deadline._fire" in lines[0] + lines[1]
    deadline.cancel()
    other.cancel()
    assert leftovers() == []


async def test_open_connections_are_leftovers() -> None:
    loop = asyncio.get_running_loop()
    server = Server(Nothing(), Limits())
    port = await server.listen("127.0.0.1", 0)
    transport, _ = await loop.create_connection(
        lambda: ClientConnection("there", Limits()), "127.0.0.1", port
    )
    await settle()
    lines = sorted(line.partition(" [")[0] for line in leftovers() if "Connection [" in line)
    assert lines == ["is left: <ClientConnection", "is left: <ServerConnection"]
    transport.abort()
    server.close()
    server.abort()
    await settle()
    assert leftovers() == []


async def test_leftovers_fail_the_test_of_a_gateway() -> None:
    deadline = Deadline(asyncio.get_running_loop(), print)
    with pytest.raises(AssertionError, match="Deadline"):
        async with running(config(upstream("http://127.0.0.1:9"))):
            deadline.set(60.0)
    deadline.cancel()
