"""The connection to an upstream: one request at a time, its response passed on as it arrives.

`ClientConnection` reads the response's head, follows the body with `framing`, and passes each read to a receiver in the
same call. It keeps an upstream's deadlines. The pool chooses the connection for a request, and decides what follows a
failure.
"""

import asyncio
import select
from collections.abc import Callable
from enum import Enum
from typing import Protocol, cast

from gateway.http1.deadline import Deadline
from gateway.http1.exchange import SMALL
from gateway.http1.framing import Framing
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import ResponseFacts, ResponseHead, parse_response_head
from gateway.http1.limits import Limits
from gateway.http1.template import HeadTemplate
from gateway.http1.upstream_request import BodyReceiver, RestReader, UpstreamError, UpstreamRequest

STALE_WITHIN = 5.0
"""Seconds in which a connection that the server had closed shows it: a round trip, or a few for lost packets. One that
dies later was serving the request, which may have been paid for."""

MAX_INTERIM = 10
"""Heads of 1xx before a response; real servers send one or two (100, 103)."""


class Owner(Protocol):
    """What a connection needs from its pool."""

    template: HeadTemplate[ResponseFacts] | None
    """The template of the last head learnt, for new connections to start with."""

    def idle(self, connection: "ClientConnection") -> None:
        """Take the connection back: the response is complete, and another request may follow."""

    def closed(self, connection: "ClientConnection") -> None:
        """Forget the connection: no request may follow."""

    def connect(self, request: UpstreamRequest) -> None:
        """Send a request over a new connection."""


class State(Enum):
    """What a connection is doing."""

    NEW = "no request yet"
    ACTIVE = "a request is under way"
    IDLE = "waiting for another request"
    CLOSED = "closed"


class ClientConnection(asyncio.Protocol):
    """A connection to an origin: NEW -> ACTIVE -> IDLE -> ACTIVE ... -> CLOSED."""

    __slots__ = (
        *("_begun", "_buffer", "_deadline", "_interim", "_limits", "_paused", "_reader", "_request"),
        *("_reusable", "_sent_at", "_turn_is_due", "framing", "loop", "origin", "owner", "requests"),
        *("state", "template", "transport", "waiting"),
    )

    transport: asyncio.Transport

    def __init__(self, origin: object, limits: Limits) -> None:
        self.origin = origin
        self.loop = asyncio.get_running_loop()
        self.state = State.NEW
        self.requests = 0
        """The number of requests sent over this connection."""
        self.owner: Owner | None = None
        """The pool, once it has taken the connection."""
        self._limits = limits
        self._request: UpstreamRequest | None = None
        self._reader: BodyReceiver | None = None
        """The receiver of the body, once the head has arrived."""
        self._sent_at = 0.0
        """Loop time at which the request was sent."""
        self._begun = False
        """Whether any byte of the response has arrived."""
        self._buffer = b""
        """The bytes of an incomplete head; after it, the rest of a read that is left for the next turn of the loop."""
        self._turn_is_due = False
        self._interim = 0
        self._paused = False
        self._reusable = False
        self.framing: Framing | None = None
        """The framing of the present body; None for one that came whole with its head."""
        self.template: HeadTemplate[ResponseFacts] | None = None
        """The template of the last head, or one to start with."""
        self.waiting: Callable[[int], object] | None = None
        """Called with 0, returns events if bytes or an end have arrived that the loop has not read yet."""
        self._deadline = Deadline(self.loop, self._expired)

    def __repr__(self) -> str:
        return f"<ClientConnection [{self.origin}, {self.state.name}, Request Count: {self.requests}]>"

    def send(self, request: UpstreamRequest) -> None:
        """Send a whole request; its methods are called with the response."""
        self.state = State.ACTIVE
        self.requests += 1
        self._begun = False
        self._interim = 0
        self._request = request
        request.connection = self
        self._sent_at = now = self.loop.time()
        deadline = self._deadline
        deadline.when = when = now + request.first_byte_timeout
        if when < deadline.armed:
            deadline.arm(when)
        head, body = request.head, request.body
        if len(body) <= SMALL:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        if self.requests == 1:
            # Only a connection that was idle can be stale, so this request is never sent again.
            request.head = request.body = b""

    def serves(self, request: UpstreamRequest) -> bool:
        """Return whether this connection serves a request."""
        return self._request is request

    def hand_over(self, reader: BodyReceiver) -> None:
        """Have `reader` receive the rest of the body, if there is any."""
        if self._reader is not None:
            self._reader = reader

    def abort(self) -> None:
        """Close the socket now, without a call to the request or its receiver: the response is not needed."""
        self._request = self._reader = None
        self._end()
        self.transport.abort()

    def pause(self) -> None:
        """Stop reading: the receiver's own reader is slow."""
        if not self._paused and self.state is State.ACTIVE:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Continue reading."""
        if self._paused:
            self._paused = False
            self._deadline.set(self._limits.idle_timeout)
            if self._buffer and self._reader is not None:
                self._go_on_next_turn()
            elif self.state is not State.CLOSED:
                self.transport.resume_reading()

    def linger(self, request: UpstreamRequest, seconds: float) -> None:
        """Allow the rest of a response `seconds` to arrive: nothing needs it, but then the connection can be kept."""
        if self._request is request:
            self.resume()
            self._deadline.set(seconds)
            self.hand_over(RestReader(self._deadline))

    def watch(self) -> Callable[[int], object]:
        """Create `waiting`, which only a connection that is used again needs."""
        self.waiting = _no_events
        connection = self.transport.get_extra_info("socket")
        if connection is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            self.waiting = poll.poll
        return self.waiting

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            if self._buffer:
                self._buffer += data
            else:
                self._read_body(data)
        elif self.state is State.ACTIVE:
            self._begun = True
            self._read_head(self._buffer + data if self._buffer else data)
        elif self.state is not State.CLOSED:
            # No request was sent: whatever these bytes are, the connection cannot be trusted.
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reusable = False
        while self._buffer and self._reader is not None:
            self._read_rest()
        framing = self.framing
        if self._reader is not None and framing is not None:
            if exc is not None:
                self._fail(UpstreamError("the upstream reset the connection"))
            else:
                try:
                    framing.close()
                except ProtocolError as error:
                    self._fail(UpstreamError(error.message))
                else:
                    self._complete(b"", b"")
        elif self._request is not None:
            reason = "reset" if exc is not None else "closed"
            self._fail(UpstreamError(f"the upstream {reason} the connection before it responded"))
        self._end()

    # Reading.

    def _read_head(self, data: bytes) -> None:
        """Read the response's head, and the part of its body that came with it."""
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if (end if end >= 4 else len(data)) > self._limits.max_head:
                self._break("the upstream's response has too large a head")
                return
            if end < 4:
                # A bare line feed ends no head here: a head with one ends in an error of size or a timeout.
                self._buffer = data
                return
            # A connection's first response probably resembles the last one on another connection.
            known = self.template or (self.owner.template if self.owner is not None else None)
            try:
                head = parse_response_head(data[:end], known)
            except ProtocolError as error:
                self._break(error.message)
                return
            data = data[end:]
            if head.status >= 200:
                break
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._break(f"the upstream sent more than {MAX_INTERIM} interim heads")
                return
        self._buffer = b""
        if head.template is not self.template and head.template is not None:
            self.template = head.template
            if self.owner is not None:
                self.owner.template = head.template
        self._take_head(head, data)

    def _take_head(self, head: ResponseHead, data: bytes) -> None:
        """Find the receiver of the body, and start with the body."""
        request = self._request
        assert request is not None
        request.head = request.body = b""
        framing = None
        whole = data and len(data) == head.content_length and request.method != "HEAD" and head.status < 300
        if not whole or head.status == 204:
            framing = self.framing = Framing.for_response(head, request.method)
        # A connection whose close ends the body cannot serve another request.
        self._reusable = head.keep_alive and (framing is None or framing.mode != "close")
        try:
            reader = request.head_received(self, head)
        except Exception as error:
            request.crashed(error)
            reader = None
        if reader is None or self.state is State.CLOSED:
            self.abort()
            return
        self._reader = reader
        if framing is None:
            self._complete(data, data)
        elif framing.ended:
            self._reusable = self._reusable and not data
            self._complete(b"", b"")
        elif data:
            self._read_body(data)
        else:
            self._deadline.when = self.loop.time() + self._limits.idle_timeout

    def _read_body(self, data: bytes) -> None:
        framing, request, reader = self.framing, self._request, self._reader
        assert framing is not None
        assert request is not None
        assert reader is not None
        payload = b""
        try:
            if reader.decode:
                pieces: list[bytes] = []
                framing.feed(data, pieces)
                payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            else:
                framing.feed(data)
        except ProtocolError as error:
            self._break(error.message)
            return
        if framing.ended:
            if framing.consumed < len(data):
                # More than one response to one request: drop the rest with the connection.
                self._reusable = False
                data = data[: framing.consumed]
            self._complete(data, payload)
            return
        self._deadline.when = self.loop.time() + self._limits.idle_timeout
        if framing.more:
            self._buffer = data[framing.consumed :]
            data = data[: framing.consumed]
            self.transport.pause_reading()
            self._go_on_next_turn()
        try:
            reader.body_received(data, payload, False)
        except Exception as error:
            request.crashed(error)

    def _go_on_next_turn(self) -> None:
        """Leave the rest of a read for the next turn of the loop, so that other connections are read before."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_is_due = False
        if self._paused or self._reader is None:
            return
        self._read_rest()
        if not (self._buffer or self._paused or self.state is State.CLOSED):
            self.transport.resume_reading()

    def _read_rest(self) -> None:
        data, self._buffer = self._buffer, b""
        self._read_body(data)

    def _complete(self, raw: bytes, payload: bytes) -> None:
        """Free the connection, then tell the receiver that the response is complete."""
        request, reader = self._request, self._reader
        assert request is not None
        assert reader is not None
        self._request = self._reader = None
        if self._paused:
            self.resume()
        transport = self.transport
        # The upstream may have responded before it read all of the request.
        if self._reusable and not transport.is_closing() and not transport.get_write_buffer_size():
            self.framing = None
            self.state = State.IDLE
            deadline = self._deadline
            deadline.when = when = self.loop.time() + self._limits.pool_idle_timeout
            if when < deadline.armed:
                deadline.arm(when)
            if self.owner is not None:
                self.owner.idle(self)
        else:
            self._end()
            transport.abort()
        try:
            reader.body_received(raw, payload, True)
        except Exception as error:
            request.crashed(error)

    # Failing.

    def _break(self, message: str, *, timeout: bool = False) -> None:
        self._fail(UpstreamError(message, timeout=timeout))
        self.transport.abort()

    def _fail(self, error: UpstreamError) -> None:
        request, reader = self._request, self._reader
        assert request is not None
        self._request = self._reader = None
        self._end()
        soon = self.loop.time() < self._sent_at + STALE_WITHIN
        if self.requests > 1 and soon and not self._begun and not error.timeout and self.owner is not None:
            # The server had closed the connection while it was idle.
            self.owner.connect(request)
            return
        try:
            (reader or request).failed(error)
        except Exception as crash:
            request.crashed(crash)

    def _end(self) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._deadline.cancel()
        if self.owner is not None:
            self.owner.closed(self)

    def _expired(self) -> None:
        if self.state is State.IDLE:
            self._end()
            self.transport.close()
        elif self._paused:
            # Reading was paused here; `resume` starts the deadline again.
            return
        elif self._reader is not None:
            self._break("the upstream fell silent inside its response", timeout=True)
        else:
            self._break("the upstream did not begin to respond in time", timeout=True)


def _no_events(timeout: int) -> tuple[()]:
    """Return no events, for a transport without a socket, and on a system without poll."""
    return ()
