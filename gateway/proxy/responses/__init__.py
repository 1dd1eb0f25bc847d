"""Readers of upstreams' responses: they relay, translate, collect or buffer them.

Each receives the response's body, and alone ends the client's response.
"""

from typing import Protocol

from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import BodyReceiver, UpstreamError
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import UpstreamHead
from gateway.routing.failures import Failure


class Reader(BodyReceiver, Protocol):
    """Receives the body of one upstream response and makes the client's response from it."""

    def can_ping(self) -> bool:
        """Return whether a ping may be written to the client's stream at this point."""

    def is_complete(self) -> bool:
        """Return whether the client has the whole response, even if the upstream's is incomplete."""


class ResponseSink(Protocol):
    """A reader reports to this. Exactly one of `failed`, `ended_early`, `done` and `broke` ends a response; `commit`
    comes before the last two."""

    request: ClientRequest
    about: UpstreamHead
    """The relevant parts of the response's head."""
    reader: Reader | None
    """The receiver of its body."""

    @property
    def takes_empty(self) -> bool:
        """Whether to pass on a complete response without content: another attempt returned one, too."""

    def abandon(self) -> None:
        """Close the upstream's connection: the rest of its response is not needed."""

    def linger(self) -> None:
        """Let the upstream end a response whose message is complete."""

    def failed(self, failure: Failure) -> None:
        """Report an unusable response, which may lead to another attempt. Nothing was sent to the client."""

    def ended_early(self, message: str, *, timeout: bool = False) -> None:
        """Report a 200 that ended before any content."""

    def commit(self, head: ResponseHead, content_type_line: bytes, beginning: bytes) -> bytes:
        """Rule out retries, since there is content. Return the header lines of the client's response.

        `beginning`: the response so far, as the client gets it.
        """

    def done(self) -> None:
        """Release everything: the response ended well. The reader then finishes the exchange."""

    def broke(self, failure: Failure | None, message: str = "") -> None:
        """Release everything: the response ended badly. The reader then tells the client."""


class Source(Protocol):
    """The source of a reader's bytes."""

    def hand_over(self, reader: BodyReceiver) -> None:
        """Have another reader receive the rest."""


class DecodingReader:
    """Decodes the content coding of a reader's bytes. Used only if there is one."""

    __slots__ = ("_content", "_reader", "_sink", "decode")

    def __init__(self, sink: ResponseSink, content: ContentDecoder) -> None:
        self.decode = True
        self._sink = sink
        self._content = content
        self._reader: BodyReceiver | None = None

    def hand_over(self, reader: BodyReceiver) -> None:
        """Have `reader` receive the bytes from here on."""
        self._reader = reader

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Decode these bytes and pass them on."""
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
        """Report that the body broke off."""
        assert self._reader is not None
        self._reader.failed(error)
