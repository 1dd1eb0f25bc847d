"""The client that sees what a client sees: odd servers are faults in words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.config import ConfigError
from gateway.operator.doctor import client
from gateway.operator.doctor.client import GatewayAddress, address_of, open_response
from gateway.operator.doctor.findings import Fault
from tests.fakes.messages import Close, ScriptedUpstream


@asynccontextmanager
async def serving(*pieces: bytes) -> AsyncIterator[GatewayAddress]:
    async with ScriptedUpstream(respond=lambda request: [*pieces, Close()]) as up:
        yield GatewayAddress("http", "127.0.0.1", up.port)


@pytest.mark.parametrize(
    ("pieces", "status", "body", "complete"),
    [
        ((b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\ncontent-le", b"ngth: 2\r\n\r\nhi"), 200, b"hi", True),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",), 200, b"half", False),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n",), 200, b"a", False),
    ],
)
async def test_responses(pieces: tuple[bytes, ...], status: int, body: bytes, complete: bool) -> None:
    async with serving(*pieces) as target, open_response(target, "GET", "/") as response:
        assert (response.status, await response.body(), response.complete) == (status, body, complete)


@pytest.mark.parametrize("response", [b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 2", b"SSH-2.0\r\n\r\n"])
async def test_invalid_responses(response: bytes) -> None:
    async with serving(response) as target:
        with pytest.raises(Fault, match="the connection ended without a response"):
            async with open_response(target, "GET", "/"):
                raise AssertionError
    with pytest.raises(Fault, match="no connection: Connection refused"):
        async with open_response(target, "GET", "/"):
            raise AssertionError


async def test_a_response_that_is_cut_or_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BODY", 3)
    async with (
        serving(b"HTTP/1.1 200 OK\r\n\r\n", b"long") as target,
        open_response(target, "GET", "/") as response,
    ):
        with pytest.raises(Fault, match="the response has no end"):
            await response.body()
    async with (
        serving(b"HTTP/1.1 200 OK\r\n\r\n", b"x") as target,
        open_response(target, "GET", "/") as response,
    ):
        response._reader.set_exception(ConnectionResetError())
        assert await response.piece() == b""


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("127.0.0.1:8045", GatewayAddress("http", "127.0.0.1", 8045)),
        ("http://h/v1/", GatewayAddress("http", "h", 80)),
        ("https://me:canary@[::1]/llm", GatewayAddress("https", "::1", 443, "/llm")),
    ],
)
def test_addresses_as_people_write_them(url: str, target: GatewayAddress) -> None:
    assert address_of(url) == target
    assert "canary" not in repr(address_of(url))
    assert (
        target.authority == f"[::1]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
    )


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:port"])
def test_invalid_addresses(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--url "):
        address_of(url)
