"""Exchange: a request that was read, and the only way to respond to it.

An application responds once: `respond` with a whole body, or `start`, any number of `write` or `write_raw`, then
`finish` (the body is complete) or `abort` (it will not be). The exchange adds what HTTP needs (date, framing,
connection); the application gives all other fields as lines from `heads.render_lines`.
"""

import asyncio
import time
from math import inf
from typing import Protocol

from gateway.http1.framing import LAST_CHUNK, chunk
from gateway.http1.heads import RequestHead

SMALL = 64 * 1024
"""Bytes of a body that is sent in one write with its head; joining more costs more than it saves."""


class Connection(Protocol):
    """What an exchange needs from its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    persistent: bool
    """Whether another request may follow."""

    def exchange_ended(self) -> None:
        """Continue with the next request: the response is written completely."""


class RequestHandler(Protocol):
    """The application's part in one request."""

    def request_received(self, body: bytes) -> None:
        """Handle the whole body. Must lead to a response, at once or later."""

    def writable(self, ready: bool) -> None:
        """Handle back-pressure: the client reads too slowly (False), or has caught up (True)."""

    def ended(self) -> None:
        """Release everything: the exchange has ended, in whatever way. Called once."""

    def crashed(self, error: Exception) -> None:
        """Handle an exception from one of the application's functions: a refusal, or a bug."""


class Application(Protocol):
    """The application that a server calls."""

    def accept(self, exchange: "Exchange") -> RequestHandler | None:
        """Decide by a request's head, before its body is read, who handles it. Return None after responding at once,
        which refuses the request."""

    def protocol_error(self, status: int, message: str, exchange: "Exchange | None") -> tuple[bytes, bytes]:
        """Return header lines and body for a violation of HTTP; `exchange` is None before a head was read."""


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(wall: float) -> bytes:
    """Return an IMF-fixdate (RFC 9110, 5.6.7) for Unix seconds, independent of the locale."""
    t = time.gmtime(wall)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    ).encode()


class _LastLines:
    """The last lines of a head: date and connection. Rendered once a second."""

    __slots__ = ("closing", "expires", "keeping")

    def __init__(self) -> None:
        self.expires = -inf
        """Loop time at which the date becomes wrong."""
        self.keeping = b""
        self.closing = b""

    def renew(self, now: float) -> None:
        """Render the lines for this second; `now` is loop time."""
        wall = time.time()
        self.expires = now + 1.0 - wall % 1.0
        date = b"date: %b\r\nconnection: " % http_date(wall)
        self.keeping = date + b"keep-alive\r\n\r\n"
        self.closing = date + b"close\r\n\r\n"


_last_lines = _LastLines()


class Exchange:
    """One request and its response. Created by a connection, and passed to the application."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_connection",
        "_unsent",
        "bytes_sent",
        "ended",
        "gone",
        "handler",
        "head",
        "last_write",
        "loop",
        "received_at",
        "status",
    )

    def __init__(self, connection: Connection, head: RequestHead, received_at: float) -> None:
        self._connection = connection
        self.loop = connection.loop
        """The loop of its connection."""
        self.head = head
        """The request's head."""
        self.handler: RequestHandler | None = None
        """The application's handler, once it is created."""
        self.received_at = received_at
        """Loop time at which the head was complete."""
        self.status = 0
        """The response's status, 0 until `respond` or `start`."""
        self.bytes_sent = 0
        """Bytes of the response given to the transport, head included."""
        self.last_write = received_at
        """Loop time of the last byte given to the transport."""
        self.ended = False
        """Whether `finish`, `abort` or the client's leaving has ended this exchange."""
        self.gone = False
        """Whether the client left, or its connection broke, before the response was complete."""
        self._bodiless = head.method == "HEAD"
        self._chunked = False
        self._unsent = b""
        """The head of a started response, until the first bytes of its body."""

    @property
    def peer(self) -> str:
        """The client's address, "" for a socket of this machine that has none."""
        name = self._connection.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def respond(self, status: int, body: bytes, lines: bytes = b"") -> None:
        """Respond with a whole body. For HEAD the length is sent and the body left out."""
        if self.ended:
            return
        size = len(body)
        data = self._head(status, b"%bcontent-length: %d\r\n" % (lines, size))
        if self._bodiless:
            size = 0
        if size <= SMALL:
            self.write_raw(data + body if size else data)
        else:
            self.write_raw(data)
            self.write_raw(body)
        self._end()

    def start(self, status: int, lines: bytes = b"") -> None:
        """Start a response whose body follows, in chunks (HTTP/1.0: until close). Its head is sent with the first bytes
        of the body, which must follow in the same turn of the loop."""
        if self.ended:
            return
        if self.head.version == "1.0":
            self._connection.persistent = False
        else:
            self._chunked = True
            lines += b"transfer-encoding: chunked\r\n"
        self._unsent = self._head(status, lines)

    def _head(self, status: int, lines: bytes) -> bytes:
        self.status = status
        last = _last_lines
        now = self.loop.time()
        if now >= last.expires:
            last.renew(now)
        return b"HTTP/1.1 %d \r\n%b%b" % (
            status,
            lines,
            last.keeping if self._connection.persistent else last.closing,
        )

    def write(self, payload: bytes) -> None:
        """Write a piece of the body, and add its framing."""
        if payload and not self._bodiless:
            self.write_raw(chunk(payload) if self._chunked else payload)

    def write_raw(self, data: bytes) -> None:
        """Write bytes that already have the framing that `start` announced.

        After the exchange's end they are dropped, since the application may learn of the end later.
        """
        if self.ended:
            return
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        self._connection.transport.write(data)
        self.bytes_sent += len(data)
        self.last_write = self.loop.time()

    def finish(self, *, framed: bool = False) -> None:
        """End a complete body. `framed`: the raw bytes included its last chunk."""
        if self.ended:
            return
        if self._chunked and not framed and not self._bodiless:
            self.write_raw(LAST_CHUNK)
        self._end()

    def finish_and_close(self) -> None:
        """End the body as it is, and then the connection."""
        self._connection.persistent = False
        self.finish()

    def abort(self) -> None:
        """End the connection inside the response, so that no client takes it for complete. Written bytes are sent."""
        if not self.ended:
            self._connection.persistent = False
            self._end()

    def client_left(self) -> None:
        """Note that the client has left; called by the connection."""
        if not self.ended:
            self.gone = True
            self._end()

    def _end(self) -> None:
        if self._unsent and not self.gone:
            self.write_raw(b"")
        self.ended = True
        if not self.gone:
            self._connection.exchange_ended()
        handler, self.handler = self.handler, None
        if handler is not None:
            handler.ended()
