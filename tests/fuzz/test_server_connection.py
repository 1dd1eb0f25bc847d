"""A client's connection, whatever its bytes.

Contract: no exception. Each request that was admitted gets one answer, in order; a refusal is the last thing said, and
there the connection ends. Nothing of this depends on how the bytes were cut into reads, and at the end nothing is left.
"""

import asyncio
import re
from collections.abc import Sequence

from hypothesis import strategies as st

from gateway.http1.exchange import Exchange
from gateway.http1.listener import Server
from gateway.http1.server import ServerConnection
from tests.fuzz.fuzz import CUTS, cut, edited, fuzz
from tests.http1.conformance import CASES, LIMITS
from tests.http1.wire import Wire
from tests.support.clock import JumpingLoop
from tests.support.leftovers import leftovers

JUNK = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b":", b"0", b"5", b"\x00", b"\x16", b";", b"close"]
SENT = st.lists(st.sampled_from([case.sent for case in CASES if len(case.sent) < 500]), max_size=4)
ANSWER = re.compile(
    rb"HTTP/1\.1 (\d{3}) \r\n(?:[a-z-]+: [^\r]*\r\n)*content-length: (\d+)\r\n(?:[a-z-]+: .*\r\n)+\r\n"
)


class Counter:
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


def statuses(said: bytes, exchanges: list[Exchange]) -> list[int]:
    """Those of what was said: whole answers, one for each exchange, and only the last one may be a refusal."""
    found: list[int] = []
    said = said.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    while said:
        assert not found or found[-1] == 200
        answer = ANSWER.match(said)
        assert answer is not None, said
        bodiless = len(found) < len(exchanges) and exchanges[len(found)].head.method == "HEAD"
        found.append(int(answer[1]))
        said = said[answer.end() + (0 if bodiless else int(answer[2])) :]
    return found


async def visit(reads: list[bytes]) -> tuple[list[int], list[tuple[str, bytes]], bool]:
    """What was answered and received, and whether the connection was ended."""
    application, wire = Counter(), Wire()
    server = Server(application, LIMITS)
    said = wire.join(ServerConnection(server)) + b"".join(map(wire.say, reads))
    over = wire.ended or wire.is_closing()
    answered = statuses(said, application.exchanges)
    ended = [exchange for exchange in application.exchanges if exchange.ended]
    assert len(answered) - len(ended) in (0, over)
    if not wire.is_closing():
        await wire.leave()
    await asyncio.wait_for(wire.gone.wait(), 1000)
    assert all(exchange.ended for exchange in application.exchanges)
    assert (server.connections, leftovers()) == (set(), [])
    return answered, [(e.head.target, e.body) for e in application.exchanges], over


def test_a_clients_connection() -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:

        def contract(sent: bytes, cuts: list[int]) -> None:
            whole = runner.run(visit([sent]))
            assert runner.run(visit(cut(sent, cuts))) == whole
            assert runner.run(visit([bytes([byte]) for byte in sent])) == whole

        fuzz(contract, edited(SENT.map(b"".join), JUNK), CUTS, examples=150)
