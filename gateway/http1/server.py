"""Server: accepts connections on an address, counts them, and lets them go.

What happens on a connection is `server_connection`'s business.
"""

import asyncio
import socket
import ssl
from typing import cast

from gateway.http1.dial import spelled_for_lookup
from gateway.http1.exchange import Application, RequestHandler
from gateway.http1.heads import RequestFacts
from gateway.http1.limits import Limits
from gateway.http1.server_connection import ServerConnection
from gateway.http1.template import HeadTemplate


class Server:
    """Accepts connections, counts them, and lets them go."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self.application = application
        self.limits = limits
        """Read by each connection when it begins, so that a reload reaches the next one."""
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self.template: HeadTemplate[RequestFacts] | None = None
        """That of the last head, so that a new connection has one to begin with."""
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
        """Accept connections from now on; return the port. Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        handshake = self.limits.header_timeout if tls is not None else None
        if sock is not None:
            server = await loop.create_server(
                self._connection, sock=sock, ssl=tls, backlog=1024, ssl_handshake_timeout=handshake
            )
        else:
            server = await loop.create_server(
                self._connection,
                None if host is None else [spelled_for_lookup(host)],
                port,
                ssl=tls,
                backlog=1024,
                reuse_port=reuse_port or None,
                ssl_handshake_timeout=handshake,
            )
        self._listeners.append(server)
        return cast(int, server.sockets[0].getsockname()[1])

    def _connection(self) -> "ServerConnection":
        return ServerConnection(self)

    def drain(self) -> None:
        """Close idle connections now and the others after the response under way.

        Connections are still accepted, for one request each, so that a health check learns of the draining.
        """
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def close(self) -> None:
        """Accept no more."""
        for listener in self._listeners:
            listener.close()

    async def wait_closed(self, patience: float | None) -> bool:
        """Wait until no connection is left; return False if some are after `patience` seconds."""
        if self.connections:
            if self._empty is None:
                self._empty = asyncio.Event()
            try:
                await asyncio.wait_for(self._empty.wait(), patience)
            except TimeoutError:
                return False
        return True

    def handlers(self) -> list[RequestHandler]:
        """Return who responds to the requests under way."""
        handlers = [connection.handler for connection in self.connections]
        return [handler for handler in handlers if handler is not None]

    def counts(self) -> tuple[int, int]:
        """Return how many connections have a request under way, and how many are idle."""
        serving = len(self.handlers())
        return serving, len(self.connections) - serving

    def abort(self) -> None:
        """Cut every connection that is left."""
        for connection in list(self.connections):
            connection.transport.abort()

    def forget(self, connection: "ServerConnection") -> None:
        """Take notice, from a connection, that it is closed."""
        self.connections.discard(connection)
        if not self.connections and self._empty is not None:
            self._empty.set()
            self._empty = None
