"""Very many and very slow clients: what they cost a gateway's process, and that no other client has to wait."""

import asyncio
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import orjson

from gateway.fd_limit import raise_limit
from tests.fakes.messages import (
    SSE_HEAD,
    Received,
    Script,
    ScriptedUpstream,
    chunked,
    event,
    json_response,
    message_start,
    stream_response,
    text_events,
)
from tests.support.client import ask, fetch
from tests.support.spawned import CONFIG, PATIENCE, Spawned, get, limited, spawned

MB = 1024 * 1024

QUIET = ("--log-level", "warning")
"""Off: a line for each of hundreds of clients would fill the pipe, which is not read."""

HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


def resident(gateway: Spawned) -> int:
    """Bytes of memory that the process takes."""
    status = Path(f"/proc/{gateway.process.pid}/status")
    if status.exists():
        return int(status.read_text().partition("VmRSS:")[2].split()[0]) * 1024
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(gateway.process.pid)])) * 1024


def connected(gateway: Spawned, count: int) -> list[socket.socket]:
    """Connect `count` clients."""
    raise_limit(2 * count + 100)
    return [socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) for _ in range(count)]


def read_all(client: socket.socket) -> bytes:
    """Return everything that the gateway sends until it closes, or resets since it does not read the rest."""
    words = b""
    with suppress(ConnectionError):
        while data := client.recv(65536):
            words += data
    client.close()
    return words


def send(client: socket.socket, data: bytes) -> None:
    """Send, unless the gateway has lost its patience: on a slow machine the test is slower than that."""
    with suppress(ConnectionError):
        client.sendall(data)


def test_five_hundred_clients_that_send_a_byte_at_a_time(tmp_path: Path) -> None:
    """Half of them send a head that never ends, the others a body until they fall silent."""
    times = 'header_timeout = "2.5s"\nbody_timeout = "600ms"\nlinger_timeout = "100ms"\n'
    with spawned(tmp_path, *QUIET, text=f"[server]\n{times}{CONFIG}") as gateway:
        for _ in range(10):
            get(gateway.port, "/healthz")
        before = resident(gateway)
        began = time.monotonic()
        heads = connected(gateway, 250)
        bodies = connected(gateway, 250)
        for client in bodies:
            send(client, HEAD)
        most = 0.0
        waits: list[float] = []
        for byte in HEAD[:20]:
            for client in (*heads, *bodies):
                send(client, bytes([byte]))
            polled = time.monotonic()
            assert get(gateway.port, "/healthz") == 200
            waits.append(time.monotonic() - polled)
            most = max(most, resident(gateway))
            time.sleep(0.02)
        for client in (*heads, *bodies):
            assert read_all(client).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began >= 2.5
        assert get(gateway.port, "/healthz") == 200
        assert most - before < 20 * MB
        # Not the longest: that is the machine's.
        assert sorted(waits)[len(waits) // 2] < 0.5


async def test_a_client_that_reads_a_kilobyte_a_second(tmp_path: Path) -> None:
    """The 50 MB that its upstream would like to send wait there."""
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 65_000})
    fast = stream_response([message_start(), *[delta] * 30, *text_events()[1:]])
    endless = [SSE_HEAD + chunked([message_start()], end=False), *[chunked([delta], end=False)] * 800]

    def respond(request: Received) -> Script:
        return (
            json_response(404, {}, close=True)
            if not request.body
            else fast
            if b"fast" in request.body
            else endless
        )

    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(respond=respond) as up:
        with spawned(tmp_path, *QUIET, text=CONFIG.replace("http://127.0.0.1:9", up.url)) as gateway:
            assert (await fetch(gateway.port, "POST", "/v1/messages", ask("fast", stream=True))).complete
            before = most = resident(gateway)
            body = orjson.dumps(ask("endless", stream=True))
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", gateway.port))
                await loop.sock_sendall(client, HEAD.replace(b"1000", b"%d" % len(body)) + body)
                for _ in range(6):
                    await asyncio.sleep(0.25)
                    assert await loop.sock_recv(client, 256)
                    most = max(most, resident(gateway))
                assert up.open == 1
            assert most - before < 2 * MB


def test_max_connections_of_a_thousand(tmp_path: Path) -> None:
    """The process begins with a soft limit of descriptors that is too small for them, as is usual."""
    count = min(1024, raise_limit(4096) - 300)
    text = f"[server]\nmax_connections = {count}\n{CONFIG}"
    with spawned(tmp_path, *QUIET, text=text, before=limited("-Sn 256")) as gateway:
        clients = connected(gateway, count)
        (refused,) = map(read_all, connected(gateway, 1))
        head, _, body = refused.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in head
        assert b"\r\nconnection: close" in head
        assert b'"type":"overloaded_error"' in body
        for client in (clients[0], clients[-1]):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        for client in clients:
            client.close()
        deadline = time.monotonic() + PATIENCE
        while get(gateway.port, "/healthz") != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        gateway.signal("TERM")
        lines = gateway.wait().splitlines()
        assert [
            line for line in lines if not line.endswith("does not list its models; it is asked again")
        ] == []
