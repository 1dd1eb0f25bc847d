"""GET / and /api/hello: name, version, and settings for clients."""

import pytest

from gateway import __version__
from tests.support.running import config, running


@pytest.mark.parametrize("path", ["/", "/api/hello", "/?x=y"])
async def test_name_and_version(path: str) -> None:
    async with running(config()) as g, await g.connect() as client:
        response = await client.request("GET", path)
        assert (response.status, response.header("content-type")) == (200, "application/json")
        assert response.document == {
            "name": "messages-gateway",
            "version": __version__,
            "base_url": g.url,
            "usage": f"export ANTHROPIC_BASE_URL={g.url}",
        }
        head = await client.request("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.header("content-length") == str(len(response.body))
        # The client keeps using the connection that it opened for this.
        assert head.header("connection") == "keep-alive"
