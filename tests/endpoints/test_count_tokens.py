"""Token counts: which upstream counts, what is cached, and the header that names the method."""

import asyncio
from typing import Any

import pytest

from tests.fakes.messages import (
    Received,
    Script,
    ScriptedUpstream,
    error_response,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.loops import settle
from tests.support.running import Running, config, running, upstream

PATH = "/v1/messages/count_tokens"


def counting(request: Received) -> Script:
    return (
        json_response(200, {"input_tokens": 12}) if PATH in request.target else json_response(200, message())
    )


async def count(g: Running, text: str = "hello", **fields: Any) -> Response:
    return await g.post(ask(text, **fields), PATH)


def counted(response: Response) -> tuple[int, str | None]:
    assert response.status == 200
    assert response.header("content-type") == "application/json"
    return response.document["input_tokens"], response.header("x-token-count")


async def test_token_count_of_the_upstream() -> None:
    async with (
        ScriptedUpstream(respond=counting) as up,
        running(config(upstream(up.url, "a@x", models={"m": "glm"}))) as g,
    ):
        response = await g.post(ask(), f"{PATH}?beta=true", anthropic_beta="b-1")
        assert counted(response) == (12, "upstream")
        assert response.header("x-account-email") == "a@x"
        assert response.header("x-mapped-model") == "glm"
        (request,) = up.requests
        assert request.target == f"{PATH}?beta=true"
        assert request.header("anthropic-beta") == "b-1"
        assert request.document == {**ask(), "model": "glm"}
        await settle()
        assert f"POST {PATH} m -> glm up/a@x 200 ok" in g.lines[-1]
        assert "input=12" in g.lines[-1]


async def test_stream_is_ignored_in_a_token_count() -> None:
    async with ScriptedUpstream(respond=counting) as up, running(config(upstream(up.url))) as g:
        assert counted(await count(g, stream=True)) == (12, "upstream")


@pytest.mark.parametrize("how", ["estimate", "zero"])
async def test_token_estimate_without_an_upstream_request(how: Any) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url), count_tokens=how)) as g:
        response = await count(g)
        tokens, method = counted(response)
        assert method == how
        assert up.connections == 0
        if how == "zero":
            assert response.body == b'{"input_tokens":0,"output_tokens":0}'
        else:
            assert 1 <= tokens < 30
            assert (await count(g, "hello " * 1000)).document["input_tokens"] > 900
            await settle()
            assert "200 ok" in g.lines[0]
            assert f"input={tokens}" in g.lines[0]


@pytest.mark.parametrize("how", ["auto", "estimate", "zero"])
@pytest.mark.parametrize(
    ("body", "words"), [(b"", "empty"), (b"{", "JSON"), (b"[]", "object"), (b'{"model":"m"}', "messages")]
)
async def test_a_request_that_cannot_be_counted(how: Any, body: bytes, words: str) -> None:
    async with running(config(upstream("http://127.0.0.1:9"), count_tokens=how)) as g:
        response = await g.post(body, PATH)
        assert (response.status, response.error_type) == (400, "invalid_request_error")
        assert words in response.message


@pytest.mark.parametrize(("how", "status"), [("auto", 404), ("estimate", 404), ("zero", 200)])
async def test_unknown_model(how: Any, status: int) -> None:
    settings = config(upstream("http://127.0.0.1:9", models={"a": "b"}), count_tokens=how)
    async with running(settings) as g:
        response = await count(g)
        assert response.status == status
        if status == 404:
            assert (response.error_type, '"m"' in response.message) == ("not_found_error", True)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_upstream_without_count_tokens_is_retried_after_ten_minutes(status: int) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            up.script(error_response(status, "not_found_error", "no such thing"))
            assert counted(await count(g))[1] == "estimate"
            assert counted(await count(g))[1] == "estimate"
            assert len(up.requests) == 1
            await asyncio.sleep(600.0)
            up.script(json_response(200, {"input_tokens": 3}))
            assert counted(await count(g)) == (3, "upstream")
            # It was never held against the account.
            assert (await g.get("/readyz")).status == 200

    run(scenario())


async def test_token_count_of_another_upstream() -> None:
    async with (
        ScriptedUpstream() as cannot,
        ScriptedUpstream(respond=counting) as can,
        running(config(upstream(cannot.url, name="one"), upstream(can.url, name="two", priority=1))) as g,
    ):
        cannot.script(error_response(404, "not_found_error", "no such thing"))
        assert counted(await count(g))[1] == "estimate"
        assert counted(await count(g)) == (12, "upstream")
        assert (len(cannot.requests), len(can.requests)) == (1, 1)


async def test_a_token_count_does_not_affect_accounts_and_conversations() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", "b@x"))) as g:
        limit = error_response(429, "rate_limit_error", "wait", [("retry-after", "3600")])
        up.script(limit, json_response(200, message()))
        assert counted(await count(g))[1] == "estimate"
        assert (await g.post(ask())).status == 200
        assert len(up.requests) == 2


async def test_token_count_of_an_invalid_request() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.script(error_response(400, "invalid_request_error", "messages: wrong"))
        wrong = await count(g)
        assert (wrong.status, wrong.message) == (400, "messages: wrong")


async def test_token_estimate_learns_from_real_usage() -> None:
    usage = {"input_tokens": 1000, "output_tokens": 7, "cache_read_input_tokens": 500}
    async with ScriptedUpstream() as up, running(config(upstream(up.url), count_tokens="estimate")) as g:
        text = "hello world, how are you? " * 100
        before = counted(await count(g, text))[0]
        up.script(json_response(200, {**message(), "usage": usage}))
        for _ in range(20):
            await g.post(ask(text))
        await settle()
        after = counted(await count(g, text))[0]
        assert before < 1000
        assert 1200 < after <= 1500


async def test_token_estimate_learns_from_streams() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url), count_tokens="estimate")) as g:
        before = counted(await count(g, "hello " * 1000))[0]
        up.script(stream_response(text_events()))  # which reports 11 + 5 input tokens
        for _ in range(20):
            await g.post(ask("hello " * 1000, stream=True))
        await settle()
        assert counted(await count(g, "hello " * 1000))[0] < before
