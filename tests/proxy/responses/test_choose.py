"""Which reader takes an answer: by the dialect, by what the client asked for, by what the upstream sent."""

import pytest

from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Decoder, Incoming, Outgoing
from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.messages.stream import StreamWriter
from gateway.proxy.responses.buffered import BufferedResponse
from gateway.proxy.responses.choose import choose_response
from gateway.proxy.responses.reader import Reader
from gateway.proxy.responses.relay import StreamRelay
from gateway.proxy.responses.translate import Collection, Translation
from tests.support.attempt import Recorder, upstream_connection

SSE = b"text/event-stream"
OUTGOING = Outgoing(method="POST", target="/", headers=(), body=b"")


class Foreign(AnthropicDialect):
    """A dialect whose answers are translated."""

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


@pytest.mark.parametrize(
    ("relays", "stream", "content_type", "reader"),
    [
        (True, True, SSE, StreamRelay),
        (True, True, SSE + b"; charset=utf-8", StreamRelay),
        (True, True, b"application/json", BufferedResponse),
        (True, True, None, BufferedResponse),
        (True, False, b"application/json", BufferedResponse),
        (True, False, SSE, Collection),
        (False, True, SSE, Translation),
        (False, True, b"application/json", Translation),
        (False, False, SSE, Collection),
        (False, False, None, Collection),
    ],
)
async def test_the_table(relays: bool, stream: bool, content_type: bytes | None, reader: type) -> None:
    attempt = Recorder(stream=stream)
    dialect = AnthropicDialect() if relays else Foreign()
    made: list[Reader] = []

    def make(connection: ClientConnection, head: ResponseHead) -> Reader:
        made.append(choose_response(attempt, connection, head, None, dialect, OUTGOING, 9))
        return made[-1]

    connection = upstream_connection(make)
    field = b"" if content_type is None else b"content-type: %b\r\n" % content_type
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + field + b"content-length: 10\r\n\r\n")
    assert [type(chosen) for chosen in made] == [reader]
    if isinstance(dialect, Foreign):
        (writer,) = dialect.writers
        writer.start()
        assert b'"model":"m"' in writer.take()
    connection.abort()


@pytest.mark.parametrize("size", [9, 10])
async def test_a_whole_answer_has_a_limit(size: int) -> None:
    attempt = Recorder(stream=False)
    connection = upstream_connection(
        lambda connection, head: choose_response(
            attempt, connection, head, None, AnthropicDialect(), OUTGOING, 9
        )
    )
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    expected = ["whole  xxxxxxxxx"]
    if size > 9:
        expected = ["abandon", "failed early: the upstream's answer is larger than 9 bytes"]
    assert attempt.told == expected
    connection.abort()
