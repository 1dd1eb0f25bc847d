"""Which reader takes a good answer: relayed or translated, streamed or whole."""

from functools import partial

from gateway.delivery.answer import new_id
from gateway.delivery.decoding import ContentDecoder
from gateway.delivery.reader import Attempt, Reader
from gateway.delivery.relay import StreamRelay
from gateway.delivery.translate import Collection, Translation
from gateway.delivery.whole import WholeReader, relay_whole
from gateway.dialects.base import Dialect, Outgoing
from gateway.http1.client import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.messages.stream import StreamWriter


def reader_of(
    attempt: Attempt,
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
            return WholeReader(attempt, content, limit, whole)
        if request.stream:
            return StreamRelay(attempt, connection, head, content)
        return Collection(attempt, head, content, None, None)
    writer = StreamWriter(message_id=new_id("msg_"), model=request.model)
    decoder = dialect.decoder(attempt.incoming, outgoing, writer)
    if request.stream:
        return Translation(attempt, head, content, decoder, writer)
    return Collection(attempt, head, content, decoder, writer)
