"""One request to an upstream, as a connection sees it, who takes its response, and the errors that it may be told."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.http1.heads import ResponseHead

if TYPE_CHECKING:
    from gateway.http1.client_connection import ClientConnection


class UpstreamError(Exception):
    """The upstream broke what it had begun. `timeout` tells silence from breakage."""

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timeout = timeout


class ConnectError(UpstreamError):
    """The upstream could not be reached: no connection was made."""


class BodyReceiver(Protocol):
    """Takes one response's body."""

    decode: bool
    """The payload is wanted, without its framing."""

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Take bytes of the body as they are on the wire, and, if wanted, their payload; `ended` with the last ones,
        which may be none."""

    def failed(self, error: UpstreamError) -> None:
        """Take notice that there will be no more of this response."""


class UpstreamRequest(Protocol):
    """One request to an upstream, and what becomes of its response."""

    method: str
    head: bytes
    body: bytes
    """Both are let go of once nobody can need to send them again."""
    first_byte_timeout: float
    """Seconds that the response's head may take."""
    connection: "ClientConnection | None"
    """The one that serves it."""
    dialling: "asyncio.Task[None] | None"
    """The pool's attempt to connect for it."""

    def head_received(self, connection: "ClientConnection", head: ResponseHead) -> BodyReceiver | None:
        """Take the response's head. Return who takes the body; None: the rest of the response is not wanted."""

    def failed(self, error: UpstreamError) -> None:
        """Take notice that there will be no response."""

    def crashed(self, error: Exception) -> None:
        """Take an exception that this request or its receiver raised."""
