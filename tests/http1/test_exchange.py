"""How a response is written: the bytes, and the calls that the connection and the application get."""

import asyncio
import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace

import pytest

from gateway.http1 import exchange as exchange_module
from gateway.http1.exchange import SMALL, Exchange, http_date
from gateway.http1.heads import RequestFacts, RequestHead
from tests.support.wire import Wire

TYPE = b"content-type: text/plain\r\n"


class Writes(Wire):
    """Keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sizes.append(len(data))
        super().write(data)


class Line:
    """A connection, as far as an exchange needs one."""

    def __init__(self, persistent: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.wire = Writes()
        self.transport: asyncio.Transport = self.wire
        self.persistent = persistent
        self.notes: list[str] = []

    def exchange_ended(self) -> None:
        self.notes.append("connection")

    def open(self, method: str = "GET", version: str = "1.1") -> Exchange:
        facts = RequestFacts(method, "/", version, version == "1.1", False, False)
        exchange = Exchange(self, RequestHead(facts, [], None), 5.0)
        exchange.handler = Handler(self, exchange)
        return exchange


class Handler:
    """An application's, as far as an exchange needs one."""

    def __init__(self, line: Line, exchange: Exchange) -> None:
        self.line = line
        self.exchange = exchange
        self.on_end: Callable[[], None] = lambda: None

    def request_received(self, body: bytes) -> None:
        raise AssertionError

    def writable(self, ready: bool) -> None:
        raise AssertionError

    def ended(self) -> None:
        self.line.notes.append("gone" if self.exchange.gone else "handler")
        self.on_end()

    def crashed(self, error: Exception) -> None:
        raise AssertionError


def head(*fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 ", b"content-type: text/plain", *fields, b"", b""])


def whole(exchange: Exchange) -> None:
    exchange.respond(200, b"hello", TYPE)


def nothing(exchange: Exchange) -> None:
    exchange.respond(200, b"", TYPE)


def in_pieces(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.write(b"hello")
    exchange.write(b"")
    exchange.write(b"you")
    exchange.finish()


def started(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.finish()


def raw(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.write_raw(b"5\r\nhello\r\n0\r\n\r\n")
    exchange.finish(framed=True)


def closed(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.write(b"hello")
    exchange.finish_and_close()


def broken(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.write(b"hello")
    exchange.abort()


def broken_at_once(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.abort()


KEPT, CLOSED = b"connection: keep-alive", b"connection: close"
CHUNKED = b"transfer-encoding: chunked"
LENGTH = b"content-length: 5"


@pytest.mark.parametrize(
    ("how", "method", "version", "persistent", "sent", "stays"),
    [
        (whole, "GET", "1.1", True, head(LENGTH, KEPT) + b"hello", True),
        (whole, "GET", "1.1", False, head(LENGTH, CLOSED) + b"hello", False),
        (whole, "GET", "1.0", False, head(LENGTH, CLOSED) + b"hello", False),
        (whole, "HEAD", "1.1", True, head(LENGTH, KEPT), True),
        (nothing, "POST", "1.1", True, head(b"content-length: 0", KEPT), True),
        (in_pieces, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", True),
        (in_pieces, "HEAD", "1.1", True, head(CHUNKED, KEPT), True),
        (in_pieces, "GET", "1.0", True, head(CLOSED) + b"helloyou", False),
        (in_pieces, "HEAD", "1.0", True, head(CLOSED), False),
        (started, "GET", "1.1", True, head(CHUNKED, KEPT) + b"0\r\n\r\n", True),
        (started, "GET", "1.0", True, head(CLOSED), False),
        (raw, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n0\r\n\r\n", True),
        (closed, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n0\r\n\r\n", False),
        (broken, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n", False),
        (broken_at_once, "GET", "1.1", True, head(CHUNKED, KEPT), False),
    ],
)
async def test_bytes_that_are_sent(
    how: Callable[[Exchange], None], method: str, version: str, persistent: bool, sent: bytes, stays: bool
) -> None:
    line = Line(persistent)
    exchange = line.open(method, version)
    how(exchange)
    written = line.wire.written()
    assert (written, line.persistent) == (sent, stays)
    assert line.notes == ["connection", "handler"]
    assert (exchange.ended, exchange.gone, exchange.handler, exchange.status) == (True, False, None, 200)
    # The bytes are counted with the Date line, which `written` leaves out.
    assert exchange.bytes_sent == len(written) + len(b"date: \r\n") + 29 == sum(line.wire.sizes)


@pytest.mark.parametrize(("size", "writes"), [(0, 1), (5, 1), (SMALL, 1), (SMALL + 1, 2)])
async def test_a_small_body_is_written_with_its_head(size: int, writes: int) -> None:
    line = Line()
    line.open().respond(200, b"x" * size)
    assert len(line.wire.sizes) == writes
    assert line.wire.written().endswith(b"\r\n\r\n" + b"x" * size)


async def test_a_head_is_written_with_the_first_bytes_of_its_body() -> None:
    line = Line()
    exchange = line.open()
    exchange.start(200, TYPE)
    assert (line.wire.sizes, exchange.bytes_sent, exchange.status) == ([], 0, 200)
    exchange.write(b"")
    assert line.wire.sizes == []
    exchange.write(b"hello")
    assert line.wire.written() == head(CHUNKED, KEPT) + b"5\r\nhello\r\n"
    assert len(line.wire.sizes) == 1


async def test_state_before_the_response() -> None:
    line = Line()
    exchange = line.open()
    assert (exchange.ended, exchange.gone, exchange.status, exchange.bytes_sent) == (False, False, 0, 0)
    assert (exchange.received_at, exchange.last_write) == (5.0, 5.0)
    assert exchange.loop is line.loop


async def test_the_time_of_the_last_write_is_noted() -> None:
    line = Line()
    exchange = line.open()
    exchange.start(200)
    exchange.write(b"")
    assert exchange.last_write == 5.0
    before = line.loop.time()
    exchange.write(b"x")
    assert before <= exchange.last_write <= line.loop.time()


async def test_finish_is_idempotent() -> None:
    line = Line()
    exchange = line.open()
    whole(exchange)
    line.wire.written()
    exchange.finish()
    exchange.abort()
    exchange.client_left()
    exchange.finish_and_close()
    assert (line.notes, line.wire.written(), exchange.gone) == (["connection", "handler"], b"", False)


async def test_an_exchange_without_a_handler() -> None:
    line = Line()
    exchange = line.open()
    exchange.handler = None
    whole(exchange)
    assert line.notes == ["connection"]


async def test_an_exchange_aborted_before_its_head_writes_nothing() -> None:
    line = Line()
    exchange = line.open()
    exchange.abort()
    assert (line.notes, line.wire.written(), line.persistent) == (["connection", "handler"], b"", False)
    assert (exchange.status, exchange.gone) == (0, False)


@pytest.mark.parametrize("how", [whole, in_pieces, started, raw, closed, broken])
async def test_nothing_is_written_after_the_client_has_left(how: Callable[[Exchange], None]) -> None:
    line = Line()
    exchange = line.open()
    exchange.client_left()
    line.wire.state = "LOST"
    how(exchange)
    assert (exchange.ended, exchange.gone, exchange.status, exchange.bytes_sent) == (True, True, 0, 0)
    assert line.notes == ["gone"]


@pytest.mark.parametrize("written", [b"", b"some"])
async def test_a_client_that_leaves_in_the_middle(written: bytes) -> None:
    line = Line()
    exchange = line.open()
    exchange.start(200)
    exchange.write(written)
    sent = exchange.bytes_sent
    exchange.client_left()
    line.wire.state = "LOST"
    exchange.write(b"more")
    exchange.finish()
    assert (exchange.gone, exchange.status, exchange.bytes_sent) == (True, 200, sent)
    assert line.notes == ["gone"]


async def test_the_next_response_may_be_written_when_one_has_ended() -> None:
    """The connection is called first: it may have begun the next exchange when the handler gets `ended`."""
    line = Line()
    first, second = line.open(), line.open()
    assert isinstance(first.handler, Handler)
    first.handler.on_end = lambda: second.respond(204, b"")
    whole(first)
    assert line.notes == ["connection", "handler", "connection", "handler"]


# Date.


@pytest.mark.parametrize(
    ("wall", "date"),
    [
        (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (784111777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (951827696.9, b"Tue, 29 Feb 2000 12:34:56 GMT"),
        (1735689599, b"Tue, 31 Dec 2024 23:59:59 GMT"),
        (4102444800, b"Fri, 01 Jan 2100 00:00:00 GMT"),
    ],
)
def test_http_dates(wall: float, date: bytes) -> None:
    assert http_date(wall) == date


async def test_the_date_line_is_rendered_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock gives the second's end; the loop's clock is compared with that."""
    spec = spec_from_file_location("fresh", exchange_module.__file__)
    assert spec is not None
    assert spec.loader is not None
    fresh = module_from_spec(spec)
    spec.loader.exec_module(fresh)
    made: list[float] = []
    now = [0.0]

    def gmtime(seconds: float) -> time.struct_time:
        made.append(seconds)
        return time.gmtime(seconds)

    monkeypatch.setattr(fresh, "time", SimpleNamespace(time=lambda: 784111777.5 + now[0], gmtime=gmtime))
    line = Line()
    monkeypatch.setattr(line, "loop", SimpleNamespace(time=lambda: 1000.0 + now[0]))
    sent: list[bytes] = []
    monkeypatch.setattr(line.wire, "write", sent.append)
    for now[0] in (0.0, 0.4, 0.6, 1.4, 1.6):
        fresh.Exchange(line, line.open().head, 5.0).respond(200, b"")
    assert made == [784111777.5, 784111778.1, 784111779.1]
    dates = [written.partition(b"date: ")[2][:29] for written in sent]
    assert [date[-6:-4] for date in dates] == [b"37", b"37", b"38", b"38", b"39"]
