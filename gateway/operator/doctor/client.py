"""An HTTP client that shows what a client receives, and when: the bytes, before a library interprets them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import h11

from gateway.http1.dial import reason_of
from gateway.messages.sse import Event, EventDecoder
from gateway.operator.doctor.findings import Fault
from gateway.operator.peer import GatewayAddress

MAX_HEAD = 64 * 1024
"""Bytes of a response's head, at most."""

READ = 64 * 1024
"""Bytes read at a time."""

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a body that are kept, at most; no check expects more than a list of models."""


class Response:
    """A response whose head has arrived; its body is read piece by piece."""

    def __init__(self, head: h11.Response, connection: h11.Connection, reader: asyncio.StreamReader) -> None:
        self.status = head.status_code
        self.headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        """By lower-case name."""
        self.complete = False
        """Whether the body ended as its framing says."""
        self._connection = connection
        self._reader = reader
        self._decoder = EventDecoder()

    async def piece(self) -> bytes:
        """Return the next bytes of the body; b"" at its end, also at an early one."""
        while True:
            try:
                item = self._connection.next_event()
            except h11.RemoteProtocolError:
                return b""
            if item is h11.NEED_DATA:
                try:
                    self._connection.receive_data(await self._reader.read(READ))
                except (OSError, h11.RemoteProtocolError):
                    return b""
            elif isinstance(item, h11.Data):
                return bytes(item.data)
            else:
                self.complete = isinstance(item, h11.EndOfMessage)
                return b""

    async def body(self) -> bytes:
        """Return the rest of the body."""
        pieces, size = [], 0
        while piece := await self.piece():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                raise Fault("the response has no end")
        return b"".join(pieces)

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events of the rest of the body, each as soon as it arrives."""
        while piece := await self.piece():
            for event in self._decoder.feed(piece):
                yield event


@asynccontextmanager
async def open_response(
    target: GatewayAddress,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Response]:
    """Send a request on a new connection and yield the response once its head has arrived; close the connection
    at the end. Raises Fault."""
    try:
        context = target.context()
        reader, writer = await asyncio.open_connection(
            target.host, target.port, ssl=context, server_hostname=target.host if context else None
        )
    except OSError as error:
        raise Fault(f"no connection: {reason_of(error)}", "is it running?") from None
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        fields = {"host": target.authority, "user-agent": "gateway-doctor", **(headers or {})}
        if method == "POST":
            fields |= {"content-type": "application/json", "content-length": str(len(body))}
        request = h11.Request(method=method, target=target.path + path, headers=list(fields.items()))
        head = connection.send(request) or b""
        # Given to h11 only to advance its state, so that a large body is not copied.
        rest = connection.send(h11.Data(body)) if body else b""
        connection.send(h11.EndOfMessage())
        writer.write(head + (rest or b""))
        yield await _reply(connection, reader)
    finally:
        writer.transport.abort()


async def _reply(connection: h11.Connection, reader: asyncio.StreamReader) -> Response:
    while True:
        try:
            item = connection.next_event()
            if item is h11.NEED_DATA:
                data = await reader.read(READ)
                connection.receive_data(data)
                continue
        except (OSError, h11.RemoteProtocolError):
            raise Fault("the connection ended without a response") from None
        if isinstance(item, h11.Response):
            return Response(item, connection, reader)
