"""Exchange: the request that was read, and the one way to answer it.

An application answers once: `respond` for a whole answer, or `start`, any number of `write` or `write_raw`, then
`finish` (the body is complete) or `abort` (it never will be). The exchange adds what HTTP needs (date, framing,
connection) and leaves every other header to the application.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.http1.framing import LAST_CHUNK, chunk
from gateway.http1.heads import RequestHead, render_response_head


class Wire(Protocol):
    """What an exchange needs of its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    persistent: bool
    """Another request may follow on this connection."""

    def exchange_ended(self) -> None:
        """The answer is written, all of it."""


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(wall: float) -> bytes:
    """An IMF-fixdate (RFC 9110, 5.6.7) for Unix seconds, whatever the locale."""
    t = time.gmtime(wall)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    ).encode()


class _Clock:
    """The lines that say when an answer was made and what becomes of its connection, made once a second."""

    __slots__ = ("closing", "keeping", "second")

    def __init__(self) -> None:
        self.second = -1
        self.keeping = b""
        self.closing = b""

    def lines(self, persistent: bool) -> bytes:
        second = int(time.time())
        if second != self.second:
            self.second = second
            date = b"date: %b\r\nconnection: " % http_date(second)
            self.keeping = date + b"keep-alive\r\n"
            self.closing = date + b"close\r\n"
        return self.keeping if persistent else self.closing


_clock = _Clock()


class Exchange:
    """One request and its answer. Made by a connection, handed to the application."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_wire",
        "body",
        "bytes_sent",
        "ended",
        "gone",
        "head",
        "last_write",
        "loop",
        "on_end",
        "on_flow",
        "on_request",
        "peer",
        "received_at",
        "status",
    )

    def __init__(self, wire: Wire, head: RequestHead, peer: str, received_at: float) -> None:
        self._wire = wire
        self.loop = wire.loop
        """The loop that its connection lives in."""
        self.head = head
        """The request's head."""
        self.body: bytes = b""
        """The request's whole body, without its framing."""
        self.peer = peer
        """The client's address, for logs."""
        self.received_at = received_at
        """Loop time when the head was complete."""
        self.status = 0
        """The answer's status, 0 until `respond` or `start`."""
        self.bytes_sent = 0
        """Bytes of the answer given to the transport, head included."""
        self.last_write = received_at
        """Loop time of the last byte given to the transport."""
        self.ended = False
        """`finish`, `abort` or the client's leaving has ended this exchange."""
        self.gone = False
        """The client left, or its connection broke, before the answer was complete."""
        self.on_request: Callable[[], None] | None = None
        """Set by the application when it admits the request: called when the body is complete."""
        self.on_end: Callable[[], None] | None = None
        """Called once when the exchange has ended, however it did."""
        self.on_flow: Callable[[bool], None] | None = None
        """Called with False when the client reads too slowly, with True when it has caught up."""
        self._bodiless = head.method == "HEAD"
        self._chunked = False

    @property
    def started(self) -> bool:
        """The answer's head is on its way."""
        return self.status != 0

    @property
    def chunked(self) -> bool:
        """The answer's body goes out chunked, so that chunks from elsewhere may be written raw."""
        return self._chunked

    def respond(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes = b"", rendered: bytes = b""
    ) -> None:
        """Answer with a whole body. For HEAD its length is told and the body left out.

        `rendered`: more header lines, made by `heads.render_lines` or taken from a head that was accepted.
        """
        self._begin(status, headers, b"%bcontent-length: %d\r\n" % (rendered, len(body)), body)
        self.finish()

    def start(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        length: int | None = None,
        rendered: bytes = b"",
    ) -> None:
        """Begin an answer whose body follows: of `length` bytes, else chunked (HTTP/1.0: until close)."""
        if length is not None:
            rendered += b"content-length: %d\r\n" % length
        elif self.head.version == "1.0":
            self._wire.persistent = False
        else:
            self._chunked = True
            rendered += b"transfer-encoding: chunked\r\n"
        self._begin(status, headers, rendered)

    def _begin(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], rendered: bytes, body: bytes = b""
    ) -> None:
        if self.ended:
            return
        rendered += _clock.lines(self._wire.persistent)
        head = render_response_head(status, headers, b"", rendered)
        self.status = status
        self.write_raw(head + body if body and not self._bodiless else head)

    def write(self, payload: bytes) -> None:
        """A piece of the body, framed here."""
        if payload and not self._bodiless:
            self.write_raw(chunk(payload) if self._chunked else payload)

    def write_raw(self, data: bytes) -> None:
        """Bytes that already carry the framing that `start` announced; passed on as they are.

        Once the exchange has ended, nobody takes them: the application may hear of it later than this.
        """
        if self.ended:
            return
        self._wire.transport.write(data)
        self.bytes_sent += len(data)
        self.last_write = self.loop.time()

    def finish(self, *, framed: bool = False) -> None:
        """The body is complete. `framed`: its last chunk was already among the raw bytes."""
        if self.ended:
            return
        if self._chunked and not framed and not self._bodiless:
            self.write_raw(LAST_CHUNK)
        self.ended = True
        self._wire.exchange_ended()
        self._tell()

    def finish_and_close(self) -> None:
        """The body is complete as far as it goes, and so is the connection."""
        self._wire.persistent = False
        self.finish()

    def abort(self) -> None:
        """The answer cannot be completed: the connection ends here, so that nobody takes it for whole.

        What was written before still goes out.
        """
        if self.ended:
            return
        self.ended = True
        self._wire.persistent = False
        self._wire.exchange_ended()
        self._tell()

    def client_left(self) -> None:
        """For the connection: the client is no more."""
        if self.ended:
            return
        self.ended = True
        self.gone = True
        self._tell()

    def pause(self, flowing: bool) -> None:
        """For the connection: the transport's buffer crossed a mark."""
        if self.on_flow is not None:
            self.on_flow(flowing)

    def _tell(self) -> None:
        self.on_flow = self.on_request = None
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()
