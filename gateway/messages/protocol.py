"""ClientProtocol: the form of errors and of pings in a client's protocol.

There is one object for each protocol, so that code that responds to clients does not depend on it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from gateway.messages.errors import error_body, error_event
from gateway.messages.stream import PING


class ErrorBody(Protocol):
    """Writes the body of an error response."""

    def __call__(
        self,
        status: int,
        message: str,
        request_id: str,
        *,
        type: str | None = None,
        details: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the body, with the type that belongs to `status` unless `type` is given."""


class ErrorEvent(Protocol):
    """Writes the event that ends a stream with an error."""

    def __call__(self, type: str, message: str, request_id: str) -> bytes:
        """Return the whole event."""


class ClientProtocol(NamedTuple):
    """What the gateway itself sends in one protocol."""

    error_body: ErrorBody
    error_event: ErrorEvent
    ping: bytes
    """An event that only shows that the stream is alive."""


MESSAGES = ClientProtocol(error_body=error_body, error_event=error_event, ping=PING)
