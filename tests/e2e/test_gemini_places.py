"""Where a Gemini upstream's requests go: the Gemini API, Vertex AI, Code Assist; what each can count and list."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.gemini.server import GeminiUpstream, strict_upstream
from tests.fakes.messages import ScriptedUpstream, json_response
from tests.support.agent import Agent
from tests.support.client import Response, ask
from tests.support.gemini import MODEL, VERTEX, before, gemini, message_of
from tests.support.loops import eventually, settle
from tests.support.running import Running, account, config, running

PLACES: dict[str, tuple[dict[str, Any], str]] = {
    # options of the upstream; the path of its methods
    "Gemini API": ({}, f"/v1beta/models/{MODEL}"),
    "Gemini API, another version": ({"version": "v1"}, f"/v1/models/{MODEL}"),
    "the older schemas": ({"schema": "openapi"}, f"/v1beta/models/{MODEL}"),
    "Vertex AI": ({"path": VERTEX}, VERTEX.partition("{")[0] + MODEL),
    "Code Assist": ({"envelope": "code_assist", "project": "p"}, "/v1internal"),
}


@pytest.fixture
async def up() -> AsyncIterator[GeminiUpstream]:
    async with strict_upstream() as up:
        yield up


async def count(gateway: Running, **fields: Any) -> Response:
    return await gateway.post({**ask("Hello there"), **fields}, "/v1/messages/count_tokens")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("place", PLACES)
async def test_a_session(up: GeminiUpstream, place: str, stream: bool) -> None:
    options, path = PLACES[place]
    async with running(before(up, options=options)) as gateway:
        agent = Agent(gateway, "claude-opus-5-5", stream=stream, thinking={"type": "adaptive"})
        assert "The tool says: result of Bash" in await agent.turn("run ls")
        assert 'You said: "Hello"' in await agent.turn("Hello")

    assert [request.target for request in up.requests] == [f"{path}:streamGenerateContent?alt=sse"] * 3
    for request in up.requests:
        if "envelope" in options:
            assert (request.document["model"], request.document["project"]) == (MODEL, "p")
        (tools,) = request.request["tools"]
        style = "parameters" if "schema" in options else "parametersJsonSchema"
        assert all(style in declared for declared in tools["functionDeclarations"])


async def test_retry_hints_of_code_assist(up: GeminiUpstream) -> None:
    options = PLACES["Code Assist"][0]
    async with running(before(up, options=options, limited=True)) as gateway:
        for number in range(3):
            response = await gateway.post(ask(f"Hello {number}", metadata={"user_id": "u_session_1"}))
            message_of(response)
        assert response.header("x-gateway-attempts") == "2"
        accounts = gateway.gateway.runtime.scheduler.snapshot(0.0)
        (cooling,) = (one for account in accounts for one in account.cool_downs)
        assert round(cooling.until - cooling.since, 3) == 5.0

    assert [request.status for request in up.requests] == [200, 200, 429, 200]


@pytest.mark.parametrize("place", PLACES)
async def test_tokens_are_counted_by_the_upstream(up: GeminiUpstream, place: str) -> None:
    options, path = PLACES[place]
    tool = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
    async with running(before(up, options=options)) as gateway:
        counted = await count(gateway)
        more = await count(gateway, tools=[tool], system="Be kind.", tool_choice={"type": "auto"})
        responded = message_of(await gateway.post(ask("Hello there")))

    assert (counted.status, counted.header("x-token-count")) == (200, "upstream")
    assert counted.document.keys() == {"input_tokens"}
    assert counted.document["input_tokens"] == responded["usage"]["input_tokens"]
    assert more.document["input_tokens"] > counted.document["input_tokens"]
    assert [request.target for request in up.requests[:2]] == [f"{path}:countTokens"] * 2


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_token_estimate_where_the_upstream_cannot_count(status: int) -> None:
    async with ScriptedUpstream() as up, running(config(gemini(up.url))) as gateway:
        up.script(json_response(status, {"error": {"code": status, "message": "No.", "status": "NOT_FOUND"}}))
        for _ in range(2):
            counted = await count(gateway)
            assert (counted.status, counted.header("x-token-count")) == (200, "estimate")
            assert counted.document["input_tokens"] > 0
        assert len(up.requests) == 1, "no retry for a while"


async def test_an_invalid_token_count_is_estimated() -> None:
    async with ScriptedUpstream() as up, running(config(gemini(up.url))) as gateway:
        up.script(json_response(200, {"totalTokens": "many"}))
        counted = await count(gateway)
        assert (counted.status, counted.header("x-token-count")) == (200, "estimate")


LIST = {
    "models": [
        {
            "name": "models/a",
            "displayName": "A",
            "inputTokenLimit": 1000,
            "outputTokenLimit": 50,
            "supportedGenerationMethods": ["generateContent"],
        },
        {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
    ]
}


async def test_the_gemini_api_lists_its_models() -> None:
    async with ScriptedUpstream() as up:
        up.script(json_response(200, LIST))
        async with running(config(gemini(up.url, models={"*": MODEL, "b": "c"})), listing=True) as gateway:
            await eventually(lambda: len(gateway.gateway.runtime.model_list.models) == 2)
            listed = (await gateway.get("/v1/models")).document["data"]
        (request,) = up.requests
    assert [(model["id"], model["display_name"], model["owned_by"]) for model in listed] == [
        ("a", "A", "up"),
        ("b", "b", "gateway"),
    ]
    assert (listed[0]["max_input_tokens"], listed[0]["max_tokens"]) == (1000, 50)
    assert (request.method, request.target) == ("GET", "/v1beta/models?pageSize=1000")
    assert request.header("x-goog-api-key") == "key-of-one@example.com"


@pytest.mark.parametrize("place", ["Vertex AI", "Code Assist"])
async def test_no_models_request_without_a_model_list(place: str) -> None:
    async with ScriptedUpstream() as up:
        up.script(json_response(200, LIST))
        others = gemini(up.url, account("a@x"), models={"claude-x": MODEL}, options=PLACES[place][0])
        async with running(config(others), listing=True) as gateway:
            await settle(50)
            listed = (await gateway.get("/v1/models")).document["data"]
        assert not up.requests
    assert [model["id"] for model in listed] == ["claude-x"]
