"""A process without free descriptors: clients above the limit get a 503 or are cut off, and it keeps serving."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from tests.fakes.messages import Received, Script, ScriptedUpstream, json_response, message
from tests.support.client import Client, ask
from tests.support.loops import LOOPS, eventually
from tests.support.spawned import CONFIG, PATIENCE, Spawned, get, limited, spawned

FEW = 48
"""Descriptors of a process."""

NARROW = limited(f"-n {FEW}")

QUIET = ("--log-level", "warning")


def flood(gateway: Spawned) -> list[socket.socket]:
    """More clients than there are descriptors."""
    return [socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) for _ in range(100)]


def cpu_time(gateway: Spawned) -> float:
    """Seconds that the process has been at work."""
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_flood_of_clients_without_descriptors(tmp_path: Path, loop: str) -> None:
    environ = {}
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
        environ = {"PYTHONPATH": str(tmp_path)}
    with spawned(tmp_path, *QUIET, environ=environ, before=NARROW) as gateway:
        gateway.line("at most 12 connections are let in")
        clients = flood(gateway)
        before = cpu_time(gateway)
        time.sleep(1.5)
        # It waits; a loop that is notified again and again of an unacceptable connection would be busy.
        assert cpu_time(gateway) - before < 0.75
        # A client accepted before the flood is still served.
        clients[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[0].recv(65536).startswith(b"HTTP/1.1 200 ")
        for client in clients:
            client.close()
        served(gateway)
        gateway.signal("TERM")
        log = gateway.wait()
    assert "Traceback" not in log
    assert log.count("Too many open files") == (1 if loop == "asyncio" else 0)


def served(gateway: Spawned) -> None:
    """A new client is served, soon."""
    deadline = time.monotonic() + PATIENCE
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

    def respond(request: Received) -> Script:
        # It tells its models, so that it is not asked for them again.
        return json_response(200, message() if request.body else {"data": [{"id": "m"}]}, close=True)

    async with ScriptedUpstream(respond=respond) as up:
        # Those who hear that they come too many hold a descriptor until they leave.
        more = '[server]\nlinger_timeout = "60s"\n[retry]\nmax_attempts = 1\n'
        text = f"{more}{CONFIG.replace('http://127.0.0.1:9', up.url)}"
        with spawned(tmp_path, *QUIET, text=text, before=NARROW) as gateway:
            async with await Client.connect(gateway.port) as client:
                assert (await client.request("POST", "/v1/messages", ask())).status == 200
                # The descriptor of the request for the model list is free again.
                await eventually(lambda: len(up.requests) > 1 and up.open == 0)
                others = flood(gateway)
                await eventually(lambda: len(os.listdir(f"/proc/{gateway.process.pid}/fd")) == FEW)
                refused = await client.request("POST", "/v1/messages", ask())
                for other in others:
                    other.close()
                assert (refused.status, refused.error_type) == (502, "api_error")
                assert f"no connection to {up.url}: Too many open files" in refused.message
                async with asyncio.timeout(PATIENCE):
                    while (await client.request("POST", "/v1/messages", ask())).status != 200:
                        pass
