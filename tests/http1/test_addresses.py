"""Which of a name's addresses is connected to, and when."""

import asyncio
import socket
import subprocess
import sys

import pytest

from gateway.http1 import addresses
from gateway.http1.addresses import connected_socket
from tests.support.clock import run
from tests.support.loops import settle
from tests.support.spawned import ROOT

V4, V6 = socket.AF_INET, socket.AF_INET6


class Network:
    """A name with these addresses: each says what comes of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: tuple[int, str]) -> None:
        self.tried: list[str] = []
        self.opened: list[socket.socket] = []
        self.responded = asyncio.Event()
        answer = [(family, socket.SOCK_STREAM, 6, "", (name, 80)) for family, name in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        monkeypatch.setattr(addresses, "_connect", self.connect)

    async def connect(self, family: int, address: tuple[str, int]) -> socket.socket:
        name = address[0]
        self.tried.append(name)
        if "silent" in name:
            await asyncio.Event().wait()
        elif "refuses" in name:
            raise ConnectionRefusedError(111, name)
        elif "slow" in name:
            await asyncio.sleep(1.0)
        elif "late" in name:
            await self.responded.wait()
        self.responded.set()
        self.opened.append(socket.socket())
        return self.opened[-1]


@pytest.mark.parametrize(
    ("found", "tried", "seconds"),
    [
        ([(V6, "good"), (V4, "other")], ["good"], 0.0),
        ([(V6, "silent"), (V4, "good")], ["silent", "good"], 0.25),
        ([(V6, "refuses"), (V4, "good")], ["refuses", "good"], 0.0),
        ([(V6, "silent"), (V6, "silent too"), (V4, "good")], ["silent", "good"], 0.25),
        ([(V4, "silent"), (V4, "refuses"), (V4, "good")], ["silent", "refuses", "good"], 0.25),
        ([(V6, "slow"), (V4, "refuses")], ["slow", "refuses"], 1.0),
        ([(V6, "late"), (V4, "good")], ["late", "good"], 0.25),
    ],
)
def test_the_first_that_responds(
    found: list[tuple[int, str]], tried: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        network = Network(monkeypatch, *found)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with await connected_socket("up.test", 80) as sock:
            assert loop.time() - began == pytest.approx(seconds, abs=0.01)
            assert network.tried == tried
            await settle()
            assert [each for each in network.opened if each.fileno() >= 0] == [sock]
        assert len(network.opened) == (2 if "late" in tried else 1)

    run(story())


def test_none_that_responds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        network = Network(monkeypatch, (V6, "refuses"), (V4, "refuses, too"))
        with pytest.raises(ConnectionRefusedError) as caught:
            await connected_socket("up.test", 80)
        assert caught.value.strerror == "refuses"
        assert network.tried == ["refuses", "refuses, too"]

    run(story())


def test_a_cancelled_one_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        network = Network(monkeypatch, (V6, "silent"), (V4, "good"))
        task = asyncio.create_task(connected_socket("up.test", 80))
        await asyncio.sleep(0.2)
        await network.responded.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()
        assert network.opened[0].fileno() < 0

    run(story())


def test_the_codec_for_international_names_is_not_loaded() -> None:
    """It takes half a megabyte, and the socket module loads it for any host that is a text."""
    code = (
        "import asyncio, sys, uvloop; from gateway.http1.addresses import connected_socket\n"
        "async def dial():\n"
        "    for host in ('127.0.0.1', 'localhost'): (await connected_socket(host, int(sys.argv[1]))).close()\n"
        "uvloop.run(dial()); print('encodings.idna' in sys.modules)"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", code, str(server.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"
