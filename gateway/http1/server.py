"""Server: accepts connections on an address, and keeps track of them.

`server_connection` handles a single connection.
"""

import asyncio
import socket
import ssl
from typing import cast

from gateway.http1.addresses import host_for_lookup
from gateway.http1.exchange import Application, RequestHandler
from gateway.http1.heads import RequestFacts
from gateway.http1.limits import Limits
from gateway.http1.server_connection import ServerConnection
from gateway.http1.sockets import probe_when_silent
from gateway.http1.template import HeadTemplate

BACKLOG = 1024
"""Connections that may wait to be accepted: as many as `max_connections` by default. The kernel may allow fewer."""


class Server:
    """Accepts connections on an address, and keeps track of them."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self.application = application
        self.limits = limits
        """Read by each connection at its start, so that a reload applies to new ones."""
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self.template: HeadTemplate[RequestFacts] | None = None
        """The template of the last head, for new connections to start with."""
        self._listeners: list[asyncio.Server] = []
        self._empty: asyncio.Event | None = None

    async def listen(
        self,
        host: str | None,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> int:
        """Accept connections from now on; return the port. Raises OSError if the address is in use."""
        loop = asyncio.get_running_loop()
        handshake = self.limits.header_timeout if tls is not None else None
        if sock is not None:
            server = await loop.create_server(
                self._connection, sock=sock, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=handshake
            )
        else:
            server = await loop.create_server(
                self._connection,
                None if host is None else [host_for_lookup(host)],
                port,
                ssl=tls,
                backlog=BACKLOG,
                reuse_port=reuse_port or None,
                ssl_handshake_timeout=handshake,
            )
        self._listeners.append(server)
        for listening in server.sockets:
            probe_when_silent(listening)
        return cast(int, server.sockets[0].getsockname()[1])

    def _connection(self) -> "ServerConnection":
        return ServerConnection(self)

    def drain(self) -> None:
        """Close idle connections now and others after their present response.

        Connections are still accepted, for one request each, so that health checks can see the draining.
        """
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def close(self) -> None:
        """Accept no more."""
        for listener in self._listeners:
            listener.close()

    async def wait_closed(self, patience: float | None) -> bool:
        """Wait until no connection is left; return False if some are left after `patience` seconds."""
        if self.connections:
            if self._empty is None:
                self._empty = asyncio.Event()
            try:
                await asyncio.wait_for(self._empty.wait(), patience)
            except TimeoutError:
                return False
        return True

    def handlers(self) -> list[RequestHandler]:
        """Return the handlers of all requests in progress."""
        handlers = [connection.handler for connection in self.connections]
        return [handler for handler in handlers if handler is not None]

    def counts(self) -> tuple[int, int]:
        """Return how many connections have a request in progress, and how many are idle."""
        serving = len(self.handlers())
        return serving, len(self.connections) - serving

    def abort(self) -> None:
        """Cut off all connections that are left."""
        for connection in list(self.connections):
            connection.transport.abort()

    def forget(self, connection: "ServerConnection") -> None:
        """Remove a closed connection; called by the connection."""
        self.connections.discard(connection)
        if not self.connections and self._empty is not None:
            self._empty.set()
            self._empty = None
