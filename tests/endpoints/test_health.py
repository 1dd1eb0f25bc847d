"""Health: alive, draining, and ready when some account could serve a request now."""

from typing import Any

import pytest

from gateway.config import Auth, Secret
from tests.fakes.messages import ScriptedUpstream, error_response, json_response, message
from tests.support.client import Response, ask
from tests.support.loops import settle
from tests.support.running import config, running, upstream

LIMIT = error_response(429, "rate_limit_error", "wait", [("retry-after", "3600")])


@pytest.mark.parametrize("path", ["/healthz", "/health"])
async def test_alive_or_about_to_stop(path: str) -> None:
    async with running(config()) as g, await g.connect() as client:
        alive = await client.request("GET", path)
        assert (alive.status, alive.body) == (200, b'{"status":"ok"}')
        assert alive.header("content-type") == "application/json"
        assert alive.header("request-id") is not None
        head = await client.request("HEAD", path)
        assert (head.status, head.body, head.header("content-length")) == (200, b"", "15")
        g.gateway.drain()
        draining = await g.get(path)
        assert (draining.status, draining.body) == (503, b'{"status":"draining"}')


async def test_ready() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x"))) as g, await g.connect() as client:
        response = await client.request("GET", "/readyz")
        assert (response.status, response.document) == (200, {"status": "ready"})
        assert (await client.request("HEAD", "/readyz")).status == 200


def shaped(response: Response) -> str:
    """The message of an error in the protocol's shape."""
    document = response.document
    assert response.status == 503
    assert document["type"] == "error"
    assert document["error"] == {"type": "api_error", "message": response.message}
    assert document["request_id"] == response.header("request-id")
    return response.message


@pytest.mark.parametrize(
    ("expose", "shown"), [("full", "up/a@x"), ("masked", "up/a***@x"), ("none", "up/an account")]
)
async def test_not_ready_has_reason_and_retry_after(expose: Any, shown: str) -> None:
    async with ScriptedUpstream() as up:
        up.script(LIMIT)
        settings = config(upstream(up.url, "a@x"), server={"expose": expose}, models={"m": "m", "n": "m"})
        async with running(settings) as g:
            assert (await g.post(ask())).status == 429
            response = await g.get("/readyz")
            assert shaped(response) == f"every account is cooling down: {shown}: limit"
            seconds = response.document["ready_in_seconds"]
            assert 3500 < seconds <= 3600
            assert response.header("retry-after") in {str(int(seconds)), str(int(seconds) + 1)}


async def test_one_account_that_could_serve_is_enough() -> None:
    async with ScriptedUpstream() as up:
        up.script(LIMIT, json_response(200, message()))
        async with running(config(upstream(up.url, "a@x", "b@x"))) as g:
            assert (await g.post(ask())).status == 200
            assert (await g.get("/readyz")).status == 200


async def test_refusals_of_upstreams_are_shown_with_a_key() -> None:
    auth = Auth(keys={"laptop": Secret("key-of-laptop")}, mode="all_except_health")
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"), auth=auth)) as g:
        up.script(
            error_response(400, "invalid_request_error", "invalid beta flag"), json_response(200, message())
        )
        laptop = {"x-api-key": "key-of-laptop"}
        assert (await g.post(ask(), **laptop, **{"anthropic-beta": "odd-1"})).status == 200
        known = (await g.get("/readyz", **laptop)).document
        seconds = known["cures"][0].pop("seconds")
        assert known == {
            "status": "ready",
            "cures": [{"upstream": "up", "model": "m", "cure": "betas", "detail": "odd-1"}],
        }
        assert 3500 < seconds <= 3600
        assert (await g.get("/readyz")).document == {"status": "ready"}


async def test_not_ready_without_accounts() -> None:
    async with running(config()) as g:
        response = await g.get("/readyz")
        assert shaped(response) == "no account is configured"
        assert response.document["ready_in_seconds"] is None
        assert response.header("retry-after") is None
        await settle()
        assert "503 refused" in g.lines[-1]
        assert 'error="no account is configured"' in g.lines[-1]


async def test_draining_is_not_ready() -> None:
    async with running(config(upstream("http://127.0.0.1:1"))) as g:
        g.gateway.drain()
        assert shaped(await g.get("/readyz")) == "the gateway is shutting down"
