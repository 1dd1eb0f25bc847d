"""Which reader takes a good answer: relayed or translated, streamed or whole."""

from functools import partial

from gateway.dialects.base import Dialect, Outgoing
from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.messages.stream import StreamWriter
from gateway.proxy.content_encoding import ContentDecoder
from gateway.proxy.request import new_id
from gateway.proxy.responses.buffered import BufferedResponse, relay_whole
from gateway.proxy.responses.reader import Reader, ResponseSink
from gateway.proxy.responses.relay import StreamRelay
from gateway.proxy.responses.translate import Collection, Translation


def choose_response(
    attempt: ResponseSink,
    connection: ClientConnection,
    head: ResponseHead,
    content: ContentDecoder | None,
    dialect: Dialect,
    outgoing: Outgoing,
    limit: int,
) -> Reader:
    """The reader for the 2xx answer to `outgoing`. A whole answer may have `limit` bytes."""
    request = attempt.incoming.request
    if dialect.relays:
        if not (head.get(b"content-type") or b"").startswith(b"text/event-stream"):
            whole = partial(relay_whole, attempt, head, connection.framing.mode)
            return BufferedResponse(attempt, content, limit, whole)
        if request.stream:
            return StreamRelay(attempt, connection, head, content)
        return Collection(attempt, head, content, None, None)
    writer = StreamWriter(message_id=new_id("msg_"), model=request.model)
    decoder = dialect.decoder(attempt.incoming, outgoing, writer)
    if request.stream:
        return Translation(attempt, head, content, decoder, writer)
    return Collection(attempt, head, content, decoder, writer)
