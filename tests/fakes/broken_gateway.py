"""A broken gateway: a sound one with something in front of it that spoils requests or responses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from gateway.operator.doctor import client
from gateway.operator.doctor.client import open_response
from gateway.operator.peer import GatewayAddress
from tests.fakes.messages import Received, read_request

Headers = dict[str, str]

FRAMING = ("content-length", "transfer-encoding", "connection")


@dataclass
class Response:
    """Responses of the sound gateway, to be spoilt."""

    status: int
    headers: Headers
    pieces: AsyncIterator[bytes]


Spoil = Callable[[Received, Response], Awaitable[Response]]


async def as_it_is(request: Received, response: Response) -> Response:
    return response


@dataclass
class Fault:
    """The fault of a gateway."""

    request: Callable[[Received], Received] = field(default=lambda request: request)
    response: Spoil = as_it_is
    deaf: bool = False
    """It does not notice that its client left."""


def without(*names: str) -> Fault:
    """Header fields of requests are lost."""
    return Fault(
        lambda request: replace(
            request, headers=[(n, v) for n, v in request.headers if n.decode() not in names]
        )
    )


def changing(change: Callable[[bytes], bytes]) -> Fault:
    """Bodies of responses are changed, an event at a time."""

    async def pieces(response: Response) -> AsyncIterator[bytes]:
        buffer = b""
        async for piece in response.pieces:
            *events, buffer = (buffer + piece).split(b"\n\n")
            for event in events:
                yield change(event + b"\n\n")
        yield change(buffer) if buffer else b""

    async def spoil(request: Received, response: Response) -> Response:
        return replace(response, pieces=pieces(response))

    return Fault(response=spoil)


def responding(status: int, body: bytes = b"", when: str = "", **headers: str) -> Fault:
    """Requests for targets with these words get a separate response."""

    async def spoil(request: Received, response: Response) -> Response:
        if when not in f"{request.method} {request.target}":
            return response
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(status, own, _piece(body))

    return Fault(response=spoil)


async def _piece(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _collected(request: Received, response: Response) -> Response:
    return replace(response, pieces=_piece(b"".join([piece async for piece in response.pieces])))


async def _rewritten(request: Received, response: Response) -> Response:
    if response.status < 400:
        return response
    return Response(response.status, {}, _piece(b'{"error": "the upstream failed"}'))


BUFFERING = Fault(response=_collected)
DROPS_PINGS = changing(lambda event: b"" if event.startswith(b"event: ping") else event)
REWRITES_ERRORS = Fault(response=_rewritten)


class BrokenGateway:
    """Listens on its own port, in front of a gateway."""

    def __init__(self, gateway: GatewayAddress, fault: Fault) -> None:
        self._gateway = gateway
        self._fault = fault
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request is not None:
            task = asyncio.ensure_future(self._exchange(self._fault.request(request), writer))
            self._tasks.add(task)
            gone = asyncio.ensure_future(reader.read(1))
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not self._fault.deaf:
                task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)
        writer.close()

    async def _exchange(self, request: Received, writer: asyncio.StreamWriter) -> None:
        named = {n.decode(): v.decode() for n, v in request.headers}
        headers = {n: v for n, v in named.items() if n not in ("host", "content-type", *FRAMING)}
        async with open_response(
            self._gateway, request.method, request.target, request.body, headers
        ) as received:
            sound = Response(received.status, received.headers, _pieces(received))
            response = await self._fault.response(request, sound)
            fields = [f"{n}: {v}" for n, v in response.headers.items() if n not in FRAMING]
            lines = [f"HTTP/1.1 {response.status} X", *fields, "connection: close", "", ""]
            writer.write("\r\n".join(lines).encode("latin-1"))
            with suppress(ConnectionError):
                async for piece in response.pieces:
                    writer.write(piece)
                    await writer.drain()


async def _pieces(response: client.Response) -> AsyncIterator[bytes]:
    while piece := await response.piece():
        yield piece
