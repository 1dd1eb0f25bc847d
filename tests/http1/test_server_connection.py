"""A client's connection, as transcripts: what it says, what it hears, in which order, and when.

What it makes of all that clients can send is `test_conformance`'s.
"""

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from weakref import ref

import pytest

from gateway.http1.deadline import Deadline
from gateway.http1.exchange import Exchange
from gateway.http1.grammar import head_end
from gateway.http1.limits import Limits
from gateway.http1.server import Server
from gateway.http1.server_connection import CONTINUE, MAX_REFUSED, ServerConnection
from tests.http1.wire import Desk, Wire, answer
from tests.support.clock import run


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
        self.say = self.wire.say

    @property
    def state(self) -> str:
        """What the connection shows of itself, without the client's address."""
        return re.sub(r"<ServerConnection \[192.0.2.1, (.*)\]>", r"\1", repr(self.connection))


def get(target: str = "/", *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    start = b"%b %b HTTP/%b" % (method, target.encode(), version)
    return b"\r\n".join([start, b"Host: a", *fields, b"", b""])


def post(target: str = "/", body: bytes = b"", *fields: bytes) -> bytes:
    return get(target, *fields, b"Content-Length: %d" % len(body), method=b"POST") + body


def chunked(target: str, body: bytes) -> bytes:
    return get(target, b"Transfer-Encoding: chunked", method=b"POST") + body


def error(status: int, message: str) -> bytes:
    return answer(status, message.encode(), close=True)


EXPECT = b"Expect: 100-continue"
NO = answer(401, b"no")
NO_AND_CLOSE = answer(401, b"no", close=True)

BLANK = error(400, "a blank or an empty line stands before the request line")
BARE_LF = error(400, "a line ends with LF alone; every line of a head must end with CRLF")

SPEAKS_TLS = error(400, "this port speaks plain HTTP, and the client speaks TLS: use http://")

Transcript = list[tuple[bytes, bytes]]

TRANSCRIPTS: dict[str, tuple[Transcript, str]] = {
    "one after the other": (
        [(get(), answer(200)), (post("/", b"hello"), answer(200, b"hello")), (get(), answer(200))],
        "IDLE",
    ),
    "a head in two reads": ([(b"GET / HT", b""), (b"TP/1.1\r\nHost: a\r\n\r\n", answer(200))], "IDLE"),
    "a body in three reads": (
        [(post("/", b"hello")[:-5], b""), (b"he", b""), (b"ll", b""), (b"o", answer(200, b"hello"))],
        "IDLE",
    ),
    "chunks": (
        [
            (chunked("/", b"2\r\nhe\r\n1\r\nl"), b""),
            (b"\r\n2\r\nlo\r\n0\r\n", b""),
            (b"\r\n", answer(200, b"hello")),
        ],
        "IDLE",
    ),
    "several at once": (
        [
            (
                get() + post("/", b"hello") + chunked("/", b"3\r\nyou\r\n0\r\n\r\n") + get()[:5],
                answer(200) + answer(200, b"hello") + answer(200, b"you"),
            ),
            (get()[5:], answer(200)),
        ],
        "IDLE",
    ),
    "a body and the next request": (
        [(post("/", b"hello")[:-2], b""), (b"lo" + get(), answer(200, b"hello") + answer(200))],
        "IDLE",
    ),
    "HEAD": ([(get(method=b"HEAD"), answer(200)), (get(), answer(200))], "IDLE"),
    "close is asked for": ([(get("/", b"Connection: close"), answer(200, close=True))], "CLOSING"),
    "behind close nothing is read": (
        [(get("/", b"Connection: close") + get(), answer(200, close=True)), (get(), b"")],
        "CLOSING",
    ),
    "HTTP/1.0": ([(get(version=b"1.0"), answer(200, close=True))], "CLOSING"),
    # Bodies that are waited for.
    "100 Continue": (
        [(get("/", EXPECT, b"Content-Length: 2", method=b"POST"), CONTINUE), (b"hi", answer(200, b"hi"))],
        "IDLE",
    ),
    "no 100 Continue where the body is there": ([(post("/", b"hi", EXPECT), answer(200, b"hi"))], "IDLE"),
    "no 100 Continue where the body has begun": (
        [(post("/", b"hi", EXPECT)[:-1], b""), (b"i", answer(200, b"hi"))],
        "IDLE",
    ),
    "no 100 Continue where there is no body": ([(get("/", EXPECT), answer(200))], "IDLE"),
    "no 100 Continue for HTTP/1.0": (
        [
            (get("/", EXPECT, b"Content-Length: 2", version=b"1.0"), b""),
            (b"hi", answer(200, b"hi", close=True)),
        ],
        "CLOSING",
    ),
    # Refused by the head.
    "refused": ([(get("/no"), NO), (get(), answer(200))], "IDLE"),
    "refused, its body is here": ([(post("/no", b"hello"), NO), (get(), answer(200))], "IDLE"),
    "refused, its body and the next request are here": (
        [(post("/no", b"hello") + get(), NO + answer(200))],
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
    "refused, and close is asked for": (
        [(get("/no", b"Connection: close"), NO_AND_CLOSE), (get(), b"")],
        "CLOSING",
    ),
    # What is forgiven, and what is not.
    "an empty line before": ([(b"\r\n" + get(), answer(200))], "IDLE"),
    "an empty line alone": ([(b"\r\n", b""), (get(), answer(200))], "IDLE"),
    "an empty line between": ([(get(), answer(200)), (b"\r\n", b""), (get(), answer(200))], "IDLE"),
    "an empty line behind an answer": ([(get(), answer(200)), (b"\r\n", b"")], "IDLE"),
    "an empty line behind each of two answers": (
        [
            (get() + b"\r\n", answer(200)),
            (post("/", b"a") + b"\r\n", answer(200, b"a")),
            (get(), answer(200)),
        ],
        "IDLE",
    ),
    "two empty lines behind an answer": ([(get(), answer(200)), (b"\r\n", b""), (b"\r\n", BLANK)], "LINGER"),
    "an empty line and a body that comes later": (
        [(b"\r\n" + post("/", b"hello")[:-5], b""), (b"hel", b""), (b"lo", answer(200, b"hello"))],
        "IDLE",
    ),
    "an empty line behind a body": (
        [(post("/", b"a") + b"\r\n" + get(), answer(200, b"a") + answer(200))],
        "IDLE",
    ),
    "half an empty line": ([(b"\r", b""), (b"\n", b""), (get(), answer(200))], "IDLE"),
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
                answer(200) + BARE_LF,
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
    "HTTP/2 gets no answer": ([(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"")], "HEAD"),
    # What cannot become a head is not waited for.
    "HTTP/2 in two reads": ([(b"PRI * HTTP/2.0\r", b""), (b"\n", b"")], "HEAD"),
    "a blank before anything": ([(b" ", BLANK)], "LINGER"),
    "one empty line and half another": ([(b"\r\n", b""), (b"\r", BLANK)], "LINGER"),
    "a request line that ends with LF": ([(b"GET / HTTP/1.1", b""), (b"\n", BARE_LF)], "LINGER"),
    "a control byte": (
        [(b"GE", b""), (b"T\x00", error(400, "the head holds the control byte 0x00"))],
        "LINGER",
    ),
    "a control byte in a later head": (
        [(get() + b"\x1b", answer(200) + error(400, "the head holds the control byte 0x1b"))],
        "LINGER",
    ),
    "a control byte far behind": ([(get("/" + "x" * 64)[:-4] + b"\x00", b"")], "HEAD"),
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
async def test_transcripts(name: str) -> None:
    transcript, state = TRANSCRIPTS[name]
    visit = Visit()
    assert visit.greeting == b""
    for said, heard in transcript:
        assert visit.say(said) == heard, said
    assert visit.state == state
    # LINGER tells the client that no more comes, and waits for what it is still sending.
    assert visit.wire.ended == (state == "LINGER")
    assert visit.connection._buffer == b"" or state != "LINGER"
    await asyncio.sleep(0)
    assert (visit.wire.state == "LOST") == (state == "CLOSING" or "HTTP/2" in name)
    assert (visit.connection in visit.server.connections) == (visit.wire.state == "OPEN")


# Sizes.

TIGHT = replace(Limits(), max_request_line=40, max_head=100, max_body=10, linger_bytes=30)

LINE = error(414, "the request line is longer than 40 bytes")
HEAD = error(431, "the request's head is larger than 100 bytes")
BODY = error(413, "the request's body is larger than 10 bytes")


def of_line(size: int) -> bytes:
    """A request whose first line has so many bytes, CRLF included."""
    return get("/" + "x" * (size - len("GET / HTTP/1.1\r\n")))


def of_head(size: int) -> bytes:
    """A request whose head has so many bytes."""
    return get("/", b"X: " + b"x" * (size - len(get("/", b"X: "))))


def ten_by_ten(body: bytes) -> bytes:
    """In chunks of at most ten bytes."""
    pieces = [body[at : at + 10] for at in range(0, len(body), 10)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("cut", [lambda sent: [sent], in_bytes], ids=["whole", "in bytes"])
@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        (of_line(40), answer(200)),
        (of_line(41), LINE),
        (of_line(1000), LINE),
        (b"x" * 41, LINE),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 15, HEAD),
        (of_head(100), answer(200)),
        (of_head(101), HEAD),
        (of_head(1000), HEAD),
        (get() + of_head(101), answer(200) + HEAD),
        (get() + of_line(41), answer(200) + LINE),
        (post("/", b"x" * 10), answer(200, b"x" * 10)),
        (b"\r\n" + post("/", b"x" * 10), answer(200, b"x" * 10)),
        (post("/", b"x" * 11), BODY),
        (chunked("/", ten_by_ten(b"x" * 10)), answer(200, b"x" * 10)),
        (chunked("/", ten_by_ten(b"x" * 11)), BODY),
        (chunked("/", ten_by_ten(b"x" * 11))[:-5], BODY),
        # Framing counts for nothing.
        (chunked("/", b"00000001;%b\r\nx\r\n" % (b"a" * 50) * 2 + b"0\r\n\r\n"), answer(200, b"xx")),
        # What is refused anyway is not judged by its size.
        (post("/no", b"x" * 11)[:-11], NO_AND_CLOSE),
    ],
)
async def test_sizes(sent: bytes, heard: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    visit = Visit(TIGHT)
    assert b"".join([visit.say(read) for read in cut(sent)]) == heard
    assert (visit.wire.ended or visit.wire.is_closing()) == (b"HTTP/1.1 4" in heard)


async def test_a_large_head_byte_by_byte_costs_each_byte_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked through from its beginning with every byte, it would be half a gigabyte."""
    looked_at = 0

    def counting(data: bytes, start: int = 0) -> int:
        nonlocal looked_at
        looked_at += len(data) - start
        return head_end(data, start)

    monkeypatch.setattr("gateway.http1.server_connection.head_end", counting)
    visit = Visit()
    raw = get("/", *[b"X: abcdefg"] * 2500)
    for at in range(len(raw)):
        visit.say(raw[at : at + 1])
    assert visit.desk.received == [("GET", "/", b"")]
    assert len(raw) <= looked_at < 5 * len(raw)


async def test_a_declared_size_is_judged_before_a_byte_is_read() -> None:
    visit = Visit(TIGHT)
    assert visit.say(get("/", EXPECT, b"Content-Length: 11", method=b"POST")) == BODY
    assert visit.desk.notes == ["admit POST /", "end / 413"]


async def test_a_size_is_judged_while_reading() -> None:
    visit = Visit(TIGHT)
    assert visit.say(chunked("/", b"a\r\n0123456789\r\n")) == b""
    assert visit.say(b"1\r\nx") == BODY
    assert (visit.connection._body, visit.connection._buffer) == ([], b"")
    assert visit.desk.notes == ["admit POST /", "end / 413"]


async def test_many_small_chunks_are_not_kept_one_by_one() -> None:
    visit = Visit()
    visit.say(chunked("/", b""))
    visit.say(b"2\r\nab\r\n" * 1000)
    assert len(visit.connection._body) == 1
    assert visit.say(b"0\r\n\r\n") == answer(200, b"ab" * 1000)


# Reading away what a refused client still sends.


async def test_what_is_still_sent_is_read_away() -> None:
    visit = Visit(TIGHT)
    assert visit.say(post("/", b"x" * 41)[:-41]) == BODY
    for _ in range(30):
        assert visit.say(b"x") == b""
    assert (visit.state, visit.wire.state) == ("LINGER", "OPEN")
    visit.say(b"x")
    assert visit.wire.state == "ABORTED"


async def test_a_refused_client_that_leaves() -> None:
    visit = Visit(TIGHT)
    visit.say(of_line(41))
    await visit.wire.leave()
    assert (visit.state, visit.wire.state) == ("CLOSED", "LOST")
    assert visit.desk.notes == []


async def test_where_no_side_can_be_closed_alone() -> None:
    """TLS has no half-closed connections."""
    visit = Visit(TIGHT, wire=Wire(half_close=False))
    assert visit.say(of_line(41)) == LINE
    assert (visit.state, visit.wire.ended, visit.wire.state) == ("LINGER", False, "OPEN")


# Times: each word is said so many seconds after the one before.

Said = list[tuple[float, bytes]]

HALF = get()[:-2]
SLOW_HEAD = [(0.0, HALF)] + [(3.0, b"x")] * 3
SLOW_BODY = [(0.0, post("/", b"12345")[:-5])] + [(25.0, b"x")] * 4

NO_HEAD = error(408, "the request's head was not complete after 10 s")
NO_BODY = error(408, "no byte of the request's body came for 30 s")

TIMES: dict[str, tuple[Said, bytes, float, float]] = {
    "nothing is said": ([], NO_HEAD, 10, 12),
    "half a head": ([(4, HALF)], NO_HEAD, 10, 12),
    "a head that trickles": (SLOW_HEAD, NO_HEAD, 10, 12),
    "an empty line": ([(4, b"\r\n")], NO_HEAD, 10, 12),
    "half a body": ([(1, post("/", b"hello")[:-1])], NO_BODY, 31, 33),
    "no body": ([(1, post("/", b"hello")[:-5])], NO_BODY, 31, 33),
    "half of some chunks": ([(1, chunked("/", b"5\r\nhel"))], NO_BODY, 31, 33),
    "a body that trickles": (SLOW_BODY, NO_BODY, 130, 132),
    "nothing more is said": ([(4, get())], answer(200), 4, 79),
    "after an answer, half a head": ([(4, get()), (70, HALF)], answer(200) + NO_HEAD, 84, 86),
    "after an answer, an empty line": ([(4, get()), (70, b"\r\n")], answer(200), 4, 79),
    "after an answer, an empty line and half a head": (
        [(4, get()), (3, b"\r\n"), (60, HALF)],
        answer(200) + NO_HEAD,
        77,
        79,
    ),
    "after an answer, an empty line and another": (
        [(4, get()), (70, b"\r\n"), (4, get())],
        answer(200) * 2,
        78,
        153,
    ),
    "after an answer, half an empty line": ([(4, get()), (70, b"\r")], answer(200) + NO_HEAD, 84, 86),
    "after an answer, another": ([(4, get()), (70, get()), (70, get())], answer(200) * 3, 144, 219),
    "after an answer, half a body": (
        [(4, get()), (70, post("/", b"hello")[:-1])],
        answer(200) + NO_BODY,
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
    "closed at once": ([(4, get("/", b"Connection: close"))], answer(200, close=True), 4, 4),
}


@pytest.mark.parametrize("name", TIMES)
def test_times(name: str) -> None:
    said, heard, answered, lost = TIMES[name]

    async def visit() -> None:
        visit = Visit()
        loop = asyncio.get_running_loop()
        began = loop.time()
        got = b""
        for wait, data in said:
            await asyncio.sleep(wait)
            got += visit.say(data)
        await visit.wire.gone.wait()
        assert got + visit.wire.heard() == heard
        assert visit.wire.written_at - began == pytest.approx(answered, abs=0.5)
        assert loop.time() - began == pytest.approx(lost, abs=0.5)
        assert visit.state == "CLOSED"

    run(visit())


async def test_only_a_head_that_is_incomplete_has_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole requests move one deadline, for what comes after their answers."""
    visit = Visit()
    visit.say(get())
    waits: list[float] = []
    monkeypatch.setattr(Deadline, "set", lambda _, seconds: waits.append(seconds))
    visit.say(get())
    visit.say(post("/", b"hello") + get())
    assert waits == [75.0] * 3
    visit.say(HALF)
    assert waits.pop() == 10.0
    visit.say(b"\r\n" + post("/", b"hello")[:-5])
    assert waits[3:] == [75.0, 30.0]


def test_an_answer_takes_as_long_as_it_takes() -> None:
    async def visit() -> None:
        visit = Visit()
        visit.say(get("/later"))
        await asyncio.sleep(1000)
        visit.desk.later[0].start(200, [])
        await asyncio.sleep(1000)
        visit.wire.heard()
        visit.desk.later[0].finish()
        assert (visit.wire.heard(), visit.state) == (b"0\r\n\r\n", "IDLE")

    run(visit())


# In order.


async def test_pipelined_requests_wait_for_their_turn() -> None:
    visit = Visit()
    assert visit.say(get("/later/1") + post("/later/2", b"two") + get("/3")) == b""
    assert visit.desk.notes == ["admit GET /later/1", "serve /later/1"]
    visit.desk.later[0].respond(200, [], b"one")
    assert visit.wire.heard() == answer(200, b"one")
    assert visit.state == "ANSWER"
    visit.desk.later[1].respond(200, [], b"two")
    assert visit.wire.heard() == answer(200, b"two") + answer(200)
    # The connection has gone on when the application hears of an end.
    assert visit.desk.notes[2:] == [
        "admit POST /later/2",
        "serve /later/2",
        "end /later/1 200",
        "admit GET /3",
        "serve /3",
        "end /3 200",
        "end /later/2 200",
    ]


async def test_what_comes_during_an_answer_waits() -> None:
    visit = Visit()
    visit.say(get("/later"))
    assert [visit.say(read) for read in in_bytes(get("/2"))] == [b""] * len(get("/2"))
    visit.desk.later[0].abort()
    assert visit.desk.notes == ["admit GET /later", "serve /later", "end /later 0"]
    assert visit.wire.state == "CLOSING"


async def test_a_thousand_requests_at_once_are_no_deep_matter() -> None:
    visit = Visit()
    assert visit.say(get() * 1000) == answer(200) * 1000


async def test_a_client_that_sends_on_is_not_read_for_ever() -> None:
    visit = Visit(replace(Limits(), max_head=1000))
    visit.say(get("/later"))
    for _ in range(100):
        visit.say(get("/later"))
    assert not visit.wire.reading
    assert visit.wire.unread > 0
    count = 1
    while count <= 100:
        visit.desk.later[-1].respond(200, [])
        await asyncio.sleep(0)
        count += 1
        assert len(visit.desk.later) == count
    visit.desk.later[-1].respond(200, [])
    assert (visit.wire.heard(), visit.wire.unread, visit.state) == (answer(200) * 101, 0, "IDLE")


# The client's pace.


def big(exchange: Exchange) -> None:
    exchange.respond(200, [], b"x" * 100_000)


async def test_a_client_that_pipelines_without_reading_is_not_read_either() -> None:
    visit = Visit(replace(Limits(), max_head=1000))
    visit.desk.answer = big
    visit.wire.takes = False
    for _ in range(100):
        visit.say(get())
    assert len(visit.desk.received) == 1
    assert not visit.wire.reading
    visit.wire.takes = True
    visit.wire.take(visit.wire.waiting)
    await asyncio.sleep(0)
    assert (len(visit.desk.received), visit.wire.unread, visit.state) == (100, 0, "IDLE")


async def test_after_a_slow_answer_a_request_is_served_when_it_comes() -> None:
    visit = Visit()
    visit.desk.answer = big
    visit.wire.takes = False
    visit.say(get())
    visit.wire.take(visit.wire.waiting)
    assert visit.state == "IDLE"
    visit.say(get())
    assert len(visit.desk.received) == 2


async def test_the_application_hears_of_the_clients_pace() -> None:
    visit = Visit(replace(Limits(), high_water=1000))
    visit.wire.takes = False
    visit.say(get("/later"))
    exchange = visit.desk.later[0]
    paces: list[bool] = []
    exchange.on_flow = paces.append
    exchange.start(200, [])
    exchange.write(b"x" * 800)
    assert paces == []
    exchange.write(b"x" * 200)
    assert paces == [False]
    visit.wire.take(500)
    assert paces == [False]
    visit.wire.take(500)
    assert paces == [False, True]


def answering(visit: Visit, phase: str) -> None:
    """A large answer: its end is still to come, or it has come, and the connection stays or is to be closed."""
    if phase == "answering":
        visit.say(get("/later"))
        visit.desk.later[0].start(200, [])
        visit.desk.later[0].write(b"x" * 100_000)
    else:
        visit.desk.answer = big
        visit.say(get("/", *([b"Connection: close"] if phase == "closing" else [])))


@pytest.mark.parametrize("phase", ["answering", "idle", "closing"])
def test_a_client_that_reads_nothing_is_cut_off(phase: str) -> None:
    async def visit() -> float:
        visit = Visit()
        began = asyncio.get_running_loop().time()
        visit.wire.takes = False
        answering(visit, phase)
        await visit.wire.gone.wait()
        if phase == "answering":
            assert visit.desk.notes[-1] == "end /later gone"
        return asyncio.get_running_loop().time() - began

    assert run(visit()) == pytest.approx(60, abs=0.5)


def test_a_connection_is_idle_from_when_its_answer_has_left() -> None:
    async def visit() -> None:
        visit = Visit()
        visit.desk.answer = big
        visit.wire.takes = False
        visit.say(get())
        for _ in range(3):
            await asyncio.sleep(50)
            visit.wire.take(1000)
        visit.wire.take(visit.wire.waiting)
        began = asyncio.get_running_loop().time()
        await visit.wire.gone.wait()
        assert asyncio.get_running_loop().time() - began == pytest.approx(75, abs=0.5)

    run(visit())


@pytest.mark.parametrize(("takes", "seconds"), [(0, 2 + 60), (1000, 2)])
def test_a_refused_client_that_reads_nothing_is_cut_off(takes: int, seconds: float) -> None:
    async def visit() -> float:
        visit = Visit(replace(TIGHT, high_water=10))
        began = asyncio.get_running_loop().time()
        visit.wire.takes = False
        visit.say(of_line(41))
        visit.wire.take(min(takes, visit.wire.waiting))
        await visit.wire.gone.wait()
        return asyncio.get_running_loop().time() - began

    assert run(visit()) == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize("phase", ["answering", "idle", "closing"])
def test_a_slow_client_that_makes_progress_lives_until_it_makes_none(phase: str) -> None:
    async def visit() -> float:
        visit = Visit()
        visit.wire.takes = False
        answering(visit, phase)
        for _ in range(20):
            await asyncio.sleep(50)
            visit.wire.take(10)
        assert visit.wire.waiting
        assert not visit.wire.gone.is_set()
        began = asyncio.get_running_loop().time()
        await visit.wire.gone.wait()
        return asyncio.get_running_loop().time() - began

    assert 60 <= run(visit()) <= 121


def test_a_slow_client_that_takes_all_is_served_on() -> None:
    async def visit() -> None:
        visit = Visit()
        visit.wire.takes = False
        answering(visit, "answering")
        await asyncio.sleep(50)
        visit.wire.take(visit.wire.waiting)
        await asyncio.sleep(200)
        visit.desk.later[0].finish()
        assert visit.state == "IDLE"

    run(visit())


# A client that leaves.


@pytest.mark.parametrize("how", [Wire.leave, Wire.reset])
@pytest.mark.parametrize(
    ("said", "notes"),
    [
        (b"", []),
        (HALF, []),
        (post("/", b"hello")[:-1], ["admit POST /", "end / gone"]),
        (get("/later"), ["admit GET /later", "serve /later", "end /later gone"]),
        (get(), ["admit GET /", "serve /", "end / 200"]),
        (get("/later") + get("/2"), ["admit GET /later", "serve /later", "end /later gone"]),
    ],
)
async def test_a_client_that_leaves(
    said: bytes, notes: list[str], how: Callable[[Wire], Awaitable[None]]
) -> None:
    visit = Visit()
    visit.say(said)
    await how(visit.wire)
    assert (visit.desk.notes, visit.state) == (notes, "CLOSED")
    assert visit.server.connections == set()


async def test_a_client_that_leaves_in_the_middle_of_its_answer() -> None:
    visit = Visit()
    visit.say(get("/later"))
    exchange = visit.desk.later[0]
    exchange.start(200, [])
    await visit.wire.reset()
    exchange.write(b"more")
    exchange.finish()
    assert (visit.desk.notes[-1], exchange.gone) == ("end /later gone", True)


def test_a_client_that_leaves_with_bytes_waiting_for_it() -> None:
    """The application hears of it at once; what waits still goes out, as long as the client takes it."""

    async def visit() -> float:
        visit = Visit()
        visit.wire.takes = False
        visit.say(get("/later"))
        visit.desk.later[0].start(200, [])
        await visit.wire.leave()
        assert visit.desk.notes[-1] == "end /later gone"
        assert (visit.state, visit.wire.state) == ("CLOSING", "CLOSING")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await visit.wire.gone.wait()
        return loop.time() - began

    assert run(visit()) == pytest.approx(60, abs=0.5)


async def test_what_comes_while_closing_is_not_kept() -> None:
    """Over TLS, bytes may still come when the closing has begun."""
    visit = Visit()
    visit.wire.takes = False
    visit.say(get("/", b"Connection: close"))
    visit.connection.data_received(get())
    assert (visit.state, visit.connection._buffer, len(visit.desk.received)) == ("CLOSING", b"", 1)


@pytest.mark.parametrize("said", [b"", get(), post("/", b"hello")[:-1], get("/later"), b"\n\n"])
async def test_a_connection_that_is_lost_is_let_go(said: bytes) -> None:
    """No timer holds it, and what it knows."""
    visit = Visit()
    visit.say(said)
    await visit.wire.reset()
    server = ref(visit.server)
    del visit
    gc.collect()
    assert server() is None


# Draining.


@pytest.mark.parametrize(
    ("said", "state", "rest", "heard"),
    [
        (b"", "CLOSING", b"", b""),
        (get(), "CLOSING", b"", b""),
        (HALF, "HEAD", b"\r\n", answer(200, close=True)),
        (post("/", b"hello")[:-1], "BODY", b"o", answer(200, b"hello", close=True)),
    ],
)
async def test_draining(said: bytes, state: str, rest: bytes, heard: bytes) -> None:
    visit = Visit()
    visit.say(said)
    visit.server.drain()
    assert visit.state == state
    assert visit.say(rest) == heard
    assert visit.wire.is_closing()


async def test_draining_during_an_answer() -> None:
    visit = Visit()
    visit.say(get("/later") + get())
    visit.server.drain()
    assert visit.state == "ANSWER"
    visit.desk.later[0].respond(200, [])
    assert (visit.wire.heard(), visit.state) == (answer(200, close=True), "CLOSING")


async def test_draining_with_the_head_on_its_way() -> None:
    visit = Visit()
    visit.say(get("/later"))
    visit.desk.later[0].start(200, [], length=0)
    visit.server.drain()
    visit.desk.later[0].finish()
    assert visit.state == "CLOSING"


async def test_a_connection_made_while_draining_serves_one_request() -> None:
    visit = Visit()
    visit.server.drain()
    late = Wire()
    late.join(ServerConnection(visit.server))
    assert late.say(get() + get()) == answer(200, close=True)
    assert late.state == "CLOSING"


# Too many.


async def test_one_connection_too_many() -> None:
    visit = Visit(replace(Limits(), max_connections=1))
    second = Wire()
    message = b"too many connections are open at this gateway"
    connection = ServerConnection(visit.server)
    assert second.join(connection) == answer(503, message, b"retry-after: 1", close=True)
    assert (repr(connection), second.ended) == ("<ServerConnection [192.0.2.1, LINGER]>", True)
    assert second.say(get()) == b""
    assert visit.say(get()) == answer(200)
    await visit.wire.leave()
    await second.leave()
    third = Wire()
    assert third.join(ServerConnection(visit.server)) == b""


async def test_far_too_many_connections() -> None:
    """Only so many hear that they are too many; all of them have a descriptor until they have heard it."""
    visit = Visit(replace(Limits(), max_connections=1))
    wires = [Wire() for _ in range(MAX_REFUSED + 2)]
    heard = [wire.join(ServerConnection(visit.server)) for wire in wires]
    assert [b"503" in words for words in heard] == [True] * MAX_REFUSED + [False, False]
    assert [wire.state for wire in wires[-3:]] == ["OPEN", "ABORTED", "ABORTED"]
    await asyncio.sleep(0)
    assert len(visit.server.connections) == 1 + MAX_REFUSED
    assert visit.say(get()) == answer(200)


# What it shows of itself.


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (("192.0.2.1", 1234), "192.0.2.1"),
        (("2001:db8::1", 1234, 0, 0), "2001:db8::1"),
        ("/run/gateway.sock", "/run/gateway.sock"),
        ("", ""),
        (None, ""),
    ],
)
async def test_whose_connection_it_is(peer: object, shown: str) -> None:
    visit = Visit(wire=Wire(peer=peer))
    visit.say(get("/later"))
    assert repr(visit.connection) == f"<ServerConnection [{shown}, ANSWER]>"
    assert visit.desk.later[0].peer == shown


async def test_states() -> None:
    visit = Visit()
    assert visit.state == "HEAD"
    visit.say(post("/later", b"hello")[:-1])
    assert visit.state == "BODY"
    visit.say(b"o")
    assert visit.state == "ANSWER"
    visit.desk.later[0].respond(200, [])
    assert visit.state == "IDLE"
    visit.say(b"G")
    assert visit.state == "HEAD"
    visit.say(b"\n\n")
    assert visit.state == "LINGER"
    await visit.wire.leave()
    assert visit.state == "CLOSED"
