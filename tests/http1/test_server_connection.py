"""A client's connection, as transcripts: what is sent and received, in which order, and when.

`test_conformance` has the table of all requests.
"""

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable
from weakref import ref

import pytest

from gateway.http1.exchange import Exchange, RequestHandler
from gateway.http1.grammar import head_end
from gateway.http1.limits import Limits
from gateway.http1.server import Server
from gateway.http1.server_connection import CONTINUE, MAX_REFUSED, ServerConnection
from tests.http1.wire import Desk, response
from tests.support.clock import run
from tests.support.loops import settle
from tests.support.wire import Wire


def in_bytes(sent: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in sent]


class Visit:
    """A client at a desk."""

    def __init__(self, limits: Limits | None = None, *, wire: Wire | None = None) -> None:
        self.desk = Desk()
        self.server = Server(self.desk, limits or Limits())
        self.wire = wire or Wire()
        self.connection = ServerConnection(self.server)
        self.greeting = self.wire.join(self.connection)
        self.feed = self.wire.feed

    @property
    def state(self) -> str:
        """Return the state in the connection's `repr`."""
        return re.sub(r"<ServerConnection \[(.*)\]>", r"\1", repr(self.connection))


def get(target: str = "/", *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    start = b"%b %b HTTP/%b" % (method, target.encode(), version)
    return b"\r\n".join([start, b"Host: a", *fields, b"", b""])


def post(target: str = "/", body: bytes = b"", *fields: bytes) -> bytes:
    return get(target, *fields, b"Content-Length: %d" % len(body), method=b"POST") + body


def chunked(target: str, body: bytes) -> bytes:
    return get(target, b"Transfer-Encoding: chunked", method=b"POST") + body


def error(status: int, message: str) -> bytes:
    return response(status, message.encode(), close=True)


EXPECT = b"Expect: 100-continue"
NO = response(401, b"no")
NO_AND_CLOSE = response(401, b"no", close=True)

BLANK = error(400, "a blank or an empty line stands before the request line")
BARE_LF = error(400, "a line ends with LF alone; every line of a head must end with CRLF")

SPEAKS_TLS = error(400, "this port speaks plain HTTP, and the client speaks TLS: use http://")

Transcript = list[tuple[bytes, bytes]]

TRANSCRIPTS: dict[str, tuple[Transcript, str]] = {
    "one after the other": (
        [(get(), response(200)), (post("/", b"hello"), response(200, b"hello")), (get(), response(200))],
        "IDLE",
    ),
    "a head in two reads": ([(b"GET / HT", b""), (b"TP/1.1\r\nHost: a\r\n\r\n", response(200))], "IDLE"),
    "a body in three reads": (
        [(post("/", b"hello")[:-5], b""), (b"he", b""), (b"ll", b""), (b"o", response(200, b"hello"))],
        "IDLE",
    ),
    "chunks": (
        [
            (chunked("/", b"2\r\nhe\r\n1\r\nl"), b""),
            (b"\r\n2\r\nlo\r\n0\r\n", b""),
            (b"\r\n", response(200, b"hello")),
        ],
        "IDLE",
    ),
    "several at once": (
        [
            (
                get() + post("/", b"hello") + chunked("/", b"3\r\nyou\r\n0\r\n\r\n") + get()[:5],
                response(200) + response(200, b"hello") + response(200, b"you"),
            ),
            (get()[5:], response(200)),
        ],
        "IDLE",
    ),
    "a body and the next request": (
        [(post("/", b"hello")[:-2], b""), (b"lo" + get(), response(200, b"hello") + response(200))],
        "IDLE",
    ),
    "HEAD": ([(get(method=b"HEAD"), response(200)), (get(), response(200))], "IDLE"),
    "Connection: close": ([(get("/", b"Connection: close"), response(200, close=True))], "CLOSING"),
    "behind close nothing is read": (
        [(get("/", b"Connection: close") + get(), response(200, close=True)), (get(), b"")],
        "CLOSING",
    ),
    "HTTP/1.0": ([(get(version=b"1.0"), response(200, close=True))], "CLOSING"),
    # Bodies that are waited for.
    "100 Continue": (
        [(get("/", EXPECT, b"Content-Length: 2", method=b"POST"), CONTINUE), (b"hi", response(200, b"hi"))],
        "IDLE",
    ),
    "no 100 Continue where the body is there": ([(post("/", b"hi", EXPECT), response(200, b"hi"))], "IDLE"),
    "no 100 Continue where the body has begun": (
        [(post("/", b"hi", EXPECT)[:-1], b""), (b"i", response(200, b"hi"))],
        "IDLE",
    ),
    "no 100 Continue where there is no body": ([(get("/", EXPECT), response(200))], "IDLE"),
    "no 100 Continue for HTTP/1.0": (
        [
            (get("/", EXPECT, b"Content-Length: 2", version=b"1.0"), b""),
            (b"hi", response(200, b"hi", close=True)),
        ],
        "CLOSING",
    ),
    # Refused by the head.
    "refused": ([(get("/no"), NO), (get(), response(200))], "IDLE"),
    "refused, its body is here": ([(post("/no", b"hello"), NO), (get(), response(200))], "IDLE"),
    "refused, its body and the next request are here": (
        [(post("/no", b"hello") + get(), NO + response(200))],
        "IDLE",
    ),
    "refused twice at once": ([(get("/no") + post("/no", b"hello"), NO + NO)], "IDLE"),
    "refused, its body is on its way": ([(post("/no", b"hello")[:-1], NO_AND_CLOSE), (b"o", b"")], "LINGER"),
    "refused, nothing of its body is here": ([(post("/no", b"hello")[:-5], NO_AND_CLOSE)], "LINGER"),
    "refused, its chunks are here": ([(chunked("/no", b"0\r\n\r\n"), NO_AND_CLOSE)], "LINGER"),
    "refused before 100 Continue": (
        [(get("/no", EXPECT, b"Content-Length: 2", method=b"POST"), NO_AND_CLOSE), (b"hi", b"")],
        "LINGER",
    ),
    "refused, with Connection: close": (
        [(get("/no", b"Connection: close"), NO_AND_CLOSE), (get(), b"")],
        "CLOSING",
    ),
    # Tolerated and refused deviations.
    "an empty line before": ([(b"\r\n" + get(), response(200))], "IDLE"),
    "an empty line alone": ([(b"\r\n", b""), (get(), response(200))], "IDLE"),
    "an empty line between": ([(get(), response(200)), (b"\r\n", b""), (get(), response(200))], "IDLE"),
    "an empty line behind a response": ([(get(), response(200)), (b"\r\n", b"")], "IDLE"),
    "an empty line behind each of two responses": (
        [
            (get() + b"\r\n", response(200)),
            (post("/", b"a") + b"\r\n", response(200, b"a")),
            (get(), response(200)),
        ],
        "IDLE",
    ),
    "two empty lines behind a response": (
        [(get(), response(200)), (b"\r\n", b""), (b"\r\n", BLANK)],
        "LINGER",
    ),
    "an empty line and a body that comes later": (
        [(b"\r\n" + post("/", b"hello")[:-5], b""), (b"hel", b""), (b"lo", response(200, b"hello"))],
        "IDLE",
    ),
    "an empty line behind a body": (
        [(post("/", b"a") + b"\r\n" + get(), response(200, b"a") + response(200))],
        "IDLE",
    ),
    "half an empty line": ([(b"\r", b""), (b"\n", b""), (get(), response(200))], "IDLE"),
    "two empty lines": (
        [(b"\r\n\r\n" + get(), BLANK)],
        "LINGER",
    ),
    "bare LF": (
        [
            (
                b"GET / HTTP/1.1\nHost: a\n\n",
                BARE_LF,
            )
        ],
        "LINGER",
    ),
    "bare LF before the last CRLF": (
        [
            (
                b"GET / HTTP/1.1\r\nHost: a\n\r\n",
                BARE_LF,
            )
        ],
        "LINGER",
    ),
    "bare LF in a later head": (
        [
            (
                get() + b"GET / HTTP/1.1\n\n" + get(),
                response(200) + BARE_LF,
            )
        ],
        "LINGER",
    ),
    "a broken chunk": (
        [
            (chunked("/", b"1\r\na\r\n"), b""),
            (
                b"zz\r\n",
                error(
                    400,
                    "the request's body is broken: "
                    "a chunk's size line is not 1 to 16 hexadecimal digits and CRLF",
                ),
            ),
            (get(), b""),
        ],
        "LINGER",
    ),
    "TLS where plain HTTP is spoken": ([(b"\x16\x03\x01\x02\x00\x01\x00\x01", SPEAKS_TLS)], "LINGER"),
    "TLS with what looks like a head's end": ([(b"\x16\x03\x01\x02\r\n\r\n", SPEAKS_TLS)], "LINGER"),
    "HTTP/2 gets no response": ([(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"")], "HEAD"),
    # Bytes that cannot become a head are refused at once.
    "HTTP/2 in two reads": ([(b"PRI * HTTP/2.0\r", b""), (b"\n", b"")], "HEAD"),
    "a blank before anything": ([(b" ", BLANK)], "LINGER"),
    "one empty line and half another": ([(b"\r\n", b""), (b"\r", BLANK)], "LINGER"),
    "a request line that ends with LF": ([(b"GET / HTTP/1.1", b""), (b"\n", BARE_LF)], "LINGER"),
    "a control byte": (
        [(b"GE", b""), (b"T\x00", error(400, "the head holds the control byte 0x00"))],
        "LINGER",
    ),
    "a control byte in a later head": (
        [(get() + b"\x1b", response(200) + error(400, "the head holds the control byte 0x1b"))],
        "LINGER",
    ),
    "a control byte far behind": ([(get("/" + "x" * 64)[:-4] + b"\x00", b"")], "HEAD"),
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
async def test_transcripts(name: str) -> None:
    transcript, state = TRANSCRIPTS[name]
    visit = Visit()
    assert visit.greeting == b""
    for sent, received in transcript:
        assert visit.feed(sent) == received, sent
    assert visit.state == state
    # LINGER has closed the sending side, and still reads what the client sends.
    assert visit.wire.ended == (state == "LINGER")
    await asyncio.sleep(0)
    assert (visit.wire.state == "LOST") == (state == "CLOSING" or "HTTP/2" in name)
    assert (visit.connection in visit.server.connections) == (visit.wire.state == "OPEN")


# Sizes.

TIGHT = Limits()._replace(max_request_line=40, max_head=100, max_body=10, linger_bytes=30)

LINE = error(414, "the request line is longer than 40 bytes")
HEAD = error(431, "the request's head is larger than 100 bytes")
BODY = error(413, "the request's body is larger than 10 bytes")


def of_line(size: int) -> bytes:
    """Return a request whose first line has `size` bytes, CRLF included."""
    return get("/" + "x" * (size - len("GET / HTTP/1.1\r\n")))


def of_head(size: int) -> bytes:
    """Return a request whose head has `size` bytes."""
    return get("/", b"X: " + b"x" * (size - len(get("/", b"X: "))))


def ten_by_ten(body: bytes) -> bytes:
    """In chunks of at most ten bytes."""
    pieces = [body[at : at + 10] for at in range(0, len(body), 10)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("cut", [lambda sent: [sent], in_bytes], ids=["whole", "in bytes"])
@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (of_line(40), response(200)),
        (of_line(41), LINE),
        (of_line(1000), LINE),
        (b"x" * 41, LINE),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 15, HEAD),
        (of_head(100), response(200)),
        (of_head(101), HEAD),
        (of_head(1000), HEAD),
        (get() + of_head(101), response(200) + HEAD),
        (get() + of_line(41), response(200) + LINE),
        (post("/", b"x" * 10), response(200, b"x" * 10)),
        (b"\r\n" + post("/", b"x" * 10), response(200, b"x" * 10)),
        (post("/", b"x" * 11), BODY),
        (chunked("/", ten_by_ten(b"x" * 10)), response(200, b"x" * 10)),
        (chunked("/", ten_by_ten(b"x" * 11)), BODY),
        (chunked("/", ten_by_ten(b"x" * 11))[:-5], BODY),
        # Framing counts for nothing.
        (chunked("/", b"00000001;%b\r\nx\r\n" % (b"a" * 50) * 2 + b"0\r\n\r\n"), response(200, b"xx")),
        # A request refused for another reason is not checked for its size.
        (post("/no", b"x" * 11)[:-11], NO_AND_CLOSE),
    ],
)
async def test_request_line_head_and_body_too_large(
    sent: bytes, received: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    visit = Visit(TIGHT)
    assert b"".join([visit.feed(read) for read in cut(sent)]) == received
    assert (visit.wire.ended or visit.wire.is_closing()) == (b"HTTP/1.1 4" in received)


async def test_a_large_head_byte_by_byte_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked through from its beginning with every byte, it would be half a gigabyte."""
    looked_at = 0

    def counting(data: bytes, start: int = 0) -> int:
        nonlocal looked_at
        looked_at += len(data) - start
        return head_end(data, start)

    monkeypatch.setattr("gateway.http1.request_heads.head_end", counting)
    visit = Visit()
    raw = get("/", *[b"X: abcdefg"] * 2500)
    for at in range(len(raw)):
        visit.feed(raw[at : at + 1])
    assert visit.desk.received == [("GET", "/", b"")]
    assert len(raw) <= looked_at < 5 * len(raw)


async def test_content_length_too_large_is_refused_before_the_body() -> None:
    visit = Visit(TIGHT)
    assert visit.feed(get("/", EXPECT, b"Content-Length: 11", method=b"POST")) == BODY
    assert visit.desk.notes == ["accept POST /", "end / 413"]


async def test_chunked_body_too_large_is_refused_while_reading() -> None:
    visit = Visit(TIGHT)
    assert visit.feed(chunked("/", b"a\r\n0123456789\r\n")) == b""
    assert visit.feed(b"1\r\nx") == BODY
    assert visit.desk.notes == ["accept POST /", "end / 413"]


# Reading away what a refused client still sends.


async def test_linger_discards_the_rest_of_the_body() -> None:
    visit = Visit(TIGHT)
    assert visit.feed(post("/", b"x" * 41)[:-41]) == BODY
    for _ in range(30):
        assert visit.feed(b"x") == b""
    assert (visit.state, visit.wire.state) == ("LINGER", "OPEN")
    visit.feed(b"x")
    assert visit.wire.state == "ABORTED"


async def test_a_refused_client_that_leaves() -> None:
    visit = Visit(TIGHT)
    visit.feed(of_line(41))
    await visit.wire.leave()
    assert (visit.state, visit.wire.state) == ("CLOSED", "LOST")
    assert visit.desk.notes == []


async def test_linger_without_half_close() -> None:
    """TLS has no half-closed connections."""
    visit = Visit(TIGHT, wire=Wire(half_close=False))
    assert visit.feed(of_line(41)) == LINE
    assert (visit.state, visit.wire.ended, visit.wire.state) == ("LINGER", False, "OPEN")


# Timeouts: each part is sent this many seconds after the one before.

Timed = list[tuple[float, bytes]]

HALF = get()[:-2]
SLOW_HEAD = [(0.0, HALF)] + [(3.0, b"x")] * 3
SLOW_BODY = [(0.0, post("/", b"12345")[:-5])] + [(25.0, b"x")] * 4

NO_HEAD = error(408, "the request's head was not complete after 10 s")
NO_BODY = error(408, "no byte of the request's body came for 30 s")

TIMES: dict[str, tuple[Timed, bytes, float, float]] = {
    "nothing is sent": ([], NO_HEAD, 10, 12),
    "half a head": ([(4, HALF)], NO_HEAD, 10, 12),
    "a head that trickles": (SLOW_HEAD, NO_HEAD, 10, 12),
    "an empty line": ([(4, b"\r\n")], NO_HEAD, 10, 12),
    "half a body": ([(1, post("/", b"hello")[:-1])], NO_BODY, 31, 33),
    "no body": ([(1, post("/", b"hello")[:-5])], NO_BODY, 31, 33),
    "half of some chunks": ([(1, chunked("/", b"5\r\nhel"))], NO_BODY, 31, 33),
    "a body that trickles": (SLOW_BODY, NO_BODY, 130, 132),
    "nothing more is sent": ([(4, get())], response(200), 4, 79),
    "after a response, half a head": ([(4, get()), (70, HALF)], response(200) + NO_HEAD, 84, 86),
    "after a response, an empty line": ([(4, get()), (70, b"\r\n")], response(200), 4, 79),
    "after a response, an empty line and half a head": (
        [(4, get()), (3, b"\r\n"), (60, HALF)],
        response(200) + NO_HEAD,
        77,
        79,
    ),
    "after a response, an empty line and another": (
        [(4, get()), (70, b"\r\n"), (4, get())],
        response(200) * 2,
        78,
        153,
    ),
    "after a response, half an empty line": ([(4, get()), (70, b"\r")], response(200) + NO_HEAD, 84, 86),
    "after a response, another": ([(4, get()), (70, get()), (70, get())], response(200) * 3, 144, 219),
    "after a response, half a body": (
        [(4, get()), (70, post("/", b"hello")[:-1])],
        response(200) + NO_BODY,
        104,
        106,
    ),
    "refused": ([(4, post("/no", b"hello")[:-1])], NO_AND_CLOSE, 4, 6),
    "refused, and it goes on sending": (
        [(4, post("/no", b"hello")[:-5]), (1, b"h"), (0.9, b"e")],
        NO_AND_CLOSE,
        4,
        6,
    ),
    "closed at once": ([(4, get("/", b"Connection: close"))], response(200, close=True), 4, 4),
}


@pytest.mark.parametrize("name", TIMES)
def test_timeouts(name: str) -> None:
    sent, received, written, lost = TIMES[name]

    async def visit() -> None:
        visit = Visit()
        loop = asyncio.get_running_loop()
        began = loop.time()
        got = b""
        for wait, data in sent:
            await asyncio.sleep(wait)
            got += visit.feed(data)
        await visit.wire.gone.wait()
        assert got + visit.wire.written() == received
        assert visit.wire.written_at - began == pytest.approx(written, abs=0.5)
        assert loop.time() - began == pytest.approx(lost, abs=0.5)
        assert visit.state == "CLOSED"

    run(visit())


def test_a_slow_handler_has_no_timeout() -> None:
    async def visit() -> None:
        visit = Visit()
        visit.feed(get("/later"))
        await asyncio.sleep(1000)
        visit.desk.later[0].start(200)
        visit.desk.later[0].write(b"x")
        await asyncio.sleep(1000)
        visit.wire.written()
        visit.desk.later[0].finish()
        assert (visit.wire.written(), visit.state) == (b"0\r\n\r\n", "IDLE")

    run(visit())


# In order.


async def test_pipelined_requests_wait_for_their_turn() -> None:
    visit = Visit()
    assert visit.feed(get("/later/1") + post("/later/2", b"two") + get("/3")) == b""
    assert visit.desk.notes == ["accept GET /later/1", "serve /later/1"]
    visit.desk.later[0].respond(200, b"one")
    assert visit.wire.written() == response(200, b"one")
    assert visit.state == "RESPONSE"
    visit.desk.later[1].respond(200, b"two")
    assert visit.wire.written() == response(200, b"two") + response(200)
    # The connection has gone on when the handler gets `ended`.
    assert visit.desk.notes[2:] == [
        "accept POST /later/2",
        "serve /later/2",
        "end /later/1 200",
        "accept GET /3",
        "serve /3",
        "end /3 200",
        "end /later/2 200",
    ]


async def test_bytes_during_a_response_wait() -> None:
    visit = Visit()
    visit.feed(get("/later"))
    assert [visit.feed(read) for read in in_bytes(get("/2"))] == [b""] * len(get("/2"))
    visit.desk.later[0].abort()
    assert visit.desk.notes == ["accept GET /later", "serve /later", "end /later 0"]
    assert visit.wire.state == "CLOSING"


async def test_a_thousand_pipelined_requests() -> None:
    visit = Visit()
    received = visit.feed(get() * 1000)
    await settle(20)
    assert received + visit.wire.written() == response(200) * 1000
    assert (visit.wire.reading, visit.state) == (True, "IDLE")


async def test_a_client_that_keeps_pipelining_is_paused() -> None:
    visit = Visit(Limits()._replace(max_head=1000))
    visit.feed(get("/later"))
    for _ in range(100):
        visit.feed(get("/later"))
    assert not visit.wire.reading
    assert visit.wire.unread > 0
    count = 1
    while count <= 100:
        visit.desk.later[-1].respond(200, b"")
        await asyncio.sleep(0)
        count += 1
        assert len(visit.desk.later) == count
    visit.desk.later[-1].respond(200, b"")
    assert (visit.wire.written(), visit.wire.unread, visit.state) == (response(200) * 101, 0, "IDLE")


# One client among others: what comes in many small pieces is read a part in each turn of the loop.

TINY = 10_000
SMALL_CHUNKS = chunked("/", b"1\r\nx\r\n" * TINY + b"0\r\n\r\n")
ODD_CHUNKS = chunked("/", b"1;\r\nx\r\n" * 4000 + b"0\r\n\r\n")
PIPELINED = get() * 500


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (SMALL_CHUNKS, response(200, b"x" * TINY)),
        (ODD_CHUNKS, response(200, b"x" * 4000)),
        (PIPELINED, response(200) * 500),
        (
            SMALL_CHUNKS + PIPELINED + SMALL_CHUNKS,
            response(200, b"x" * TINY) + response(200) * 500 + response(200, b"x" * TINY),
        ),
    ],
    ids=["chunks", "chunks with extensions", "requests", "all of them"],
)
@pytest.mark.parametrize("cut", [1, 20, 30_000])
async def test_many_small_pieces_in_one_read(sent: bytes, received: bytes, cut: int) -> None:
    busy, other = Visit(), Visit()
    got = busy.feed(sent[:cut]) + busy.feed(sent[cut:])
    turns = 0
    while got != received:
        assert received.startswith(got)
        assert other.feed(get()) == response(200)
        await asyncio.sleep(0)
        got += busy.wire.written()
        turns += 1
    assert 1 < turns < 40
    await settle()
    assert (busy.wire.reading, busy.feed(get())) == (True, response(200))


async def test_many_small_reads_keep_their_order() -> None:
    """The order is also kept if the transport delivers what it had read before it was paused, as TLS does."""
    visit = Visit()
    size = len(SMALL_CHUNKS)
    for at in range(0, size, size // 3):
        visit.connection.data_received(SMALL_CHUNKS[at : at + size // 3])
    visit.connection.data_received(PIPELINED + get("/last"))
    await settle(50)
    assert visit.wire.written() == response(200, b"x" * TINY) + response(200) * 501
    assert visit.desk.received[-1] == ("GET", "/last", b"")


async def test_requests_that_come_while_others_wait_keep_their_order() -> None:
    visit = Visit()
    targets = [f"/{number}" for number in range(300)]
    visit.connection.data_received(b"".join(map(get, targets[:200])))
    visit.connection.data_received(b"".join(map(get, targets[200:])))
    await settle(20)
    assert [target for _, target, _ in visit.desk.received] == targets


@pytest.mark.parametrize("sent", [SMALL_CHUNKS, PIPELINED])
@pytest.mark.parametrize("how", [Wire.leave, Wire.reset])
async def test_a_client_that_leaves_while_pieces_wait(
    sent: bytes, how: Callable[[Wire], Awaitable[None]]
) -> None:
    visit = Visit()
    visit.feed(sent)
    served = len(visit.desk.received)
    await how(visit.wire)
    await settle(20)
    assert (visit.state, visit.wire.state) == ("CLOSED", "LOST")
    assert served <= len(visit.desk.received) < 200
    assert visit.server.connections == set()


async def test_draining_while_requests_wait() -> None:
    visit = Visit()
    visit.feed(PIPELINED)
    visit.server.drain()
    await settle(20)
    assert len(visit.desk.received) < 100
    assert visit.wire.state == "LOST"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"1\r\nx\r\n" * 10_000 + b"zz\r\n", b"not 1 to 16 hexadecimal digits"),
        (b"1\r\nx\r\n" * 30_000, b"larger than 20000 bytes"),
    ],
)
async def test_a_body_that_is_refused_while_pieces_wait(body: bytes, message: bytes) -> None:
    visit = Visit(Limits()._replace(max_body=20_000))
    assert visit.feed(chunked("/", body)) == b""
    await settle(20)
    assert message in visit.wire.written()
    assert (visit.state, visit.wire.reading) == ("LINGER", True)


def test_body_timeout_starts_after_the_last_piece() -> None:
    async def visit() -> float:
        visit = Visit()
        visit.feed(SMALL_CHUNKS[:-5])
        began = asyncio.get_running_loop().time()
        await visit.wire.gone.wait()
        assert visit.wire.written() == NO_BODY
        return asyncio.get_running_loop().time() - began

    assert run(visit()) == pytest.approx(32, abs=0.5)


async def test_a_request_responded_to_later_among_those_that_wait() -> None:
    visit = Visit()
    received = visit.feed(get() * 70 + get("/later") + get() * 100)
    await settle(20)
    assert len(visit.desk.received) == 71
    assert (visit.state, visit.wire.reading) == ("RESPONSE", True)
    visit.desk.later[0].respond(200, b"")
    await settle(20)
    assert received + visit.wire.written() == response(200) * 171


# The client's pace.


def big(exchange: Exchange, body: bytes) -> None:
    exchange.respond(200, b"x" * 100_000)


async def test_a_client_that_pipelines_without_reading_is_not_read_either() -> None:
    visit = Visit(Limits()._replace(max_head=1000))
    visit.desk.respond = big
    visit.wire.takes = False
    for _ in range(100):
        visit.feed(get())
    assert len(visit.desk.received) == 1
    assert not visit.wire.reading
    visit.wire.takes = True
    visit.wire.take(visit.wire.waiting)
    await asyncio.sleep(0)
    assert (len(visit.desk.received), visit.wire.unread, visit.state) == (100, 0, "IDLE")


async def test_after_a_slow_response_a_request_is_served_when_it_comes() -> None:
    visit = Visit()
    visit.desk.respond = big
    visit.wire.takes = False
    visit.feed(get())
    visit.wire.take(visit.wire.waiting)
    assert visit.state == "IDLE"
    visit.feed(get())
    assert len(visit.desk.received) == 2


async def test_writable_follows_the_clients_reading() -> None:
    visit = Visit(Limits()._replace(high_water=1000))
    visit.wire.takes = False
    visit.feed(get("/later"))
    exchange = visit.desk.later[0]
    exchange.start(200)
    steps: list[Callable[[], None]] = [
        lambda: exchange.write(b"x" * 800),
        lambda: exchange.write(b"x" * 200),
        lambda: visit.wire.take(500),
        lambda: visit.wire.take(500),
    ]
    paces: list[list[str]] = []
    for step in steps:
        step()
        paces.append(visit.desk.notes[2:])
    assert paces == [[], ["writable False"], ["writable False"], ["writable False", "writable True"]]


def responding(visit: Visit, phase: str) -> None:
    """A large response: its end is still to come, or it has come, and the connection stays or is to be closed."""
    if phase == "responding":
        visit.feed(get("/later"))
        visit.desk.later[0].start(200)
        visit.desk.later[0].write(b"x" * 100_000)
    else:
        visit.desk.respond = big
        visit.feed(get("/", *([b"Connection: close"] if phase == "closing" else [])))


@pytest.mark.parametrize("phase", ["responding", "idle", "closing"])
def test_write_timeout_of_a_client_that_reads_nothing(phase: str) -> None:
    async def visit() -> float:
        visit = Visit()
        began = asyncio.get_running_loop().time()
        visit.wire.takes = False
        responding(visit, phase)
        await visit.wire.gone.wait()
        if phase == "responding":
            assert visit.desk.notes[-1] == "end /later gone"
        return asyncio.get_running_loop().time() - began

    assert run(visit()) == pytest.approx(60, abs=0.5)


def test_a_connection_is_idle_from_when_its_response_has_left() -> None:
    async def visit() -> None:
        visit = Visit()
        visit.desk.respond = big
        visit.wire.takes = False
        visit.feed(get())
        for _ in range(3):
            await asyncio.sleep(50)
            visit.wire.take(1000)
        visit.wire.take(visit.wire.waiting)
        began = asyncio.get_running_loop().time()
        await visit.wire.gone.wait()
        assert asyncio.get_running_loop().time() - began == pytest.approx(75, abs=0.5)

    run(visit())


@pytest.mark.parametrize(("takes", "seconds"), [(0, 2 + 60), (1000, 2)])
def test_write_timeout_of_a_refused_client(takes: int, seconds: float) -> None:
    async def visit() -> float:
        visit = Visit(TIGHT._replace(high_water=10))
        began = asyncio.get_running_loop().time()
        visit.wire.takes = False
        visit.feed(of_line(41))
        visit.wire.take(min(takes, visit.wire.waiting))
        await visit.wire.gone.wait()
        return asyncio.get_running_loop().time() - began

    assert run(visit()) == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize("phase", ["responding", "idle", "closing"])
def test_write_timeout_restarts_with_progress(phase: str) -> None:
    async def visit() -> float:
        visit = Visit()
        visit.wire.takes = False
        responding(visit, phase)
        for _ in range(20):
            await asyncio.sleep(50)
            visit.wire.take(10)
        assert visit.wire.waiting
        assert not visit.wire.gone.is_set()
        began = asyncio.get_running_loop().time()
        await visit.wire.gone.wait()
        return asyncio.get_running_loop().time() - began

    assert 60 <= run(visit()) <= 121


def test_a_slow_client_that_reads_everything_keeps_its_connection() -> None:
    async def visit() -> None:
        visit = Visit()
        visit.wire.takes = False
        responding(visit, "responding")
        await asyncio.sleep(50)
        visit.wire.take(visit.wire.waiting)
        await asyncio.sleep(200)
        visit.desk.later[0].finish()
        assert visit.state == "IDLE"

    run(visit())


# A client that leaves.


@pytest.mark.parametrize("how", [Wire.leave, Wire.reset])
@pytest.mark.parametrize(
    ("sent", "notes"),
    [
        (b"", []),
        (HALF, []),
        (post("/", b"hello")[:-1], ["accept POST /", "end / gone"]),
        (get("/later"), ["accept GET /later", "serve /later", "end /later gone"]),
        (get(), ["accept GET /", "serve /", "end / 200"]),
        (get("/later") + get("/2"), ["accept GET /later", "serve /later", "end /later gone"]),
    ],
)
async def test_a_client_that_leaves(
    sent: bytes, notes: list[str], how: Callable[[Wire], Awaitable[None]]
) -> None:
    visit = Visit()
    visit.feed(sent)
    await how(visit.wire)
    assert (visit.desk.notes, visit.state) == (notes, "CLOSED")
    assert visit.server.connections == set()


async def test_a_client_that_leaves_in_the_middle_of_its_response() -> None:
    visit = Visit()
    visit.feed(get("/later"))
    exchange = visit.desk.later[0]
    exchange.start(200)
    exchange.write(b"some")
    await visit.wire.reset()
    exchange.write(b"more")
    exchange.finish()
    assert (visit.desk.notes[-1], exchange.gone) == ("end /later gone", True)


def test_a_client_that_leaves_with_bytes_waiting_for_it() -> None:
    """The application is notified at once; unsent bytes still go out, as long as the client takes them."""

    async def visit() -> float:
        visit = Visit()
        visit.wire.takes = False
        visit.feed(get("/later"))
        visit.desk.later[0].start(200)
        visit.desk.later[0].write(b"x")
        await visit.wire.leave()
        assert visit.desk.notes[-1] == "end /later gone"
        assert (visit.state, visit.wire.state) == ("CLOSING", "CLOSING")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await visit.wire.gone.wait()
        return loop.time() - began

    assert run(visit()) == pytest.approx(60, abs=0.5)


async def test_bytes_while_closing_are_discarded() -> None:
    """Over TLS, bytes may still come when the closing has begun."""
    visit = Visit()
    visit.wire.takes = False
    visit.feed(get("/", b"Connection: close"))
    visit.connection.data_received(get())
    assert (visit.state, len(visit.desk.received)) == ("CLOSING", 1)


@pytest.mark.parametrize("sent", [b"", get(), post("/", b"hello")[:-1], get("/later"), b"\n\n"])
async def test_a_lost_connection_is_garbage_collected(sent: bytes) -> None:
    """Afterwards no timer refers to the connection."""
    visit = Visit()
    visit.feed(sent)
    await visit.wire.reset()
    server = ref(visit.server)
    del visit
    gc.collect()
    assert server() is None


# Draining.


@pytest.mark.parametrize(
    ("sent", "state", "rest", "received"),
    [
        (b"", "CLOSING", b"", b""),
        (get(), "CLOSING", b"", b""),
        (HALF, "HEAD", b"\r\n", response(200, close=True)),
        (post("/", b"hello")[:-1], "BODY", b"o", response(200, b"hello", close=True)),
    ],
)
async def test_draining(sent: bytes, state: str, rest: bytes, received: bytes) -> None:
    visit = Visit()
    visit.feed(sent)
    visit.server.drain()
    assert visit.state == state
    assert visit.feed(rest) == received
    assert visit.wire.is_closing()


async def test_draining_during_a_response() -> None:
    visit = Visit()
    visit.feed(get("/later") + get())
    visit.server.drain()
    assert visit.state == "RESPONSE"
    visit.desk.later[0].respond(200, b"")
    assert (visit.wire.written(), visit.state) == (response(200, close=True), "CLOSING")


async def test_draining_with_the_head_on_its_way() -> None:
    visit = Visit()
    visit.feed(get("/later"))
    visit.desk.later[0].start(200)
    visit.desk.later[0].write(b"x")
    visit.server.drain()
    visit.desk.later[0].finish()
    assert visit.state == "CLOSING"


async def test_a_connection_made_while_draining_serves_one_request() -> None:
    visit = Visit()
    visit.server.drain()
    late = Wire()
    late.join(ServerConnection(visit.server))
    assert late.feed(get() + get()) == response(200, close=True)
    assert late.state == "CLOSING"


# Too many.


async def test_max_connections_gives_503() -> None:
    visit = Visit(Limits()._replace(max_connections=1))
    second = Wire()
    message = b"too many connections are open at this gateway"
    connection = ServerConnection(visit.server)
    assert second.join(connection) == response(503, message, b"retry-after: 1", close=True)
    assert (repr(connection), second.ended) == ("<ServerConnection [LINGER]>", True)
    assert second.feed(get()) == b""
    assert visit.feed(get()) == response(200)
    await visit.wire.leave()
    await second.leave()
    third = Wire()
    assert third.join(ServerConnection(visit.server)) == b""


async def test_max_refused_connections() -> None:
    """MAX_REFUSED connections get a 503; each holds a descriptor until it has received that."""
    visit = Visit(Limits()._replace(max_connections=1))
    wires = [Wire() for _ in range(MAX_REFUSED + 2)]
    received = [wire.join(ServerConnection(visit.server)) for wire in wires]
    assert [b"503" in words for words in received] == [True] * MAX_REFUSED + [False, False]
    assert [wire.state for wire in wires[-3:]] == ["OPEN", "ABORTED", "ABORTED"]
    await asyncio.sleep(0)
    assert len(visit.server.connections) == 1 + MAX_REFUSED
    assert visit.feed(get()) == response(200)


# An application that raises.

CRASH = response(500, b"crash")


@pytest.mark.parametrize(
    ("fails", "received", "notes"),
    [
        ("accept", CRASH + response(200), ["accept POST /", "crash in accept", "end / 500"]),
        ("serve", CRASH + response(200), ["accept POST /", "serve /", "crash in serve", "end / 500"]),
    ],
)
async def test_an_exception_becomes_a_response(fails: str, received: bytes, notes: list[str]) -> None:
    visit = Visit()
    visit.desk.fails = fails
    first = visit.feed(post("/", b"hello"))
    visit.desk.fails = ""
    assert first + visit.feed(get()) == received
    assert visit.desk.notes[: len(notes)] == notes


async def test_an_exception_when_the_client_is_slow() -> None:
    visit = Visit(Limits()._replace(high_water=10))
    visit.desk.fails = "writable"
    visit.wire.takes = False
    visit.feed(get("/later"))
    visit.desk.later[0].start(200)
    visit.desk.later[0].write(b"x" * 20)
    assert visit.desk.notes[2:] == ["writable False", "crash in writable", "end /later 200"]


@pytest.mark.parametrize("sent", [get("/later"), post("/", b"hello")[:-1]])
async def test_an_exception_when_the_client_has_left(sent: bytes) -> None:
    visit = Visit()
    visit.desk.fails = "end"
    visit.feed(sent)
    await visit.wire.leave()
    assert (visit.desk.notes[-1], visit.state) == ("crash in end", "CLOSED")


class Silent(Desk):
    """Raises before it has a handler that could take that."""

    def accept(self, exchange: Exchange) -> RequestHandler | None:
        raise ValueError


async def test_an_exception_without_a_handler_reaches_the_loop() -> None:
    visit = Visit()
    visit.server.application = Silent()
    with pytest.raises(ValueError):
        visit.feed(get())
    await visit.wire.reset()
    assert visit.state == "CLOSED"


# A head that comes again is recognised, and that makes no difference.

SHORT = b"GET / HTTP/1.0\r\n\r\n"


@pytest.mark.parametrize("known", [get(), post("/", b"hello"), get("/", b"X-Odd:z")])
async def test_a_known_head_in_reads_and_a_shorter_one_behind_it(known: bytes) -> None:
    visit = Visit()
    received = visit.feed(known)
    for at in range(1, len(known)):
        assert visit.feed(known[:at]) + visit.feed(known[at:]) == received
    assert visit.feed(SHORT) == response(200, close=True)


async def test_a_known_head_whose_length_makes_it_too_large() -> None:
    known, longer = post("/", b"x" * 9), post("/", b"x" * 10)
    size = len(known) - 9
    visit = Visit(Limits()._replace(max_head=size))
    for _ in range(2):
        assert visit.feed(known) == response(200, b"x" * 9)
    assert visit.feed(longer) == error(431, f"the request's head is larger than {size} bytes")


async def test_an_empty_line_before_each_known_head() -> None:
    visit = Visit()
    visit.feed(get())
    for _ in range(3):
        assert visit.feed(b"\r\n") + visit.feed(get()) == response(200)


# repr.


async def test_repr_shows_the_state() -> None:
    visit = Visit()
    assert visit.state == "HEAD"
    visit.feed(post("/later", b"hello")[:-1])
    assert visit.state == "BODY"
    visit.feed(b"o")
    assert visit.state == "RESPONSE"
    visit.desk.later[0].respond(200, b"")
    assert visit.state == "IDLE"
    visit.feed(b"G")
    assert visit.state == "HEAD"
    visit.feed(b"\n\n")
    assert visit.state == "LINGER"
    await visit.wire.leave()
    assert visit.state == "CLOSED"
