"""One attempt: the request that its upstream gets, the response that becomes the client's, and the codings between."""

import asyncio
import gzip
from typing import Any

import orjson
import pytest

from gateway import __version__
from gateway.config import Retry
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Script,
    Sleep,
    chunked,
    error_response,
    event,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import ask
from tests.support.clock import run
from tests.support.in_memory import in_memory
from tests.support.running import config, upstream
from tests.support.tokens import Tokens

BODY = b'{ "id":"msg_1", "new": 1.0 }'
COUNT = "/v1/messages/count_tokens"
ONCE = Retry(max_attempts=1)
URL = "http://up.example/api"


async def test_the_request_that_an_upstream_gets() -> None:
    """Byte for byte: its lines, what the client's head gives it, and the client's body as it came."""
    body = b'{ "model": "m", "messages": [] }'
    async with in_memory(config(upstream(URL, "a@x"))) as stage:
        await stage.post(
            body, json_response(200, BODY), target="/v1/messages?beta=true", x_app="cli", cookie="a=b"
        )
        assert stage.requests[0].raw == (
            b"POST /api/v1/messages?beta=true HTTP/1.1\r\n"
            b"host: up.example\r\n"
            b"accept-encoding: identity\r\n"
            b"x-api-key: key-of-a@x\r\n"
            b"x-app: cli\r\n"
            b"content-type: application/json\r\n"
            b"anthropic-version: 2023-06-01\r\n"
            b"user-agent: messages-gateway/%b\r\n"
            b"content-length: %d\r\n\r\n%b" % (__version__.encode(), len(body), body)
        )


async def test_a_token_that_was_refreshed_is_in_the_next_head() -> None:
    tokens = Tokens("t-1")
    async with in_memory(config(upstream(URL, "g@x")), {"g@x": tokens}) as stage:
        for value in ("t-1", "t-1", "t-2"):
            tokens.issue(value)
            await stage.post(ask(), json_response(200, message()))
        assert [request.key for request in stage.requests] == ["Bearer t-1", "Bearer t-1", "Bearer t-2"]
        assert len(stage.wires) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_request_id_without_the_upstreams(stream: bool) -> None:
    head = SSE_HEAD.replace(b"request-id: req_upstream\r\n", b"")
    async with in_memory(config(upstream(URL))) as stage:
        script: Script = [head + chunked(text_events())] if stream else json_response(200, message())
        response = await stage.post(ask(stream=stream), script)
        assert f" {response.header('request-id')} " in stage.line


async def test_a_json_response_without_a_type() -> None:
    async with in_memory(config(upstream(URL))) as stage:
        response = await stage.post(ask(), [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"])
        assert (response.body, response.header("content-type")) == (b"{}", "application/json")


@pytest.mark.parametrize(
    ("expose", "email", "model"), [("full", "work@x", "m"), ("masked", "w***@x", "m"), ("none", None, None)]
)
async def test_expose_account_headers(expose: Any, email: str | None, model: str | None) -> None:
    settings = config(upstream(URL, "work@x"), server={"expose": expose})
    async with in_memory(settings) as stage:
        for script in (json_response(200, message()), error_response(400, "invalid_request_error", "no")):
            response = await stage.post(ask(), script)
            assert response.header("x-account-email") == email
            assert response.header("x-mapped-model") == model
        assert all("up/work@x" in line for line in stage.lines)


# Streams that only the gateway needs.


async def test_an_internal_stream_is_collected() -> None:
    async with in_memory(config(upstream(URL, stream_internally=True))) as stage:
        response = await stage.post(ask(), stream_response(text_events("Hello there")))
        assert stage.requests[0].document == {**ask(), "stream": True}
        assert (response.status, response.header("content-type")) == (200, "application/json")
        assert response.document["content"] == [{"type": "text", "text": "Hellothere"}]
        assert response.header("cache-control") is None
        assert "input=11 output=7 cache_read=5" in stage.line
        # Counting is no stream.
        await stage.post(ask(), json_response(200, {"input_tokens": 2}), target=COUNT)
        assert stage.requests[1].document == ask()


@pytest.mark.parametrize(
    ("events", "status", "type"),
    [
        (text_events()[:-2], 502, "api_error"),
        (
            [*text_events()[:4], event("error", error={"type": "overloaded_error", "message": "x"})],
            529,
            "overloaded_error",
        ),
    ],
)
async def test_a_collected_stream_that_breaks_is_an_error(
    events: list[bytes], status: int, type: str
) -> None:
    async with in_memory(config(upstream(URL, stream_internally=True), retry=ONCE)) as stage:
        response = await stage.post(ask(), stream_response(events))
        assert (response.status, response.error_type) == (status, type)


async def test_a_count_of_another_dialect() -> None:
    async with in_memory(config(upstream(URL, kind="gemini"))) as stage:
        response = await stage.post(ask(), json_response(200, {"totalTokens": 31}), target=COUNT)
        assert response.body == b'{"input_tokens":31}'
        assert response.header("x-token-count") == "upstream"
        assert stage.requests[0].target.endswith("/models/m:countTokens")


# Content codings.


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_compresses_despite_identity(stream: bool) -> None:
    payload = b"".join(text_events()) if stream else BODY
    kind = b"text/event-stream" if stream else b"application/json"
    coded = gzip.compress(payload)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    async with in_memory(config(upstream(URL))) as stage:
        script = [head % (kind, len(coded)) + coded[:20], coded[20:]]
        response = await stage.post(ask(stream=stream), script)
        assert (response.status, response.body) == (200, payload)
        assert response.header("content-encoding") is None
        assert stage.requests[0].header("accept-encoding") == "identity"


async def test_an_error_that_is_compressed_keeps_its_words() -> None:
    coded = gzip.compress(orjson.dumps({"error": {"type": "invalid_request_error", "message": "no"}}))
    async with in_memory(config(upstream(URL))) as stage:
        response = await stage.post(ask(), json_response(400, coded, [("content-encoding", "gzip")]))
        assert (response.status, response.message) == (400, "no")


async def test_an_unknown_content_encoding() -> None:
    async with in_memory(config(upstream(URL), retry=ONCE)) as stage:
        response = await stage.post(ask(), json_response(200, BODY, [("content-encoding", "br")]))
        assert (response.status, response.error_type) == (502, "api_error")
        assert "compresses with 'br'" in response.message
        assert stage.requests[0].wire.is_closing()


# Outcomes.


@pytest.mark.parametrize(
    ("script", "status"), [([Sleep(2.0)], 504), ([SSE_HEAD, Sleep(2.0)], 504), ([Close()], 502)]
)
def test_an_upstream_timeout_or_close(script: Script, status: int) -> None:
    async def scenario() -> None:
        limits = {"first_byte_timeout": 1.0, "idle_timeout": 1.0}
        async with in_memory(config(upstream(URL), retry=ONCE, limits=limits)) as stage:
            response = await stage.post(ask(stream=True), script)
            assert (response.status, response.error_type) == (status, STATUSES[status])

    run(scenario())


STATUSES = {502: "api_error", 504: "timeout_error"}


async def test_an_upstream_that_closes_on_one_request_is_not_cooled_down() -> None:
    """It may be that request. When it closes on another one, too, it is the upstream."""
    at = upstream(URL, "a@x", "b@x")
    async with in_memory(config(at, retry=Retry(max_attempts=2, max_wait=0.0))) as stage:
        assert (await stage.post(ask(), [Close()], [Close()])).status == 502
        assert stage.gateway.runtime.scheduler.snapshot(0.0)[0].ready
        # It serves others, so that it was that request.
        assert (await stage.post(ask("more"), json_response(200, message()))).status == 200
        assert (await stage.post(ask(), [Close()], json_response(200, message()))).status == 200


async def test_an_empty_message_is_retried_once() -> None:
    empty = json_response(200, {"content": [], "usage": {"input_tokens": 1, "output_tokens": 0}})
    async with in_memory(config(upstream(URL, "a@x", "b@x"))) as stage:
        response = await stage.post(ask(), empty, empty)
        assert (response.status, response.header("x-gateway-attempts")) == (200, "2")
        assert response.document["content"] == []


async def test_a_refused_parameter_is_cured() -> None:
    refusal = error_response(
        400, "invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block"
    )
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "s" * 20}, {"type": "text", "text": "x"}]
    body = ask()
    body["messages"] += [{"role": "assistant", "content": thinking}, {"role": "user", "content": "go"}]
    async with in_memory(config(upstream(URL, "a@x", "b@x"))) as stage:
        response = await stage.post(body, refusal, json_response(200, message()))
        assert (response.status, response.header("x-account-email")) == (200, "a@x")
        assert b"thinking" in stage.requests[0].body
        assert b"thinking" not in stage.requests[1].body
        assert "cure:without_thinking" in stage.line


async def test_on_success_is_called_after_the_first_success() -> None:
    async with in_memory(config(upstream(URL))) as stage:
        calls: list[str] = []
        stage.upstream.on_success = lambda: calls.append("served")
        await stage.post(ask(), error_response(400, "invalid_request_error", "no"))
        assert calls == []
        await stage.post(ask(), json_response(200, message()))
        assert calls == ["served"]


# Message threads: a request that continues one has only the new messages.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thread_stays_on_the_account_that_has_its_history(stream: bool) -> None:
    async with in_memory(config(upstream(URL, "a@x", "b@x"))) as stage:
        for number in range(2):
            thread: dict[str, Any] = {"type": "start"}
            for _ in range(3):
                script = (
                    stream_response(text_events())
                    if stream
                    else json_response(200, {**message(), "id": "msg_1"})
                )
                await stage.post(ask(f"{number}", stream=stream, thread=thread), script)
                thread = {"type": "continue", "previous_message_id": "msg_1"}
        # A new conversation begins on the other account, and takes the thread's next requests there.
        assert "".join(request.account for request in stage.requests) == "aaabbb"


async def test_a_thread_whose_responses_have_no_id() -> None:
    async with in_memory(config(upstream(URL, "a@x"))) as stage:
        response = await stage.post(ask(thread={"type": "start"}), json_response(200, {"content": [1]}))
        assert response.status == 200


async def test_a_thread_where_no_upstream_keeps_any() -> None:
    async with in_memory(config(upstream(URL, threads=False))) as stage:
        response = await stage.post(ask(thread={"type": "start"}))
        assert response.status == 400
        assert response.document["error"]["details"] == {"error_code": "thread_unsupported_request"}
        assert stage.requests == []
        assert (await stage.post(ask(thread=None), json_response(200, message()))).status == 200


async def test_a_request_in_a_content_coding() -> None:
    raw = orjson.dumps(ask())
    async with in_memory(config(upstream(URL))) as stage:
        response = await stage.post(
            gzip.compress(raw), json_response(200, message()), content_encoding="gzip"
        )
        assert response.status == 200
        assert stage.requests[0].body == raw
        assert stage.requests[0].header("content-encoding") is None


# A probe.


@pytest.mark.parametrize("good", [False, True])
def test_a_good_response_head_ends_the_probe(good: bool) -> None:
    async def scenario() -> None:
        async with in_memory(config(upstream(URL, "a@x"))) as stage:
            limit = error_response(429, "rate_limit_error", "wait", [("retry-after", "5")])
            assert (await stage.post(ask(), limit)).status == 429
            await asyncio.sleep(5.1)
            clients = [stage.connect(), stage.connect()]
            for client in clients:
                client.send("POST", "/v1/messages", ask(stream=True))
            await stage.turn()
            # One of them is the probe, and the other waits for it.
            assert len(stage.requests) == 2
            probe = stage.requests[1].wire
            probe.feed(SSE_HEAD if good else SSE_HEAD.replace(b"200 OK", b"500 X"))
            await stage.turn()
            assert len(stage.requests) == (3 if good else 2)
            for client in clients:
                await client.leave()

    run(scenario())
