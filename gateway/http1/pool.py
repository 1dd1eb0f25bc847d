"""Connections to one upstream: kept alive, reused, replaced when stale, cancelled at once.

If a reused connection dies at once, before the first byte of the response, the request is sent again over a new one,
without an error: the server had closed the connection while it was idle. All other errors are reported to the request.

Bytes that arrive on an idle connection are no response to any request, and end it; before the connection is reused they
are looked for once more. Later ones look like the response: HTTP/1.1 does not say which request a response belongs
to.
"""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.http1.client_connection import ClientConnection, State
from gateway.http1.dial import Origin, dial
from gateway.http1.heads import ResponseFacts
from gateway.http1.limits import Limits
from gateway.http1.template import HeadTemplate
from gateway.http1.upstream_request import ConnectError, UpstreamError, UpstreamRequest

Dial = Callable[[Origin, Limits], Awaitable[ClientConnection]]

TRIM_AFTER = 1.0
"""Seconds that more idle connections than `pool_max_idle` are kept: of a crowd of requests that come and go, many are
idle for a moment, and needed again in the next."""

MAX_DIALLING = 64
"""Connections that are dialled at the same time. The listen queues of common servers hold 100 to 128; a connection
beyond that waits a second for the kernel's next try. This also bounds the memory that a crowd of new requests takes."""


class Pool:
    """Keep-alive connections to one origin, newest first."""

    def __init__(self, origin: Origin, limits: Limits, dial: Dial = dial) -> None:
        self.origin = origin
        self.limits = limits
        """Read by each connection when it is made."""
        self.template: HeadTemplate[ResponseFacts] | None = None
        self._dial = dial
        self._idle: list[ClientConnection] = []
        self._active: set[ClientConnection] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._waiting: dict[UpstreamRequest, float] = {}
        """Requests that wait because enough connections are being dialled, and the loop's time since when."""
        self._trimming: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        active, idle, dialling = self.counts()
        return f"<Pool [{self.origin}, Active: {active}, Idle: {idle}, Dialling: {dialling}]>"

    def counts(self) -> tuple[int, int, int]:
        """Return how many connections serve a request, are idle, and are being dialled or waited for."""
        return len(self._active), len(self._idle), len(self._dialling) + len(self._waiting)

    def send(self, request: UpstreamRequest) -> None:
        """Send a request. Errors of connecting are reported to it later, never inside this call."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport.is_closing():
                continue
            waiting = connection.waiting or connection.watch()
            if waiting(0):
                connection.abort()
                continue
            self._active.add(connection)
            connection.send(request)
            return
        self.connect(request)

    def connect(self, request: UpstreamRequest) -> None:
        """Send a request over a new connection, or over one that becomes idle before it can be dialled."""
        loop = asyncio.get_running_loop()
        if len(self._dialling) >= MAX_DIALLING:
            self._waiting[request] = loop.time()
            return
        task = request.dialling = loop.create_task(self._connect(request))
        self._dialling.add(task)
        task.add_done_callback(self._dialled)

    def cancel(self, request: UpstreamRequest) -> None:
        """Cancel a request whose response is not needed: close its socket without calling it."""
        if request.dialling is not None:
            request.dialling.cancel()
            request.dialling = None
        self._waiting.pop(request, None)
        connection, request.connection = request.connection, None
        if connection is not None and connection.serves(request):
            connection.abort()

    async def _connect(self, request: UpstreamRequest) -> None:
        try:
            try:
                connection = await self._dial(self.origin, self.limits)
                if connection.state is State.CLOSED:
                    message = f"the connection to {self.origin} was closed as soon as it was made"
                    raise ConnectError(message)
            except UpstreamError as error:
                request.dialling = None
                request.failed(error)
                return
        except Exception as crash:
            request.dialling = None
            request.crashed(crash)
            return
        connection.owner = self
        if self._closed:
            connection.abort()
            return
        request.dialling = None
        self._active.add(connection)
        connection.send(request)

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dialling.discard(task)
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Send waiting requests, as far as there are idle connections or more may be dialled."""
        limit = self.limits.connect_timeout
        earliest = asyncio.get_running_loop().time() - limit
        while self._waiting and (self._idle or len(self._dialling) < MAX_DIALLING):
            request, since = next(iter(self._waiting.items()))
            del self._waiting[request]
            try:
                if since > earliest:
                    self.send(request)
                else:
                    message = f"no connection to {self.origin} within {limit:g} s"
                    request.failed(ConnectError(message, timeout=True))
            except Exception as crash:
                request.crashed(crash)

    def idle(self, connection: ClientConnection) -> None:
        """Take an idle connection back; called by the connection."""
        self._active.discard(connection)
        idle = self._idle
        idle.append(connection)
        if len(idle) > self.limits.pool_max_idle and self._trimming is None:
            patience = TRIM_AFTER if self.limits.pool_max_idle else 0.0
            self._trimming = connection.loop.call_later(patience, self._trim)
        if self._waiting:
            connection.loop.call_soon(self._send_waiting)

    def _trim(self) -> None:
        """Close the oldest idle connections that are too many."""
        self._trimming = None
        excess = len(self._idle) - self.limits.pool_max_idle
        for connection in self._idle[: max(0, excess)]:
            connection.abort()

    def closed(self, connection: ClientConnection) -> None:
        """Forget a closed connection; called by the connection."""
        self._active.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close all connections, and stop all attempts to connect."""
        self._closed = True
        self._waiting.clear()
        if self._trimming is not None:
            self._trimming.cancel()
        for task in list(self._dialling):
            task.cancel()
        for connection in [*self._idle, *self._active]:
            connection.abort()
