"""Connections to upstreams: which one serves a request, how it ends, and what the request is called with."""

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

    async def request(self) -> Sink:
        """A request that has been sent."""
        sink = Sink()
        self.pool.send(sink)
        await settle()
        return sink

    async def idle(self, count: int = 1) -> list[Wire]:
        """Return `count` connections that have served a request and are idle."""
        for _ in range(count):
            await self.request()
        wires = self.wires[-count:]
        for wire in wires:
            wire.feed(RESPONSE)
        assert self.shown == (0, count, 0)
        return wires

    @property
    def shown(self) -> tuple[int, int, int]:
        """(active, idle, dialling), as `repr` of the pool has them."""
        shown = repr(self.pool)
        assert shown.startswith("<Pool [http://one.test, Active: ")
        active, idle, dialling = (int(part.rpartition(" ")[2]) for part in shown[:-2].split(",")[1:])
        assert self.pool.counts() == (active, idle, dialling)
        return active, idle, dialling

    def lost(self) -> list[int]:
        """Return the numbers of the connections that are closed, in the order they were made."""
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
    assert wire.written() == b"HEAD.BODY."
    wire.feed(HEAD)
    assert net.shown == (1, 0, 0)
    wire.feed(BODY)
    assert repr(net.pool) == "<Pool [http://one.test, Active: 0, Idle: 1, Dialling: 0]>"
    assert sink.notes == ["head 200", "end 'hello'"]


# Which connection serves.


async def test_the_newest_is_used_first() -> None:
    net = Network()
    first, second = await net.idle(2)
    await net.request()
    assert (first.written(), second.written()) == (b"", b"HEAD.BODY.")
    await net.request()
    assert (first.written(), second.written()) == (b"HEAD.BODY.", b"")
    await net.request()
    assert (len(net.wires), net.shown) == (3, (3, 0, 0))


async def test_the_last_to_become_idle_is_the_newest() -> None:
    net = Network()
    for _ in range(2):
        await net.request()
    first, second = net.wires
    second.feed(RESPONSE)
    first.feed(RESPONSE)
    for wire in net.wires:
        wire.written()
    await net.request()
    assert (first.written(), second.written()) == (b"HEAD.BODY.", b"")


async def test_a_response_that_ends_the_connection() -> None:
    net = Network()
    sink = await net.request()
    net.wires[0].feed(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello")
    assert (sink.notes, net.shown) == (WHOLE, (0, 0, 0))


async def test_a_request_sent_when_a_response_ends_uses_its_connection() -> None:
    net = Network()
    sink = await net.request()
    second = Sink()

    def send_again() -> None:
        net.pool.send(second)

    sink.on_body = send_again
    net.wires[0].feed(RESPONSE)
    net.wires[0].feed(RESPONSE)
    assert (second.notes, len(net.wires)) == (WHOLE, 1)


# How many stay, and for how long.


@pytest.mark.parametrize(("limit", "lost"), [(0, [0, 1, 2]), (1, [0, 1]), (2, [0]), (3, [])])
def test_pool_max_idle_closes_the_oldest(limit: int, lost: list[int]) -> None:
    async def story() -> None:
        net = Network(Limits()._replace(pool_max_idle=limit))
        sinks = [await net.request() for _ in range(3)]
        for wire in net.wires:
            wire.feed(RESPONSE)
        assert [sink.notes for sink in sinks] == [WHOLE] * 3
        # With a limit of 0 none is kept; otherwise idle ones are kept a moment for the next burst of requests.
        await asyncio.sleep(0.9)
        assert net.lost() == ([] if limit else lost)
        await asyncio.sleep(0.2)
        assert (net.lost(), net.shown) == (lost, (0, limit, 0))

    run(story())


def test_a_burst_of_requests_keeps_its_connections() -> None:
    async def story() -> None:
        net = Network(Limits()._replace(pool_max_idle=1))
        for _ in range(20):
            for _ in range(3):
                await net.request()
            for wire in net.wires:
                wire.feed(RESPONSE)
            await asyncio.sleep(0.04)
        assert (net.dialled, net.lost()) == (3, [])
        net.pool.close()
        await asyncio.sleep(1)
        assert net.shown == (0, 0, 0)

    run(story())


def test_idle_timeout_of_connections() -> None:
    async def story() -> None:
        net = Network()
        await net.idle(2)
        await asyncio.sleep(50)
        await net.request()
        net.wires[1].feed(RESPONSE)
        await asyncio.sleep(11)
        assert (net.lost(), net.shown) == ([0], (0, 1, 0))
        await asyncio.sleep(50)
        assert (net.lost(), net.shown) == ([0, 1], (0, 0, 0))

    run(story())


@pytest.mark.parametrize("how", ["leave", "reset", "send"])
async def test_a_connection_that_the_upstream_closes_leaves_the_pool(how: str) -> None:
    net = Network()
    first, second = await net.idle(2)
    if how == "send":
        second.feed(b"HTTP/1.1 408 X\r\n\r\n")
    else:
        await getattr(second, how)()
    assert net.shown == (0, 1, 0)
    await net.request()
    assert (first.written(), len(net.wires)) == (b"HEAD.BODY.", 2)
    assert net.shown == (1, 0, 0)


async def test_a_closing_connection_is_not_reused() -> None:
    net = Network()
    (wire,) = await net.idle()
    wire.close()
    await net.request()
    assert (len(net.wires), net.shown) == (2, (1, 0, 0))


# Stale connections.


async def used_again(net: Network) -> tuple[Sink, Wire]:
    """A request on a connection that was idle."""
    (wire,) = await net.idle()
    sink = await net.request()
    wire.written()
    return sink, wire


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_stale_connection_is_replaced_without_an_error(how: str) -> None:
    net = Network()
    sink, wire = await used_again(net)
    await getattr(wire, how)()
    await settle()
    assert (sink.notes, net.shown) == ([], (1, 0, 0))
    assert net.wires[1].written() == b"HEAD.BODY."
    net.wires[1].feed(RESPONSE)
    assert sink.notes == WHOLE


async def test_a_stale_connection_is_replaced_only_once() -> None:
    """Another idle one would be as stale."""
    net = Network()
    await net.idle(3)
    sink = await net.request()
    await net.wires[2].leave()
    await settle()
    assert (len(net.wires), net.shown) == (4, (1, 2, 0))
    await net.wires[3].leave()
    assert (sink.notes, len(net.wires)) == ([CLOSED], 4)


async def test_replacing_a_stale_connection_fails() -> None:
    net = Network()
    sink, wire = await used_again(net)
    net.error = ConnectError("connection refused")
    await wire.leave()
    await settle()
    assert (sink.notes, net.shown) == (["failed: connection refused"], (0, 0, 0))


async def test_a_fresh_connection_is_not_replaced() -> None:
    net = Network()
    sink = await net.request()
    await net.wires[0].leave()
    await settle()
    assert (sink.notes, net.dialled) == ([CLOSED], 1)


@pytest.mark.parametrize(
    ("reads", "note"),
    [
        ([b"H", ""], CLOSED),
        ([b"HTTP/1.1 100 X\r\n\r\n", ""], CLOSED),
        ([b"oops\r\n\r\n"], "failed: the upstream's response cannot be trusted"),
        ([HEAD + b"hel", ""], "failed: the upstream's body is broken"),
    ],
)
async def test_a_connection_that_had_begun_its_response_is_not_replaced(
    reads: Iterable[bytes], note: str
) -> None:
    net = Network()
    sink, wire = await used_again(net)
    for data in reads:
        if data:
            wire.feed(data)
        else:
            await wire.leave()
    await settle()
    assert sink.notes[-1].startswith(note)
    assert net.dialled == 1


@pytest.mark.parametrize(("after", "dialled"), [(4.0, 2), (6.0, 1)])
def test_one_that_dies_later_was_serving_the_request(after: float, dialled: int) -> None:
    async def story() -> None:
        net = Network()
        sink, wire = await used_again(net)
        await asyncio.sleep(after)
        await wire.leave()
        await settle()
        assert (sink.notes, net.dialled) == ([] if dialled == 2 else [CLOSED], dialled)

    run(story())


def test_a_first_byte_timeout_replaces_no_connection() -> None:
    async def story() -> None:
        net = Network()
        sink, _ = await used_again(net)
        await asyncio.sleep(301)
        assert sink.notes == ["silent: the upstream did not begin to respond in time"]
        assert (net.dialled, net.shown) == (1, (0, 0, 0))

    run(story())


# Connections that do not come about.


async def test_connect_error_and_connect_timeout() -> None:
    net = Network()
    net.error = ConnectError("connection refused")
    sink = await net.request()
    assert sink.notes == ["failed: connection refused"]
    assert (sink.error, net.shown) == (net.error, (0, 0, 0))
    net.pool.cancel(sink)


@pytest.mark.parametrize(
    ("error", "notes"),
    [
        (ConnectError("connection refused"), ["failed: connection refused", "crash oops"]),
        (KeyError("x"), ["crash 'x'"]),
    ],
)
async def test_an_exception_while_connecting_reaches_the_request(error: Exception, notes: list[str]) -> None:
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
    sink = await net.request()
    assert sink.notes == ["failed: the connection to http://one.test was closed as soon as it was made"]
    assert net.shown == (0, 0, 0)


# More requests than connections are made for at once.


async def crowd(net: Network, waiting: int) -> list[Sink]:
    """Occupy all dials that are allowed at once; return `waiting` more requests, which wait for connections."""
    net.open.clear()
    net.dialled = 0
    for _ in range(MAX_DIALLING):
        net.pool.send(Sink())
    sinks = [await net.request() for _ in range(waiting)]
    assert (net.dialled, net.shown[2]) == (MAX_DIALLING, MAX_DIALLING + waiting)
    return sinks


async def test_max_dialling_bounds_concurrent_dials() -> None:
    net = Network()
    await crowd(net, 2)
    net.open.set()
    await settle()
    assert (net.dialled, net.shown) == (MAX_DIALLING + 2, (MAX_DIALLING + 2, 0, 0))
    assert all(wire.written() == b"HEAD.BODY." for wire in net.wires)


async def test_an_idle_connection_serves_a_waiting_request() -> None:
    net = Network()
    await net.request()
    first, second = await crowd(net, 2)
    net.wires[0].written()
    net.wires[0].feed(RESPONSE)
    await settle()
    assert (net.wires[0].written(), net.shown) == (b"HEAD.BODY.", (1, 0, MAX_DIALLING + 1))
    net.wires[0].feed(RESPONSE)
    await settle()
    assert (first.notes, second.notes, net.wires[0].written()) == (WHOLE, [], b"HEAD.BODY.")
    assert (net.dialled, net.shown) == (MAX_DIALLING, (1, 0, MAX_DIALLING))
    net.pool.close()
    await settle()


def test_waiting_requests_have_the_connect_timeout() -> None:
    async def story() -> None:
        net = Network(Limits()._replace(connect_timeout=10))
        net.error = ConnectError("connection refused")
        (late,) = await crowd(net, 1)
        await asyncio.sleep(10)
        net.open.set()
        await settle()
        assert late.notes == ["silent: no connection to http://one.test within 10 s"]
        assert ((await net.request()).notes, net.shown) == (["failed: connection refused"], (0, 0, 0))

    run(story())


async def test_an_exception_of_one_waiting_request_affects_no_other() -> None:
    def fail() -> None:
        raise ValueError("oops")

    net = Network(Limits()._replace(connect_timeout=0))
    first, second = await crowd(net, 2)
    first.on_failure = fail
    net.open.set()
    await settle()
    silent = "silent: no connection to http://one.test within 0 s"
    assert (first.notes, second.notes) == ([silent, "crash oops"], [silent])


async def test_a_waiting_request_is_cancelled() -> None:
    net = Network()
    first, second = await crowd(net, 2)
    net.pool.cancel(first)
    assert net.shown == (0, 0, MAX_DIALLING + 1)
    net.pool.close()
    await settle()
    assert (net.shown, first.notes, second.notes, net.wires) == ((0, 0, 0), [], [], [])


# No request waits any more.


async def test_cancelled_while_dialling() -> None:
    net = Network()
    net.open.clear()
    sink = await net.request()
    net.pool.cancel(sink)
    await settle()
    assert net.shown == (0, 0, 0)
    net.open.set()
    await settle()
    assert (sink.notes, net.wires) == ([], [])


@pytest.mark.parametrize("reads", [b"", b"HTTP/1.1", HEAD, HEAD + b"hel"])
async def test_cancelled_under_way(reads: bytes) -> None:
    net = Network()
    sink = await net.request()
    net.wires[0].feed(reads)
    notes = list(sink.notes)
    net.pool.cancel(sink)
    assert (net.wires[0].state, net.shown) == ("ABORTED", (0, 0, 0))
    net.pool.cancel(sink)
    await settle()
    assert (sink.notes, net.dialled) == (notes, 1)


async def test_cancelled_when_it_is_over() -> None:
    net = Network()
    sink = await net.request()
    net.wires[0].feed(RESPONSE)
    net.pool.cancel(sink)
    assert (net.lost(), net.shown) == ([], (0, 1, 0))


async def test_cancelled_when_it_is_over_and_another_is_under_way() -> None:
    net = Network()
    first = await net.request()
    net.wires[0].feed(RESPONSE)
    second = await net.request()
    net.pool.cancel(first)
    net.wires[0].feed(RESPONSE)
    assert (second.notes, len(net.wires)) == (WHOLE, 1)


async def test_cancelled_while_a_stale_connection_is_replaced() -> None:
    net = Network()
    (wire,) = await net.idle()
    sink = await net.request()
    net.open.clear()
    await wire.leave()
    assert net.shown == (0, 0, 1)
    net.pool.cancel(sink)
    net.open.set()
    await settle()
    assert (sink.notes, len(net.wires), net.shown) == ([], 1, (0, 0, 0))


async def test_cancelled_at_the_head() -> None:
    net = Network()
    sink = await net.request()
    sink.on_head = lambda: net.pool.cancel(sink)
    net.wires[0].feed(RESPONSE)
    assert (sink.notes, net.lost(), net.shown) == (["head 200"], [0], (0, 0, 0))


async def test_a_body_that_is_not_wanted() -> None:
    net = Network()
    sink = Sink(wanted=False)
    net.pool.send(sink)
    await settle()
    net.wires[0].feed(RESPONSE)
    assert (sink.notes, net.lost(), net.shown) == (["head 200"], [0], (0, 0, 0))


# Closing.


async def test_closing() -> None:
    net = Network()
    await net.idle(3)
    await net.request()
    net.open.clear()
    for _ in range(2):
        net.pool.send(Sink())
    sink = await net.request()
    assert net.shown == (3, 0, 1)
    net.wires[0].feed(RESPONSE)
    assert net.shown == (2, 1, 1)
    net.pool.close()
    await settle()
    assert (net.lost(), net.shown, sink.notes) == ([0, 1, 2], (0, 0, 0), [])


async def test_a_connection_that_comes_when_the_pool_is_closed() -> None:
    net = Network()
    net.pool.close()
    sink = await net.request()
    assert (sink.notes, net.lost(), net.shown) == ([], [0], (0, 0, 0))


# The head template and limits of the next connection.


async def test_connections_that_were_made_before_any_head_came_share_its_template() -> None:
    net = Network()
    first, second = await net.request(), await net.request()
    for wire in net.wires:
        wire.feed(HEAD)
    assert first.connection is not None is not second.connection
    assert first.connection.template is net.pool.template is second.connection.template is not None


async def test_new_limits_reach_the_next_connection() -> None:
    net = Network()
    net.pool.limits = Limits()._replace(max_head=10)
    sink = await net.request()
    net.wires[0].feed(RESPONSE)
    assert sink.notes == ["failed: the upstream's response has too large a head"]


# Bytes that are the response to no request, over real sockets.


class Upstream:
    """Responds to each request on each connection."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        """Of its connections; plain bytes can be sent on them beside TLS."""

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


def send_request(pool: Pool) -> Sink:
    """Send a request, in the same turn of the loop."""
    sink = Sink(GET, b"")
    pool.send(sink)
    return sink


async def request(pool: Pool) -> list[str]:
    """Send a request, and wait for the response."""
    sink = send_request(pool)
    async with asyncio.timeout(PATIENCE):
        await sink.over.wait()
    return sink.notes


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_an_idle_connection_is_used_again(secure: bool, authority: Path) -> None:
    """TLS sends nothing unasked on an idle connection that would end it."""
    async with upstream(authority if secure else None) as (there, pool):
        for _ in range(5):
            assert (await request(pool))[-1] == "end 'hello'"
        assert len(there.sockets) == 1


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_options_of_a_socket(secure: bool, authority: Path) -> None:
    """A silent connection is probed, or else a router forgets it while the upstream thinks; and nothing is delayed."""
    async with upstream(authority if secure else None) as (_, pool):
        sink = send_request(pool)
        await sink.over.wait()
        assert sink.connection is not None
        sock = sink.connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("unasked", [RESPONSE, b"\r\n\r\n\r\n", b""])
@pytest.mark.parametrize("seen", [False, True])
@on_each_loop
async def test_unasked_bytes_and_an_end_keep_an_idle_connection_from_use(
    secure: bool, unasked: bytes, seen: bool, authority: Path
) -> None:
    """Also if the loop has not read them: they wait in the socket when the next request comes."""
    async with upstream(authority if secure else None) as (there, pool):
        for _ in range(2):
            await request(pool)
        for connections in (1, 2, 3):
            assert len(there.sockets) == connections
            if unasked:
                there.sockets[-1].send(unasked)
            else:
                there.sockets[-1].shutdown(socket.SHUT_RDWR)
            if seen:
                await eventually(lambda: "Idle: 0" in repr(pool))
            assert (await request(pool))[-1] == "end 'hello'"


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_a_second_response_in_the_same_read_ends_the_connection(secure: bool, authority: Path) -> None:
    async with upstream(authority if secure else None) as (there, pool):
        sink = Sink(GET + GET, b"")
        pool.send(sink)
        await sink.over.wait()
        await eventually(lambda: "Idle: 0" in repr(pool))
        assert await request(pool) == WHOLE
        assert len(there.sockets) == 2


async def test_idle_connections_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    async with upstream(None) as (there, pool):
        for _ in range(2):
            assert (await request(pool))[-1] == "end 'hello'"
        assert len(there.sockets) == 1
