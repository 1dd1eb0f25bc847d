"""A request that the gateway itself sends (for a model list or a token), with its whole response."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.http1.pool import Pool
from gateway.http1.upstream_request import UpstreamError
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding, content_decoder
from gateway.proxy.responses.buffered import Buffer


class Response(NamedTuple):
    """A response with its whole body."""

    head: ResponseHead
    body: bytes


class Call:
    """One request; an `UpstreamRequest` and the receiver of its response."""

    __slots__ = (
        "_buffer",
        "_content",
        "_head",
        "_only_ok",
        "_pool",
        "_then",
        "body",
        "connection",
        "decode",
        "dialling",
        "first_byte_timeout",
        "head",
        "method",
    )

    def __init__(
        self,
        pool: Pool,
        method: str,
        head: bytes,
        body: bytes,
        then: Callable[[Response | str], None],
        *,
        patience: float,
        limit: int,
        only_ok: bool = False,
    ) -> None:
        """`then`: called with the response, or with a message why there is none; if it raises, it is called again with
        a message. `patience`: seconds until the response's head; `limit`: bytes of its body; `only_ok`: a response of
        another status than 200 is none.
        """
        self.method = method
        self.head = head
        self.body = body
        self.first_byte_timeout = patience
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.decode = True
        self._pool = pool
        self._then = then
        self._only_ok = only_ok
        self._head: ResponseHead
        self._content: ContentDecoder | None = None
        self._buffer = Buffer(limit)

    def send(self) -> None:
        """Send the request."""
        self._pool.send(self)

    def cancel(self) -> None:
        """Cancel the request; `then` is not called."""
        self._pool.cancel(self)

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "Call | None":
        """Read the body."""
        self._head = head
        if self._only_ok and head.status != 200:
            self._then(f"status {head.status}")
            return None
        try:
            self._content = content_decoder(head.get(b"content-encoding"))
        except UnreadableCoding as error:
            self._then(str(error))
            return None
        return self

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Add bytes of the body; finish with the last."""
        try:
            if self._content is not None:
                payload = self._content.feed(payload)
                if ended:
                    self._content.end()
            body = self._buffer.add(payload, ended)
        except (UnreadableCoding, UpstreamError) as error:
            self.cancel()
            self._then(str(error))
        else:
            if body is not None:
                self._then(Response(self._head, body))

    def failed(self, error: UpstreamError) -> None:
        """Finish without a response."""
        self._then(error.message)

    def crashed(self, error: Exception) -> None:
        """Finish with an exception of the gateway's own code."""
        self._then(f"the request failed here: {type(error).__name__}")
