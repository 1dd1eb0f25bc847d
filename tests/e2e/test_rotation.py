"""Which account serves a request: the conversation's own, another one, a fallback; and waiting for a slot."""

import asyncio
from typing import Any

import pytest

from gateway.config import Auth, Retry, Secret
from tests.fakes.messages import Received, Script, Sleep, error_response
from tests.support.client import ask
from tests.support.clock import run
from tests.support.running import account
from tests.support.stage import Stage, account_of, failing, good, staged

LIMITED = error_response(429, "rate_limit_error", "hourly limit", [("retry-after", "3600")])


def slow(seconds: float) -> Any:
    """A good response after so long."""
    return lambda request: [Sleep(seconds), *good(request)]


async def served_by(stage: Stage, document: dict[str, Any], **headers: str) -> str:
    """Return the account's letter, from the response's headers."""
    response = await stage.running.post(document, **headers)
    assert response.status == 200
    return (response.header("x-account-email") or "")[:1]


@pytest.mark.parametrize("mode", ["whole", "stream"])
def test_no_request_goes_to_a_limited_account(mode: str) -> None:
    async def scenario() -> None:
        limited = {"a"}

        def respond(request: Received) -> Script:
            return LIMITED if account_of(request) in limited else good(request)

        async with staged(respond, "a@x", "b@x") as stage:
            assert await stage.transcript(mode, "one") == "a b = 200"
            assert await stage.transcript(mode, "one") == "b = 200"
            assert await stage.transcript(mode, "another") == "b = 200"
            assert stage.cooling() == {"up/a m": 3600.0}
            await asyncio.sleep(3595)
            assert await stage.transcript(mode, "a third") == "b = 200"
            await asyncio.sleep(10)
            # One request finds out that the limit is still there, and the client notices nothing.
            assert await stage.transcript(mode, "a fourth") == "a b = 200"
            await asyncio.sleep(3601)
            limited.clear()
            assert await stage.transcript(mode, "a fifth") == "a = 200"
            assert stage.cooling() == {}
            assert await stage.transcript(mode, "one") == "b = 200"  # its cache is there

    run(scenario())


def test_one_request_probes_while_others_use_another_account() -> None:
    async def scenario() -> None:
        responses = [LIMITED]

        def respond(request: Received) -> Script:
            return responses.pop() if responses else [Sleep(3), *good(request)]

        async with staged(respond, "a@x", "b@x") as stage:
            await stage.post()
            await asyncio.sleep(3601)
            stage.requests.clear()
            await asyncio.gather(*(stage.post(text=f"conversation {n}") for n in range(5)))
            assert sorted(account_of(request) for _, request in stage.requests) == ["a", "b", "b", "b", "b"]
            stage.requests.clear()
            await asyncio.gather(*(stage.post(text=f"conversation {n}") for n in range(5, 9)))
            assert sorted(account_of(request) for _, request in stage.requests) == ["a", "a", "b", "b"]

    run(scenario())


def test_fallback_inside_the_same_request_and_back() -> None:
    async def scenario() -> None:
        async with staged(failing(LIMITED, "ab"), "a@x", "b@x", spare=True, retry=Retry()) as stage:
            response = await stage.post("stream", "one")
            assert response.status == 200
            assert response.header("x-account-email") == "c@x"
            assert response.header("x-gateway-attempts") == "3"
            assert [account_of(request) for _, request in stage.requests] == ["a", "b", "c"]
            assert await stage.transcript("whole", "another") == "c = 200"
            await asyncio.sleep(3600)
            # Even the conversation that has moved there comes back: a fallback is for trouble only.
            assert await stage.transcript("whole", "one") == "a b c = 200"

    run(scenario())


SESSIONS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    # two conversations, each by: fields of the request, headers
    "header 1": ({}, {"x_claude_code_session_id": "s1"}),
    "header 2": ({}, {"x_claude_code_session_id": "s2"}),
    "user id 1": ({"metadata": {"user_id": '{"device_id":"d","session_id":"s3"}'}}, {}),
    "user id 2": ({"metadata": {"user_id": '{"device_id":"d","session_id":"s4"}'}}, {}),
    "old user id 1": ({"metadata": {"user_id": "user_0a_account__session_s5"}}, {}),
    "old user id 2": ({"metadata": {"user_id": "user_0a_account__session_s6"}}, {}),
    "system 1": ({"system": "You are one."}, {}),
    "system 2": ({"system": [{"type": "text", "text": "You are another."}]}, {}),
}


@pytest.mark.parametrize("kind", ["header", "user id", "old user id", "system"])
def test_a_conversation_stays_where_it_began(kind: str) -> None:
    (one, by_one), (two, by_two) = SESSIONS[f"{kind} 1"], SESSIONS[f"{kind} 2"]
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "go on"},
    ]

    async def scenario() -> None:
        async with staged(good, "a@x", "b@x") as stage:
            assert await served_by(stage, ask(**one), **by_one) == "a"
            assert await served_by(stage, ask(**two), **by_two) == "b"
            for _ in range(2):
                assert await served_by(stage, ask(**two) | {"messages": turns}, **by_two) == "b"
                assert await served_by(stage, ask(**one) | {"messages": turns}, **by_one) == "a"
            # Counting belongs to the conversation, too.
            response = await stage.running.post(ask(**two), "/v1/messages/count_tokens", **by_two)
            assert response.header("x-account-email") == "b@x"
            await asyncio.sleep(3601)  # and bindings end after an hour
            assert await served_by(stage, ask(**two), **by_two) == "a"

    run(scenario())


def test_the_same_conversation_of_two_keys_is_two() -> None:
    keys = {"laptop": Secret("k1"), "ci": Secret("k2")}

    async def scenario() -> None:
        async with staged(good, "a@x", "b@x", auth=Auth(mode="strict", keys=keys)) as stage:
            for _ in range(2):
                assert await served_by(stage, ask(), x_api_key="k1") == "a"
                assert await served_by(stage, ask(), authorization="Bearer k2") == "b"

    run(scenario())


@pytest.mark.parametrize("mode", ["whole", "stream"])
def test_a_full_account_is_waited_for(mode: str) -> None:
    async def scenario() -> None:
        one_at_a_time = account("a@x", max_concurrent=1)
        async with staged(slow(3), one_at_a_time, retry=Retry()) as stage:
            began = stage.now
            responses = await asyncio.gather(*(stage.post(mode, f"conversation {n}") for n in range(5)))
            assert [response.status for response in responses] == [200] * 5
            assert [round(at - began) for at, _ in stage.requests] == [0, 3, 6, 9, 12]
            assert all(response.header("x-gateway-attempts") is None for response in responses)

    run(scenario())


def test_timeout_of_waiting_for_a_slot() -> None:
    async def scenario() -> None:
        one_at_a_time = account("a@x", max_concurrent=1)
        async with staged(slow(4), one_at_a_time, retry=Retry(max_wait=1.0)) as stage:
            first = asyncio.create_task(stage.post())
            await asyncio.sleep(0.1)
            began = stage.now
            response = await stage.post("stream", "another")
            assert round(stage.now - began, 2) == 1.0
            assert (response.status, response.error_type) == (529, "overloaded_error")
            assert response.header("retry-after") == "1"
            assert (await first).status == 200
            assert await stage.transcript("whole", "a third") == "a 4 = 200"

    run(scenario())


def test_a_full_account_keeps_its_conversations() -> None:
    async def scenario() -> None:
        async with staged(slow(4), account("a@x", max_concurrent=1), "b@x") as stage:
            first = asyncio.create_task(stage.post())
            await asyncio.sleep(0.1)
            assert await stage.transcript() == "b 4 = 200"
            await first
            assert await stage.transcript() == "a 4 = 200"

    run(scenario())


@pytest.mark.parametrize("script", [LIMITED, error_response(400, "invalid_request_error", "no"), None])
def test_every_end_of_a_request_frees_its_slot(script: Script | None) -> None:
    """An error, a refusal, or (None) a client that leaves."""

    async def scenario() -> None:
        scripts: list[Script] = [[Sleep(2), *(script or [])]]

        def respond(request: Received) -> Script:
            return scripts.pop() if scripts else good(request)

        async with staged(respond, account("a@x", max_concurrent=1), retry=Retry(max_attempts=1)) as stage:
            client = await stage.running.connect()
            client.send("POST", "/v1/messages", ask(model="other"))
            await asyncio.sleep(1)
            second = asyncio.create_task(stage.transcript())
            await asyncio.sleep(0.5)
            if script is None:
                client.writer.transport.abort()
            assert await second == ("0.5 a = 200" if script is None else "1 a = 200")
            client.close()

    run(scenario())
