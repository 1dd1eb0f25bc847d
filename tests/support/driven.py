"""The outcome of bytes that are fed read by read. At the end nothing may be left of the connections."""

import asyncio
import re
from dataclasses import dataclass

from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.http1.client_connection import ClientConnection, State
from gateway.http1.exchange import Exchange, RequestHandler
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits
from gateway.http1.server import Server
from gateway.http1.server_connection import ServerConnection
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.errors import RequestError, error_body
from gateway.messages.request import MessagesRequest, read_request
from tests.http1.conformance import LIMITS
from tests.support.leftovers import leftovers
from tests.support.references import Response
from tests.support.wire import Wire

DIALECTS: dict[str, Dialect] = {
    "anthropic": AnthropicDialect(),
    "gemini": GeminiDialect(lambda: 0.5, lambda warning: None),
}

# A client's connection.


class _Counter:
    """An application that takes every request and responds with the size of its body."""

    def __init__(self) -> None:
        self.requests: list[_Counted] = []

    def accept(self, exchange: Exchange) -> RequestHandler:
        handler = exchange.handler = _Counted(exchange)
        self.requests.append(handler)
        return handler

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        return b"", message.encode()


class _Counted:
    """One request."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body: bytes | None = None
        self.ends = 0

    def request_received(self, body: bytes) -> None:
        assert self.body is None
        self.body = body
        self.exchange.respond(200, b"%d" % len(body))

    def writable(self, ready: bool) -> None:
        pass

    def ended(self) -> None:
        self.ends += 1

    def crashed(self, error: Exception) -> None:
        raise error


_RESPONSE = re.compile(
    rb"HTTP/1\.1 (\d{3}) \r\n(?:[a-z-]+: [^\r]*\r\n)*content-length: (\d+)\r\n(?:[a-z-]+: .*\r\n)+\r\n"
)


@dataclass(frozen=True)
class Visit:
    """The outcome of a client's bytes, before the client left."""

    sent: bytes
    """All that was written, without Date."""
    methods: list[str]
    """Of the requests that were accepted."""
    received: list[tuple[str, bytes | None]]
    """Their targets and bodies; None for a body that did not come whole."""
    responses: int
    """How many of them were responded to."""
    over: bool
    """The gateway ended the connection."""

    def statuses(self) -> list[int]:
        """Return the statuses of what was sent, which must be whole responses only."""
        found: list[int] = []
        sent = self.sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        while sent:
            response = _RESPONSE.match(sent)
            assert response is not None, sent
            bodiless = self.methods[len(found) : len(found) + 1] == ["HEAD"]
            found.append(int(response[1]))
            sent = sent[response.end() + (0 if bodiless else int(response[2])) :]
        return found


async def visit(reads: list[bytes]) -> Visit:
    """A client sends these reads, and leaves."""
    application, wire = _Counter(), Wire()
    server = Server(application, LIMITS)
    sent = wire.join(ServerConnection(server)) + b"".join(map(wire.feed, reads))
    over = wire.ended or wire.is_closing()
    exchanges = [request.exchange for request in application.requests]
    responses = sum(exchange.ended for exchange in exchanges)
    if not wire.is_closing():
        await wire.leave()
    await asyncio.wait_for(wire.gone.wait(), 1000)
    assert all(exchange.ended for exchange in exchanges)
    assert all(request.ends == 1 for request in application.requests)
    assert (server.connections, leftovers()) == (set(), [])
    received = [(request.exchange.head.target, request.body) for request in application.requests]
    return Visit(sent, [exchange.head.method for exchange in exchanges], received, responses, over)


# An upstream's.


class _Taker:
    """A request that receives its response itself, and knows that nothing may come behind its end."""

    head = body = b""
    first_byte_timeout = 5.0
    connection: ClientConnection | None = None
    dialling: asyncio.Task[None] | None = None

    def __init__(self, method: str, decode: bool) -> None:
        self.method = method
        self.decode = decode
        self.status = 0
        self.pieces: list[bytes] = []
        self.ends: list[str] = []

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "_Taker":
        assert (self.status, self.ends) == (0, [])
        self.status = head.status
        return self

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        assert self.status
        assert not self.ends
        self.pieces.append(payload if self.decode else raw)
        if ended:
            self.ends.append("well")

    def failed(self, error: UpstreamError) -> None:
        assert not self.ends
        self.ends.append(error.message)

    def crashed(self, error: Exception) -> None:
        raise error


async def responded(reads: list[bytes], method: str = "GET", *, decode: bool = True) -> tuple[Response, bool]:
    """Return what was read from an upstream's response, and if its connection was kept; then the upstream closes."""
    taker, wire = _Taker(method, decode), Wire()
    connection = ClientConnection("there", Limits())
    wire.join(connection)
    connection.send(taker)
    for read in reads:
        wire.feed(read)
    kept = connection.state is State.IDLE
    if not wire.is_closing():
        await wire.leave()
    await asyncio.wait_for(wire.gone.wait(), 1000)
    assert len(taker.ends) == 1
    assert (connection.state, leftovers()) == (State.CLOSED, [])
    return (taker.status, b"".join(taker.pieces)) if taker.ends == ["well"] else None, kept


# A request's body.


def request_of(raw: bytes) -> MessagesRequest | None:
    """The request, if it is one that is not refused."""
    try:
        return read_request(raw)
    except RequestError:
        return None


def refused_in_words(error: RequestError) -> None:
    """Assert that a refusal is a 400 with a message that can be encoded."""
    assert error.status == 400
    assert error.message
    error_body(error.status, error.message, "req_1")
