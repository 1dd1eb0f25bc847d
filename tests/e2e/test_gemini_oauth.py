"""Accounts with OAuth tokens, through the whole gateway: one refresh for all, ahead of time, no token shown."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config import Account, Retry
from tests.dialects.gemini.support import chunk
from tests.fakes.messages import Close, Received, Script, ScriptedUpstream, Stall, Until, json_response
from tests.support.client import ask
from tests.support.clock import run
from tests.support.gemini import gemini, google_error, google_stream, message_of
from tests.support.stage import Stage, staged

MODES = ("stream", "whole")
SECRETS = ("canary-client-secret", "canary-refresh-token")
LIFE = 3600.0


class Clock:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gateway.proxy.token_refresh.time.time", clock.time)
    return clock


class Theatre:
    """A stage, a token endpoint beside it, and an upstream that takes the tokens that are good.

    The n-th token of account a is `a-n`.
    """

    stage: Stage

    def __init__(self) -> None:
        self.refreshed: list[str] = []
        """Accounts whose token was fetched."""
        self.seen: list[str] = []
        """Tokens that came to the upstream."""
        self.login: Callable[[str], Script | None] = lambda account: None
        """Responses of the token endpoint instead of a token."""
        self.good: Callable[[str], bool] = lambda token: True

    def token(self, request: Received) -> Script:
        account = request.target[-1]
        self.refreshed.append(account)
        number = self.refreshed.count(account)
        response = {"access_token": f"{account}-{number}", "expires_in": LIFE, "token_type": "Bearer"}
        return self.login(account) or json_response(200, response)

    def generate(self, request: Received) -> Script:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        assert scheme == "Bearer"
        assert request.header("x-goog-api-key") is None
        self.seen.append(token)
        if not self.good(token):
            return google_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if ":countTokens" in request.target:
            return json_response(200, {"totalTokens": 3})
        return google_stream(chunk({"text": "Good."}, finish="STOP"))

    async def post(self, mode: str = "whole", text: str = "hi") -> int:
        """The status."""
        return (await self.stage.post(mode, text)).status


@asynccontextmanager
async def theatre(folder: Path, *names: str, **fields: Any) -> AsyncIterator[Theatre]:
    """Accounts `names`, each with its own file; the log has no secret."""
    made = Theatre()
    async with ScriptedUpstream(respond=made.token) as login:
        accounts = []
        for name in names:
            file = folder / f"{name}.json"
            file.write_bytes(
                orjson.dumps(
                    {
                        "type": "authorized_user",
                        "client_id": "id",
                        "client_secret": SECRETS[0],
                        "refresh_token": SECRETS[1],
                        "token_uri": f"{login.url}/{name}",
                    }
                )
            )
            accounts.append(Account(name=f"{name}@x", oauth_file=file))
        async with staged(made.generate, *accounts, made=gemini, **fields) as made.stage:
            yield made
        logged = "\n".join(made.stage.running.lines)
        assert "POST /v1/messages" in logged
        assert not [secret for secret in (*SECRETS, *made.seen) if secret in logged]


@pytest.mark.parametrize("mode", MODES)
def test_a_token_is_fetched_and_serves_many_requests(tmp_path: Path, mode: str) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            assert t.refreshed == []
            for _ in range(3):
                assert await t.post(mode) == 200
            assert (t.refreshed, t.seen) == (["a"], ["a-1"] * 3)

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_many_requests_at_once_wait_for_one_token(tmp_path: Path, mode: str) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            assert set(await asyncio.gather(*(t.post(mode, str(n)) for n in range(20)))) == {200}
            assert (t.refreshed, t.seen) == (["a"], ["a-1"] * 20)

    run(scenario())


def test_each_account_has_its_own_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a", "b") as t:
            await asyncio.gather(*(t.post(text=str(n)) for n in range(6)))
            assert sorted(t.refreshed) == ["a", "b"]
            assert sorted(t.seen) == ["a-1"] * 3 + ["b-1"] * 3

    run(scenario())


def test_token_is_refreshed_before_it_expires(tmp_path: Path, clock: Clock) -> None:
    responded = asyncio.Event()

    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            assert await t.post() == 200
            clock.now += LIFE - 301
            assert await t.post() == 200
            assert t.refreshed == ["a"]
            clock.now += 2
            t.login = lambda account: [
                Until(responded),
                *json_response(200, {"access_token": "a-new", "expires_in": LIFE}),
            ]
            assert set(await asyncio.gather(*(t.post(text=str(n)) for n in range(5)))) == {200}
            assert t.refreshed == ["a", "a"]
            assert set(t.seen) == {"a-1"}, "the old one is used while it lasts"
            responded.set()
            await asyncio.sleep(0.1)
            assert await t.post() == 200
            assert t.seen[-1] == "a-new"
            assert t.refreshed == ["a", "a"]

    run(scenario())


def test_requests_wait_for_a_new_token_after_expiry(tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            assert await t.post() == 200
            clock.now += LIFE
            assert set(await asyncio.gather(*(t.post(text=str(n)) for n in range(5)))) == {200}
            assert (t.refreshed, t.seen) == (["a", "a"], ["a-1", *["a-2"] * 5])

    run(scenario())


def test_a_failed_early_refresh_keeps_the_old_token(tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            assert await t.post() == 200
            clock.now += LIFE - 100
            t.login = lambda account: json_response(503, {"error": "internal"})
            for _ in range(3):
                assert await t.post() == 200
                await asyncio.sleep(0.1)
            assert set(t.seen) == {"a-1"}
            t.login = lambda account: None
            assert await t.post() == 200
            await asyncio.sleep(0.1)
            assert await t.post() == 200
            assert t.seen[-1] == f"a-{len(t.refreshed)}"
            assert t.stage.cooling() == {}

    run(scenario())


def test_a_refused_token_is_refreshed_once_for_the_same_account(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a", "b", retry=Retry(max_attempts=1)) as t:
            t.good = lambda token: token != "a-1"
            response = await t.stage.post("stream")
            assert response.status == 200
            assert response.header("x-account-email") == "a@x"
            assert response.header("x-gateway-attempts") == "2"
            assert (t.refreshed, t.seen) == (["a", "a"], ["a-1", "a-2"])
            assert t.stage.cooling() == {}

    run(scenario())


def test_a_token_refused_for_a_count_is_refreshed_for_later_requests(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            t.good = lambda token: token != "a-1"
            response = await t.stage.post("count")
            assert (response.status, response.header("x-token-count")) == (200, "estimate")
            assert await t.post("stream") == 200
            assert t.seen == ["a-1", "a-2"]

    run(scenario())


def test_concurrent_refusals_cause_one_token_refresh(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            assert await t.post() == 200
            t.good = lambda token: token != "a-1"
            assert set(await asyncio.gather(*(t.post(text=str(n)) for n in range(10)))) == {200}
            assert t.refreshed == ["a", "a"]
            assert (t.seen.count("a-1"), t.seen.count("a-2")) == (11, 10)

    run(scenario())


def test_a_refused_fresh_token_closes_the_account(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with theatre(tmp_path, "a", "b") as t:
            t.good = lambda token: token[0] != "a"
            assert await t.stage.transcript("stream") == "a a b = 200"
            assert t.stage.cooling() == {"up/a": 600.0}
            assert await t.stage.transcript("stream") == "b = 200"
            t.good = lambda token: False
            await asyncio.sleep(601)
            response = await t.stage.post("stream")
            assert (response.status, response.error_type) == (503, "api_error")
            assert response.header("x-should-retry") == "false"
            assert "@x" in response.message

    run(scenario())


LOGINS: dict[str, tuple[Script, dict[str, float]]] = {
    # the token endpoint's response; the account's cool-down
    "revoked": (
        json_response(400, {"error": "invalid_grant", "error_description": SECRETS[1]}),
        {"up/a": 600.0},
    ),
    "wrong client": (json_response(401, {"error": "invalid_client"}), {"up/a": 600.0}),
    "trouble": (json_response(500, {"error": "internal"}), {}),
    "no token": (json_response(200, {"token_type": "Bearer"}), {}),
    "no JSON": (json_response(200, b"<html>"), {}),
    "closed": ([Close()], {}),
    "silent": ([Stall()], {}),
}


@pytest.mark.parametrize("kind", LOGINS)
def test_without_a_token_another_account_takes_over(tmp_path: Path, kind: str) -> None:
    script, cooling = LOGINS[kind]

    async def scenario() -> None:
        async with theatre(tmp_path, "a", "b", retry=Retry()) as t:
            t.login = lambda account: script if account == "a" else None
            response = await t.stage.post("stream")
            assert response.status == 200
            assert response.header("x-account-email") == "b@x"
            assert t.seen == ["b-1"]
            assert t.stage.cooling() == cooling

    run(scenario())


@pytest.mark.parametrize("kind", LOGINS)
def test_error_without_any_token_names_the_account(tmp_path: Path, kind: str) -> None:
    script, cooling = LOGINS[kind]

    async def scenario() -> None:
        async with theatre(tmp_path, "a", retry=Retry()) as t:
            t.login = lambda account: script
            response = await t.stage.post("stream")
            assert (response.status, response.error_type) == (503, "api_error")
            assert (response.header("x-should-retry") == "false") == bool(cooling)
            assert ("a@x" if cooling else "token endpoint") in response.message
            assert not [secret for secret in SECRETS if secret.encode() in response.body]
            assert t.seen == []
            if not cooling:
                t.login = lambda account: None
                await asyncio.sleep(61)
                assert await t.post("stream") == 200

    run(scenario())


def test_a_client_that_leaves_stops_waiting_for_a_token(tmp_path: Path) -> None:
    responded = asyncio.Event()

    async def scenario() -> None:
        async with theatre(tmp_path, "a") as t:
            t.login = lambda account: [Until(responded), *json_response(200, {"access_token": "a-1"})]
            client = await t.stage.running.connect()
            client.send("POST", "/v1/messages", ask("gone"))
            await asyncio.sleep(0.1)
            assert t.refreshed == ["a"]
            client.close()
            await asyncio.sleep(0.1)
            responded.set()
            await asyncio.sleep(0.1)
            message_of(await t.stage.post("stream"))
            assert (t.refreshed, t.seen) == (["a"], ["a-1"])

    run(scenario())
