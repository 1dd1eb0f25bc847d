"""A bare relay, `python -m bench.floor --port N --upstream M`: what Python and uvloop cost before any promise.

It splits heads and looks at them line by line, reads a request's body as JSON and throws that away, keeps its
upstream connections, and follows bodies by their framing alone. It checks nothing, knows no timeout, no
back-pressure and no error; requests on a connection come one after another. It is a yardstick, not a proxy.
"""

import argparse
import asyncio
from typing import cast

import orjson
import uvloop

DROPPED = frozenset({b"host", b"connection", b"content-length"})
"""Fields of a request that concern one connection alone; of a response every field is passed on."""

Fields = list[tuple[bytes, bytes]]


def read_head(head: bytes) -> tuple[bytes, Fields, dict[bytes, bytes]]:
    """Split a head into its first line, its fields in order, and their values by lower-case name."""
    first, *lines = head.split(b"\r\n")
    fields = []
    values = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip()))
        values[name.lower()] = value.strip()
    return first, fields, values


class Peer(asyncio.Protocol):
    """One side of the relay: collects a head, then hands on what follows."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def take_head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the head and the bytes behind it, None until it is complete."""
        data = self.pending + data
        end = data.find(b"\r\n\r\n")
        self.pending = data if end < 0 else b""
        return None if end < 0 else (data[:end], data[end + 4 :])


class Client(Peer):
    """A client's connection: whole requests in, the upstream's bytes out."""

    def __init__(self, pool: "Pool") -> None:
        super().__init__()
        self.pool = pool
        self.upstream: Upstream | None = None
        self.head = b""
        self.body: list[bytes] = []
        self.missing = 0

    def connection_lost(self, exc: Exception | None) -> None:
        if self.upstream is not None:
            self.upstream.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.head:
            taken = self.take_head(data)
            if taken is None:
                return
            head, data = taken
            first, fields, values = read_head(head)
            if first.startswith(b"GET "):
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                return
            self.missing = int(values[b"content-length"])
            lines = [first, b"host: " + self.pool.authority, b"content-length: %d" % self.missing]
            lines += [b"%b: %b" % field for field in fields if field[0].lower() not in DROPPED]
            self.head = b"\r\n".join(lines) + b"\r\n\r\n"
        self.body.append(data)
        self.missing -= len(data)
        if self.missing <= 0:
            body = b"".join(self.body)
            orjson.loads(body)
            self.pool.send(self, self.head + body)
            self.head, self.body = b"", []


class Upstream(Peer):
    """A connection to the upstream: passes bytes to its client at once, and finds the end of the response."""

    def __init__(self, pool: "Pool") -> None:
        super().__init__()
        self.pool = pool
        self.client: Client | None = None
        self.in_body = False
        self.chunked = False
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        client = self.client
        if client is None:
            return
        if self.in_body:
            client.transport.write(data)
        else:
            taken = self.take_head(data)
            if taken is None:
                return
            head, data = taken
            first, fields, values = read_head(head)
            self.in_body = True
            self.chunked = b"transfer-encoding" in values
            self.missing = 0 if self.chunked else int(values[b"content-length"])
            lines = [first, *(b"%b: %b" % field for field in fields)]
            client.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + data)
        if self.ends_with(data):
            self.in_body = False
            self.client = client.upstream = None
            self.pool.idle.append(self)

    def ends_with(self, data: bytes) -> bool:
        """Return whether the body ends with these bytes of it."""
        if not self.chunked:
            self.missing -= len(data)
            return self.missing <= 0
        data = self.pending + data
        at = self.missing
        while at < len(data):
            line = data.find(b"\r\n", at)
            if line < 0:
                break
            size = int(data[at:line], 16)
            at = line + size + 4
            if size == 0:
                self.pending, self.missing = b"", 0
                return True
        # `at` is where the next size line begins; of one that is cut the first bytes are kept.
        self.pending = data[at:]
        self.missing = max(0, at - len(data))
        return False


class Pool:
    """The upstream's connections that wait for a request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.authority = b"127.0.0.1:%d" % port
        self.idle: list[Upstream] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, client: Client, request: bytes) -> None:
        """Send a request on an idle connection, or on one that is opened for it."""
        if self.idle:
            self.use(self.idle.pop(), client, request)
        else:
            task = asyncio.get_running_loop().create_task(self.open(client, request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def open(self, client: Client, request: bytes) -> None:
        """Connect, then send."""
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: Upstream(self), "127.0.0.1", self.port
        )
        self.use(made, client, request)

    def use(self, upstream: Upstream, client: Client, request: bytes) -> None:
        """Join the two sides until the response has ended."""
        upstream.client, client.upstream = client, upstream
        upstream.transport.write(request)


async def serve(port: int, upstream_port: int) -> None:
    """Relay until cancelled."""
    pool = Pool(upstream_port)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(pool), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Relay to an upstream on loopback.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.upstream))
