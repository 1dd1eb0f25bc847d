"""Those who stand around a connection that the test holds in its hands (`tests.support.wire`). No test in here."""

import asyncio
from collections.abc import Callable

from gateway.http1.client_connection import ClientConnection
from gateway.http1.exchange import Exchange, RequestHandler
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import BodyReceiver, UpstreamError

# Around a client's connection.


class Desk:
    """An application that records requests. It responds with the request's body, or as `respond` returns.

    A target that begins with `/no` is refused, one that begins with `/later` waits for the test.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.received: list[tuple[str, str, bytes]] = []
        """Method, target and body of each complete request."""
        self.later: list[Exchange] = []
        self.refusal = b"no"
        self.fails = ""
        """The callbacks that raise after they were recorded: accept, serve, writable or end."""
        self.respond: Callable[[Exchange, bytes], None] = lambda exchange, body: exchange.respond(200, body)

    def note(self, what: str, more: str = "") -> None:
        self.notes.append(f"{what} {more}".strip())
        if what == self.fails:
            raise ValueError(what)

    def accept(self, exchange: Exchange) -> RequestHandler | None:
        head = exchange.head
        handler = exchange.handler = Service(self, exchange)
        self.note("accept", f"{head.method} {head.target}")
        if head.target.startswith("/no"):
            exchange.respond(401, self.refusal)
            return None
        return handler

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        return b"", message.encode()


class Service:
    """One request at a desk."""

    def __init__(self, desk: Desk, exchange: Exchange) -> None:
        self.desk = desk
        self.exchange = exchange

    def request_received(self, body: bytes) -> None:
        head = self.exchange.head
        self.desk.note("serve", head.target)
        self.desk.received.append((head.method, head.target, body))
        if head.target.startswith("/later"):
            self.desk.later.append(self.exchange)
        else:
            self.desk.respond(self.exchange, body)

    def writable(self, ready: bool) -> None:
        self.desk.note("writable", str(ready))

    def ended(self) -> None:
        how = "gone" if self.exchange.gone else self.exchange.status
        self.desk.note("end", f"{self.exchange.head.target} {how}")

    def crashed(self, error: Exception) -> None:
        self.desk.notes.append(f"crash in {error}")
        if self.exchange.status:
            self.exchange.abort()
        else:
            self.exchange.respond(500, b"crash")


def response(status: int, body: bytes = b"", *fields: bytes, close: bool = False) -> bytes:
    """Return a whole response as the edge writes it, without Date."""
    lines = [b"HTTP/1.1 %d " % status, *fields, b"content-length: %d" % len(body)]
    lines.append(b"connection: close" if close else b"connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# Around a connection to an upstream.


class Sink:
    """A request to an upstream that receives its response itself, head and body, and records the calls."""

    def __init__(
        self,
        head: bytes = b"HEAD.",
        body: bytes = b"BODY.",
        *,
        method: str = "POST",
        decode: bool = False,
        wanted: bool = True,
    ) -> None:
        self.method = method
        self.head = head
        self.body = body
        self.first_byte_timeout = 300.0
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.decode = decode
        self.wanted = wanted
        self.notes: list[str] = []
        self.error: UpstreamError | None = None
        self.over = asyncio.Event()
        self.on_head: Callable[[], None] = lambda: None
        self.on_body: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> BodyReceiver | None:
        self.notes.append(f"head {head.status}")
        self.on_head()
        return self if self.wanted else None

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        data = payload if self.decode else raw
        assert self.decode or not payload or raw == payload
        self.notes.append(f"{'end' if ended else 'body'} {data.decode('latin-1')!r}")
        if ended:
            self.over.set()
        self.on_body()

    def failed(self, error: UpstreamError) -> None:
        self.error = error
        assert error.message == str(error)
        self.notes.append(f"{'silent' if error.timeout else 'failed'}: {error.message}")
        self.over.set()
        self.on_failure()

    def crashed(self, error: Exception) -> None:
        self.notes.append(f"crash {error}")
