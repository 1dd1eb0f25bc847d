"""What stands around the reader of an upstream's answer: a client's wire in memory, an attempt that notes what it is
told, and an upstream connection that is fed by hand."""

import asyncio
from collections.abc import Callable
from typing import cast

import orjson

from gateway.dialects.base import Incoming
from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.exchange import Exchange
from gateway.http1.heads import ResponseHead, parse_request_head, parse_response_head
from gateway.http1.limits import Limits
from gateway.messages.request import read_request
from gateway.proxy.request import ClientRequest
from gateway.proxy.responses.reader import Reader
from gateway.routing.failures import Failure
from gateway.telemetry.access_log import AccessLog
from tests.support.client import ask
from tests.support.running import FAST


class Wire:
    """A connection that only remembers: the client's, or the transport of an upstream's."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = cast(asyncio.Transport, self)
        self.persistent = True
        self.sent = b""
        self.ended = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def exchange_ended(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    @property
    def body(self) -> bytes:
        """What was sent behind the head."""
        return self.sent.partition(b"\r\n\r\n")[2]


def exchange_on(
    wire: Wire, head: bytes = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n\r\n"
) -> Exchange:
    return Exchange(wire, parse_request_head(head), "127.0.0.1", wire.loop.time())


def head_of(*fields: bytes, status: int = 200) -> ResponseHead:
    """An upstream's head."""
    return parse_response_head(
        b"\r\n".join((b"HTTP/1.1 %d X" % status, b"request-id: req_upstream", *fields, b"", b""))
    )


def incoming(*, stream: bool = True, model: str = "m") -> Incoming:
    request = read_request(orjson.dumps(ask(model=model, stream=stream)))
    return Incoming(request=request, purpose="messages", query="", headers=(), stream=stream)


class Recorder:
    """An attempt that notes what it is told, in one line a call."""

    def __init__(self, *, stream: bool = True, version: str = "1.1") -> None:
        self.lines: list[str] = []
        """What was logged."""
        self.told: list[str] = []
        self.failures: list[Failure] = []
        self.wire = Wire()
        head = f"POST /v1/messages HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()
        exchange = exchange_on(self.wire, head)
        self.answer = ClientRequest(exchange, AccessLog(self.lines.append, "text", "debug"))
        self.incoming = incoming(stream=stream)

    def abandon(self) -> None:
        self.told.append("abandon")

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.told.append(f"failed: {failure.status} {failure.type}: {failure.message}")

    def failed_early(self, message: str, *, timeout: bool = False) -> None:
        self.told.append(f"failed early{' by timeout' * timeout}: {message}")

    def commit_stream(self, content_type: bytes | None, head: ResponseHead) -> None:
        self.told.append(f"stream {(content_type or b'').decode()}".strip())
        if not self.answer.exchange.started:
            self.answer.exchange.start(200, [])

    def commit_whole(
        self, body: bytes, content_type: bytes | None, head: ResponseHead, *extra: tuple[bytes, bytes]
    ) -> None:
        self.told.append(f"whole {(content_type or b'').decode()} {body.decode()}")

    def done(self) -> None:
        self.told.append("done")

    def broke(self, failure: Failure | None, message: str = "") -> None:
        if failure is not None:
            self.failures.append(failure)
            message = f"{failure.status} {failure.type}: {failure.message}"
        self.told.append(f"broke: {message}")


class Taker:
    """The receiver of an upstream's answer; `make` gives its reader."""

    def __init__(self, make: Callable[[ClientConnection, ResponseHead], Reader]) -> None:
        self._make = make
        self.reader: Reader | None = None

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> Reader:
        self.reader = self._make(connection, head)
        return self.reader

    def failed(self, error: UpstreamError) -> None:
        raise AssertionError(error.message)


def upstream_connection(
    make: Callable[[ClientConnection, ResponseHead], Reader], *, limits: Limits = FAST
) -> ClientConnection:
    """A connection to an upstream that was asked something, to be fed with `data_received`."""
    connection = ClientConnection("upstream", limits)
    connection.connection_made(cast(asyncio.BaseTransport, Wire()))
    connection.send("POST", b"", b"", Taker(make), 5.0)
    return connection
