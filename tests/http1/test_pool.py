"""Connections to upstreams: which one serves a request, what becomes of it, and what is told of that."""

import asyncio
import os
import select
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from gateway.http1.client_connection import ClientConnection
from gateway.http1.dial import Origin
from gateway.http1.limits import Limits
from gateway.http1.pool import MAX_DIALLING, Pool
from gateway.http1.upstream_request import ConnectError
from tests.http1.wire import Sink
from tests.support.clock import run
from tests.support.loops import PATIENCE, eventually, on_each_loop, settle
from tests.support.wire import Wire

ORIGIN = Origin("http", "one.test", 80)

RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
HEAD, BODY = RESPONSE[:-5], RESPONSE[-5:]
WHOLE = ["head 200", "end 'hello'"]
CLOSED = "failed: the upstream closed the connection before it responded"


class Network:
    """A pool and its upstream: every connection that the pool makes ends in a wire here."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.pool = Pool(ORIGIN, limits or Limits(), self.dial)
        self.wires: list[Wire] = []
        self.dialled = 0
        self.closed_at_once = False
        self.error: Exception | None = None
        self.open = asyncio.Event()
        """Connections come about."""
        self.open.set()

    async def dial(self, origin: Origin, limits: Limits) -> ClientConnection:
        assert origin is ORIGIN
        self.dialled += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        wire = Wire()
        connection = ClientConnection(origin, limits)
        wire.join(connection)
        self.wires.append(wire)
        if self.closed_at_once:
            await wire.leave()
        return connection

    async def ask(self) -> Sink:
        """A request that has been sent."""
        sink = Sink()
        self.pool.send(sink)
        await settle()
        return sink

    async def idle(self, count: int = 1) -> list[Wire]:
        """So many connections that have served a request."""
        for _ in range(count):
            await self.ask()
        wires = self.wires[-count:]
        for wire in wires:
            wire.say(RESPONSE)
        assert self.shown == (0, count, 0)
        return wires

    @property
    def shown(self) -> tuple[int, int, int]:
        """Active, idle, dialling, as the pool shows itself."""
        shown = repr(self.pool)
        assert shown.startswith("<Pool [http://one.test, Active: ")
        active, idle, dialling = (int(part.rpartition(" ")[2]) for part in shown[:-2].split(",")[1:])
        assert self.pool.counts() == (active, idle, dialling)
        return active, idle, dialling

    def lost(self) -> list[int]:
        """Which connections are no more, counted in the order they were made."""
        return [number for number, wire in enumerate(self.wires) if wire.state != "OPEN"]


async def test_from_dialling_to_idle() -> None:
    net = Network()
    assert repr(net.pool) == "<Pool [http://one.test, Active: 0, Idle: 0, Dialling: 0]>"
    sink = Sink()
    net.pool.send(sink)
    assert repr(net.pool) == "<Pool [http://one.test, Active: 0, Idle: 0, Dialling: 1]>"
    await settle()
    assert repr(net.pool) == "<Pool [http://one.test, Active: 1, Idle: 0, Dialling: 0]>"
    (wire,) = net.wires
    assert wire.heard() == b"HEAD.BODY."
    wire.say(HEAD)
    assert net.shown == (1, 0, 0)
    wire.say(BODY)
    assert repr(net.pool) == "<Pool [http://one.test, Active: 0, Idle: 1, Dialling: 0]>"
    assert sink.notes == ["head 200", "end 'hello'"]


# Which connection serves.


async def test_the_newest_is_used_first() -> None:
    net = Network()
    first, second = await net.idle(2)
    await net.ask()
    assert (first.heard(), second.heard()) == (b"", b"HEAD.BODY.")
    await net.ask()
    assert (first.heard(), second.heard()) == (b"HEAD.BODY.", b"")
    await net.ask()
    assert (len(net.wires), net.shown) == (3, (3, 0, 0))


async def test_the_last_to_become_idle_is_the_newest() -> None:
    net = Network()
    for _ in range(2):
        await net.ask()
    first, second = net.wires
    second.say(RESPONSE)
    first.say(RESPONSE)
    for wire in net.wires:
        wire.heard()
    await net.ask()
    assert (first.heard(), second.heard()) == (b"HEAD.BODY.", b"")


async def test_a_response_that_ends_the_connection() -> None:
    net = Network()
    sink = await net.ask()
    net.wires[0].say(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello")
    assert (sink.notes, net.shown) == (WHOLE, (0, 0, 0))


async def test_a_request_sent_when_a_response_ends_uses_its_connection() -> None:
    net = Network()
    sink = await net.ask()
    second = Sink()

    def send_again() -> None:
        net.pool.send(second)

    sink.on_body = send_again
    net.wires[0].say(RESPONSE)
    net.wires[0].say(RESPONSE)
    assert (second.notes, len(net.wires)) == (WHOLE, 1)


# How many stay, and for how long.


@pytest.mark.parametrize(("limit", "lost"), [(0, [0, 1, 2]), (1, [0, 1]), (2, [0]), (3, [])])
def test_the_oldest_idle_ones_are_too_many(limit: int, lost: list[int]) -> None:
    async def story() -> None:
        net = Network(Limits()._replace(pool_max_idle=limit))
        sinks = [await net.ask() for _ in range(3)]
        for wire in net.wires:
            wire.say(RESPONSE)
        assert [sink.notes for sink in sinks] == [WHOLE] * 3
        # None is kept where none is wanted; else a crowd that comes again at once finds what it left.
        await asyncio.sleep(0.9)
        assert net.lost() == ([] if limit else lost)
        await asyncio.sleep(0.2)
        assert (net.lost(), net.shown) == (lost, (0, limit, 0))

    run(story())


def test_a_crowd_that_comes_and_goes_keeps_its_connections() -> None:
    async def story() -> None:
        net = Network(Limits()._replace(pool_max_idle=1))
        for _ in range(20):
            for _ in range(3):
                await net.ask()
            for wire in net.wires:
                wire.say(RESPONSE)
            await asyncio.sleep(0.04)
        assert (net.dialled, net.lost()) == (3, [])
        net.pool.close()
        await asyncio.sleep(1)
        assert net.shown == (0, 0, 0)

    run(story())


def test_idle_ones_are_closed_in_time() -> None:
    async def story() -> None:
        net = Network()
        await net.idle(2)
        await asyncio.sleep(50)
        await net.ask()
        net.wires[1].say(RESPONSE)
        await asyncio.sleep(11)
        assert (net.lost(), net.shown) == ([0], (0, 1, 0))
        await asyncio.sleep(50)
        assert (net.lost(), net.shown) == ([0, 1], (0, 0, 0))

    run(story())


@pytest.mark.parametrize("how", ["leave", "reset", "say"])
async def test_one_that_the_upstream_closes_leaves_at_once(how: str) -> None:
    net = Network()
    first, second = await net.idle(2)
    if how == "say":
        second.say(b"HTTP/1.1 408 X\r\n\r\n")
    else:
        await getattr(second, how)()
    assert net.shown == (0, 1, 0)
    await net.ask()
    assert (first.heard(), len(net.wires)) == (b"HEAD.BODY.", 2)
    assert net.shown == (1, 0, 0)


async def test_one_that_is_being_closed_is_passed_over() -> None:
    net = Network()
    (wire,) = await net.idle()
    wire.close()
    await net.ask()
    assert (len(net.wires), net.shown) == (2, (1, 0, 0))


# Stale connections.


async def used_again(net: Network) -> tuple[Sink, Wire]:
    """A request on a connection that was idle."""
    (wire,) = await net.idle()
    sink = await net.ask()
    wire.heard()
    return sink, wire


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_stale_connection_is_replaced_silently(how: str) -> None:
    net = Network()
    sink, wire = await used_again(net)
    await getattr(wire, how)()
    await settle()
    assert (sink.notes, net.shown) == ([], (1, 0, 0))
    assert net.wires[1].heard() == b"HEAD.BODY."
    net.wires[1].say(RESPONSE)
    assert sink.notes == WHOLE


async def test_it_is_replaced_once_by_a_fresh_one() -> None:
    """Another idle one would be as stale."""
    net = Network()
    await net.idle(3)
    sink = await net.ask()
    await net.wires[2].leave()
    await settle()
    assert (len(net.wires), net.shown) == (4, (1, 2, 0))
    await net.wires[3].leave()
    assert (sink.notes, len(net.wires)) == ([CLOSED], 4)


async def test_replacing_may_fail() -> None:
    net = Network()
    sink, wire = await used_again(net)
    net.error = ConnectError("nobody is there")
    await wire.leave()
    await settle()
    assert (sink.notes, net.shown) == (["failed: nobody is there"], (0, 0, 0))


async def test_a_fresh_connection_is_not_replaced() -> None:
    net = Network()
    sink = await net.ask()
    await net.wires[0].leave()
    await settle()
    assert (sink.notes, net.dialled) == ([CLOSED], 1)


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ([b"H", ""], CLOSED),
        ([b"HTTP/1.1 100 X\r\n\r\n", ""], CLOSED),
        ([b"oops\r\n\r\n"], "failed: the upstream's response cannot be trusted"),
        ([HEAD + b"hel", ""], "failed: the upstream's body is broken"),
    ],
)
async def test_one_that_had_begun_to_respond_is_not_replaced(said: Iterable[bytes], note: str) -> None:
    net = Network()
    sink, wire = await used_again(net)
    for data in said:
        if data:
            wire.say(data)
        else:
            await wire.leave()
    await settle()
    assert sink.notes[-1].startswith(note)
    assert net.dialled == 1


def test_silence_is_no_staleness() -> None:
    async def story() -> None:
        net = Network()
        sink, _ = await used_again(net)
        await asyncio.sleep(301)
        assert sink.notes == ["silent: the upstream did not begin to respond in time"]
        assert (net.dialled, net.shown) == (1, (0, 0, 0))

    run(story())


# Connections that do not come about.


async def test_no_connection() -> None:
    net = Network()
    net.error = ConnectError("nobody is there")
    sink = await net.ask()
    assert sink.notes == ["failed: nobody is there"]
    assert (sink.error, net.shown) == (net.error, (0, 0, 0))
    net.pool.cancel(sink)


@pytest.mark.parametrize(
    ("error", "notes"),
    [
        (ConnectError("nobody is there"), ["failed: nobody is there", "crash oops"]),
        (KeyError("x"), ["crash 'x'"]),
    ],
)
async def test_an_exception_while_connecting_is_told(error: Exception, notes: list[str]) -> None:
    def fail() -> None:
        raise ValueError("oops")

    net = Network()
    net.error = error
    sink = Sink()
    sink.on_failure = fail
    net.pool.send(sink)
    await settle()
    assert (sink.notes, sink.dialling, net.shown) == (notes, None, (0, 0, 0))


async def test_a_connection_that_is_lost_before_its_first_request() -> None:
    net = Network()
    net.closed_at_once = True
    sink = await net.ask()
    assert sink.notes == ["failed: the connection to http://one.test was closed as soon as it was made"]
    assert net.shown == (0, 0, 0)


# More requests than connections are made for at once.


async def crowd(net: Network, waiting: int) -> list[Sink]:
    """The last of so many requests that so many wait until others have their connections."""
    net.open.clear()
    net.dialled = 0
    for _ in range(MAX_DIALLING):
        net.pool.send(Sink())
    sinks = [await net.ask() for _ in range(waiting)]
    assert (net.dialled, net.shown[2]) == (MAX_DIALLING, MAX_DIALLING + waiting)
    return sinks


async def test_a_crowd_is_dialled_for_by_and_by() -> None:
    net = Network()
    await crowd(net, 2)
    net.open.set()
    await settle()
    assert (net.dialled, net.shown) == (MAX_DIALLING + 2, (MAX_DIALLING + 2, 0, 0))
    assert all(wire.heard() == b"HEAD.BODY." for wire in net.wires)


async def test_a_connection_that_becomes_idle_serves_who_waits() -> None:
    net = Network()
    await net.ask()
    first, second = await crowd(net, 2)
    net.wires[0].heard()
    net.wires[0].say(RESPONSE)
    await settle()
    assert (net.wires[0].heard(), net.shown) == (b"HEAD.BODY.", (1, 0, MAX_DIALLING + 1))
    net.wires[0].say(RESPONSE)
    await settle()
    assert (first.notes, second.notes, net.wires[0].heard()) == (WHOLE, [], b"HEAD.BODY.")
    assert (net.dialled, net.shown) == (MAX_DIALLING, (1, 0, MAX_DIALLING))
    net.pool.close()
    await settle()


def test_waiting_for_others_connections_takes_no_longer_than_connecting() -> None:
    async def story() -> None:
        net = Network(Limits()._replace(connect_timeout=10))
        net.error = ConnectError("nobody is there")
        (late,) = await crowd(net, 1)
        await asyncio.sleep(10)
        net.open.set()
        await settle()
        assert late.notes == ["silent: no connection to http://one.test within 10 s"]
        assert ((await net.ask()).notes, net.shown) == (["failed: nobody is there"], (0, 0, 0))

    run(story())


async def test_an_exception_while_a_crowd_is_served_harms_no_other() -> None:
    def fail() -> None:
        raise ValueError("oops")

    net = Network(Limits()._replace(connect_timeout=0))
    first, second = await crowd(net, 2)
    first.on_failure = fail
    net.open.set()
    await settle()
    silent = "silent: no connection to http://one.test within 0 s"
    assert (first.notes, second.notes) == ([silent, "crash oops"], [silent])


async def test_who_waits_for_others_connections_may_leave() -> None:
    net = Network()
    first, second = await crowd(net, 2)
    net.pool.cancel(first)
    assert net.shown == (0, 0, MAX_DIALLING + 1)
    net.pool.close()
    await settle()
    assert (net.shown, first.notes, second.notes, net.wires) == ((0, 0, 0), [], [], [])


# Nobody waits any more.


async def test_cancelled_while_dialling() -> None:
    net = Network()
    net.open.clear()
    sink = await net.ask()
    net.pool.cancel(sink)
    await settle()
    assert net.shown == (0, 0, 0)
    net.open.set()
    await settle()
    assert (sink.notes, net.wires) == ([], [])


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1", HEAD, HEAD + b"hel"])
async def test_cancelled_under_way(said: bytes) -> None:
    net = Network()
    sink = await net.ask()
    net.wires[0].say(said)
    notes = list(sink.notes)
    net.pool.cancel(sink)
    assert (net.wires[0].state, net.shown) == ("ABORTED", (0, 0, 0))
    net.pool.cancel(sink)
    await settle()
    assert (sink.notes, net.dialled) == (notes, 1)


async def test_cancelled_when_it_is_over() -> None:
    net = Network()
    sink = await net.ask()
    net.wires[0].say(RESPONSE)
    net.pool.cancel(sink)
    assert (net.lost(), net.shown) == ([], (0, 1, 0))


async def test_cancelled_when_it_is_over_and_another_is_under_way() -> None:
    net = Network()
    first = await net.ask()
    net.wires[0].say(RESPONSE)
    second = await net.ask()
    net.pool.cancel(first)
    net.wires[0].say(RESPONSE)
    assert (second.notes, len(net.wires)) == (WHOLE, 1)


async def test_cancelled_while_a_stale_connection_is_replaced() -> None:
    net = Network()
    (wire,) = await net.idle()
    sink = await net.ask()
    net.open.clear()
    await wire.leave()
    assert net.shown == (0, 0, 1)
    net.pool.cancel(sink)
    net.open.set()
    await settle()
    assert (sink.notes, len(net.wires), net.shown) == ([], 1, (0, 0, 0))


async def test_cancelled_at_the_head() -> None:
    net = Network()
    sink = await net.ask()
    sink.on_head = lambda: net.pool.cancel(sink)
    net.wires[0].say(RESPONSE)
    assert (sink.notes, net.lost(), net.shown) == (["head 200"], [0], (0, 0, 0))


async def test_a_body_that_is_not_wanted() -> None:
    net = Network()
    sink = Sink(wanted=False)
    net.pool.send(sink)
    await settle()
    net.wires[0].say(RESPONSE)
    assert (sink.notes, net.lost(), net.shown) == (["head 200"], [0], (0, 0, 0))


# Closing.


async def test_closing() -> None:
    net = Network()
    await net.idle(3)
    await net.ask()
    net.open.clear()
    for _ in range(2):
        net.pool.send(Sink())
    sink = await net.ask()
    assert net.shown == (3, 0, 1)
    net.wires[0].say(RESPONSE)
    assert net.shown == (2, 1, 1)
    net.pool.close()
    await settle()
    assert (net.lost(), net.shown, sink.notes) == ([0, 1, 2], (0, 0, 0), [])


async def test_a_connection_that_comes_when_the_pool_is_closed() -> None:
    net = Network()
    net.pool.close()
    sink = await net.ask()
    assert (sink.notes, net.lost(), net.shown) == ([], [0], (0, 0, 0))


# What is handed on to the next connection.


async def test_connections_that_were_made_before_any_head_came_share_its_template() -> None:
    net = Network()
    first, second = await net.ask(), await net.ask()
    for wire in net.wires:
        wire.say(HEAD)
    assert first.connection is not None is not second.connection
    assert first.connection.template is net.pool.template is second.connection.template is not None


async def test_new_limits_reach_the_next_connection() -> None:
    net = Network()
    net.pool.limits = Limits()._replace(max_head=10)
    sink = await net.ask()
    net.wires[0].say(RESPONSE)
    assert sink.notes == ["failed: the upstream's response has too large a head"]


# Bytes that are the response to no request, over real sockets.


class Upstream:
    """Responds to each request on each connection."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        """Of its connections; what is sent on them need not be TLS."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sockets.append(socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())))
        with suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(RESPONSE)
        writer.close()


@asynccontextmanager
async def upstream(authority: Path | None) -> AsyncIterator[tuple[Upstream, Pool]]:
    """A pool and its upstream; over TLS with an authority's file for both."""
    there, context = Upstream(), None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.with_name("server.pem"))
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    scheme = "http" if authority is None else "https"
    pool = Pool(Origin(scheme, "localhost", port, None, authority), Limits())
    try:
        yield there, pool
    finally:
        pool.close()
        server.close()
        for connection in there.sockets:
            connection.close()
        await settle()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trust")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        str(directory / "server.pem")
    )
    return directory / "ca.pem"


GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


def asking(pool: Pool) -> Sink:
    """Send a request, in the same turn of the loop."""
    sink = Sink(GET, b"")
    pool.send(sink)
    return sink


async def ask(pool: Pool) -> list[str]:
    """Send a request, and wait for the response."""
    sink = asking(pool)
    async with asyncio.timeout(PATIENCE):
        await sink.over.wait()
    return sink.notes


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_an_idle_connection_is_used_again(secure: bool, authority: Path) -> None:
    """TLS says nothing on it by itself that would be taken for unasked bytes."""
    async with upstream(authority if secure else None) as (there, pool):
        for _ in range(5):
            assert (await ask(pool))[-1] == "end 'hello'"
        assert len(there.sockets) == 1


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("unasked", [RESPONSE, b"\r\n\r\n\r\n", b""])
@pytest.mark.parametrize("seen", [False, True])
@on_each_loop
async def test_unasked_bytes_and_an_end_keep_an_idle_connection_from_use(
    secure: bool, unasked: bytes, seen: bool, authority: Path
) -> None:
    """Also where the loop has not read them: they wait in the socket when the next request comes."""
    async with upstream(authority if secure else None) as (there, pool):
        for _ in range(2):
            await ask(pool)
        for connections in (1, 2, 3):
            assert len(there.sockets) == connections
            if unasked:
                there.sockets[-1].send(unasked)
            else:
                there.sockets[-1].shutdown(socket.SHUT_RDWR)
            if seen:
                await eventually(lambda: "Idle: 0" in repr(pool))
            assert (await ask(pool))[-1] == "end 'hello'"


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_a_second_response_in_the_same_read_ends_the_connection(secure: bool, authority: Path) -> None:
    async with upstream(authority if secure else None) as (there, pool):
        sink = Sink(GET + GET, b"")
        pool.send(sink)
        await sink.over.wait()
        await eventually(lambda: "Idle: 0" in repr(pool))
        assert await ask(pool) == WHOLE
        assert len(there.sockets) == 2


async def test_a_system_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    async with upstream(None) as (there, pool):
        for _ in range(2):
            assert (await ask(pool))[-1] == "end 'hello'"
        assert len(there.sockets) == 1
