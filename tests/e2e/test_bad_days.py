"""Bad days: accounts that are sick, upstreams that are away or busy, lists that cannot be had."""

import asyncio

import pytest

from tests.fakes.messages import Received, Script, ScriptedUpstream, error_response, json_response
from tests.support.client import ask
from tests.support.clock import run
from tests.support.running import config, running, upstream
from tests.support.stage import account_of, good, staged

SICK = {
    "a": error_response(401, "authentication_error", "invalid x-api-key"),
    "b": error_response(402, "billing_error", "no credit"),
    "c": error_response(403, "permission_error", "This key has been disabled."),
    "d": error_response(429, "rate_limit_error", "slow down", [("retry-after", "3600")]),
}


@pytest.mark.parametrize("mode", ["whole", "stream"])
def test_refusals_that_come_at_once_use_up_no_attempts_while_an_account_is_free(mode: str) -> None:
    async def scenario() -> None:
        async with staged(
            lambda received: SICK.get(account_of(received)) or good(received),
            *(f"{name}@x" for name in "abcde"),
        ) as stage:
            assert await stage.transcript(mode) == "a b c d e = 200"
            line = stage.running.lines[-1]
            assert " up/e@x 200 ok attempts=5 tried=a@x@up:401,b@x@up:402,c@x@up:403,d@x@up:429 " in line
            assert "error=" not in line
            # They are known now.
            assert await stage.transcript(mode) == "e = 200"

    run(scenario())


def test_error_names_all_failed_accounts() -> None:
    async def scenario() -> None:
        async with staged(lambda received: SICK[account_of(received)], "a@x", "b@x", "c@x") as stage:
            for _ in range(2):
                response = await stage.post()
                assert (response.status, response.header("x-should-retry")) == (503, "false")
                for words in (
                    "a@x",
                    "invalid x-api-key",
                    "b@x",
                    "no credit",
                    "c@x",
                    "This key has been disabled.",
                ):
                    assert words in response.message

    run(scenario())


def test_lists_of_models_come_from_the_next_account_and_from_upstreams_that_start_late() -> None:
    listed = {"data": [{"type": "model", "id": "glm-5", "display_name": "GLM 5", "max_tokens": 8192}]}

    def respond(received: Received) -> Script:
        if received.method == "POST":
            return good(received)
        return SICK["a"] if account_of(received) == "a" else json_response(200, listed)

    async def scenario() -> None:
        async with ScriptedUpstream(respond=respond) as up, ScriptedUpstream(respond=respond) as late:
            await late.stop()
            first, second = upstream(up.url, "a@x", "b@x"), upstream(late.url, "b@x", name="late")
            async with running(config(first, second), listing=True) as g:
                await asyncio.sleep(1.0)
                assert [model["id"] for model in (await g.get("/v1/models")).document["data"]] == ["glm-5"]
                assert sum("does not list its models" in line for line in g.lines) == 1
                listed["data"].append({"type": "model", "id": "new", "display_name": "New"})
                await late.start()
                await asyncio.sleep(60.0)
                models = (await g.get("/v1/models")).document["data"]
                assert {model["id"] for model in models} == {"glm-5", "new"}
                assert next(model for model in models if model["id"] == "glm-5")["max_tokens"] == 8192
                assert sum("does not list its models" in line for line in g.lines) == 1
                assert (await g.post(ask())).status == 200

    run(scenario())
