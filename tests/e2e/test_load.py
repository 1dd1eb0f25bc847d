"""Many at once, very much at once, and very slow readers."""

import asyncio
import gc
import hashlib
import resource
from collections.abc import Callable
from typing import cast

import orjson

from gateway.config import Stream
from tests.fakes.messages import (
    SSE_HEAD,
    Received,
    ScriptedUpstream,
    Sleep,
    Step,
    Until,
    chunked,
    event,
    json_response,
    message,
    message_start,
    stream_response,
    text_events,
)
from tests.support.client import ask
from tests.support.loops import settle
from tests.support.running import config, running, upstream

MB = 1024 * 1024


async def test_thirteen_connections_with_two_counts_each() -> None:
    async with ScriptedUpstream() as up:
        up.respond = lambda request: [Sleep(0.01), *json_response(200, {"input_tokens": len(request.body)})]
        async with running(config(upstream(up.url, "a@x", "b@x"))) as gateway:

            async def connection(number: int) -> None:
                async with await gateway.connect() as client:
                    for turn in range(2):
                        body = ask("x" * (1 + number * 10 + turn))
                        response = await client.request("POST", "/v1/messages/count_tokens?beta=true", body)
                        assert response.document == {"input_tokens": len(orjson.dumps(body))}
                        assert response.header("x-token-count") == "upstream"

            await asyncio.gather(*map(connection, range(13)))
        assert len(up.requests) == 26


async def test_five_hundred_streams_at_once() -> None:
    # Debug mode takes half of the time and shows nothing here that a single stream does not.
    asyncio.get_running_loop().set_debug(False)
    everybody_is_here = asyncio.Event()
    events = text_events("one two three")

    async with ScriptedUpstream() as up:

        def respond(request: Received) -> list[Step]:
            if len(up.requests) == 500:
                everybody_is_here.set()
            return [
                SSE_HEAD + chunked(events[:4], end=False),
                Until(everybody_is_here),
                chunked(events[4:]),
            ]

        up.respond = respond
        patient = Stream(ping_after=60.0)
        limits = {"connect_timeout": 60.0, "first_byte_timeout": 60.0, "idle_timeout": 60.0}
        async with running(config(upstream(up.url, "a@x", "b@x"), stream=patient, limits=limits)) as gateway:

            async def stream(number: int) -> bytes:
                async with await gateway.connect() as client:
                    respond = await client.request("POST", "/v1/messages", ask(str(number), stream=True))
                    assert respond.complete
                    return respond.body

            responses = await asyncio.gather(*map(stream, range(500)))
            assert set(responses) == {b"".join(events)}
    for name in ("a@x", "b@x"):
        assert sum(request.key == f"key-of-{name}" for request in up.requests) == 250


async def test_a_slow_reader_holds_a_fast_upstream() -> None:
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 65_000})
    piece = chunked([delta], end=False)
    sent = 0

    class Upstream(ScriptedUpstream):
        """Sends 50 MB as fast as the peer reads."""

        async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            nonlocal sent
            await reader.read(2**16)
            writer.write(SSE_HEAD + chunked([message_start()], end=False))
            while sent < 50 * MB:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
            return False

    async with Upstream() as up, running(config(upstream(up.url))) as gateway:
        client = await gateway.connect()
        transport = cast(asyncio.Transport, client.writer.transport)
        transport.pause_reading()
        client.send("POST", "/v1/messages", ask(stream=True))
        await _until_still(lambda: sent)
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stopped_at = sent
        for _ in range(5):
            transport.resume_reading()
            await client.reader.read(1024)
            transport.pause_reading()
            await asyncio.sleep(0.02)
        (connection,) = gateway.gateway.server.connections
        assert connection.transport.get_write_buffer_size() < MB
        # Bytes under way are in the kernel's socket buffers, not in the gateway.
        assert stopped_at < 25 * MB
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * 1024
        client.close()
        await settle()


async def _until_still(count: Callable[[], int]) -> None:
    """Wait until a counter has stood still for a while."""
    seen = -1
    while seen != count():
        seen = count()
        await asyncio.sleep(0.15)


async def test_thirty_megabytes_of_pictures_arrive_whole() -> None:
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBO" * 1_900_000},
    }
    body = orjson.dumps(ask(messages=[{"role": "user", "content": [picture] * 4}]))
    assert len(body) > 30_000_000
    digests: list[str] = []

    def respond(request: Received) -> list[Step]:
        digests.append(hashlib.sha256(request.body).hexdigest())
        return json_response(200, message())

    async with ScriptedUpstream(respond=respond) as up, running(config(upstream(up.url))) as gateway:
        assert (await gateway.post(body)).status == 200
    assert digests == [hashlib.sha256(body).hexdigest()]


async def test_many_requests_on_one_connection() -> None:
    async with ScriptedUpstream() as up:
        up.script(stream_response(text_events()), json_response(200, message()))
        up.respond = lambda request: (
            stream_response(text_events()) if b'"stream"' in request.body else json_response(200, message())
        )
        async with running(config(upstream(up.url))) as gateway, await gateway.connect() as client:
            for number in range(50):
                response = await client.request("POST", "/v1/messages", ask(stream=bool(number % 2)))
                assert response.status == 200
                assert response.complete
        assert up.connections == 1


async def test_pipelined_requests_are_responded_to_in_order() -> None:
    async with ScriptedUpstream() as up:
        up.respond = lambda request: [
            Sleep(0.02 if b"slow" in request.body else 0),
            *json_response(200, message(str(len(request.body)))),
        ]
        async with (
            running(config(upstream(up.url, "a@x", "b@x"))) as gateway,
            await gateway.connect() as client,
        ):
            bodies = [ask("slow"), ask("quick one"), ask("slow again")]
            for body in bodies:
                client.send("POST", "/v1/messages", body)
            texts = [(await client.response("POST")).document["content"][0]["text"] for _ in bodies]
    assert texts == [str(len(orjson.dumps(body))) for body in bodies]
