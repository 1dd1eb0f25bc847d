"""A server on real sockets, on each loop: how connections come, how many, and how they go."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pytest
import trustme

from gateway.http1 import server_connection
from gateway.http1.client_connection import ClientConnection
from gateway.http1.deadline import Deadline
from gateway.http1.dial import Origin
from gateway.http1.exchange import Application, Exchange, RequestHandler
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits
from gateway.http1.pool import Pool
from gateway.http1.server import Server
from gateway.http1.unsent import unsent_bytes
from gateway.http1.upstream_request import BodyReceiver, UpstreamError
from tests.fakes.messages import ScriptedUpstream, chunked
from tests.http1.wire import Desk, Sink
from tests.support.client import Client
from tests.support.loops import PATIENCE, on_each_loop, settle
from tests.support.loops import eventually as happens

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LATER = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Tls:
    """An authority's file, and who trusts it."""

    file: Path
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    ours = Tls(file, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context())
    authority.issue_cert("localhost").configure_cert(ours.server)
    authority.configure_trust(ours.client)
    return ours


@asynccontextmanager
async def serving(
    application: Application, limits: Limits | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, int]]:
    """A server that listens; when it goes, nothing may be left."""
    server = Server(application, limits or Limits())
    port = await server.listen("127.0.0.1", 0, tls=context)
    try:
        yield server, port
    finally:
        server.close()
        server.abort()
        assert await server.wait_closed(PATIENCE)
        await settle()


async def until(server: Server, count: int) -> None:
    """Wait until the server has `count` connections."""
    await happens(lambda: len(server.connections) == count)


async def exchange_of(desk: Desk) -> Exchange:
    """Wait for a request that waits for its response."""
    await happens(lambda: bool(desk.later))
    return desk.later[0]


async def ended(client: Client) -> bytes:
    """What still came until the end."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await client.reader.read()
        except ConnectionError:
            return b"reset"


# Listening.


@on_each_loop
async def test_serving() -> None:
    desk = Desk()
    async with serving(desk) as (server, port), await Client.connect(port) as client:
        assert (await client.request("POST", "/", b"hello")).body == b"hello"
        assert (await client.request("GET", "/")).status == 200
        assert [repr(c) for c in server.connections] == ["<ServerConnection [IDLE]>"]
        assert server.counts() == (0, 1)
    assert desk.received == [("POST", "/", b"hello"), ("GET", "/", b"")]


@on_each_loop
async def test_a_silent_client_is_probed() -> None:
    """Or else one that is gone would not be noticed while its response is made."""
    async with serving(Desk()) as (server, port), await Client.connect(port):
        await until(server, 1)
        (connection,) = server.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@on_each_loop
async def test_serving_with_tls(tls: Tls) -> None:
    async with serving(Desk(), context=tls.server) as (server, port):
        async with await Client.connect(port, tls=tls.client) as client:
            assert (await client.request("POST", "/", b"hello")).body == b"hello"
            response = await client.request("GET", "/no")
            assert (response.status, response.body) == (401, b"no")
            response = await client.request("POST", "/", b"x" * 200_000, [("Connection", "close")])
            assert (response.body, response.complete) == (b"x" * 200_000, True)
            assert await ended(client) == b""
        await until(server, 0)


@on_each_loop
async def test_plain_http_on_a_tls_port(tls: Tls) -> None:
    async with serving(Desk(), context=tls.server) as (server, port), await Client.connect(port) as client:
        client.send("GET", "/")
        assert await ended(client) in (b"", b"reset")
        assert not server.connections


@on_each_loop
async def test_tls_handshake_timeout(tls: Tls) -> None:
    limits = Limits()._replace(header_timeout=0.03)
    async with serving(Desk(), limits, tls.server) as (server, port), await Client.connect(port) as client:
        assert await ended(client) in (b"", b"reset")
        assert not server.connections


@on_each_loop
async def test_a_port_that_is_taken() -> None:
    async with serving(Desk()) as (server, port):
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await server.listen("127.0.0.1", port)


@on_each_loop
async def test_several_listeners() -> None:
    """A socket of the caller's, and two that share a port."""
    desk = Desk()
    async with serving(desk) as (server, first):
        ours = socket.create_server(("127.0.0.1", 0))
        second = await server.listen(None, 0, sock=ours)
        assert second == ours.getsockname()[1]
        third = await server.listen("127.0.0.1", 0, reuse_port=True)
        assert await server.listen("127.0.0.1", third, reuse_port=True) == third
        for port in (first, second, third):
            async with await Client.connect(port) as client:
                assert (await client.request("GET", f"/{port}")).status == 200
    assert [target for _, target, _ in desk.received] == [f"/{port}" for port in (first, second, third)]


@on_each_loop
async def test_new_limits_reach_the_next_connection() -> None:
    async with serving(Desk()) as (server, port), await Client.connect(port) as old:
        assert (await old.request("POST", "/", b"hello")).status == 200
        server.limits = Limits()._replace(max_body=4)
        assert (await old.request("POST", "/", b"hello")).status == 200
        async with await Client.connect(port) as new:
            assert (await new.request("POST", "/", b"hello")).status == 413


# How many.


@on_each_loop
async def test_max_connections_over_sockets() -> None:
    async with serving(Desk(), Limits()._replace(max_connections=2)) as (server, port):
        first, second = [await Client.connect(port) for _ in range(2)]
        await until(server, 2)
        async with await Client.connect(port) as third:
            response = await third.response()
            assert (response.status, response.header("retry-after")) == (503, "1")
            assert response.header("connection") == "close"
            assert await ended(third) == b""
        await until(server, 2)
        first.close()
        await until(server, 1)
        async with await Client.connect(port) as fourth:
            assert (await fourth.request("GET", "/")).status == 200
        second.close()


# How they go.


@on_each_loop
async def test_draining() -> None:
    desk = Desk()
    async with serving(desk) as (server, port):
        idle, busy, waiting = [await Client.connect(port) for _ in range(3)]
        assert (await idle.request("GET", "/")).status == 200
        busy.writer.write(LATER)
        await exchange_of(desk)
        await until(server, 3)
        assert server.counts() == (1, 2)
        server.drain()
        assert (await ended(idle), await ended(waiting)) == (b"", b"")
        await until(server, 1)
        # For one request more, so that a health check learns of it.
        late = await Client.connect(port)
        response = await late.request("GET", "/")
        assert (response.status, response.header("connection")) == (200, "close")
        desk.later[0].respond(200, b"done")
        response = await busy.response()
        assert (response.body, response.header("connection")) == (b"done", "close")
        assert await server.wait_closed(PATIENCE)
        for client in (idle, busy, waiting, late):
            client.close()


@on_each_loop
async def test_waiting_until_all_are_gone() -> None:
    async with serving(Desk()) as (server, port):
        assert await server.wait_closed(None)
        first, second = [await Client.connect(port) for _ in range(2)]
        await until(server, 2)
        assert not await server.wait_closed(0.01)
        first.close()
        waits = [asyncio.create_task(server.wait_closed(patience)) for patience in (PATIENCE, None)]
        await until(server, 1)
        assert not any(wait.done() for wait in waits)
        second.close()
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*waits) == [True, True]
        async with await Client.connect(port):
            await until(server, 1)
            assert not await server.wait_closed(0.01)


@on_each_loop
async def test_a_closed_server_accepts_no_connections() -> None:
    async with serving(Desk()) as (server, port), await Client.connect(port) as client:
        assert (await client.request("GET", "/")).status == 200
        server.close()
        await settle()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(port)
        assert (await client.request("GET", "/")).status == 200


@on_each_loop
async def test_aborting() -> None:
    desk = Desk()
    async with serving(desk) as (server, port), await Client.connect(port) as client:
        client.writer.write(LATER)
        await exchange_of(desk)
        server.abort()
        assert await server.wait_closed(PATIENCE)
        assert await ended(client) in (b"", b"reset")
    assert desk.notes[-1] == "end /later gone"


# Tests that need real sockets.


def reset(client: Client) -> None:
    """Close so that the peer sees a reset."""
    ours = client.writer.get_extra_info("socket")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_a_client_that_leaves(tls: Tls, secure: bool, how: str) -> None:
    desk = Desk()
    async with serving(desk, context=tls.server if secure else None) as (server, port):
        client = await Client.connect(port, tls=tls.client if secure else None)
        client.writer.write(LATER)
        exchange = await exchange_of(desk)
        exchange.start(200)
        exchange.write(b"some")
        if how == "reset":
            reset(client)
        elif how == "half-close" and not secure:
            client.writer.write_eof()
        else:
            client.close()
        await until(server, 0)
        assert desk.notes[-1] == "end /later gone"
        # A handler that writes after the client has gone does no harm.
        exchange.write(b"more")
        exchange.finish()
        client.close()


@on_each_loop
async def test_a_refused_body_still_gets_its_413() -> None:
    """The client writes the whole body before it reads. Closing at once would reset the response."""
    limits = Limits()._replace(max_body=1000, linger_timeout=3 * PATIENCE)
    async with serving(Desk(), limits) as (server, port), await Client.connect(port) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
        for _ in range(40):
            client.writer.write(b"x" * 100_000)
            await client.writer.drain()
        response = await client.response("POST")
        assert (response.status, response.complete) == (413, True)
        assert await ended(client) == b""
        client.close()
        await until(server, 0)


MUCH = b"x" * 16 * 1024 * 1024
"""More than the system keeps for one connection."""


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_write_timeout_spares_slow_readers(
    tls: Tls, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    desk.respond = lambda exchange, body: exchange.respond(200, MUCH)
    monkeypatch.setattr(server_connection, "Deadline", ByHand)
    async with serving(desk, None, tls.server if secure else None) as (server, port):
        with await asyncio.to_thread(small_socket, port, tls.client if secure else None) as ours:
            ours.sendall(GET)
            assert await asyncio.to_thread(ours.recv, 2**15)
            (connection,) = server.connections
            deadline = connection._deadline
            assert isinstance(deadline, ByHand)
            # The bytes read in that time are far fewer than those after which a kernel accepts more. Over TLS the
            # standard loop takes any response at once, so that such a connection is closed as idle first.
            for _ in range(5):
                before = unsent_bytes(connection.transport)
                while unsent_bytes(connection.transport) >= before:
                    assert await asyncio.to_thread(ours.recv, 2**15)
                deadline.expire()
                assert server.connections == {connection}
            async with asyncio.timeout(PATIENCE):
                while server.connections:
                    deadline.expire()
                    await asyncio.sleep(0.01)


class ByHand(Deadline):
    """Expire when the test decides."""

    def arm(self, when: float) -> None:
        self.armed = when

    def expire(self) -> None:
        if self.when != inf:
            self.when = 0.0
            self._fire()


def small_socket(port: int, context: ssl.SSLContext | None) -> socket.socket:
    """Return a client's socket with a small buffer, so that the server soon sees how much was read."""
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
    ours.connect(("127.0.0.1", port))
    return ours if context is None else context.wrap_socket(ours, server_hostname="localhost")


# Together with the upstream's side.


class Relay:
    """An application that forwards every request, and relays the response chunk by chunk, unchanged."""

    server: Server

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waited = 0
        """The most unsent bytes there were for the client."""

    def accept(self, exchange: Exchange) -> RequestHandler:
        exchange.handler = Relaying(self, exchange)
        return exchange.handler

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        raise AssertionError


class Relaying(Sink):
    """One request, to an upstream too, and its response on its way."""

    def __init__(self, relay: Relay, exchange: Exchange) -> None:
        super().__init__()
        self.relay = relay
        self.exchange = exchange

    def request_received(self, body: bytes) -> None:
        self.head = b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.body = body
        self.relay.pool.send(self)

    def writable(self, ready: bool) -> None:
        if self.connection is not None:
            (self.connection.resume if ready else self.connection.pause)()

    def ended(self) -> None:
        if self.exchange.gone:
            self.relay.pool.cancel(self)

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> BodyReceiver:
        self.exchange.start(head.status)
        return self

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        self.exchange.write_raw(raw)
        waiting = [each.transport.get_write_buffer_size() for each in self.relay.server.connections]
        self.relay.waited = max(self.relay.waited, *waiting)
        if ended:
            self.exchange.finish(framed=True)

    def failed(self, error: UpstreamError) -> None:
        self.exchange.abort()


@asynccontextmanager
async def relaying(tls: Tls | None, script: bytes) -> AsyncIterator[tuple[Relay, ScriptedUpstream, Client]]:
    """A client, a server that relays, and an upstream that sends `script`; with TLS on both sides or on neither."""
    upstream = ScriptedUpstream(respond=lambda _: [script])
    await upstream.start(tls.server if tls is not None else None)
    scheme, file = ("http", None) if tls is None else ("https", tls.file)
    relay = Relay(Pool(Origin(scheme, "localhost", upstream.port, None, file), Limits()))
    ours, theirs = (None, None) if tls is None else (tls.server, tls.client)
    try:
        async with (
            serving(relay, context=ours) as (relay.server, port),
            await Client.connect(port, tls=theirs) as client,
        ):
            yield relay, upstream, client
        await settle()
    finally:
        relay.pool.close()
        await upstream.stop()
        await settle()


STREAMED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = STREAMED + chunked([MUCH[:65_536]] * 256)


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_back_pressure_of_a_slow_client(tls: Tls, secure: bool) -> None:
    async with relaying(tls if secure else None, STREAM) as (relay, upstream, client):
        for count in (1, 2):
            client.send("POST", "/", b"hello")
            await happens(lambda: relay.waited > 0)
            await asyncio.sleep(0.02)
            response = await client.response("POST")
            assert (response.status, response.complete, len(response.body)) == (200, True, len(MUCH))
            assert 0 < relay.waited < 1024 * 1024
            assert (upstream.connections, len(upstream.requests)) == (1, count)
            assert repr(relay.pool).endswith(", Active: 0, Idle: 1, Dialling: 0]>")


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_relaying_to_a_client_that_leaves(tls: Tls, secure: bool) -> None:
    async with relaying(tls if secure else None, STREAM) as (relay, upstream, client):
        client.send("POST", "/", b"hello")
        await client.reader.readexactly(100_000)
        client.writer.transport.abort()
        await happens(lambda: upstream.open == 0)
        assert repr(relay.pool).endswith(", Active: 0, Idle: 0, Dialling: 0]>")


@pytest.mark.parametrize("secure", [False, True])
@on_each_loop
async def test_chunks_of_one_byte_in_both_directions(tls: Tls, secure: bool) -> None:
    count = 5_000
    body = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    async with relaying(tls if secure else None, STREAMED + body) as (_, upstream, client):
        for number in range(2):
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            response = await client.response("POST")
            assert (response.status, response.complete, response.body) == (200, True, b"x" * count)
            assert upstream.requests[number].body == b"x" * count
        assert upstream.connections == 1
