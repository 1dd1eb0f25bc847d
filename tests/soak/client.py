"""The soak's client: one connection, one scenario at a time, a word for what came back.

Responses are read strictly: framing to the end, JSON that parses, and the event grammar of a stream.
"""

import asyncio
from dataclasses import dataclass

import orjson

from tests.soak.scenarios import KEY, Scenario
from tests.support.client import Client, Response

RESPONSE_SECONDS = 60.0
SLOW_READ_SECONDS = 0.002
ENOUGH_TO_LEAVE = 600
"""Bytes after which a client that leaves in the middle has seen an event."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A word for how a scenario ended, and the start of an error's text for the report."""

    word: str
    detail: str = ""


class BadResponse(Exception):
    """The response broke a rule of HTTP or of the event grammar; the text names it."""


class SlowClient(Client):
    """A client that takes little at a time, and takes its time."""

    async def receive(self) -> bytes:
        """Read a little later, and no more than 16 KiB."""
        await asyncio.sleep(SLOW_READ_SECONDS)
        return await self.reader.read(2**14)


class SoakClient:
    """A client that opens its connection when it needs one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client: Client | None = None

    def close(self) -> None:
        """Drop the connection at once."""
        if self._client is not None:
            self._client.writer.transport.abort()
        self._client = None

    async def perform(self, scenario: Scenario, number: int) -> Outcome:
        """Perform one scenario; never raises for the gateway's faults. `number` makes it a separate conversation."""
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                return await self._perform(scenario, number)
        except TimeoutError:
            self.close()
            return Outcome("no response in time")
        except (ConnectionError, asyncio.IncompleteReadError) as problem:
            self.close()
            return Outcome("connection broken", repr(problem))
        except (BadResponse, ValueError) as problem:
            self.close()
            return Outcome("bad response", str(problem))

    async def _perform(self, scenario: Scenario, number: int) -> Outcome:
        client = await self._connected(slow=scenario.manner == "reads slowly")
        headers = [("x-api-key", scenario.key or KEY)]
        if scenario.declared:
            length = f"Content-Length: {scenario.declared}"
            client.writer.write(
                f"POST {scenario.path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\n{length}\r\n\r\n".encode()
            )
        else:
            client.send(scenario.method, scenario.path, scenario.payload(number), headers)
        await client.writer.drain()
        if scenario.manner == "leaves at once":
            self.close()
            return Outcome("left")
        if scenario.manner == "leaves in the middle":
            status = (await client.reader.readuntil(b"\r\n\r\n"))[9:12].decode()
            if status == "200":
                await client.reader.readexactly(ENOUGH_TO_LEAVE)
            self.close()
            return Outcome("left" if status == "200" else f"status {status}")
        response = await client.response(scenario.method)
        outcome = judge(response)
        if response.header("connection") == "close" or outcome.word == "stream, then error":
            self.close()
        return outcome

    async def _connected(self, *, slow: bool) -> Client:
        if (
            self._client is None
            or self._client.reader.at_eof()
            or slow
            or isinstance(self._client, SlowClient)
        ):
            self.close()
            self._client = await (SlowClient if slow else Client).connect(self._port)
        return self._client


def judge(response: Response) -> Outcome:
    """Return the outcome of a whole response. Raises BadResponse or ValueError for a wrong one."""
    if not response.complete:
        raise BadResponse("the connection closed inside the body")
    if response.status == 200 and (response.header("content-type") or "").startswith("text/event-stream"):
        return Outcome(judge_stream(response))
    document = response.document
    if response.status == 200:
        return Outcome("json")
    if not isinstance(document, dict) or document.get("type") != "error" or "error" not in document:
        raise BadResponse(f"status {response.status} without an error body: {response.body[:120]!r}")
    if response.status == 429 and response.header("retry-after") is None:
        raise BadResponse("a 429 without retry-after")
    return Outcome(f"status {response.status}", response.message[:160])


def judge_stream(response: Response) -> str:
    """Read a stream's events by the grammar: `stream`, or `stream, then error`."""
    kinds = [orjson.loads(event.data)["type"] for event in response.events]
    last = kinds[-1] if kinds else "none"
    early = [kind for kind in kinds[:-1] if kind in ("message_stop", "error")]
    if early:
        raise BadResponse(f"something after {early[0]}")
    if last == "error":
        return "stream, then error"
    if last != "message_stop":
        raise BadResponse(f"a stream whose last event is {last}")
    begun, ended = kinds.count("content_block_start"), kinds.count("content_block_stop")
    if begun != ended:
        raise BadResponse(f"{begun} blocks begun, {ended} ended")
    return "stream"
