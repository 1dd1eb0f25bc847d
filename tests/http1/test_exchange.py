"""The one way to answer: bytes out, and what the connection and the application are told."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from gateway.http1 import exchange as module
from gateway.http1.exchange import Exchange, http_date
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import RequestHead
from tests.http1.wire import Wire, answer

TYPE = [(b"content-type", b"text/plain")]


class Line:
    """A connection, as far as an exchange needs one."""

    def __init__(self, persistent: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.wire = Wire()
        self.transport: asyncio.Transport = self.wire
        self.persistent = persistent
        self.notes: list[str] = []

    def exchange_ended(self) -> None:
        self.notes.append("ended")

    def open(self, method: str = "GET", version: str = "1.1") -> Exchange:
        exchange = Exchange(self, RequestHead(method, "/", [], version), "192.0.2.1", 5.0)
        exchange.on_end = lambda: self.notes.append("gone" if exchange.gone else "told")
        return exchange


def head(*fields: bytes, status: int = 200) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d " % status, *fields, b"content-type: text/plain", b"", b""])


def whole(exchange: Exchange) -> None:
    exchange.respond(200, TYPE, b"hello")


def nothing(exchange: Exchange) -> None:
    exchange.respond(200, TYPE)


def in_pieces(exchange: Exchange) -> None:
    exchange.start(200, TYPE)
    exchange.write(b"hello")
    exchange.write(b"")
    exchange.write(b"you")
    exchange.finish()


def of_known_length(exchange: Exchange) -> None:
    exchange.start(200, TYPE, length=8)
    exchange.write(b"hello")
    exchange.write(b"you")
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


KEPT, CLOSED = b"connection: keep-alive", b"connection: close"
CHUNKED = b"transfer-encoding: chunked"


@pytest.mark.parametrize(
    ("how", "method", "version", "persistent", "sent", "stays"),
    [
        (whole, "GET", "1.1", True, head(b"content-length: 5", KEPT) + b"hello", True),
        (whole, "GET", "1.1", False, head(b"content-length: 5", CLOSED) + b"hello", False),
        (whole, "GET", "1.0", False, head(b"content-length: 5", CLOSED) + b"hello", False),
        (whole, "HEAD", "1.1", True, head(b"content-length: 5", KEPT), True),
        (nothing, "POST", "1.1", True, head(b"content-length: 0", KEPT), True),
        (in_pieces, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", True),
        (in_pieces, "HEAD", "1.1", True, head(CHUNKED, KEPT), True),
        (in_pieces, "GET", "1.0", True, head(CLOSED) + b"helloyou", False),
        (in_pieces, "HEAD", "1.0", True, head(CLOSED), False),
        (of_known_length, "GET", "1.1", True, head(b"content-length: 8", KEPT) + b"helloyou", True),
        (of_known_length, "GET", "1.0", False, head(b"content-length: 8", CLOSED) + b"helloyou", False),
        (of_known_length, "HEAD", "1.1", True, head(b"content-length: 8", KEPT), True),
        (raw, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n0\r\n\r\n", True),
        (closed, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n0\r\n\r\n", False),
        (broken, "GET", "1.1", True, head(CHUNKED, KEPT) + b"5\r\nhello\r\n", False),
    ],
)
async def test_what_goes_out(
    how: Callable[[Exchange], None], method: str, version: str, persistent: bool, sent: bytes, stays: bool
) -> None:
    line = Line(persistent)
    exchange = line.open(method, version)
    how(exchange)
    written = line.wire.heard()
    assert (written, line.persistent) == (sent, stays)
    assert line.notes == ["ended", "told"]
    assert (exchange.ended, exchange.gone, exchange.started, exchange.status) == (True, False, True, 200)
    # The bytes are counted with the Date line, which `heard` leaves out.
    assert exchange.bytes_sent == len(written) + len(b"date: \r\n") + 29


@pytest.mark.parametrize(
    ("how", "chunked"), [(whole, False), (in_pieces, True), (of_known_length, False), (closed, True)]
)
async def test_whether_raw_chunks_may_be_written(how: Callable[[Exchange], None], chunked: bool) -> None:
    exchange = Line().open()
    assert exchange.chunked is False
    how(exchange)
    assert exchange.chunked is chunked


async def test_a_body_goes_out_with_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    writes: list[bytes] = []
    monkeypatch.setattr(line.wire, "write", writes.append)
    whole(line.open())
    assert len(writes) == 1


async def test_before_anything_is_answered() -> None:
    line = Line()
    exchange = line.open()
    assert (exchange.started, exchange.ended, exchange.gone) == (False, False, False)
    assert (exchange.status, exchange.bytes_sent, exchange.body) == (0, 0, b"")
    assert (exchange.peer, exchange.received_at, exchange.last_write) == ("192.0.2.1", 5.0, 5.0)
    assert exchange.loop is line.loop


async def test_the_time_of_the_last_write_is_noted() -> None:
    line = Line()
    exchange = line.open()
    before = line.loop.time()
    exchange.start(200, [])
    first = exchange.last_write
    exchange.write(b"")
    assert exchange.last_write == first
    exchange.write(b"x")
    assert before <= first <= exchange.last_write <= line.loop.time()


async def test_it_ends_once() -> None:
    line = Line()
    exchange = line.open()
    whole(exchange)
    line.wire.heard()
    exchange.finish()
    exchange.abort()
    exchange.client_left()
    exchange.finish_and_close()
    assert (line.notes, line.wire.heard(), exchange.gone) == (["ended", "told"], b"", False)


async def test_nobody_needs_to_be_told() -> None:
    line = Line()
    exchange = line.open()
    exchange.on_end = None
    whole(exchange)
    assert line.notes == ["ended"]


async def test_aborted_before_its_head_nothing_goes_out() -> None:
    line = Line()
    exchange = line.open()
    exchange.abort()
    assert (line.notes, line.wire.heard(), line.persistent) == (["ended", "told"], b"", False)
    assert (exchange.started, exchange.gone) == (False, False)


@pytest.mark.parametrize("how", [whole, in_pieces, of_known_length, raw, closed, broken])
async def test_when_the_client_has_left_nothing_is_written(how: Callable[[Exchange], None]) -> None:
    line = Line()
    exchange = line.open()
    exchange.client_left()
    line.wire.state = "LOST"
    how(exchange)
    assert (exchange.ended, exchange.gone, exchange.status, exchange.bytes_sent) == (True, True, 0, 0)
    assert line.notes == ["gone"]


async def test_a_client_that_leaves_in_the_middle() -> None:
    line = Line()
    exchange = line.open()
    exchange.start(200, TYPE)
    sent = exchange.bytes_sent
    exchange.client_left()
    line.wire.state = "LOST"
    exchange.write(b"more")
    exchange.finish()
    assert (exchange.gone, exchange.status, exchange.bytes_sent) == (True, 200, sent)
    assert line.notes == ["gone"]


async def test_the_pace_is_told_until_the_end() -> None:
    exchange = Line().open()
    exchange.pause(False)
    paces: list[bool] = []
    exchange.on_flow = paces.append
    exchange.pause(False)
    exchange.pause(True)
    whole(exchange)
    exchange.pause(False)
    assert paces == [False, True]


async def test_an_end_may_answer_the_next() -> None:
    """The connection is told first: it may have begun the next exchange when the application hears of the end."""
    line = Line()
    first, second = line.open(), line.open()
    first.on_end = lambda: second.respond(204, [], b"")
    whole(first)
    assert line.notes == ["ended", "ended", "told"]


async def test_a_head_that_cannot_be_written() -> None:
    line = Line()
    exchange = line.open()
    with pytest.raises(ProtocolError):
        exchange.respond(200, [(b"x", b"a\r\nb: c")])
    assert (line.wire.heard(), exchange.started, exchange.ended) == (b"", False, False)
    exchange.respond(502, [])
    assert line.wire.heard() == answer(502)


async def test_lines_that_were_rendered_before_come_first() -> None:
    line = Line()
    line.open().respond(200, TYPE, b"hello", b"x: y\r\n")
    assert line.wire.heard() == head(b"x: y", b"content-length: 5", KEPT) + b"hello"
    exchange = line.open()
    exchange.start(200, (), rendered=b"x: y\r\n")
    assert line.wire.heard() == head(b"x: y", CHUNKED, KEPT).replace(b"content-type: text/plain\r\n", b"")
    line.open().start(200, TYPE, length=3, rendered=b"x: y\r\n")
    assert line.wire.heard() == head(b"x: y", b"content-length: 3", KEPT)


@pytest.mark.parametrize("field", [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")])
async def test_framing_is_the_exchanges_alone(field: tuple[bytes, bytes]) -> None:
    line = Line()
    with pytest.raises(ProtocolError):
        line.open().respond(200, [field], b"hello")
    assert line.wire.heard() == b""


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
def test_dates(wall: float, date: bytes) -> None:
    assert http_date(wall) == date


async def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    now: list[float] = []

    def gmtime(seconds: float) -> time.struct_time:
        made.append(seconds)
        return time.gmtime(seconds)

    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now[-1], gmtime=gmtime))
    line = Line()
    sent: list[bytes] = []
    monkeypatch.setattr(line.wire, "write", sent.append)
    for second in (784111777.0, 784111777.9, 784111778.0):
        now.append(second)
        line.open().respond(200, [])
    assert made == [784111777, 784111778]
    assert [written.partition(b"date: ")[2][:29] for written in sent] == [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:38 GMT",
    ]
