"""The client's side: connections that are accepted, and the requests read from them.

`ServerConnection` reads heads (h11 judges them), gathers bodies and hands one Exchange at a time, in order, to an
application. It keeps every limit and deadline of the edge. What a request means is the application's business.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

from gateway.http1.deadline import Deadline
from gateway.http1.exchange import Exchange
from gateway.http1.framing import Framing
from gateway.http1.grammar import ProtocolError, check_beginning, head_end
from gateway.http1.heads import RequestHead, parse_request_head, render_response_head
from gateway.http1.limits import Limits
from gateway.http1.unsent import unsent_bytes

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_REFUSED = 64
"""Connections too many that are told so; until they have heard it each takes a descriptor. More are just cut off."""
BEGINNING = 64
"""Bytes of an incomplete head that are judged with each read: enough to know what is no HTTP/1.1, and so few that a
head which comes byte by byte costs no more for it."""


class Application(Protocol):
    """What stands behind the edge."""

    def admit(self, exchange: Exchange) -> None:
        """The head is complete, the body not yet read: either answer here, which refuses the request, or set
        `exchange.on_request`, which must lead to an answer, now or later."""

    def protocol_error(
        self, status: int, message: str, exchange: Exchange | None
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """Headers and body for an error that HTTP itself makes; `exchange` is None before a head was read."""


class Owner(Protocol):
    """What a connection needs of the server that accepted it."""

    application: Application
    limits: Limits
    draining: bool
    connections: "set[ServerConnection]"

    def forget(self, connection: "ServerConnection") -> None:
        """It is closed."""


class ServerConnection(asyncio.Protocol):
    """One client connection: IDLE -> HEAD -> BODY -> ANSWER -> IDLE ..., or LINGER at its end.

    IDLE waits for a request's first byte, LINGER reads a refused body away so that the answer is not lost.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_chunked",
        "_deadline",
        "_exchange",
        "_framing",
        "_length",
        "_limits",
        "_lingered",
        "_parsing",
        "_peer",
        "_read_paused",
        "_received",
        "_searched",
        "_server",
        "_state",
        "_unread",
        "_write_paused",
        "loop",
        "persistent",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: Owner) -> None:
        self._server = server
        self._limits = server.limits
        self.loop = asyncio.get_running_loop()
        self.persistent = True
        self._state = "HEAD"
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._framing: Framing | None = None
        """Follows a body that did not come with its head."""
        self._chunked = False
        self._length = 0
        """Bytes of the body, where its head says so."""
        self._body: list[bytes] = []
        self._received = 0
        self._searched = 0
        self._lingered = 0
        self._unread = 0
        self._parsing = False
        self._read_paused = False
        self._write_paused = False
        self._peer = ""
        self._deadline = Deadline(self.loop, self._expired)

    def __repr__(self) -> str:
        return f"<ServerConnection [{self._peer}, {self._state}]>"

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else str(peer or "")
        server = self._server
        server.connections.add(self)
        self.transport.set_write_buffer_limits(high=self._limits.high_water)
        beyond = len(server.connections) - self._limits.max_connections
        if beyond > MAX_REFUSED:
            self.transport.abort()
        elif beyond > 0:
            self._refuse(503, "too many connections are open at this gateway", (b"retry-after", b"1"))
        else:
            self._deadline.set(self._limits.header_timeout)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == "BODY":
            self._read_body(data)
        elif state == "LINGER":
            self._lingered += len(data)
            if self._lingered > self._limits.linger_bytes:
                self.transport.abort()
        elif state != "CLOSING":
            self._buffer = self._buffer + data if self._buffer else data
            self._parse()
            if len(self._buffer) > self._limits.max_head and self._state in ("ANSWER", "IDLE"):
                self._read_paused = True
                self.transport.pause_reading()

    def eof_received(self) -> None:
        # A client that closes its side has left, even where bytes for it still wait.
        self._close()
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = "CLOSED"
        self._deadline.cancel()
        self._server.forget(self)
        self._leave()

    def _leave(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_left()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._unread = unsent_bytes(self.transport)
        self._deadline.set(self._limits.write_timeout)
        if self._exchange is not None:
            self._exchange.pause(False)

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._state == "ANSWER":
            self._deadline.clear()
        if self._exchange is not None:
            self._exchange.pause(True)
        elif self._state == "IDLE":
            self._deadline.set(self._limits.keep_alive_timeout)
            self._go_on()

    # Reading.

    def _go_on(self) -> None:
        """Turn to the next request. A client that pipelines without reading the answers is not read either."""
        if self._read_paused and not self._write_paused:
            self._read_paused = False
            self.transport.resume_reading()
        if self._buffer:
            self._parse()

    def _parse(self) -> None:
        """Read as many requests as the buffer holds, one answered before the next is looked at."""
        if self._parsing:
            return
        self._parsing = True
        try:
            while self._buffer and self._state in ("IDLE", "HEAD") and not self._write_paused:
                if not self._read_head():
                    break
        finally:
            self._parsing = False

    def _read_head(self) -> bool:
        """Take one head off the buffer. False when it is not complete yet, or the connection is at its end."""
        try:
            raw = self._take_head()
            if not raw:
                return False
            head = parse_request_head(raw)
        except ProtocolError as error:
            self._protocol_error(error)
            return False
        self._chunked = head.chunked
        length = self._length = head.content_length or 0
        persistent = head.keep_alive and not self._server.draining
        # Should the request be refused, the connection goes on only behind a body that is here already.
        self.persistent = persistent and self._body_is_here()
        exchange = self._exchange = Exchange(self, head, self._peer, self.loop.time())
        self._state = "BODY"
        self._server.application.admit(exchange)
        if self._state != "BODY":
            return self._state == "IDLE"
        self.persistent = persistent
        if length > self._limits.max_body:
            self._too_large()
        elif self._body_is_here():
            buffer = self._buffer
            self._buffer = buffer[length:]
            self._handle(buffer[:length])
        else:
            self._begin_body(head)
        return True

    def _begin_body(self, head: RequestHead) -> None:
        """The body is not here, or not all of it."""
        if head.expects_continue and not self._buffer:
            self.transport.write(CONTINUE)
        self._framing = Framing.for_request(head)
        self._received = 0
        self._deadline.set(self._limits.body_timeout)
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._read_body(data)

    def _take_head(self) -> bytes:
        """The bytes of one head, off the buffer; none while it is not complete. Raises ProtocolError."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n") and not self._received:
            # RFC 9112, 2.2: one empty line before a request line is forgiven.
            self._received = 2
            self._buffer = buffer = buffer[2:]
            if not buffer:
                return b""
        end = buffer.find(b"\r\n\r\n", self._searched) + 4
        if end < 4:
            end = head_end(buffer, self._searched)
        self._searched = max(0, len(buffer) - 3) if end < 0 else 0
        size = end if end >= 0 else len(buffer)
        longest, largest = self._limits.max_request_line, self._limits.max_head
        if size > longest and buffer.find(b"\n", 0, longest) < 0:
            raise ProtocolError(414, f"the request line is longer than {longest} bytes")
        if size > largest:
            raise ProtocolError(431, f"the request's head is larger than {largest} bytes")
        if end < 0:
            if self._state == "IDLE":
                self._state = "HEAD"
                self._deadline.set(self._limits.header_timeout)
            if buffer != b"\r" or self._received:
                check_beginning(buffer[:BEGINNING])
            return b""
        self._buffer = buffer[end:]
        return buffer[:end]

    def _read_body(self, data: bytes) -> None:
        framing = self._framing
        assert framing is not None
        try:
            pieces = framing.payload(data)
        except ProtocolError as error:
            self._protocol_error(error)
            return
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._received += len(piece)
        self._body.append(piece)
        if self._received > self._limits.max_body:
            self._too_large()
        elif framing.ended:
            self._buffer = data[framing.consumed :]
            body, self._body = self._body, []
            self._handle(body[0] if len(body) == 1 else b"".join(body))
        else:
            self._deadline.set(self._limits.body_timeout)

    def _handle(self, body: bytes) -> None:
        self._state = "ANSWER"
        self._deadline.clear()
        exchange = self._exchange
        assert exchange is not None
        exchange.body = body
        go_on, exchange.on_request = exchange.on_request, None
        assert go_on is not None
        go_on()

    # Answering.

    def exchange_ended(self) -> None:
        """For the exchange: its answer is written. What comes next on this connection is decided here."""
        self._exchange = None
        if self._state == "BODY" and not self._pass_over_body():
            self._linger()
        elif not self.persistent or self._server.draining:
            self._close()
        else:
            self._state = "IDLE"
            self._received = 0
            if not self._write_paused:
                self._deadline.set(self._limits.keep_alive_timeout)
            self._go_on()

    def _body_is_here(self) -> bool:
        """The buffer holds all of a body. Chunks are not looked into."""
        return not self._chunked and self._length <= len(self._buffer)

    def _pass_over_body(self) -> bool:
        """A request was answered before its body was read: True when that could be passed over."""
        here = self._body_is_here()
        if here:
            self._buffer = self._buffer[self._length :]
        return here

    def drain(self) -> None:
        """For the server: be gone after the answer under way."""
        self.persistent = False
        if self._state == "IDLE" or (self._state == "HEAD" and not self._buffer):
            self._close()

    def _refuse(self, status: int, message: str, *extra: tuple[bytes, bytes]) -> None:
        """Answer an error that has no Exchange, and end the connection."""
        headers, body = self._server.application.protocol_error(status, message, None)
        framing = (b"content-length", b"%d" % len(body)), (b"connection", b"close")
        self.transport.write(render_response_head(status, [*headers, *extra, *framing]) + body)
        self._linger()

    def _protocol_error(self, error: ProtocolError) -> None:
        exchange = self._exchange
        self.persistent = False
        if error.status == 0:
            self.transport.abort()
        elif exchange is None:
            self._refuse(error.status, error.message)
        else:
            headers, body = self._server.application.protocol_error(error.status, error.message, exchange)
            exchange.respond(error.status, headers, body)

    def _too_large(self) -> None:
        self._protocol_error(
            ProtocolError(413, f"the request's body is larger than {self._limits.max_body} bytes")
        )

    def _linger(self) -> None:
        """Say that no more comes, then read away what the client is still sending.

        Closing with bytes unread would reset the connection, and the client would lose the answer.
        """
        self._state = "LINGER"
        self._buffer = b""
        self._body = []
        self._deadline.set(self._limits.linger_timeout)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        """Close once the bytes that were written have left; a peer that takes none is cut off."""
        self._state = "CLOSING"
        self.transport.close()
        self._unread = unsent_bytes(self.transport)
        self._deadline.set(self._limits.write_timeout)

    def _expired(self) -> None:
        state = self._state
        if state == "BODY":
            self._protocol_error(
                ProtocolError(408, f"no byte of the request's body came for {self._limits.body_timeout:g} s")
            )
        elif state == "HEAD":
            self._refuse(408, f"the request's head was not complete after {self._limits.header_timeout:g} s")
        elif state == "LINGER" or (state == "IDLE" and not self._write_paused):
            self._close()
        else:
            self._check_progress()

    def _check_progress(self) -> None:
        """The client must have read something since the last look, or it is cut off."""
        waiting = unsent_bytes(self.transport)
        if waiting >= self._unread:
            self.transport.abort()
        else:
            self._unread = waiting
            self._deadline.set(self._limits.write_timeout)
