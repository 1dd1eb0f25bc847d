"""The log of a day on which accounts fail: lines for closing and opening, with the upstream's messages."""

import asyncio

from tests.fakes.messages import Received, Script, error_response
from tests.support.client import ask
from tests.support.clock import run
from tests.support.stage import account_of, failing, good, staged


def test_log_lines_of_cool_downs() -> None:
    scripts: dict[str, list[Script]] = {
        "a": [error_response(401, "authentication_error", "invalid x-api-key: key-of-a@x")],
        "b": [error_response(429, "rate_limit_error", "slow down, sk-of-somebody", [("retry-after", "60")])],
        "c": [],
    }

    def respond(request: Received) -> Script:
        left = scripts[account_of(request)]
        return left.pop() if left else good(request)

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x", spare=True) as stage:
            for text in "one", "two", "three":
                assert (await stage.post(text=text)).status == 200
                await asyncio.sleep(700.0)
            lines = [line.partition(" ")[2] for line in stage.running.lines]
            lines = [line for line in lines if line.startswith(("info: ", "warning: "))]
            assert [line.partition(" until=")[0] for line in lines] == [
                "warning: closed up/a@x about=account rule=login status=401",
                "info: closed up/b@x model=m about=model rule=limit status=429",
                "info: opened up/a@x",
                "info: opened up/b@x model=m",
            ]
            assert lines[0].endswith('error="invalid x-api-key: ***"')
            assert lines[1].endswith('error="slow down, ***"')

    run(scenario())


def decided(lines: list[str]) -> list[str]:
    """The lines of level debug, without time and request."""
    return [line.split(" ", 3)[3] for line in lines if " debug: req_" in line]


def test_log_lines_of_level_debug() -> None:
    refusal = error_response(400, "invalid_request_error", "x.y: Extra inputs are not permitted (key-of-b@x)")
    scripts: dict[str, list[Script]] = {
        "a": [error_response(429, "rate_limit_error", "slow down", [("retry-after", "1")])],
        "b": [error_response(500, "api_error", "oops"), refusal],
    }

    def respond(request: Received) -> Script:
        left = scripts[account_of(request)]
        return left.pop() if left else good(request)

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x", level="debug") as stage:
            body = {**ask("a secret"), "x": {"y": "a secret"}}
            assert (await stage.running.post(body)).status == 200
            await stage.running.gateway.stop(0.0)
            assert decided(stage.running.lines) == [
                "attempt 1 asks up/a@x model=m; not up/b@x (priority 0, 0 in flight)",
                'up/a@x failed: about=model rule="brief limit" status=429',
                "attempt 2 asks up/b@x model=m; "
                "not up/a@x (failed before, cooling down: brief limit, priority 0, 0 in flight)",
                "up/b@x failed: about=request rule=request status=400 cure=fields:x.y",
                "attempt 3 asks up/b@x model=m cures=fields:x.y; "
                "not up/a@x (failed before, cooling down: brief limit, priority 0, 0 in flight)",
                "up/b@x failed: about=model rule=server status=500",
                "waits 0.50 s",
                "attempt 4 asks up/b@x model=m cures=fields:x.y; "
                "not up/a@x (failed before, cooling down: brief limit, priority 0, 0 in flight)",
            ]
            assert "secret" not in "".join(stage.running.lines)

    run(scenario())


def test_no_debug_lines_at_level_info() -> None:
    async def scenario() -> None:
        async with staged(
            failing(error_response(401, "authentication_error", "no"), "a"), "a@x", level="debug"
        ) as stage:
            stage.running.gateway.runtime.debugging = False
            assert (await stage.post()).status == 503
            assert decided(stage.running.lines) == []
            stage.running.gateway.runtime.debugging = True
            assert (await stage.post()).status == 503
            assert decided(stage.running.lines) == ["gives up: login, status=503"]

    run(scenario())
