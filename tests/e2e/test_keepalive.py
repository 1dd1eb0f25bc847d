"""Pings: what a client receives while its upstream is silent, and when it receives nothing."""

import asyncio
from typing import Any

import orjson
import pytest

from gateway.config import Retry, Stream
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Received,
    Script,
    ScriptedUpstream,
    Sleep,
    Stall,
    Step,
    chunked,
    error_response,
    json_response,
    message,
    message_start,
    stream_response,
    text_events,
)
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.running import Running, account, config, running, upstream
from tests.support.stage import account_of

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
EVENTS = [event for event in text_events("one two") if b"event: ping" not in event]
PAYLOAD = b"".join(EVENTS)
START, CONTENT, REST = EVENTS[:1], EVENTS[1:3], EVENTS[3:]
"""Before there is content; the first of it; what follows."""


def settings(*accounts: Any, url: str, ping_after: float = 15.0) -> Any:
    """The default times, but an upstream may be silent for long."""
    patient = dict.fromkeys(("first_byte_timeout", "first_byte_timeout_complete", "idle_timeout"), 1000.0)
    return config(
        upstream(url, *(accounts or ("a@x", "b@x"))),
        stream=Stream(ping_after=ping_after),
        limits=patient,
        retry=Retry(),
    )


async def receive_stream(g: Running, version: str = "1.1") -> list[tuple[int, bytes]]:
    """Return what a client reads from its connection until that closes, each with its time in seconds."""
    body = orjson.dumps(ask(stream=True))
    client = await g.connect()
    head = f"POST /v1/messages HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}"
    client.writer.write(head.encode() + b"\r\n\r\n" + body)
    loop = asyncio.get_running_loop()
    began = loop.time()
    pieces: list[tuple[int, bytes]] = []
    while data := await client.reader.read(2**16):
        pieces.append((round(loop.time() - began), data))
    client.close()
    return pieces


def story(pieces: list[tuple[int, bytes]]) -> str:
    """When there were a head, pings, and anything else: `15 head ping, 30 ping, 40 more`."""
    found: dict[int, list[str]] = {}
    for at, data in pieces:
        words = found.setdefault(at, [])
        if data.startswith(b"HTTP/1.1 200 "):
            words.append("head")
            data = data.partition(b"\r\n\r\n")[2]
        if PING in data:
            words.append("ping")
        rest = data.replace(b"%x\r\n%b\r\n" % (len(PING), PING), b"").replace(PING, b"")
        if rest and words[-1:] != ["more"]:
            words.append("more")
    return ", ".join(f"{at} {' '.join(words)}" for at, words in found.items())


def in_chunks(*events: bytes) -> bytes:
    return chunked(events, end=False)


COMMENTS: list[Step] = [Sleep(10), in_chunks(b":\n\n")] * 4

STORIES: dict[str, tuple[list[Step], str]] = {
    # the upstream's script: what a client receives
    "silent before the head": (
        [Sleep(50), *stream_response(EVENTS)],
        "15 head ping, 30 ping, 45 ping, 50 more",
    ),
    "silent before any content": (
        [SSE_HEAD, Sleep(10), in_chunks(*START), Sleep(7), chunked(EVENTS[1:])],
        "15 head ping, 17 more",
    ),
    "silent between events": (
        [SSE_HEAD + in_chunks(*START, *CONTENT), Sleep(40), in_chunks(REST[0]), Sleep(20), chunked(REST[1:])],
        "0 head more, 15 ping, 30 ping, 40 more, 55 ping, 60 more",
    ),
    "quick enough": (
        [Sleep(14), SSE_HEAD, in_chunks(*START, *CONTENT), Sleep(14), in_chunks(REST[0]), Sleep(14), chunked(REST[1:])],
        "14 head more, 28 more, 42 more",
    ),
    "with its own comments": (
        [SSE_HEAD + in_chunks(*START, *CONTENT), *COMMENTS, chunked(REST)],
        "0 head more, 10 more, 20 more, 30 more, 40 more",
    ),
    "with comments and nothing else, too many to hold back": (
        [SSE_HEAD + in_chunks(*START, b":\n\n" * 30_000), Sleep(10), chunked(EVENTS[1:])],
        "0 head more, 10 more",
    ),
    "silent inside an event": (
        [SSE_HEAD + in_chunks(*START, *CONTENT, REST[0][:9]), Sleep(40), chunked([REST[0][9:], *REST[1:]])],
        "0 head more, 40 more",
    ),
    "silent before the blank line": (
        [SSE_HEAD + in_chunks(*START, *CONTENT, REST[0][:-1]), Sleep(40), chunked([b"\n", *REST[1:]])],
        "0 head more, 40 more",
    ),
    "silent inside a chunk, between events": (
        [SSE_HEAD + in_chunks(*START) + b"%x\r\n" % len(b"".join(EVENTS[1:])) + b"".join(CONTENT), Sleep(40),
         b"".join(REST) + b"\r\n0\r\n\r\n"],
        "0 head more, 40 more",
    ),
    "silent inside a chunk's size": (
        [SSE_HEAD + in_chunks(*START, *CONTENT) + b"0", Sleep(40), chunked(REST)],
        "0 head more, 40 more",
    ),
    "silent inside the last chunk": (
        [SSE_HEAD + in_chunks(*EVENTS) + b"0\r\n", Sleep(40), b"\r\n"],
        "0 head more, 40 more",
    ),
    "silent between events, by length": (
        [SSE_HEAD.replace(b"transfer-encoding: chunked", b"content-length: %d" % len(PAYLOAD)) + b"".join(EVENTS[:3]),
         Sleep(20), b"".join(REST)],
        "0 head more, 15 ping, 20 more",
    ),
    "silent inside an event, by length": (
        [SSE_HEAD.replace(b"transfer-encoding: chunked", b"content-length: %d" % len(PAYLOAD)) + PAYLOAD[:-1],
         Sleep(20), PAYLOAD[-1:]],
        "0 head more, 20 more",
    ),
}  # fmt: skip


def payload_of(pieces: list[tuple[int, bytes]]) -> bytes:
    """The response's body without our pings."""
    head, _, body = b"".join(data for _, data in pieces).partition(b"\r\n\r\n")
    payload = b""
    if b"transfer-encoding: chunked" not in head:
        return body.replace(PING, b"")
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        payload += body[:count].replace(PING, b"")
        assert body[count : count + 2] == b"\r\n"
        body = body[count + 2 :]
    assert count == 0
    return payload


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("script", "expected"), STORIES.values(), ids=STORIES)
def test_pings(script: list[Step], expected: str, version: str) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(settings(url=up.url)) as g:
            up.script(script)
            pieces = await receive_stream(g, version)
            if version == "1.1":
                # A client without chunked framing can be pinged inside one of the upstream's chunks.
                assert story(pieces) == expected
            assert payload_of(pieces).replace(b":\n\n", b"") == PAYLOAD
            assert " 200 ok " in g.lines[-1]

    run(scenario())


async def post_to_slow(responses: dict[str, Script], **fields: Any) -> tuple[Response, str]:
    """Return the response of accounts with these scripts, and the accounts that were tried."""
    accounts: list[str] = []

    def respond(request: Received) -> Script:
        accounts.append(account_of(request))
        return responses[accounts[-1]]

    async with ScriptedUpstream(respond=respond) as up, running(settings(url=up.url, **fields)) as g:
        return await g.post(ask(stream=True)), "".join(accounts)


def test_retries_continue_after_a_ping() -> None:
    slow_failure: Script = [Sleep(20), *error_response(500, "api_error", "oh")]
    response, accounts = run(post_to_slow({"a": slow_failure, "b": stream_response(EVENTS)}))
    assert (response.status, response.body, accounts) == (200, PING + PAYLOAD, "ab")
    assert response.complete
    response, accounts = run(
        post_to_slow({"a": [SSE_HEAD, Sleep(20), Close()], "b": [Sleep(12), *stream_response(EVENTS)]})
    )
    assert (response.status, response.body, accounts) == (200, PING * 2 + PAYLOAD, "ab")


FINAL = {
    # status of the upstream, its type: the type and the words that the client gets
    (400, "invalid_request_error"): ("invalid_request_error", "words"),
    (401, "authentication_error"): ("api_error", 'upstream "up" refused account "a@x" (401)'),
    (429, "rate_limit_error"): ("rate_limit_error", "words (no account is free for this request"),
    (500, "api_error"): ("api_error", "words"),
    (529, "overloaded_error"): ("overloaded_error", "words"),
}


@pytest.mark.parametrize(("scripted", "expected"), FINAL.items(), ids=str)
def test_a_final_failure_comes_as_an_event(scripted: tuple[int, str], expected: tuple[str, str]) -> None:
    hint = [("retry-after", "3600")] if scripted[0] == 429 else []
    failure: Script = [Sleep(16), *error_response(*scripted, "words", hint)]
    response, _ = run(post_to_slow({"a": failure, "b": failure}))
    assert response.status == 200
    assert response.complete
    *pings, error = response.events
    assert pings
    assert {event.name for event in pings} == {"ping"}
    document = orjson.loads(error.data)
    assert (error.name, document["type"], document["error"]["type"]) == ("error", "error", expected[0])
    assert document["error"]["message"].startswith(expected[1])
    assert document["request_id"] == response.header("request-id")


def test_the_connection_ends_with_the_error() -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(settings(url=up.url)) as g:
            up.script([Sleep(16), *error_response(400, "invalid_request_error", "no")])
            async with await g.connect() as client:
                response = await client.request("POST", "/v1/messages", ask(stream=True))
                assert response.names == ["ping", "error"]
                async with asyncio.timeout(0.1):
                    assert not await client.reader.read()
            assert " 200 upstream_error " in g.lines[-1]

    run(scenario())


def test_a_json_response_after_a_ping_is_written_as_events() -> None:
    scripted: Script = [Sleep(16), *json_response(200, message())]

    async def scenario() -> None:
        async with ScriptedUpstream(respond=lambda _: scripted) as up, running(settings(url=up.url)) as g:
            response = await g.post(ask(stream=True))
            assert response.names[:2] == ["ping", "message_start"]
            assert response.names[-1] == "message_stop"

    run(scenario())


def test_pings_while_waiting_for_an_account() -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up:
            full = account("a@x", max_concurrent=1)
            async with running(settings(full, url=up.url)) as g:
                up.script([Sleep(18), *json_response(200, message())], stream_response(EVENTS))
                first = asyncio.create_task(g.post(ask()))
                await asyncio.sleep(0.01)
                assert story(await receive_stream(g)) == "15 head ping, 18 more"
                assert (await first).status == 200

    run(scenario())


def test_no_pings_without_stream() -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(settings(url=up.url)) as g:
            up.script([Sleep(50), *json_response(200, message())])
            response = await g.post(ask())
            assert response.document == message()
            response = await g.post(ask(stream=True), "/v1/messages/count_tokens")
            assert response.header("content-type") == "application/json"

    run(scenario())


def test_leaving_after_a_ping() -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(settings(url=up.url)) as g:
            up.script([SSE_HEAD + in_chunks(message_start()), Stall()])
            client = await g.connect()
            client.send("POST", "/v1/messages", ask(stream=True))
            await asyncio.sleep(31)
            client.close()
            await asyncio.sleep(0.01)
            assert up.open == 0
            assert " 499 canceled " in g.lines[0]
            await asyncio.sleep(100)
            assert len(g.lines) == len(up.requests) == 1

    run(scenario())
