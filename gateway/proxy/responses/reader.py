"""What the attempt loop and the readers of answers know of each other."""

from typing import Protocol

from gateway.dialects.base import Incoming
from gateway.http1.client_connection import UpstreamError
from gateway.http1.heads import ResponseHead
from gateway.proxy.request import ClientRequest
from gateway.routing.failures import Failure


class Reader(Protocol):
    """Takes the body of one upstream answer and makes the client's answer of it."""

    decode: bool
    """The body's payload is wanted, not its raw bytes."""

    def body_received(self, data: bytes, ended: bool) -> None:
        """Bytes of the body; `ended` with the last ones."""

    def failed(self, error: UpstreamError) -> None:
        """The body broke off."""

    def can_ping(self) -> bool:
        """A ping may be written to the client's stream now."""


class ResponseSink(Protocol):
    """What a reader tells of its answer. Exactly one of `failed`, `failed_early`, `done` and `broke` ends it;
    `commit_*` comes before the last two."""

    answer: ClientRequest
    incoming: Incoming

    def abandon(self) -> None:
        """The rest of the upstream's answer is not wanted: its connection is closed."""

    def failed(self, failure: Failure) -> None:
        """Nothing was sent to the client, and this answer is of no use: judge it, perhaps try again."""

    def failed_early(self, message: str, *, timeout: bool = False) -> None:
        """The same for a 200 that ended before any content."""

    def commit_stream(self, content_type: bytes | None, head: ResponseHead) -> None:
        """There is content: the client's stream begins, and there is no retry from here on."""

    def commit_whole(self, body: bytes, content_type: bytes | None, head: ResponseHead) -> None:
        """The whole answer is here and goes to the client. Nothing else is to be called."""

    def done(self) -> None:
        """The stream ended well. The reader then finishes the exchange."""

    def broke(self, failure: Failure | None, message: str = "") -> None:
        """The stream ended badly after it was committed. The reader then says so to the client."""
