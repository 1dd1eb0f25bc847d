"""Connections to upstreams: kept alive, reused, replaced when stale, cancelled at once.

`Pool.send` takes a whole request and a receiver and gives back a Call. A reused connection that dies before one
byte of the answer is replaced by a fresh one, once, and nobody hears of it: the server had closed it while it was
idle. Everything else that goes wrong is told to the receiver.
"""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.http1.client_connection import BodyReceiver, ClientConnection, Receiver, UpstreamError
from gateway.http1.dial import Origin, dial
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits

Dial = Callable[[Origin, Limits], Awaitable[ClientConnection]]


class Pool:
    """Keep-alive connections per origin, newest first."""

    def __init__(self, limits: Limits, dial: Dial = dial) -> None:
        self.limits = limits
        self._dial = dial
        self._idle: dict[Origin, list[ClientConnection]] = {}
        self._active: set[ClientConnection] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        return f"<Pool [Active: {len(self._active)}, Idle: {idle}, Dialling: {len(self._dialling)}]>"

    def send(
        self,
        origin: Origin,
        method: str,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        first_byte_timeout: float,
    ) -> "Call":
        """Send one request to `origin`, its answer to `receiver`. May call the receiver only later."""
        call = Call(self, origin, method, head, body, receiver, first_byte_timeout)
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                self._active.add(connection)
                call.use(connection)
                return call
        self.connect(call)
        return call

    def connect(self, call: "Call") -> None:
        """For a call: get it a fresh connection."""
        task = asyncio.get_running_loop().create_task(self._connect(call))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        call.dialling = task

    async def _connect(self, call: "Call") -> None:
        try:
            connection = await self._dial(call.origin, self.limits)
        except UpstreamError as error:
            call.dialling = None
            call.receiver.failed(error)
            return
        connection.on_idle = self._on_idle
        connection.on_closed = self._on_closed
        if self._closed:
            connection.abort()
            return
        call.dialling = None
        if connection.state == "CLOSED":
            message = f"the connection to {call.origin} was closed as soon as it was made"
            call.receiver.failed(UpstreamError("connect", message))
            return
        self._active.add(connection)
        call.use(connection)

    def _on_idle(self, connection: ClientConnection) -> None:
        self._active.discard(connection)
        assert isinstance(connection.origin, Origin)
        idle = self._idle.setdefault(connection.origin, [])
        idle.append(connection)
        if len(idle) > self.limits.pool_max_idle:
            idle[0].abort()

    def _on_closed(self, connection: ClientConnection) -> None:
        self._active.discard(connection)
        assert isinstance(connection.origin, Origin)
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.origin, None)

    def close(self) -> None:
        """Close every connection, idle or not, and stop every attempt to connect."""
        self._closed = True
        for task in list(self._dialling):
            task.cancel()
        for connections in list(self._idle.values()):
            for connection in list(connections):
                connection.abort()
        for connection in list(self._active):
            connection.abort()


class Call:
    """One request on its way to an upstream. Stands between connection and receiver until a head has come."""

    __slots__ = (
        "_body",
        "_connection",
        "_fresh",
        "_head",
        "_method",
        "_pool",
        "_serial",
        "_timeout",
        "dialling",
        "origin",
        "receiver",
    )

    def __init__(
        self,
        pool: Pool,
        origin: Origin,
        method: str,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        first_byte_timeout: float,
    ) -> None:
        self._pool = pool
        self.origin = origin
        self._method = method
        self._head = head
        self._body = body
        self.receiver = receiver
        self._timeout = first_byte_timeout
        self._connection: ClientConnection | None = None
        self._fresh = False
        self._serial = 0
        self.dialling: asyncio.Task[None] | None = None

    def use(self, connection: ClientConnection) -> None:
        """For the pool: here is a connection."""
        self._connection = connection
        self._fresh = connection.requests == 0
        connection.send(self._method, self._head, self._body, self, self._timeout)
        if self._fresh:
            # Nobody will send it again: the transport alone decides how long it is kept.
            self._head = self._body = b""
        self._serial = connection.requests

    def cancel(self) -> None:
        """Nobody waits for the answer: socket closed, slot free, no word to the receiver."""
        if self.dialling is not None:
            self.dialling.cancel()
            self.dialling = None
        connection, self._connection = self._connection, None
        if connection is not None and connection.state == "ACTIVE" and connection.requests == self._serial:
            connection.abort()

    # As the connection's receiver, until the head has come.

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> BodyReceiver | None:
        self._head = self._body = b""
        return self.receiver.head_received(connection, head)

    def failed(self, error: UpstreamError) -> None:
        connection, self._connection = self._connection, None
        stale = not self._fresh and connection is not None and not connection.answered
        if stale and not error.timeout:
            self._pool.connect(self)
        else:
            self.receiver.failed(error)
