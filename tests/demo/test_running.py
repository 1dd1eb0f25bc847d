"""`gateway demo` as a process."""

import re
import signal
import socket
import subprocess
import sys
from asyncio import get_running_loop, timeout
from threading import Timer
from typing import IO

import pytest

from gateway import demo
from gateway.app import Gateway
from gateway.demo import running
from gateway.demo.upstream import ACCOUNTS, DemoUpstream
from tests.support.client import Client, Response, ask, fetch
from tests.support.spawned import PATIENCE


@pytest.fixture
def responses(monkeypatch: pytest.MonkeyPatch) -> list[Response]:
    """The response of a demo that ends by itself after one request."""
    responses = []

    async def post_once(gateway: Gateway, reload: object) -> None:
        assert reload is None
        get_running_loop().call_soon(int, "canary")
        responses.append(await fetch(gateway.port, "POST", "/v1/messages", ask("Hello")))
        await gateway.stop(0.0)

    monkeypatch.setattr(running, "wait_until_stopped", post_once)
    return responses


def test_demo_serves_until_stopped(responses: list[Response], capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.serve(0) == 0

    (response,) = responses
    out, err = capfd.readouterr()
    assert response.header("x-account-email") in ACCOUNTS
    assert 'You said: "Hello"' in response.document["content"][0]["text"]
    assert "POST /v1/messages" in err
    assert "error: a callback failed: ValueError" in err
    assert "Traceback" not in err
    assert err.endswith("requests that reached the embedded upstream: 1\n")
    assert "127.0.0.1:0" not in out


def test_a_port_in_use(responses: list[Response], capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo.serve(port) == 2

    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in err
    assert not responses


async def test_a_listener_counts_posts_and_closes_its_connections() -> None:
    upstream = DemoUpstream()
    async with running.listening(upstream) as port:
        waiting = await Client.connect(port)
        refused = await Client.connect(port)
        refused.writer.write(b"no request\r\n\r\n")
        error = await refused.response()
        await fetch(port, "GET", "/v1/models")
        await fetch(port, "POST", "/v1/messages", ask())

    async with timeout(PATIENCE):
        assert await waiting.reader.read() == b""
    with pytest.raises(ConnectionError):
        await Client.connect(port)
    assert (error.status, error.error_type) == (400, "invalid_request_error")
    assert upstream.posts == 1
    waiting.close()
    refused.close()


def test_the_greeting_can_be_pasted() -> None:
    text = running.greeting("http://127.0.0.1:8045", {})

    exports = re.findall(r"^  export (\w+)=(\S+)$", text, re.MULTILINE)
    assert exports == [("ANTHROPIC_BASE_URL", "http://127.0.0.1:8045"), ("ANTHROPIC_AUTH_TOKEN", "demo")]
    assert "\n  curl -N http://127.0.0.1:8045/v1/messages " in text
    assert all(account in text for account in ACCOUNTS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_demo(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # A server that never responds would be waited for for ever.
        patience = Timer(PATIENCE, process.kill)
        patience.start()
        assert process.stdout is not None
        paste = "".join(lines_until(process.stdout, "Ctrl-C"))
        process.send_signal(number)
        rest, errors = process.communicate()
        patience.cancel()

    urls = re.findall(r"http://127\.0\.0\.1:(\d+)", paste)
    assert len(urls) == 3
    assert len(set(urls)) == 1
    assert (process.returncode, rest) == (0, "")
    assert errors.count("\n") == 1
    assert errors.endswith("requests that reached the embedded upstream: 0\n")


def lines_until(lines: IO[str], word: str) -> list[str]:
    """Lines up to the one with the word."""
    read = []
    for line in lines:
        read.append(line)
        if word in line:
            break
    return read
