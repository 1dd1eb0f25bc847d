"""The server held to the conformance table: over real sockets, and byte by byte and cut anywhere in memory."""

import asyncio
import random
import socket
from collections.abc import Callable

import pytest

from gateway.http1.exchange import Exchange, RequestHandler
from gateway.http1.server import Server
from gateway.http1.server_connection import ServerConnection
from tests.http1.conformance import CASES, LIMITS, PROBE, Case, Group, Outcome, Received

PATIENCE = 30.0
"""Seconds for one case: below the server's own deadlines for a head, far above what a case takes."""

AT_ONCE = 40
"""Cases under way at the same time."""

Cut = Callable[[bytes], list[bytes]]


class Echo:
    """An application that accepts every request and records it."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def accept(self, exchange: Exchange) -> RequestHandler:
        exchange.handler = Echoing(self, exchange)
        return exchange.handler

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        return b"content-type: text/plain\r\n", message.encode()


class Echoing:
    """One request."""

    def __init__(self, echo: Echo, exchange: Exchange) -> None:
        self.echo = echo
        self.exchange = exchange

    def request_received(self, body: bytes) -> None:
        head = self.exchange.head
        self.echo.received.append((head.method, head.target, body))
        self.exchange.respond(200, b"%d bytes" % len(body), b"x-method: %b\r\n" % head.method.encode())

    def writable(self, ready: bool) -> None:
        pass

    def ended(self) -> None:
        pass

    def crashed(self, error: Exception) -> None:
        raise error


class Responses:
    def __init__(self, raw: bytes) -> None:
        self.statuses: list[int] = []
        self.continues = 0
        self.faults: list[str] = []
        while raw:
            head, end, raw = raw.partition(b"\r\n\r\n")
            status_line, *lines = head.lower().split(b"\r\n")
            fields = dict(line.split(b": ", 1) for line in lines)
            status = int(status_line.split(b" ")[1])
            if not end or (self.statuses and self.statuses[-1] >= 400):
                self.faults.append(f"{status} is cut, or stands behind an error")
            if status == 100:
                self.continues += 1
                continue
            self.statuses.append(status)
            if status >= 400 and fields.get(b"connection") != b"close":
                self.faults.append(f"{status} has no `Connection: close`")
            length = 0 if fields.get(b"x-method") == b"head" else int(fields[b"content-length"])
            if len(raw) < length:
                self.faults.append(f"{status} has a body that is cut")
            raw = raw[length:]


def fault(case: Case, raw: bytes, received: list[Received]) -> str | None:
    """Return what is wrong with these responses to a case; None if they are one of its outcomes."""
    responses = Responses(raw)
    if responses.faults:
        return f"{case.name}: {responses.faults}"
    if any(right(case, outcome, responses, received) for outcome in case.outcomes):
        return None
    return f"{case.name}: {responses.statuses}, {responses.continues} x 100, received {received}"


def right(case: Case, outcome: Outcome, responses: Responses, received: list[Received]) -> bool:
    """Whether this is the outcome. The probe is responded to exactly if the connection stays open."""
    probed = () if outcome.closes else (("GET", "/probe", b""),)
    return (
        tuple(responses.statuses) == outcome.statuses + (200,) * len(probed)
        and tuple(received) == outcome.received + probed
        and responses.continues <= case.continues
    )


def bytes_of(case: Case) -> bytes:
    return case.sent if case.cut else case.sent + PROBE


def whole(sent: bytes) -> list[bytes]:
    return [sent]


def byte_by_byte(sent: bytes) -> list[bytes]:
    """A case of more than 10,000 bytes goes in pieces of a hundred."""
    step = 1 if len(sent) < 10_000 else 101
    return [sent[at : at + step] for at in range(0, len(sent), step)]


def at_random(seed: int) -> Cut:
    def cut(sent: bytes) -> list[bytes]:
        dice = random.Random(f"{seed} {len(sent)}")
        edges = sorted(dice.choices(range(len(sent) + 1), k=dice.choice((1, 2, 3, 8))))
        return [sent[a:b] for a, b in zip([0, *edges], [*edges, len(sent)], strict=True) if a < b]

    return cut


# Over a socket.


async def converse(port: int, pieces: list[bytes], cut: bool) -> bytes:
    """Send the pieces one by one; return what the server sent until it closed."""
    loop = asyncio.get_running_loop()
    with socket.socket() as wire:
        wire.setblocking(False)
        await loop.sock_connect(wire, ("127.0.0.1", port))
        responses = asyncio.ensure_future(read_all(wire))
        try:
            for piece in pieces:
                await loop.sock_sendall(wire, piece)
                await asyncio.sleep(0)
            if cut:
                wire.shutdown(socket.SHUT_WR)
        except ConnectionError:
            # The server reads no more; its response must still be read.
            pass
        return await asyncio.wait_for(responses, PATIENCE)


async def read_all(wire: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    received = b""
    try:
        while data := await loop.sock_recv(wire, 65536):
            received += data
    except ConnectionError:
        pass
    return received


async def fault_over_a_socket(case: Case, cut: Cut, turns: asyncio.Semaphore) -> str | None:
    application = Echo()
    server = Server(application, LIMITS)
    async with turns:
        port = await server.listen("127.0.0.1", 0)
        try:
            raw = await converse(port, cut(bytes_of(case)), case.cut)
        except TimeoutError:
            return f"{case.name}: no end after {PATIENCE} s, received {application.received}"
        finally:
            server.close()
            await server.wait_closed(PATIENCE)
    return fault(case, raw, application.received)


@pytest.mark.parametrize("group", ["smuggling", "malformed", "rare"])
@pytest.mark.parametrize("cut", [whole, at_random(0)], ids=["whole", "at random"])
async def test_over_a_socket(group: Group, cut: Cut) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    cases = [case for case in CASES if case.group == group]
    found = await asyncio.gather(*(fault_over_a_socket(case, cut, turns) for case in cases))
    assert [words for words in found if words is not None] == []


# In memory.


class Wire(asyncio.Transport):
    """A connection's transport that keeps the written bytes and records how the server ended it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.received = b""
        self.half_closed = False
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        assert not self.half_closed
        self.received += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        raise AssertionError("every request is responded to at once")


def fault_in_memory(case: Case, cut: Cut) -> str | None:
    application = Echo()
    wire = Wire()
    connection = ServerConnection(Server(application, LIMITS))
    connection.connection_made(wire)
    for piece in cut(bytes_of(case)):
        if not wire.closed:
            connection.data_received(piece)
    if case.cut and not wire.closed:
        connection.eof_received()
    connection.connection_lost(None)
    if not (case.cut or wire.closed or wire.half_closed):
        return f"{case.name}: the connection is still open"
    return fault(case, wire.received, application.received)


@pytest.mark.parametrize("group", ["smuggling", "malformed", "rare"])
@pytest.mark.parametrize(
    "cut", [byte_by_byte, *map(at_random, range(1, 5))], ids=["byte by byte", *map(str, range(1, 5))]
)
async def test_in_memory(group: Group, cut: Cut) -> None:
    found = [fault_in_memory(case, cut) for case in CASES if case.group == group]
    assert [words for words in found if words is not None] == []


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 130
    assert {case.group for case in CASES} == {"smuggling", "malformed", "rare"}
