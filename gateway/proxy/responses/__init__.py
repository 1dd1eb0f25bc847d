"""What becomes of an upstream's response: relayed, translated, collected, or read whole.

Each is a receiver of the response's body, and the only one who ends the client's response.
"""

from typing import Protocol

from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import BodyReceiver, UpstreamError
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import UpstreamHead
from gateway.routing.failures import Failure


class Reader(BodyReceiver, Protocol):
    """Takes the body of one upstream response and makes the client's response of it."""

    def can_ping(self) -> bool:
        """Return whether a ping may be written to the client's stream at this point."""

    def is_complete(self) -> bool:
        """Return whether the client has been given the whole response, whatever is missing of the upstream's."""


class ResponseSink(Protocol):
    """What a reader tells of its response. Exactly one of `failed`, `ended_early`, `done` and `broke` ends it;
    `commit` comes before the last two."""

    request: ClientRequest
    about: UpstreamHead
    """What matters of the response's head."""
    reader: Reader | None
    """Who takes its body."""

    @property
    def takes_empty(self) -> bool:
        """Return whether a complete response without content is passed on: another attempt brought the same."""

    def abandon(self) -> None:
        """Close the upstream's connection: the rest of its response is not wanted."""

    def linger(self) -> None:
        """Let the upstream end its response, whose message is over."""

    def failed(self, failure: Failure) -> None:
        """Judge a response of no use, perhaps try again. Nothing was sent to the client."""

    def ended_early(self, message: str, *, timeout: bool = False) -> None:
        """Do the same for a 200 that ended before any content."""

    def commit(self, head: ResponseHead, content_type_line: bytes, beginning: bytes) -> bytes:
        """Go on without retries, since there is content. Return the header lines of the client's response.

        `beginning`: the response up to there, as the client gets it.
        """

    def done(self) -> None:
        """Let go of everything: the response ended well. The reader then finishes the exchange."""

    def broke(self, failure: Failure | None, message: str = "") -> None:
        """Let go of everything: the response ended badly. The reader then says so to the client."""


class Source(Protocol):
    """Where a reader's bytes come from."""

    def hand_over(self, reader: BodyReceiver) -> None:
        """Have another reader take the rest."""


class Decoded:
    """A reader's bytes with their content coding undone. Stands before it only where there is one."""

    __slots__ = ("_content", "_reader", "_sink", "decode")

    def __init__(self, sink: ResponseSink, content: ContentDecoder) -> None:
        self.decode = True
        self._sink = sink
        self._content = content
        self._reader: BodyReceiver | None = None

    def hand_over(self, reader: BodyReceiver) -> None:
        """Have `reader` take the bytes from here on."""
        self._reader = reader

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Undo the coding of these bytes."""
        reader = self._reader
        assert reader is not None
        try:
            payload = self._content.feed(payload)
            if ended:
                self._content.end()
        except UnreadableCoding as error:
            self._sink.abandon()
            reader.failed(UpstreamError(str(error)))
            return
        reader.body_received(payload, payload, ended)

    def failed(self, error: UpstreamError) -> None:
        """Pass on that the body broke off."""
        assert self._reader is not None
        self._reader.failed(error)
