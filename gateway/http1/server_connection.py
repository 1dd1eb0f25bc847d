"""Connections of clients, and the requests read from them.

`ServerConnection` reads heads and bodies and passes one Exchange at a time, in order, to an application. It enforces
all limits and deadlines towards clients, and knows nothing about the meaning of requests.
"""

import asyncio
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, cast

from gateway.http1.deadline import Deadline
from gateway.http1.exchange import Exchange, RequestHandler
from gateway.http1.framing import Framing
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import RequestHead
from gateway.http1.request_heads import RequestHeadReader
from gateway.http1.unsent import unsent_bytes

if TYPE_CHECKING:
    from gateway.http1.server import Server

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_REFUSED = 64
"""How many connections above the limit get a 503. Beyond that they are closed without a response, because each one
still holds a descriptor."""
PIPELINED = range(64)
"""Requests that are read from a connection in one turn of the loop: a few ms of work, then others get their turn."""


class State(Enum):
    """What a connection is doing."""

    HEAD = "reading a head"
    BODY = "reading a body"
    RESPONSE = "waiting for the response"
    IDLE = "waiting for a request's first byte"
    LINGER = "reading a refused body away, so that the response is not lost"
    CLOSING = "waiting until the last bytes have left"
    CLOSED = "closed"


class ServerConnection(asyncio.Protocol):
    """One client connection: HEAD -> BODY -> RESPONSE -> IDLE -> HEAD ...; LINGER, CLOSING, CLOSED at its end."""

    __slots__ = (
        *(
            "_body",
            "_buffer",
            "_deadline",
            "_deferred",
            "_exchange",
            "_framing",
            "_heads",
            "_limits",
            "_lingered",
        ),
        *("_parsing", "_read_paused", "_received", "_server", "_state", "_unread", "_write_paused"),
        *("loop", "persistent", "transport"),
    )

    transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._limits = server.limits
        self.loop = asyncio.get_running_loop()
        self.persistent = True
        self._state = State.HEAD
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._framing: Framing | None = None
        """Follows a body that did not arrive with its head."""
        self._heads = RequestHeadReader(server, server.limits)
        self._body: list[bytes] = []
        self._received = 0
        self._lingered = 0
        self._unread = 0
        self._parsing = False
        self._deferred = False
        """Whether the next turn of the loop continues with the buffer."""
        self._read_paused = False
        self._write_paused = False
        self._deadline = Deadline(self.loop, self._expired)

    def __repr__(self) -> str:
        return f"<ServerConnection [{self._state.name}]>"

    @property
    def handler(self) -> RequestHandler | None:
        """The handler of the request in progress."""
        return self._exchange.handler if self._exchange is not None else None

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        server = self._server
        server.connections.add(self)
        self.transport.set_write_buffer_limits(high=self._limits.high_water)
        beyond = len(server.connections) - self._limits.max_connections
        if beyond > MAX_REFUSED:
            self.transport.abort()
        elif beyond > 0:
            self._refuse(503, "too many connections are open at this gateway", b"retry-after: 1\r\n")
        else:
            self._deadline.set(self._limits.header_timeout)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is State.IDLE or state is State.HEAD or state is State.RESPONSE:
            self._buffer = self._buffer + data if self._buffer else data
            self._parse()
            ahead = self._buffer
            if ahead and len(ahead) > self._limits.max_head and self._state in (State.RESPONSE, State.IDLE):
                self._read_paused = True
                self.transport.pause_reading()
        elif state is State.BODY:
            if self._deferred:
                self._buffer += data
            else:
                self._read_body(data)
        elif state is State.LINGER:
            self._lingered += len(data)
            if self._lingered > self._limits.linger_bytes:
                self.transport.abort()

    def eof_received(self) -> None:
        # A client that closes its side has left, even if bytes for it still wait.
        self._close()
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = State.CLOSED
        self._deadline.cancel()
        self._server.forget(self)
        self._leave()

    def _leave(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        handler = exchange.handler
        try:
            exchange.client_left()
        except Exception as error:
            assert handler is not None
            handler.crashed(error)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._unread = unsent_bytes(self.transport)
        self._deadline.set(self._limits.write_timeout)
        self._call_writable(False)

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._state is State.RESPONSE:
            self._deadline.clear()
        if self._exchange is not None:
            self._call_writable(True)
        elif self._state is State.IDLE:
            self._deadline.set(self._limits.keep_alive_timeout)
            self._go_on()

    def _call_writable(self, ready: bool) -> None:
        handler = self.handler
        if handler is not None:
            try:
                handler.writable(ready)
            except Exception as error:
                handler.crashed(error)

    # Reading.

    def _go_on(self) -> None:
        """Continue with the next request. A client that pipelines without reading responses is not read either."""
        if self._read_paused and not self._write_paused:
            self._read_paused = False
            self.transport.resume_reading()
        if self._buffer:
            self._parse()

    def _parse(self) -> None:
        """Read as many requests as the buffer holds, each only after the response to the one before it."""
        if self._parsing or self._deferred:
            return
        self._parsing = True
        try:
            for _ in PIPELINED:
                if self._state is not State.IDLE and self._state is not State.HEAD:
                    break
                if not self._buffer or self._write_paused or not self._read_head():
                    break
            else:
                self._defer()
        finally:
            self._parsing = False

    def _defer(self) -> None:
        """Leave the buffer for the next turn of the loop, so that other connections are read before."""
        self._deferred = self._read_paused = True
        self.transport.pause_reading()
        self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._deferred = False
        if self._state is State.CLOSED:
            return
        if self._state is State.BODY:
            data, self._buffer = self._buffer, b""
            self._read_body(data)
        else:
            self._parse()
        if not self._deferred:
            self._read_paused = False
            self.transport.resume_reading()

    def _read_head(self) -> bool:
        """Take one head off the buffer. Return False if it is incomplete, or the connection is at its end."""
        known: tuple[RequestHead | None, int] | None = self._heads.recall(self._buffer)
        if known is None:
            try:
                known = self._heads.take(self._buffer)
            except ProtocolError as error:
                self._protocol_error(error)
                return False
        head, size = known
        buffer = self._buffer = self._buffer[size:]
        if head is None:
            if buffer and self._state is State.IDLE:
                self._state = State.HEAD
                self._deadline.set(self._limits.header_timeout)
            return False
        length = head.content_length or 0
        here = not head.chunked and length <= len(buffer)
        persistent = head.keep_alive and not self._server.draining
        # If the request is refused, the connection can continue only behind a body that has already arrived.
        self.persistent = persistent and here
        self._state = State.BODY
        exchange = self._exchange = Exchange(self, head, self.loop.time())
        try:
            handler = self._server.application.accept(exchange)
        except Exception as error:
            if exchange.handler is None:
                raise
            exchange.handler.crashed(error)
            handler = None
        if handler is None:
            return self._state is State.IDLE
        self.persistent = persistent
        if length > self._limits.max_body:
            self._too_large()
        elif here:
            self._buffer = buffer[length:]
            self._handle(handler, buffer[:length])
        else:
            self._begin_body(head)
        return True

    def _begin_body(self, head: RequestHead) -> None:
        """Start reading a body that has not arrived completely."""
        if head.expects_continue and not self._buffer:
            self.transport.write(CONTINUE)
        self._framing = Framing.for_request(head)
        self._received = 0
        self._deadline.set(self._limits.body_timeout)
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        framing = self._framing
        assert framing is not None
        pieces: list[bytes] = []
        try:
            framing.feed(data, pieces)
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
            self._framing = None
            body, self._body = self._body, []
            handler = self._exchange.handler if self._exchange is not None else None
            assert handler is not None
            self._handle(handler, body[0] if len(body) == 1 else b"".join(body))
        else:
            self._deadline.set(self._limits.body_timeout)
            if framing.more:
                self._buffer = data[framing.consumed :]
                self._defer()

    def _handle(self, handler: RequestHandler, body: bytes) -> None:
        self._state = State.RESPONSE
        self._deadline.when = inf
        try:
            handler.request_received(body)
        except Exception as error:
            handler.crashed(error)

    # Responding.

    def exchange_ended(self) -> None:
        """Decide what follows on this connection, now that the response is written; called by the exchange."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        if self._state is State.BODY and not self._pass_over_body(exchange.head):
            self._linger()
        elif not self.persistent or self._server.draining:
            self._close()
        else:
            self._state = State.IDLE
            if not self._write_paused:
                deadline = self._deadline
                deadline.when = when = exchange.last_write + self._limits.keep_alive_timeout
                if when < deadline.armed:
                    deadline.arm(when)
            if self._buffer or self._read_paused:
                self._go_on()

    def _pass_over_body(self, head: RequestHead) -> bool:
        """Skip the body of a request that got its response before it was read; False if not all of it has arrived."""
        length = head.content_length or 0
        if self._framing is not None or head.chunked or length > len(self._buffer):
            return False
        self._buffer = self._buffer[length:]
        return True

    def drain(self) -> None:
        """Close after the present response; called by the server."""
        self.persistent = False
        if self._state is State.IDLE or (self._state is State.HEAD and not self._buffer):
            self._close()

    def _refuse(self, status: int, message: str, more: bytes = b"") -> None:
        """Respond to an error without an Exchange, and end the connection."""
        lines, body = self._server.application.protocol_error(status, message, None)
        framing = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 %d \r\n%b%b%b%b" % (status, lines, more, framing, body))
        self._linger()

    def _protocol_error(self, error: ProtocolError) -> None:
        exchange = self._exchange
        self.persistent = False
        if error.status == 0:
            self.transport.abort()
        elif exchange is None:
            self._refuse(error.status, error.message)
        else:
            lines, body = self._server.application.protocol_error(error.status, error.message, exchange)
            exchange.respond(error.status, body, lines)

    def _too_large(self) -> None:
        message = f"the request's body is larger than {self._limits.max_body} bytes"
        self._protocol_error(ProtocolError(413, message))

    def _linger(self) -> None:
        """Send the end of our side, then discard what the client still sends: closing with unread bytes would reset the
        connection, and the client would lose the response."""
        self._state = State.LINGER
        self._buffer = b""
        self._body = []
        self._deadline.set(self._limits.linger_timeout)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        """Close once all written bytes are sent; a peer that reads none is cut off."""
        self._state = State.CLOSING
        self.transport.close()
        self._unread = unsent_bytes(self.transport)
        self._deadline.set(self._limits.write_timeout)

    def _expired(self) -> None:
        state = self._state
        if state is State.BODY:
            message = f"no byte of the request's body came for {self._limits.body_timeout:g} s"
            self._protocol_error(ProtocolError(408, message))
        elif state is State.HEAD:
            self._refuse(408, f"the request's head was not complete after {self._limits.header_timeout:g} s")
        elif state is State.LINGER or (state is State.IDLE and not self._write_paused):
            self._close()
        else:
            self._check_progress()

    def _check_progress(self) -> None:
        """Cut the client off unless it has read something since the last check."""
        waiting = unsent_bytes(self.transport)
        if waiting >= self._unread:
            self.transport.abort()
        else:
            self._unread = waiting
            self._deadline.set(self._limits.write_timeout)
