"""The strict host on a real socket, by h11 and asyncio alone: nothing of the gateway's own HTTP is in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11

from tests.fakes.openai.host import Host
from tests.support.loops import settle

PIECE = 7
"""Bytes of a write: events are cut anywhere."""


@asynccontextmanager
async def serving(host: Host) -> AsyncIterator[str]:
    """Serve a host on a free port; gives its base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _serve(host, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await settle(10)  # a server that is closed would leave open a connection it has just accepted
        server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        await settle()  # a transport is closed in the turn after


async def _serve(host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(65536)
            connection.receive_data(data)
        elif isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            await _respond(host, connection, writer, request, body)
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
        else:
            return


async def _respond(
    host: Host, connection: h11.Connection, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
) -> None:
    headers = {name.decode(): value.decode() for name, value in request.headers}
    status, kind, data = host.respond(request.method.decode(), request.target.decode(), headers, body)
    fields = [("content-type", kind), ("transfer-encoding", "chunked")]
    writer.write(connection.send(h11.Response(status_code=status, headers=fields)))
    for at in range(0, len(data), PIECE):
        writer.write(connection.send(h11.Data(data=data[at : at + PIECE])))
    writer.write(connection.send(h11.EndOfMessage()))
    await writer.drain()
