"""An upstream's answer, whatever its bytes.

Contract: no exception. The receiver hears one end, good or bad, and nothing behind it. An answer that is taken for
whole has the status and the payload that h11 finds in the same bytes, however they were cut into reads; what h11
refuses, or finds cut, is refused. A connection on which more came than the answer serves no other request.
"""

import asyncio

import h11
from hypothesis import strategies as st

from gateway.http1.client import ClientConnection, UpstreamError
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits
from tests.fuzz.fuzz import CUTS, cut, edited, fuzz
from tests.http1.wire import Wire
from tests.support.clock import JumpingLoop
from tests.support.leftovers import leftovers

JUNK = [b"\r\n", b"\n", b"\r", b" ", b":", b";", b"0", b"5", b"f", b"\x00", b"100", b"204", b"304", b"close"]
STARTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 429 \r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 304 X\r\n",
]
BEFORE = [b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]
FIELDS = [b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"x: y\r\n"]
BODIES = [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nsum: 1\r\n\r\n", b""]
SENT = st.builds(
    lambda before, start, fields, body, behind: b"".join([before, start, *fields, b"\r\n", body, behind]),
    *map(st.sampled_from, (BEFORE, STARTS)),
    st.lists(st.sampled_from(FIELDS), max_size=3, unique=True),
    st.sampled_from(BODIES),
    st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]),
)
Answer = tuple[int, bytes] | None
"""Status and payload; None for an answer that was refused."""


class Taker:
    """Receives one answer, head and body, and knows that nothing may come behind its end."""

    def __init__(self, decode: bool) -> None:
        self.decode = decode
        self.status = 0
        self.pieces: list[bytes] = []
        self.ends: list[str] = []

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "Taker":
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


async def ours(reads: list[bytes], method: str, decode: bool) -> Answer:
    taker, wire = Taker(decode), Wire()
    connection = ClientConnection("there", Limits())
    wire.join(connection)
    connection.send(method, b"", b"", taker, 5.0)
    for read in reads:
        wire.say(read)
    assert connection.state != "IDLE" or not behind(b"".join(reads), method)
    if not wire.is_closing():
        await wire.leave()
    await asyncio.wait_for(wire.gone.wait(), 1000)
    assert len(taker.ends) == 1
    assert (connection.state, leftovers()) == ("CLOSED", [])
    return (taker.status, b"".join(taker.pieces)) if taker.ends == ["well"] else None


def by_h11(sent: bytes, method: str) -> Answer:
    return h11_reads(h11.Connection(h11.CLIENT), sent, method)


def behind(sent: bytes, method: str) -> bytes:
    """What follows an answer that h11 finds: then no other request may use the connection."""
    connection = h11.Connection(h11.CLIENT)
    h11_reads(connection, sent, method)
    return connection.trailing_data[0]


def h11_reads(connection: h11.Connection, sent: bytes, method: str) -> Answer:
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(sent)
    status, payload, closed = 0, b"", False
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                payload += event.data
            elif event is h11.NEED_DATA and not closed:
                connection.receive_data(b"")
                closed = True
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    return status, payload


def test_an_upstreams_answer() -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:

        def contract(sent: bytes, cuts: list[int], method: str) -> None:
            whole = runner.run(ours([sent], method, True))
            assert runner.run(ours(cut(sent, cuts), method, True)) == whole
            assert runner.run(ours([bytes([byte]) for byte in sent], method, True)) == whole
            assert (runner.run(ours(cut(sent, cuts), method, False)) is None) == (whole is None)
            assert whole in (by_h11(sent, method), None)

        fuzz(contract, edited(SENT, JUNK), CUTS, st.sampled_from(["GET", "GET", "HEAD"]), examples=150)


def test_the_fuzz_meets_whole_answers_and_broken_ones() -> None:
    good = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        assert runner.run(ours([good], "GET", True)) == by_h11(good, "GET") == (200, b"hello")
        assert runner.run(ours([good[:-1]], "GET", True)) is by_h11(good[:-1], "GET") is None
