"""Clients' telemetry: taken, thrown away, never sent on."""

import pytest

from tests.fakes.messages import ScriptedUpstream
from tests.support.loops import settle
from tests.support.running import config, running, upstream


@pytest.mark.parametrize(
    "path", ["/api/event_logging/batch", "/v1/api/event_logging", "/v1/api/event_logging/batch"]
)
@pytest.mark.parametrize("body", [b'{"events":["canary"]}', b"no json: canary", b""])
async def test_event_logging_is_discarded(path: str, body: bytes) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        response = await g.post(body, path)
        assert (response.status, response.body) == (200, b"{}")
        assert response.header("content-type") == "application/json"
        assert up.connections == 0
        await settle()
        (line,) = g.lines
        assert f"POST {path} 200 ok in={len(body)}B" in line
        assert "canary" not in line
