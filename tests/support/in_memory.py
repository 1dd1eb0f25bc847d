"""A gateway without sockets: its clients and its upstreams are wires that the test controls.

The gateway is a whole one, except for dialling: connections to upstreams are made here. Its requests are played like
a transcript: `requests` has those that reached an upstream, and `play` sends the upstream's script to each in turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import h11

from gateway.app import Gateway
from gateway.config import Config
from gateway.http1.client_connection import ClientConnection
from gateway.http1.dial import Origin
from gateway.http1.limits import Limits
from gateway.http1.pool import Pool
from gateway.http1.server_connection import ServerConnection
from gateway.http1.upstream_request import ConnectError
from gateway.proxy.upstream import CredentialSource, UpstreamClient
from gateway.telemetry.access_log import AccessLog
from tests.fakes.messages import Close, Received, Reset, Script, Sleep
from tests.support.client import Client, Response
from tests.support.leftovers import leftovers
from tests.support.loops import settle
from tests.support.wire import Wire


class UpstreamRequest(Received):
    """One request that reached an upstream, byte for byte, and the connection that it came over."""

    def __init__(self, raw: bytes, wire: Wire, origin: Origin) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        connection.receive_data(raw)
        head = connection.next_event()
        assert isinstance(head, h11.Request)
        body = b""
        while isinstance(item := connection.next_event(), h11.Data):
            body += item.data
        assert isinstance(item, h11.EndOfMessage)
        super().__init__(head.method.decode(), head.target.decode(), list(head.headers), body)
        self.raw = raw
        self.wire = wire
        self.origin = origin

    @property
    def account(self) -> str:
        """The letter of the account: `a` of `key-of-a@x`."""
        return (self.key or "").removeprefix("Bearer ").removeprefix("key-of-")[:1]


class WireClient(Client):
    """A client on a wire. Bytes that it sends are read in the same call."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        # Only the used methods of a stream: `write`, `close`, and `read` in `receive`.
        super().__init__(cast(asyncio.StreamReader, self), cast(asyncio.StreamWriter, self))

    def write(self, data: bytes) -> None:
        self.wire.protocol.data_received(data)

    def close(self) -> None:
        """Close without a word to anybody; see `leave`."""

    async def leave(self) -> None:
        """Close this side, unless the gateway has closed it."""
        if self.wire.state != "LOST":
            await self.wire.leave()
        await settle()

    async def receive(self) -> bytes:
        return self.wire.written()


class InMemory:
    """A gateway whose clients and upstreams are wires."""

    def __init__(
        self,
        config: Config,
        credentials: Mapping[str, CredentialSource] | None = None,
        *,
        format: Literal["text", "json"] = "text",
    ) -> None:
        self.lines: list[str] = []
        self.requests: list[UpstreamRequest] = []
        """Every request that reached an upstream, in order."""
        self.wires: list[tuple[Origin, Wire]] = []
        """Every connection that was made to an upstream, in order."""
        self.refuse: Callable[[Origin], bool] = lambda origin: False
        """Whether no connection can be made to an origin."""
        self._pools: dict[Origin, Pool] = {}
        self._credentials = credentials or {}
        self.gateway = Gateway(config, AccessLog(self.lines.append, format), environ={})
        self._join()

    def reload(self, config: Config) -> None:
        """As Gateway.reload; connections stay."""
        self.gateway.reload(config)
        self._join()

    def _join(self) -> None:
        runtime = self.gateway.runtime
        runtime.random = lambda: 0.0
        for client in runtime.upstreams.values():
            origin = client.pool.origin
            pool = self._pools.setdefault(origin, Pool(origin, client.pool.limits, self._dial))
            client.pool = pool
            client.credentials = {**client.credentials, **self._credentials}

    async def _dial(self, origin: Origin, limits: Limits) -> ClientConnection:
        if self.refuse(origin):
            raise ConnectError(f"no connection to {origin}")
        wire = Wire()
        connection = ClientConnection(origin, limits)
        wire.join(connection)
        self.wires.append((origin, wire))
        return connection

    @property
    def upstream(self) -> UpstreamClient:
        """The first one."""
        return next(iter(self.gateway.runtime.upstreams.values()))

    def connect(self) -> WireClient:
        """Another client."""
        wire = Wire()
        wire.join(ServerConnection(self.gateway.server))
        return WireClient(wire)

    async def turn(self) -> None:
        """Run what is due, and record which requests reached an upstream."""
        await settle()
        for origin, wire in self.wires:
            self._note(wire.written(), wire, origin)

    def _note(self, raw: bytes, wire: Wire, origin: Origin) -> None:
        if raw:
            self.requests.append(UpstreamRequest(raw, wire, origin))

    async def play(self, *scripts: Script) -> None:
        """Send this script to the latest request that reached an upstream; and so on, a script for each request."""
        await self.turn()
        for script in scripts:
            known = len(self.requests)
            await self._send(self.requests[-1], script)
            await self.turn()
            assert script is scripts[-1] or known < len(self.requests), "no request came for the next script"

    async def _send(self, request: UpstreamRequest, script: Script) -> None:
        """The upstream's part."""
        wire = request.wire
        for step in script:
            if isinstance(step, bytes):
                # Another request may be sent in the same call.
                self._note(wire.feed(step), wire, request.origin)
            elif isinstance(step, Close):
                await wire.leave()
            elif isinstance(step, Reset):
                await wire.reset()
            else:
                assert isinstance(step, Sleep)
                await asyncio.sleep(step.seconds)

    async def post(
        self, body: bytes | dict[str, Any], *scripts: Script, target: str = "/v1/messages", **headers: str
    ) -> Response:
        """Send one request on its own connection, with a script for each of its attempts."""
        client = self.connect()
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        client.send("POST", target, body, pairs)
        await self.play(*scripts) if scripts else await self.turn()
        response = await client.response()
        await client.leave()
        return response

    @property
    def line(self) -> str:
        """The one request line so far."""
        (line,) = [line for line in self.lines if " POST " in line]
        return line


@asynccontextmanager
async def in_memory(
    config: Config,
    credentials: Mapping[str, CredentialSource] | None = None,
    *,
    format: Literal["text", "json"] = "text",
) -> AsyncIterator[InMemory]:
    """A gateway that serves `config`; at the end nothing of it may be left. `credentials`: instead of the
    configuration's, by account."""
    stage = InMemory(config, credentials, format=format)
    yield stage
    await stage.gateway.stop(0.0)
    for pool in stage._pools.values():
        assert "Active: 0," in repr(pool), pool
        assert repr(pool).endswith("Dialling: 0]>"), pool
        pool.close()
    await settle()
    for account in stage.gateway.runtime.scheduler.snapshot(0.0):
        assert account.in_flight == 0, account
    left = leftovers()
    assert left == [], left
