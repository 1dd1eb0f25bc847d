"""What came of bytes that were fed by hand, read for read. At the end nothing may be left of the connections."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, Outgoing
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.exchange import Exchange
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits
from gateway.http1.server import Server
from gateway.http1.server_connection import ServerConnection
from gateway.messages.errors import RequestError, error_body
from gateway.messages.request import MessagesRequest, read_request
from gateway.proxy.responses.choose import choose_response
from tests.http1.conformance import LIMITS
from tests.http1.wire import Wire
from tests.support.attempt import Recorder, upstream_connection
from tests.support.leftovers import leftovers
from tests.support.references import Answer

DIALECTS: dict[str, Dialect] = {
    "anthropic": AnthropicDialect(),
    "gemini": GeminiDialect(lambda: 0.5, lambda warning: None),
}

# A client's connection.


class _Counter:
    """An application that takes every request and answers how large its body was."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def admit(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.on_request = lambda: exchange.respond(200, [], b"%d" % len(exchange.body))

    def protocol_error(
        self, status: int, message: str, exchange: Exchange | None
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        return [], message.encode()


_ANSWER = re.compile(
    rb"HTTP/1\.1 (\d{3}) \r\n(?:[a-z-]+: [^\r]*\r\n)*content-length: (\d+)\r\n(?:[a-z-]+: .*\r\n)+\r\n"
)


@dataclass(frozen=True)
class Visit:
    """What came of a client's bytes, before the client left."""

    said: bytes
    """All that was written, without Date."""
    methods: list[str]
    """Of the requests that were admitted."""
    received: list[tuple[str, bytes]]
    """Their targets and bodies."""
    answered: int
    over: bool
    """The gateway ended the connection."""

    def statuses(self) -> list[int]:
        """Those of what was said, which must be nothing but whole answers."""
        found: list[int] = []
        said = self.said.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        while said:
            answer = _ANSWER.match(said)
            assert answer is not None, said
            bodiless = self.methods[len(found) : len(found) + 1] == ["HEAD"]
            found.append(int(answer[1]))
            said = said[answer.end() + (0 if bodiless else int(answer[2])) :]
        return found


async def visit(reads: list[bytes]) -> Visit:
    """A client sends these reads, and leaves."""
    application, wire = _Counter(), Wire()
    server = Server(application, LIMITS)
    said = wire.join(ServerConnection(server)) + b"".join(map(wire.say, reads))
    over = wire.ended or wire.is_closing()
    answered = sum(exchange.ended for exchange in application.exchanges)
    if not wire.is_closing():
        await wire.leave()
    await asyncio.wait_for(wire.gone.wait(), 1000)
    assert all(exchange.ended for exchange in application.exchanges)
    assert (server.connections, leftovers()) == (set(), [])
    heads = [exchange.head for exchange in application.exchanges]
    received = [(exchange.head.target, exchange.body) for exchange in application.exchanges]
    return Visit(said, [head.method for head in heads], received, answered, over)


# An upstream's.


class _Taker:
    """Receives one answer, head and body, and knows that nothing may come behind its end."""

    def __init__(self, decode: bool) -> None:
        self.decode = decode
        self.status = 0
        self.pieces: list[bytes] = []
        self.ends: list[str] = []

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "_Taker":
        assert (self.status, self.ends) == (0, [])
        self.status = head.status
        return self

    def body_received(self, data: bytes, ended: bool) -> None:
        assert self.status
        assert not self.ends
        self.pieces.append(data)
        if ended:
            self.ends.append("well")

    def failed(self, error: UpstreamError) -> None:
        assert not self.ends
        assert error.phase == ("body" if self.status else "head")
        self.ends.append(error.message)


async def answered(reads: list[bytes], method: str = "GET", *, decode: bool = True) -> tuple[Answer, bool]:
    """What is made of an upstream's answer, and whether its connection was kept; then the upstream closes."""
    taker, wire = _Taker(decode), Wire()
    connection = ClientConnection("there", Limits())
    wire.join(connection)
    connection.send(method, b"", b"", taker, 5.0)
    for read in reads:
        wire.say(read)
    kept = connection.state == "IDLE"
    if not wire.is_closing():
        await wire.leave()
    await asyncio.wait_for(wire.gone.wait(), 1000)
    assert len(taker.ends) == 1
    assert (connection.state, leftovers()) == ("CLOSED", [])
    return (taker.status, b"".join(taker.pieces)) if taker.ends == ["well"] else None, kept


# A request's body.


def request_of(raw: bytes) -> MessagesRequest | None:
    """The request, if it is one that is not refused."""
    try:
        return read_request(raw)
    except RequestError:
        return None


def refused_in_words(error: RequestError) -> None:
    """A refusal is a 400 that says why, and can be said."""
    assert error.status == 400
    assert error.message
    error_body(error.status, error.message, "req_1")


# From an upstream's connection to a client's.

_ENDS = ("done", "broke", "failed", "whole")


async def delivered(reads: list[bytes], kind: str, *, stream: bool) -> tuple[str, bytes]:
    """How the attempt ended, and what was written to the client until then."""
    attempt = Recorder(stream=stream)
    outgoing = Outgoing(method="POST", target="/", headers=(), body=b"")
    connection = upstream_connection(
        lambda connection, head: choose_response(
            attempt, connection, head, None, DIALECTS[kind], outgoing, 10_000
        )
    )
    for read in reads:
        if connection.state != "CLOSED" and "abandon" not in attempt.told:
            connection.data_received(read)
    if "abandon" in attempt.told:
        connection.abort()
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert leftovers() == []
    assert not any("internal error" in line for line in attempt.lines)
    (end,) = [told.partition(":")[0].partition(" ")[0] for told in attempt.told if told.startswith(_ENDS)]
    assert attempt.answer.exchange.ended == (end in ("done", "broke"))
    return end, attempt.wire.sent
