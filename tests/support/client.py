"""A plain HTTP/1.1 client that shows exactly what came."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import h11
import orjson

from gateway.messages.sse import Event, EventDecoder


@dataclass
class Response:
    """One response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool
    """Its body ended as its framing requires."""

    def header(self, name: str) -> str | None:
        for known, value in self.headers:
            if known == name:
                return value
        return None

    @property
    def document(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Event]:
        decoder = EventDecoder()
        return decoder.feed(self.body) + decoder.end()

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    @property
    def error_type(self) -> str:
        return str(self.document["error"]["type"])

    @property
    def message(self) -> str:
        return str(self.document["error"]["message"])


class Client:
    """One connection, kept alive over its requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, *, tls: ssl.SSLContext | None = None) -> Self:
        name = "localhost" if tls is not None else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.writer.close()

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | dict[str, Any] = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Send one request and read its whole response."""
        self.send(method, target, body, headers)
        return await self.response(method)

    def send(
        self,
        method: str,
        target: str,
        body: bytes | dict[str, Any] = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        if isinstance(body, dict):
            body = orjson.dumps(body)
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body or method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    async def receive(self) -> bytes:
        """Read what has arrived; empty at the end."""
        return await self.reader.read(2**16)

    async def response(self, method: str = "GET") -> Response:
        """Read one response; one that breaks off comes with `complete` False."""
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
        connection.send(
            h11.Request(method=method, target="/", headers=[("Host", "x"), ("Content-Length", "0")])
        )
        connection.send(h11.EndOfMessage())
        head: h11.Response | None = None
        body: list[bytes] = []
        complete = False
        while not complete:
            try:
                item = connection.next_event()
            except h11.RemoteProtocolError:
                break
            if item is h11.NEED_DATA:
                try:
                    data = await self.receive()
                except ConnectionError:
                    break
                connection.receive_data(data)
                if not data and head is None:
                    break
            elif isinstance(item, h11.Response):
                head = item
            elif isinstance(item, h11.Data):
                body.append(bytes(item.data))
            elif isinstance(item, h11.EndOfMessage):
                complete = True
            elif isinstance(item, h11.ConnectionClosed):
                break
        if head is None:
            raise ConnectionError("the connection closed without a response")
        headers = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        return Response(head.status_code, headers, b"".join(body), complete)


async def fetch(
    port: int,
    method: str,
    target: str,
    body: bytes | dict[str, Any] = b"",
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Send one request on its own connection."""
    async with await Client.connect(port) as client:
        return await client.request(method, target, body, headers)


def ask(text: str = "hi", *, model: str = "m", stream: bool = False, **fields: Any) -> dict[str, Any]:
    """A small request."""
    document: dict[str, Any] = {
        "model": model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }
    if stream:
        document["stream"] = True
    return document
