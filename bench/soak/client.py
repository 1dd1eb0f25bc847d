"""The soak's client: one keep-alive connection, one scenario at a time, a word for what came back.

It reads answers strictly: framing to the end, JSON that parses, and the event grammar of a stream. A
stream that ended with an error is the last thing on its connection.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from bench.exchange import dechunked
from bench.requests import encode, render
from bench.soak.config import KEY
from bench.soak.scenarios import Scenario

ANSWER_SECONDS = 60.0
SLOW_READ_SECONDS = 0.002
SLOW_READ_BYTES = 16_384
ENOUGH_TO_LEAVE = 600
"""Bytes after which a client that leaves in the middle has seen an event."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Outcome word, and the start of the answer for a report."""

    outcome: str
    detail: str = ""


class BadAnswer(Exception):
    """The answer broke a rule of HTTP or of the event grammar; the text says which."""


def build(scenario: Scenario, port: int, number: int) -> bytes:
    """The request's bytes. `number` makes it a conversation of its own."""
    headers = [("x-api-key", scenario.key or KEY), ("content-type", "application/json")]
    if scenario.method != "POST":
        return render(scenario.method, scenario.path, port, headers, b"")
    if scenario.declared:
        head = render("POST", scenario.path, port, headers, b"")
        return head.replace(b"Content-Length: 0", b"Content-Length: %d" % scenario.declared)
    body = scenario.raw if scenario.raw is not None else encode(_document(scenario, number))
    return render("POST", scenario.path, port, headers, body)


def _document(scenario: Scenario, number: int) -> dict[str, Any]:
    text = f"nonce-{number} " + "x" * scenario.body
    document: dict[str, Any] = {
        "model": scenario.model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
    }
    if scenario.stream:
        document["stream"] = True
    return document


class Client:
    """A client that opens its connection when it needs one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        """Drop the connection at once."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def perform(self, scenario: Scenario, number: int) -> Answer:
        """One scenario; never raises for what the gateway does."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._perform(scenario, number)
        except TimeoutError:
            self.close()
            return Answer("no answer in time")
        except (ConnectionError, asyncio.IncompleteReadError) as problem:
            self.close()
            return Answer("connection broken", repr(problem))
        except (BadAnswer, ValueError) as problem:
            self.close()
            return Answer("bad answer", str(problem))

    async def _perform(self, scenario: Scenario, number: int) -> Answer:
        reader, writer = await self._connected()
        writer.write(build(scenario, self._port, number))
        await writer.drain()
        if scenario.manner == "leaves at once":
            self.close()
            return Answer("left")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        if scenario.manner == "leaves in the middle" and status == 200:
            await reader.readexactly(ENOUGH_TO_LEAVE)
            self.close()
            return Answer("left")
        body = await _body(reader, head, slowly=scenario.manner == "reads slowly")
        answer = judge(status, head, body)
        if b"connection: close" in head or answer.outcome == "stream, then error":
            self.close()
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer


async def _body(reader: asyncio.StreamReader, head: bytes, *, slowly: bool) -> bytes:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    if b"transfer-encoding: chunked" not in head:
        return await reader.read()
    parts: list[bytes] = []
    while not b"".join(parts[-2:]).endswith(b"\r\n0\r\n\r\n"):
        if slowly:
            await asyncio.sleep(SLOW_READ_SECONDS)
        part = await reader.read(SLOW_READ_BYTES)
        if not part:
            raise ConnectionError("closed inside a chunked body")
        parts.append(part)
    return dechunked(b"".join(parts))


def judge(status: int, head: bytes, body: bytes) -> Answer:
    """The outcome word of a whole answer. Raises BadAnswer or ValueError for a wrong one."""
    if b"text/event-stream" in head and status == 200:
        return Answer(judge_stream(body))
    document = json.loads(body)
    if status == 200:
        return Answer("json")
    if not isinstance(document, dict) or document.get("type") != "error" or "error" not in document:
        raise BadAnswer(f"status {status} without an error body: {body[:120]!r}")
    if status == 429 and b"\r\nretry-after:" not in head:
        raise BadAnswer("a 429 without retry-after")
    return Answer(f"status {status}", str(document["error"].get("message"))[:160])


def judge_stream(body: bytes) -> str:
    """Read a stream's events by the grammar: `stream`, or `stream, then error`."""
    opened = closed = 0
    last = ""
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
        if not data:
            continue
        if last in ("message_stop", "error"):
            raise BadAnswer(f"something after {last}")
        last = json.loads(b"\n".join(data))["type"]
        opened += last == "content_block_start"
        closed += last == "content_block_stop"
    if last == "error":
        return "stream, then error"
    if last != "message_stop":
        raise BadAnswer(f"a stream whose last event is {last or 'none'}")
    if opened != closed:
        raise BadAnswer(f"{opened} blocks begun, {closed} ended")
    return "stream"
