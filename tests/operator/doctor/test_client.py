"""The client that sees what a client sees: odd servers are faults in words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.operator.doctor import client
from gateway.operator.doctor.client import open_response
from gateway.operator.doctor.findings import Fault
from gateway.operator.peer import GatewayAddress
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
