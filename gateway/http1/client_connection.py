"""The upstream's side: one connection, one request at a time, the answer handed on as it comes.

`ClientConnection` reads the answer's head (h11 judges it), lets `framing` follow the body, and gives every read to
a receiver in the same call. It keeps the deadlines of an upstream. Which connection serves a request, and what
follows a failure, is the pool's business.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from gateway.http1.deadline import Deadline
from gateway.http1.framing import Framing
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import ResponseHead, parse_response_head
from gateway.http1.limits import Limits


class UpstreamError(Exception):
    """The upstream could not be reached, or broke what it had begun.

    `phase` is "connect", "head" (nothing of the answer's head was read completely) or "body". `timeout` tells
    silence from breakage.
    """

    def __init__(self, phase: str, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.phase = phase
        self.message = message
        self.timeout = timeout


class BodyReceiver(Protocol):
    """Takes one answer's body."""

    decode: bool
    """Wants the payload alone, without its framing; else the bytes come as they are on the wire."""

    def body_received(self, data: bytes, ended: bool) -> None:
        """Bytes of the body; `ended` with the last ones, which may be none."""

    def failed(self, error: UpstreamError) -> None:
        """There will be no more of this answer."""


class Receiver(Protocol):
    """Takes one answer."""

    def head_received(self, connection: "ClientConnection", head: ResponseHead) -> BodyReceiver | None:
        """The answer's head. Returns who takes the body; None: the rest of the answer is not wanted."""

    def failed(self, error: UpstreamError) -> None:
        """There will be no answer."""


class ClientConnection(asyncio.Protocol):
    """A connection to an origin: NEW -> ACTIVE -> IDLE -> ACTIVE ... -> CLOSED."""

    __slots__ = (
        "_buffer",
        "_deadline",
        "_framing",
        "_head_seen",
        "_limits",
        "_method",
        "_paused",
        "_reader",
        "_receiver",
        "_reusable",
        "answered",
        "loop",
        "on_closed",
        "on_idle",
        "origin",
        "requests",
        "state",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, origin: object, limits: Limits) -> None:
        self.origin = origin
        self.loop = asyncio.get_running_loop()
        self.state = "NEW"
        self.requests = 0
        """How many requests went over this connection."""
        self.answered = False
        """Some byte of the answer to the last of them has come."""
        self.on_idle: Callable[[ClientConnection], None] | None = None
        """The pool's: the answer is complete, another request may follow."""
        self.on_closed: Callable[[ClientConnection], None] | None = None
        """The pool's: no request may follow."""
        self._limits = limits
        self._receiver: Receiver | None = None
        self._reader: BodyReceiver | None = None
        self._buffer = b""
        self._head_seen = False
        self._method = ""
        self._paused = False
        self._reusable = False
        self._framing: Framing | None = None
        self._deadline = Deadline(self.loop, self._expired)

    def __repr__(self) -> str:
        return f"<ClientConnection [{self.origin}, {self.state}, Request Count: {self.requests}]>"

    @property
    def framing(self) -> Framing:
        """How the body being read is framed."""
        assert self._framing is not None
        return self._framing

    def send(
        self, method: str, head: bytes, body: bytes, receiver: Receiver, first_byte_timeout: float
    ) -> None:
        """Send a whole request; its answer goes to `receiver`."""
        self.state = "ACTIVE"
        self.requests += 1
        self.answered = False
        self._receiver = receiver
        self._method = method
        self._head_seen = False
        self._deadline.set(first_byte_timeout)
        if body:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head)

    def abort(self) -> None:
        """Nobody wants the answer: the socket is closed now, without a word to the receiver."""
        self._receiver = self._reader = None
        self._end()
        self.transport.abort()

    def pause(self) -> None:
        """Read nothing for now: the receiver's own reader is slow."""
        if not self._paused and self.state == "ACTIVE":
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._deadline.set(self._limits.idle_timeout)
            if self.state != "CLOSED":
                self.transport.resume_reading()

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._framing is not None:
            self._read_body(data)
        elif self.state == "ACTIVE":
            self.answered = True
            self._buffer = self._buffer + data if self._buffer else data
            self._read_head()
        else:
            # Nothing was asked: whatever this is, the connection is not to be trusted.
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        framing = self._framing
        if self._reader is not None and framing is not None and not framing.ended:
            try:
                framing.close()
            except ProtocolError as error:
                self._fail("body", error.message if exc is None else "the upstream reset the connection")
            else:
                if exc is None:
                    self._complete(b"")
                else:
                    self._fail("body", "the upstream reset the connection")
        elif self._receiver is not None:
            reason = "reset" if exc is not None else "closed"
            self._fail("head", f"the upstream {reason} the connection before it answered")
        self._end()

    # Reading.

    def _read_head(self) -> None:
        while True:
            end = self._buffer.find(b"\r\n\r\n") + 4
            if (end if end >= 4 else len(self._buffer)) > self._limits.max_head:
                self._break("head", "the upstream's answer has too large a head")
                return
            if end < 4:
                # A bare line feed ends no head here: an upstream that sends one fails as too long or silent.
                return
            raw, self._buffer = self._buffer[:end], self._buffer[end:]
            try:
                head = parse_response_head(raw)
            except ProtocolError as error:
                self._break("head", error.message)
                return
            if head.status >= 200:
                break
        self._head_seen = True
        framing = self._framing = Framing.for_response(head, self._method)
        # A body that ends with the connection leaves none for another request.
        self._reusable = head.keep_alive and framing.mode != "close"
        self._deadline.set(self._limits.idle_timeout)
        receiver, self._receiver = self._receiver, None
        assert receiver is not None
        self._reader = receiver.head_received(self, head)
        if self._reader is None or self.state == "CLOSED":
            self.abort()
            return
        data, self._buffer = self._buffer, b""
        if framing.ended:
            self._reusable = self._reusable and not data
            self._complete(b"")
        elif data:
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        framing = self._framing
        assert framing is not None
        reader = self._reader
        if reader is None:
            # Over TLS, bytes that were read already may still come behind an abort.
            return
        try:
            if reader.decode:
                pieces = framing.payload(data)
                consumed = framing.consumed
                payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            else:
                consumed = framing.feed(data)
                payload = data
        except ProtocolError as error:
            self._break("body", error.message)
            return
        if framing.ended:
            if consumed < len(data):
                # More than one answer to one request: the rest is dropped with the connection.
                self._reusable = False
                if not reader.decode:
                    payload = data[:consumed]
            self._complete(payload)
        else:
            self._deadline.when = self.loop.time() + self._limits.idle_timeout
            if payload:
                reader.body_received(payload, False)

    def _complete(self, payload: bytes) -> None:
        """The answer is whole. The connection is free before the receiver hears of it."""
        reader, self._reader = self._reader, None
        assert reader is not None
        if self._paused:
            self.resume()
        if self._reusable and not self.transport.is_closing() and self._sent():
            self._framing = None
            self.state = "IDLE"
            self._deadline.set(self._limits.pool_idle_timeout)
            if self.on_idle is not None:
                self.on_idle(self)
        else:
            self._end()
            self.transport.abort()
        reader.body_received(payload, True)

    def _sent(self) -> bool:
        """The request left completely: an upstream may answer before it has read all of it."""
        return not self.transport.get_write_buffer_size()

    # Failing.

    def _break(self, phase: str, message: str, *, timeout: bool = False) -> None:
        self._fail(phase, message, timeout=timeout)
        self.transport.abort()

    def _fail(self, phase: str, message: str, *, timeout: bool = False) -> None:
        receiver = self._receiver or self._reader
        assert receiver is not None
        self._receiver = self._reader = None
        self._end()
        receiver.failed(UpstreamError(phase, message, timeout=timeout))

    def _end(self) -> None:
        if self.state == "CLOSED":
            return
        self.state = "CLOSED"
        self._deadline.cancel()
        if self.on_closed is not None:
            self.on_closed(self)

    def _expired(self) -> None:
        if self.state == "IDLE":
            self._end()
            self.transport.close()
        elif self._paused:
            # The silence is ours, and `resume` begins the next one.
            return
        elif self._head_seen:
            self._break("body", "the upstream fell silent inside its answer", timeout=True)
        else:
            self._break("head", "the upstream did not begin to answer in time", timeout=True)
