"""POST /v1/messages: responses of the gateway itself, refusals, and requests handed to the proxy."""

import json
from typing import Any

import pytest

from gateway.config import Auth, Intercept, Secret
from gateway.messages.collect import Collector
from tests.fakes.messages import ScriptedUpstream
from tests.support.client import ask
from tests.support.loops import settle
from tests.support.running import config, running, upstream
from tests.support.stage import good

REMINDER = {"type": "text", "text": "<system-reminder>\nnever mind\n</system-reminder>"}


def warmup(content: Any = "Warmup", **fields: Any) -> dict[str, Any]:
    return ask(content, model="claude-haiku-4-5", **fields)


@pytest.mark.parametrize(
    "content",
    [
        "Warmup",
        " Warmup\n",
        [{"type": "text", "text": "Warmup"}],
        [REMINDER, {"type": "text", "text": "Warmup"}],
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_warmup_gets_a_local_response(content: Any, stream: bool) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        response = await g.post(warmup(content, stream=stream))
        assert response.status == 200
        assert response.header("x-warmup-intercepted") == "true"
        assert response.header("request-id") is not None
        if stream:
            assert response.names == [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
            assert response.header("content-type") == "text/event-stream; charset=utf-8"
            assert response.header("cache-control") == "no-cache"
            assert response.header("x-accel-buffering") == "no"
            collector = Collector()
            for event in response.events:
                collector.feed(event)
            document = collector.message
        else:
            assert response.header("content-type") == "application/json"
            document = response.document
        assert document is not None
        assert (document["model"], document["role"], document["type"]) == (
            "claude-haiku-4-5",
            "assistant",
            "message",
        )
        assert document["content"] == [{"type": "text", "text": "OK"}]
        assert document["stop_reason"] == "end_turn"
        assert (document["usage"]["input_tokens"], document["usage"]["output_tokens"]) == (1, 1)
        assert up.connections == 0
        await settle()
        assert "POST /v1/messages claude-haiku-4-5 200 warmup" in g.lines[0]


async def test_a_warmup_needs_no_route_but_a_key() -> None:
    settings = config(upstream("http://127.0.0.1:9", models={"a": "b"}))
    async with running(settings) as g:
        assert (await g.post(warmup())).status == 200
    closed = config(auth=Auth(mode="strict", keys={"k": Secret("sk")}))
    async with running(closed) as g:
        assert (await g.post(warmup())).status == 401


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        ask("Warmup exercises for runners"),
        ask("warmup"),
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Warmup"}, {"role": "assistant", "content": "Warmup"}],
        },
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Warmup"}, {"role": "user", "content": "go"}],
        },
        {"model": "m", "messages": []},
    ],
)
async def test_a_prompt_is_no_warmup(body: dict[str, Any], stream: bool) -> None:
    async with ScriptedUpstream(respond=good) as up, running(config(upstream(up.url))) as g:
        response = await g.post({**body, "stream": stream})
        assert response.status == 200
        assert response.header("x-warmup-intercepted") is None
        assert len(up.requests) == 1


PROBE = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "quota"}]}


@pytest.mark.parametrize(
    ("intercept", "body", "here"),
    [
        (Intercept(), warmup(), True),
        (Intercept(warmup=False), warmup(), False),
        (Intercept(), PROBE, False),
        (Intercept(quota_probe=True), PROBE, True),
        (Intercept(warmup=False, quota_probe=True), PROBE, True),
        (Intercept(warmup=False, quota_probe=True), warmup(), False),
        (Intercept(quota_probe=True), {**PROBE, "max_tokens": 2}, False),
        (Intercept(quota_probe=True), ask("quota"), False),
    ],
)
async def test_warmup_interception_settings(intercept: Intercept, body: dict[str, Any], here: bool) -> None:
    async with (
        ScriptedUpstream(respond=good) as up,
        running(config(upstream(up.url), intercept=intercept)) as g,
    ):
        response = await g.post(body)
        assert response.header("x-warmup-intercepted") == ("true" if here else None)
        assert len(up.requests) == (not here)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the request body is empty"),
        (b"{", "cannot be read as JSON"),
        (b"[1]", "must be a JSON object"),
        (b"{}", "model"),
        (b'{"model":""}', "model"),
        (b'{"model":3,"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":["x"]}', "messages.0"),
        (b'{"model":"m","messages":' + b"[" * 300 + b"]" * 300 + b"}", "nested"),
    ],
)
async def test_invalid_body(body: bytes, words: str) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        response = await g.post(body)
        assert (response.status, response.error_type) == (400, "invalid_request_error")
        assert words in response.message
        assert response.document["request_id"] == response.header("request-id")
        assert up.connections == 0
        await settle()
        assert "400 refused" in g.lines[0]


async def test_unknown_model() -> None:
    async with running(config(upstream("http://127.0.0.1:9", models={"a": "b", "c-*": "d"}))) as g:
        response = await g.post(ask(model="x"))
        assert (response.status, response.error_type) == (404, "not_found_error")
        assert response.message == 'model "x" is not served here; served are: a, c-*'
        assert response.header("x-account-email") is None


async def test_query_and_headers_are_forwarded() -> None:
    async with ScriptedUpstream(respond=good) as up, running(config(upstream(up.url, "a@x"))) as g:
        await g.post(
            ask(), "/v1/messages?beta=true&x=%20", anthropic_beta="b-1", cookie="a=b", x_api_key="mine"
        )
        (request,) = up.requests
        assert request.target == "/v1/messages?beta=true&x=%20"
        assert request.header("anthropic-beta") == "b-1"
        assert request.header("cookie") is None
        assert request.key == "key-of-a@x"


SESSION = {"x_claude_code_session_id": "s-1"}


async def test_a_conversation_stays_and_belongs_to_a_key() -> None:
    keys = {"laptop": Secret("sk-1"), "ci": Secret("sk-2")}
    async with ScriptedUpstream(respond=good) as up:
        settings = config(upstream(up.url, "a@x", "b@x"), auth=Auth(mode="strict", keys=keys))
        async with running(settings) as g:
            served = [
                (await g.post(ask("one"), x_api_key=key, **SESSION)).header("x-account-email")
                for key in ("sk-1", "sk-1", "sk-2", "sk-1", "sk-2")
            ]
            # Without a session, the beginning of the conversation identifies it.
            other = [
                (await g.post(ask(text), x_api_key="sk-1")).header("x-account-email")
                for text in ("x", "y", "x", "y")
            ]
    assert served == ["a@x", "a@x", "b@x", "a@x", "b@x"]
    assert other[:2] == other[2:]
    assert set(other) == {"a@x", "b@x"}


@pytest.mark.parametrize("model", ["a\r\nb: c", "half \ud800", "m" * 1_000, "漢"])
async def test_a_model_of_any_name(model: str) -> None:
    """Passed on as it came; in the response's head it is made safe."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with ScriptedUpstream(respond=good) as up, running(config(upstream(up.url))) as g:
        response = await g.post(json.dumps(body).encode())
        assert response.status == 200
        shown = response.header("x-mapped-model")
        assert shown is not None
        assert shown.isascii()
        assert len(shown) <= 256
        assert up.requests[0].document == body
        await settle()
        assert len(g.lines) == 1
