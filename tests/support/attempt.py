"""The surroundings of a reader of an upstream's response: a client on a wire, an attempt that records its calls,
and an upstream connection that is fed by hand."""

import asyncio
import gzip
from collections.abc import Callable

import orjson

from gateway.app import Gateway
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, Outgoing
from gateway.http1.client_connection import ClientConnection, State
from gateway.http1.exchange import Exchange
from gateway.http1.heads import ResponseHead, parse_response_head
from gateway.http1.server import Server
from gateway.http1.server_connection import ServerConnection
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.request import read_request
from gateway.proxy.request import ClientRequest, Entrance
from gateway.proxy.response_headers import UpstreamHead, upstream_head
from gateway.proxy.responses import DecodingReader, Reader
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.failures import Failure
from gateway.telemetry.access_log import AccessLog
from tests.support.client import ask
from tests.support.running import FAST, config, upstream
from tests.support.wire import Wire


class OneRequest:
    """A client's connection, and the request that it sent; only the test responds to it."""

    request: ClientRequest

    def __init__(
        self,
        method: str = "POST",
        *,
        stream: bool = True,
        version: str = "1.1",
        coding: str = "",
    ) -> None:
        self.lines: list[str] = []
        log = AccessLog(self.lines.append, "json", "debug")
        self.runtime = Gateway(config(upstream("http://up.example")), log, environ={}).runtime
        self.wire = Wire()
        self._sent = b""
        server = Server(self, FAST)
        body = orjson.dumps(ask(stream=stream))
        self._coding = coding
        if coding:
            body = gzip.compress(body, mtime=0)
        head = (
            f"{method} /v1/messages HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.wire.join(ServerConnection(server))
        self.wire.feed(head.encode() + body)

    def accept(self, exchange: Exchange) -> ClientRequest:
        self.request = ClientRequest(exchange, self.runtime)
        self.request.entrance = Entrance(
            self.runtime, self.serve, "/v1/messages", "", "laptop", b"", "", self._coding, health=False
        )
        return self.request

    def serve(self, request: ClientRequest) -> None:
        """The endpoint."""
        request.parsed = read_request(request.body)

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        raise AssertionError(message)

    @property
    def sent(self) -> bytes:
        """Everything that the client got, without Date."""
        self._sent += self.wire.written()
        return self._sent

    @property
    def body(self) -> bytes:
        """The bytes after the head."""
        return self.sent.partition(b"\r\n\r\n")[2]

    @property
    def head(self) -> dict[str, str]:
        """The response's fields, its status under ""."""
        status, *fields = self.sent.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return {"": status.split(" ")[1], **dict(field.split(": ", 1) for field in fields)}

    @property
    def kept(self) -> bool:
        """The response has ended, and another request may follow it."""
        return self.request.exchange.ended and self.wire.state == "OPEN"

    @property
    def cut(self) -> bool:
        """The response has ended, and the connection with it."""
        return self.request.exchange.ended and self.wire.state != "OPEN"


def head_of(*fields: bytes, status: int = 200) -> ResponseHead:
    """An upstream's head."""
    return parse_response_head(
        b"\r\n".join((b"HTTP/1.1 %d X" % status, b"request-id: req_upstream", *fields, b"", b""))
    )


class Recorder:
    """An attempt that records the calls of its reader, one line each."""

    about: UpstreamHead

    def __init__(self, dialect: Dialect | None = None, *, stream: bool = True, version: str = "1.1") -> None:
        self.client = OneRequest(stream=stream, version=version)
        self.request = self.client.request
        self.calls: list[str] = []
        self.failures: list[Failure] = []
        self.takes_empty = False
        self.beginning = b""
        """The part of the response that had arrived at the commit."""
        there = self.client.runtime.upstreams["up"]
        self.upstream = UpstreamClient(
            there.upstream, there.pool, dialect or AnthropicDialect(), there.credentials
        )
        self.outgoing = Outgoing(target="/")
        self.connection: ClientConnection | None = None
        self.reader: Reader | None = None

    def linger(self) -> None:
        self.calls.append("linger")

    def abandon(self) -> None:
        self.calls.append("abandon")
        if self.connection is not None:
            self.connection.abort()

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.calls.append(f"failed: {failure.status} {failure.type}: {failure.message}")

    def ended_early(self, message: str, *, timeout: bool = False) -> None:
        self.calls.append(f"ended early{' by timeout' * timeout}: {message}")

    def commit(self, head: ResponseHead, content_type_line: bytes, beginning: bytes) -> bytes:
        self.beginning = beginning
        self.calls.append(f"commit {content_type_line.decode().strip()}")
        return content_type_line

    def done(self) -> None:
        self.calls.append("done")

    def broke(self, failure: Failure | None, message: str = "") -> None:
        if failure is not None:
            self.failures.append(failure)
            message = f"{failure.status} {failure.type}: {failure.message}"
        self.calls.append(f"broke: {message}")


MakeReader = Callable[[ClientConnection, ResponseHead], tuple[Reader, Reader | DecodingReader]]
"""Gives the reader, and who takes the body for it."""


class UpstreamSide:
    """An upstream's connection on a wire, which was sent one request; `make` gives the reader of its response."""

    def __init__(self, attempt: Recorder, make: MakeReader) -> None:
        self.method = "POST"
        self.head = b"POST / HTTP/1.1\r\n\r\n"
        self.body = b""
        self.first_byte_timeout = 5.0
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None
        self._attempt = attempt
        self._make = make
        self.wire = Wire()
        self.there = ClientConnection("upstream", FAST)
        attempt.connection = self.there
        self.wire.join(self.there)
        self.there.send(self)

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "Reader | DecodingReader":
        """See `http1.client_connection.UpstreamRequest`."""
        self._attempt.about = upstream_head(head)
        self._attempt.reader, receiver = self._make(connection, head)
        return receiver

    def failed(self, error: UpstreamError) -> None:
        """There was no head."""
        raise AssertionError(error.message)

    def crashed(self, error: Exception) -> None:
        """As an attempt does it."""
        self._attempt.request.crashed(error)

    def feed(self, *reads: bytes) -> None:
        """The upstream sends these, a read each."""
        for read in reads:
            self.wire.feed(read)

    async def close(self) -> None:
        """The upstream closes its side."""
        await self.wire.leave()

    @property
    def closed(self) -> bool:
        return self.there.state is State.CLOSED
