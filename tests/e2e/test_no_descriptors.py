"""A process without free descriptors: clients above the limit get a 503 or are cut off, and it keeps serving."""

import asyncio
import resource
import socket
import time
from pathlib import Path

import pytest

from tests.fakes.messages import ScriptedUpstream, json_response, message
from tests.support.client import Client, ask
from tests.support.loops import LOOPS
from tests.support.spawned import CONFIG, Spawned, get, limited, spawned

NARROW = limited("-n 48")
"""So few, and no more."""

QUIET = ("--log-level", "warning")


def flood(gateway: Spawned) -> list[socket.socket]:
    """More clients than there are descriptors."""
    return [socket.create_connection(("127.0.0.1", gateway.port), timeout=5.0) for _ in range(100)]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_flood_of_clients_without_descriptors(tmp_path: Path, loop: str) -> None:
    environ = {}
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
        environ = {"PYTHONPATH": str(tmp_path)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with spawned(tmp_path, *QUIET, environ=environ, before=NARROW) as gateway:
        gateway.line("at most 12 connections are let in")
        clients = flood(gateway)
        time.sleep(1.5)
        # A client accepted before the flood is still served.
        clients[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[0].recv(65536).startswith(b"HTTP/1.1 200 ")
        for client in clients:
            client.close()
        served(gateway)
        gateway.signal("TERM")
        log = gateway.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # It waited; a loop that is notified again and again of an unacceptable connection would be busy.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
    assert "Traceback" not in log
    assert log.count("Too many open files") == (1 if loop == "asyncio" else 0)


def served(gateway: Spawned) -> None:
    """A new client is served, soon."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        try:
            if get(gateway.port, "/healthz") == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("no client is served any more")


async def test_dialling_without_descriptors(tmp_path: Path) -> None:
    """A request that was let in, and cannot be passed on: it fails in words, and a later one is served."""
    async with ScriptedUpstream(respond=lambda request: json_response(200, message(), close=True)) as up:
        text = f"[retry]\nmax_attempts = 1\n{CONFIG.replace('http://127.0.0.1:9', up.url)}"
        with spawned(tmp_path, *QUIET, text=text, before=NARROW) as gateway:
            async with await Client.connect(gateway.port) as client:
                assert (await client.request("POST", "/v1/messages", ask())).status == 200
                others = flood(gateway)
                await asyncio.sleep(0.3)
                # The descriptor of the request for the model list is free again.
                others += flood(gateway)
                await asyncio.sleep(0.1)
                refused = await client.request("POST", "/v1/messages", ask())
                for other in others:
                    other.close()
                assert (refused.status, refused.error_type) == (502, "api_error")
                assert f"no connection to {up.url}: Too many open files" in refused.message
                await asyncio.sleep(1.5)
                assert (await client.request("POST", "/v1/messages", ask())).status == 200
