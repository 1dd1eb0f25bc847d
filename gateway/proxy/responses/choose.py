"""Chooses the reader of a successful response: relayed or translated, streamed or whole."""

from typing import TYPE_CHECKING

from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.messages.stream import StreamWriter
from gateway.proxy.request import new_id
from gateway.proxy.responses import DecodingReader, Reader
from gateway.proxy.responses.buffered import BufferedResponse
from gateway.proxy.responses.collect import Collection
from gateway.proxy.responses.relay import Holding
from gateway.proxy.responses.translate import Translation

if TYPE_CHECKING:
    from gateway.proxy.attempt import Attempt


def choose_response(
    attempt: "Attempt", head: ResponseHead, connection: ClientConnection, decoded: DecodingReader | None
) -> Reader:
    """Return the reader for the 2xx response to an attempt. `decoded`: the decoder of its content coding."""
    parsed, dialect = attempt.request.parsed, attempt.upstream.dialect
    if dialect.relays:
        # The first bytes decide, not the content type.
        if not parsed.stream:
            return BufferedResponse(attempt, head, attempt.request.runtime.config.server.limits.max_body)
        raw = head.chunked and decoded is None and attempt.request.exchange.head.version == "1.1"
        return Holding(attempt, head, connection.framing if raw else None, decoded or connection)
    writer = StreamWriter(message_id=new_id("msg_"), model=parsed.model)
    decoder = dialect.decoder(attempt.request, attempt.outgoing, writer)
    if parsed.stream:
        return Translation(attempt, head, decoder, writer)
    return Collection(attempt, head, decoder, writer)
