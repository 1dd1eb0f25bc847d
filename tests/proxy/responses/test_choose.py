"""Which reader is chosen for a response: by dialect, by the client's request, by the upstream's head."""

from typing import TYPE_CHECKING, cast

import pytest

from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Decoder, Incoming, Outgoing
from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.messages.stream import StreamWriter
from gateway.proxy.responses import DecodingReader, Reader
from gateway.proxy.responses.buffered import BufferedResponse
from gateway.proxy.responses.choose import choose_response
from gateway.proxy.responses.collect import Collection
from gateway.proxy.responses.relay import Holding
from gateway.proxy.responses.translate import Translation
from tests.fakes.messages import chunked, text_events
from tests.support.attempt import Recorder, UpstreamSide

if TYPE_CHECKING:
    from gateway.proxy.attempt import Attempt

SSE = b"text/event-stream"


class Foreign(AnthropicDialect):
    """A dialect whose responses are translated."""

    relays = False

    def __init__(self) -> None:
        self.writers: list[StreamWriter] = []

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        self.writers.append(writer)
        return Nothing()


class Nothing:
    complete = False

    def feed(self, data: bytes) -> None:
        return

    def end(self) -> None:
        return


def upstream_side(attempt: Recorder, made: list[Reader]) -> UpstreamSide:
    def make(connection: ClientConnection, head: ResponseHead) -> tuple[Reader, Reader | DecodingReader]:
        made.append(choose_response(cast("Attempt", attempt), head, connection, None))
        return made[-1], made[-1]

    return UpstreamSide(attempt, make)


@pytest.mark.parametrize(
    ("relays", "stream", "content_type", "reader"),
    [
        (True, True, SSE, Holding),
        (True, True, SSE + b"; charset=utf-8", Holding),
        (True, True, b"application/json", Holding),
        (True, True, None, Holding),
        (True, False, b"application/json", BufferedResponse),
        (True, False, SSE, BufferedResponse),
        (False, True, SSE, Translation),
        (False, True, b"application/json", Translation),
        (False, False, SSE, Collection),
        (False, False, None, Collection),
    ],
)
async def test_the_reader_of_a_good_response(
    relays: bool, stream: bool, content_type: bytes | None, reader: type
) -> None:
    dialect = AnthropicDialect() if relays else Foreign()
    made: list[Reader] = []
    up = upstream_side(Recorder(dialect, stream=stream), made)
    field = b"" if content_type is None else b"content-type: %b\r\n" % content_type
    up.feed(b"HTTP/1.1 200 OK\r\n" + field + b"content-length: 10\r\n\r\n")
    assert [type(chosen) for chosen in made] == [reader]
    if isinstance(dialect, Foreign):
        (writer,) = dialect.writers
        writer.start()
        assert b'"model":"m"' in writer.take()
    up.there.abort()


@pytest.mark.parametrize(
    ("version", "chunks", "same"), [("1.1", True, True), ("1.1", False, False), ("1.0", True, False)]
)
async def test_chunks_pass_as_they_came_where_both_sides_have_chunks(
    version: str, chunks: bool, same: bool
) -> None:
    attempt, payload = Recorder(version=version), b"".join(text_events())
    body = chunked([payload]) if chunks else payload
    framing = b"transfer-encoding: chunked" if chunks else b"content-length: %d" % len(payload)
    up = upstream_side(attempt, [])
    up.feed(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n%b" % (SSE, framing, body))
    assert attempt.calls[-1] == "done"
    assert attempt.client.body == (body if same else payload if version == "1.0" else chunked([payload]))
