"""A request to an upstream, from a connection's point of view: its interface, its body's receiver, its errors."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.http1.deadline import Deadline
from gateway.http1.heads import ResponseHead

if TYPE_CHECKING:
    from gateway.http1.client_connection import ClientConnection


class UpstreamError(Exception):
    """The upstream failed after the connection was made. `timeout`: it was silent for too long."""

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timeout = timeout


class ConnectError(UpstreamError):
    """No connection to the upstream could be made."""


class BodyReceiver(Protocol):
    """Receives the body of one response."""

    decode: bool
    """Whether it needs the payload, without its framing."""

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Handle bytes of the body as they are on the wire, with their payload if `decode` is set; `ended` with the
        last ones, which may be empty."""

    def failed(self, error: UpstreamError) -> None:
        """Handle an error: no more of this response will arrive."""


class RestReader:
    """Receives the rest of a response that nothing needs, until the deadline, which its bytes do not move."""

    __slots__ = ("_deadline", "_until", "decode")

    def __init__(self, deadline: Deadline) -> None:
        self.decode = False
        self._deadline = deadline
        self._until = deadline.when

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Take back the connection's move of the deadline."""
        if not ended:
            self._deadline.when = self._until

    def failed(self, error: UpstreamError) -> None:
        """Do nothing: the response was complete before."""


class UpstreamRequest(Protocol):
    """One request to an upstream, and the handler of its response."""

    method: str
    head: bytes
    body: bytes
    """Both are dropped once they cannot be sent again."""
    first_byte_timeout: float
    """Seconds that the response's head may take."""
    connection: "ClientConnection | None"
    """The connection that serves it."""
    dialling: "asyncio.Task[None] | None"
    """The pool's attempt to connect for it."""

    def head_received(self, connection: "ClientConnection", head: ResponseHead) -> BodyReceiver | None:
        """Handle the response's head. Return the body's receiver; None if the rest of the response is not needed."""

    def failed(self, error: UpstreamError) -> None:
        """Handle an error: there will be no response."""

    def crashed(self, error: Exception) -> None:
        """Handle an exception that this request or its receiver raised."""
