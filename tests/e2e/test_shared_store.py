"""Two gateways that share a store: each uses what the other learns, and no request ever waits for the store."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest

from gateway.config import Config, Secret, Sharing
from gateway.sharing import store as module
from tests.fakes.gemini.server import GeminiUpstream, strict_upstream
from tests.fakes.gemini.signatures import BYPASS, signed
from tests.fakes.messages import Received, Script, ScriptedUpstream, Sleep, error_response
from tests.support.agent import Agent, words
from tests.support.client import ask
from tests.support.gemini import before
from tests.support.loops import PATIENCE, eventually
from tests.support.running import Running, account, all_told, config, running, upstream
from tests.support.stage import account_of, good
from tests.support.store_server import StoreServer, needs_a_store

pytestmark = needs_a_store

LIMITED = error_response(429, "rate_limit_error", "hourly limit", [("retry-after", "3600")])

THINKING = {"type": "adaptive"}

numbers = itertools.count()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again sooner than gateways do, so that no test waits for that; and a slow machine is no trouble."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(module, "TIMEOUT", PATIENCE)


def section(store: StoreServer, **fields: Any) -> Sharing:
    secret = Secret("a secret of 16 or more")
    return Sharing(url=Secret(store.url), prefix=f"e2e-{next(numbers)}:", secret=secret, **fields)


@asynccontextmanager
async def gateways(config: Config, count: int = 2) -> AsyncIterator[list[Running]]:
    """Gateways with one configuration, each of which is in touch with the store."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(running(config)) for _ in range(count)]
        for each in made:
            await eventually(partial(logged, each, "news are shared"))
        yield made


def logged(gateway: Running, words: str, times: int = 1) -> bool:
    """Whether a gateway has logged these words."""
    return sum(words in line for line in gateway.lines) >= times


class Up:
    """An upstream that records the accounts of its requests, and fails as scripted."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.fail: Callable[[Received], Script | None] = lambda request: None
        self.server = ScriptedUpstream(respond=self._respond)

    def _respond(self, request: Received) -> Script:
        self.requests.append(account_of(request))
        return self.fail(request) or good(request)

    def shared(self, store: StoreServer, *accounts: Any, **fields: Any) -> Config:
        return config(
            upstream(self.server.url, *(accounts or ("a@x", "b@x"))), sharing=section(store, **fields)
        )


async def test_limits_are_shared_over_the_store(store_server: StoreServer) -> None:
    up = Up()
    up.fail = lambda request: LIMITED if account_of(request) == "a" else None
    async with up.server, gateways(up.shared(store_server)) as (first, second):
        number = 0
        while "a" not in up.requests:
            assert (await first.post(ask(f"conversation {number}"))).status == 200
            number += 1
        await all_told(first, second)
        up.requests.clear()
        for each in range(20):
            assert (await second.post(ask(f"another {each}"))).status == 200
        assert set(up.requests) == {"b"}


async def test_bindings_are_shared_over_the_store(
    store_server: StoreServer,
) -> None:
    up = Up()
    async with (
        up.server,
        gateways(
            up.shared(
                store_server,
            )
        ) as (first, second),
    ):
        await first.post(ask("the conversation"))
        (home,) = up.requests
        once = [error_response(500, "api_error", "oops")]
        up.fail = lambda request: once.pop() if once else None
        await first.post(ask("the conversation"))
        *_, moved = up.requests
        assert moved != home
        await all_told(first, second)
        up.requests.clear()
        for _ in range(3):
            await second.post(ask("the conversation"))
        assert up.requests == [moved] * 3
        # Of all others both think alike without a word.
        up.requests.clear()
        for number in range(10):
            for gateway in (first, second):
                await gateway.post(ask(f"conversation {number}"))
        assert up.requests[::2] == up.requests[1::2]
        assert set(up.requests) == {"a", "b"}


async def test_gemini_signatures_are_shared_over_the_store(
    store_server: StoreServer,
) -> None:
    async with strict_upstream() as up, gateways(before(up, sharing=section(store_server))) as made:
        agent = Agent(made[0], "claude-opus-5-5", thinking=THINKING)
        for prompt in ("run ls -l", "run echo one", "read /tmp/x"):
            message = await agent.send(prompt)
            while message["stop_reason"] == "tool_use":
                made.reverse()
                agent.gateway = made[0]
                await all_told(*made)
                message = await agent.give_results()
            assert "The tool says" in words(message)
        sent = signatures(up)
    assert len(sent) >= 3
    assert all(came == given for came, given in sent)
    assert BYPASS not in {came for came, _ in sent}


def signatures(up: GeminiUpstream) -> list[tuple[str, str]]:
    """Return (signature, expected signature) of every call that came back."""
    calls = [part for request in up.requests for part in request.parts if "functionCall" in part]
    return [(part.get("thoughtSignature", ""), signed(part["functionCall"])) for part in calls]


async def test_cures_are_shared_over_the_store(store_server: StoreServer) -> None:
    def refuse(request: Received) -> Script | None:
        if b"context_management" not in request.body:
            return None
        return error_response(
            400, "invalid_request_error", "context_management: Extra inputs are not permitted"
        )

    up = Up()
    up.fail = refuse
    request = ask("hi", context_management={"edits": []})
    async with up.server, gateways(up.shared(store_server)) as (first, second):
        assert (await first.post(request)).status == 200
        assert len(up.requests) == 2
        await all_told(first, second)
        up.requests.clear()
        assert (await second.post(request)).status == 200
        assert len(up.requests) == 1
        assert "repairs=cure:fields" in second.lines[-1]


async def test_limits_are_divided_among_live_gateways(store_server: StoreServer) -> None:
    most = now = 0

    def hold(request: Received) -> Script:
        nonlocal most, now
        now += 1
        most = max(most, now)
        yield Sleep(0.02)
        now -= 1
        yield from good(request)

    up = Up()
    up.fail = hold
    one = account("a@x", max_concurrent=4)
    async with up.server, gateways(up.shared(store_server, one, share_limits=True)) as (first, second):
        both = [gateway.gateway.runtime.sharing for gateway in (first, second)]
        await eventually(
            lambda: all(sharing is not None and sharing.state.processes == 2 for sharing in both)
        )
        asking = [gateway.post(ask(f"{number}")) for number in range(10) for gateway in (first, second)]
        assert {response.status for response in await asyncio.gather(*asking)} == {200}
        assert most == 4


async def test_kill_9_of_the_store_fails_no_request(own_store: StoreServer) -> None:
    own_store.start()
    up = Up()
    up.fail = lambda request: LIMITED if account_of(request) == "a" else None
    statuses: list[int] = []

    async def load(gateway: Running) -> None:
        while not done.is_set():
            response = await gateway.post(ask(f"conversation {len(statuses)}"))
            statuses.append(response.status)

    done = asyncio.Event()
    async with up.server, gateways(up.shared(own_store)) as made:
        tasks = [asyncio.create_task(load(gateway)) for gateway in made for _ in range(4)]
        await eventually(lambda: len(statuses) > 50)
        own_store.kill()
        await eventually(lambda: all(logged(gateway, "is away") for gateway in made))
        so_far = len(statuses)
        await eventually(lambda: len(statuses) > so_far + 50)
        own_store.start()
        for gateway in made:
            await eventually(partial(logged, gateway, "news are shared", 2))
        done.set()
        await asyncio.gather(*tasks)
        assert set(statuses) == {200}
        # The entries of the refilled store are enough for a gateway that starts later.
        async with gateways(made[0].gateway.runtime.config, 1) as (late,):
            up.requests.clear()
            for number in range(10):
                await late.post(ask(f"late {number}"))
            assert set(up.requests) == {"b"}


async def test_a_hanging_store_delays_no_request_and_no_shutdown(
    own_store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waited for it would take longer than the test waits."""
    own_store.start()
    up = Up()
    up.fail = lambda request: LIMITED if account_of(request) == "a" else None
    async with up.server:
        async with gateways(up.shared(own_store)) as made:
            monkeypatch.setattr(module, "TIMEOUT", 10 * PATIENCE)
            own_store.hang()
            for number in range(20):
                for gateway in made:
                    async with asyncio.timeout(PATIENCE):
                        assert (await gateway.post(ask(f"conversation {number}"))).status == 200
            began = time.perf_counter()
        assert time.perf_counter() - began < PATIENCE
        own_store.wake()


async def test_a_reload_keeps_the_store_with_a_warning(store_server: StoreServer) -> None:
    up = Up()
    async with up.server, gateways(up.shared(store_server), 1) as (gateway,):
        before = gateway.gateway.runtime.config
        gateway.gateway.reload(before._replace(sharing=before.sharing._replace(share_limits=True)))
        gateway.gateway.reload(before._replace(sharing=Sharing()))
        assert sum("takes effect at the next start" in line for line in gateway.lines) == 1
        assert logged(gateway, "warning: but for share_limits, [sharing] takes effect at the next start")
        # It shares news all the same.
        async with gateways(before, 1) as (other,):
            up.fail = lambda request: LIMITED if account_of(request) == "a" else None
            while "a" not in up.requests:
                await gateway.post(ask(f"conversation {len(up.requests)}"))
            await all_told(gateway, other)
            up.requests.clear()
            for number in range(10):
                await other.post(ask(f"another {number}"))
            assert set(up.requests) == {"b"}
