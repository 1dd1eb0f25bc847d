"""Several processes act on each other's news: two gateways and a hub in this process, and real workers."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from gateway.config import Config, Intercept
from tests.fakes.gemini.server import strict_upstream
from tests.fakes.messages import Received, Script, ScriptedUpstream, error_response, json_response, message
from tests.sharing.office import office
from tests.support.agent import Agent
from tests.support.client import Client, Response, fetch
from tests.support.gemini import MODEL, before
from tests.support.running import Running, account, all_told, config, running, upstream
from tests.support.spawned import spawned
from tests.test_workers import children, eventually

REQUEST: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
}


def talk(number: int) -> dict[str, Any]:
    return {**REQUEST, "metadata": {"user_id": f"user_1_account__session_{number:x}"}}


@asynccontextmanager
async def two(made: Config) -> AsyncIterator[tuple[Running, Running]]:
    """Two gateways that share news."""
    async with office(2) as place:
        turning = asyncio.create_task(place.go_on())
        try:
            async with (
                running(made, sharing=place.workers[0]) as one,
                running(made, sharing=place.workers[1]) as other,
            ):
                yield one, other
        finally:
            turning.cancel()


def keys(up: ScriptedUpstream) -> list[str]:
    """Return the accounts that got requests."""
    requests = (request for request in up.requests if request.method == "POST")
    return [str(request.key).removeprefix("key-of-") for request in requests]


async def test_limits_and_bindings_are_shared_at_once() -> None:
    limited: set[str] = set()

    def respond(request: Received) -> Script:
        if str(request.key) in limited:
            return error_response(429, "rate_limit_error", "slow down", [("retry-after", "1")])
        return json_response(200, message())

    async with (
        ScriptedUpstream(respond=respond) as up,
        two(config(upstream(up.url, "a", "b", "c"))) as (here, there),
    ):
        for gateway in (here, there):
            for number in range(12):
                assert (await gateway.post(talk(number))).status == 200
        # No news were exchanged, and yet they agree.
        homes = keys(up)
        assert homes[:12] == homes[12:]
        assert len(set(homes)) == 3
        limited.add(f"key-of-{homes[0]}")
        assert (await here.post(talk(0))).status == 200
        went_to = keys(up)[-1]
        await all_told(here, there)
        limited.clear()
        del up.requests[:]
        assert (await there.post(talk(0))).status == 200
        await asyncio.sleep(1.0)
        assert (await there.post(talk(0))).status == 200
        assert keys(up) == [went_to] * 2


async def test_conversation_names_are_the_same_on_all_machines() -> None:
    async with (
        ScriptedUpstream(respond=lambda request: json_response(200, message())) as up,
        office(1) as place,
    ):
        (sharing,) = place.workers
        for far in (False, True):
            sharing.far = far
            async with running(config(upstream(up.url, "a")), sharing=sharing) as gateway:
                runtime = gateway.gateway.runtime
                assert (await gateway.post(REQUEST)).status == 200
                begun = (None, ("hi",))
                assert (runtime.hash(begun) == 0x685F1BCB4D78185A) is far


async def test_gemini_signatures_are_shared_between_processes() -> None:
    async with (
        strict_upstream() as up,
        two(before(up, intercept=Intercept(warmup=False))) as (here, there),
    ):
        agent = Agent(here, MODEL)
        await agent.send("run ls -l")
        await all_told(here, there)
        agent.gateway = there
        await agent.give_results()
        (signature,) = up.requests[-1].signatures
        assert signature
        assert up.refused == []


async def test_cures_are_shared() -> None:
    def respond(request: Received) -> Script:
        if b"context_management" in request.body:
            return error_response(
                400, "invalid_request_error", "context_management: Extra inputs are not permitted"
            )
        return json_response(200, message())

    requests = {**REQUEST, "context_management": {"edits": []}}
    async with ScriptedUpstream(respond=respond) as up, two(config(upstream(up.url, "a"))) as (here, there):
        assert (await here.post(requests)).status == 200
        await all_told(here, there)
        assert (await there.post(requests)).status == 200
        assert len(up.requests) == 3
        assert [line.partition(" repairs=")[2] for line in there.lines if "repairs=" in line] == [
            "cure:fields"
        ]


async def test_sharing_continues_after_a_reload_and_divides_limits() -> None:
    response = error_response(401, "authentication_error", "no")
    async with ScriptedUpstream(respond=lambda request: response) as up:
        made = config(upstream(up.url, account("a", max_concurrent=8)))
        async with two(made) as (here, there):
            (target,) = there.gateway.runtime.targets("m")
            assert target.state.limit == 8
            there.gateway.reload(made._replace(sharing=made.sharing._replace(share_limits=True)))
            (target,) = there.gateway.runtime.targets("m")
            assert target.state.limit == 4
            assert (await here.post(REQUEST)).status == 503
            await all_told(here, there)
            assert (await there.post(REQUEST)).status == 503
            assert len(up.requests) == 1


# Real workers.

WORKERS = """
[upstreams.up]
kind = "anthropic"
base_url = "{url}"
models = {{ "*" = "m" }}
accounts = [{{ name = "a", api_key = "key-of-a" }}, {{ name = "b", api_key = "key-of-b" }}]
"""


async def post(port: int, number: int) -> int:
    return (await fetch(port, "POST", "/v1/messages", orjson.dumps(talk(number)))).status


async def status_of_all(port: int, count: int) -> dict[str, Any]:
    """Return the status of `count` workers, once all have replied; each has then received all earlier news."""
    while True:
        found: dict[str, Any] = (await fetch(port, "GET", "/status.json")).document
        if found["processes"] == count and not found["silent"]:
            return found


async def test_workers_share_news_with_each_other_and_with_late_ones(tmp_path: Path) -> None:
    def respond(request: Received) -> Script:
        if request.key == "key-of-a":
            return error_response(429, "rate_limit_error", "slow down", [("retry-after", "600")])
        return json_response(200, message())

    async with ScriptedUpstream(respond=respond) as up:
        text = WORKERS.format(url=up.url)
        with spawned(tmp_path, "--workers", "4", text=text) as gateway:
            parent, port = gateway.process.pid, gateway.port
            await asyncio.to_thread(eventually, lambda: len(children(parent)) == 4)
            met = 0
            while not met:
                assert await post(port, met) == 200
                met = keys(up).count("a")
            while (counts := (await status_of_all(port, 4))["sharing"])["received"] < 3 * counts["published"]:
                pass
            assert [await post(port, number) for number in range(100)] == [200] * 100
            assert keys(up).count("a") == 1
            # All are replaced, one stands still, and the others know all the same.
            before = children(parent)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: len(children(parent) - before) == 4)
            await status_of_all(port, 4)
            assert [await post(port, number) for number in range(20)] == [200] * 20
            stopped = min(children(parent))
            os.kill(stopped, signal.SIGSTOP)
            requests = [asyncio.create_task(post(port, number)) for number in range(20)]
            await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
            # Some of those who look in are let in by the one that stands still.
            looks: set[asyncio.Task[Response]] = set()
            shown: set[tuple[int, ...]] = set()
            while (3, stopped) not in shown:
                looks |= {asyncio.create_task(fetch(port, "GET", "/status.json")) for _ in range(4)}
                looked, looks = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
                documents = [look.result().document for look in looked]
                shown |= {(each["processes"], *each["silent"]) for each in documents}
            assert all(stopped in silent for _, *silent in shown)
            os.kill(stopped, signal.SIGCONT)
            await asyncio.gather(*looks)
            assert [await each for each in requests] == [200] * 20
            assert keys(up).count("a") == 1
            gateway.signal("TERM")
            await asyncio.to_thread(gateway.wait)
    assert gateway.process.returncode == 0


def test_one_process_does_not_import_sharing() -> None:
    words = "import sys, gateway.cli, gateway.process; print([m for m in sys.modules if 'sharing' in m])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_every_worker_reports_and_acts_for_all(tmp_path: Path) -> None:
    async with ScriptedUpstream(respond=lambda request: json_response(200, message())) as up:
        text = WORKERS.format(url=up.url)
        with spawned(tmp_path, "--workers", "2", text=text) as gateway:
            await asyncio.to_thread(eventually, lambda: len(children(gateway.process.pid)) == 2)
            port = gateway.port
            assert [await post(port, number) for number in range(8)] == [200] * 8
            for _ in range(6):
                counted = 0.0
                while counted < 8:
                    # A worker that does not reply in time is left out.
                    scraped = (await fetch(port, "GET", "/metrics")).body.decode()
                    found = re.findall(
                        r'^gateway_requests_total\{route="/v1/messages",.*\} (\S+)$', scraped, re.M
                    )
                    counted = sum(map(float, found))
                assert counted == 8
                assert len((await status_of_all(port, 2))["requests"]) == 8
            requests = {"upstream": "up", "account": "a"}
            async with await Client.connect(port) as client:
                done = await client.request(
                    "POST", "/status/disable", requests, [("x-gateway-action", "disable")]
                )
                assert done.status == 200
                # The worker that disables it sends the news before it requests the other's part.
                while (await client.request("GET", "/status.json")).document["silent"]:
                    pass
            del up.requests[:]
            assert [await post(port, number) for number in range(20)] == [200] * 20
            assert "a" not in keys(up)
