"""The official Python SDK through the gateway, the present one and 0.125, with and without TLS."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme

from gateway.config import Auth, Config, Secret, Tls
from gateway.demo.running import configuration
from gateway.demo.upstream import MODELS, DemoUpstream
from gateway.http1.limits import Limits
from gateway.http1.server import Server as Listener
from tests.support.running import Running, running
from tests.support.sdk_session import session

ROOT = Path(__file__).parents[2]
SESSION = ROOT / "tests" / "support" / "sdk_session.py"
OLD = "0.125.0"
KEY = "sk-gateway-key"


@pytest.fixture(scope="session")
def old_sdk() -> Path:
    """A folder with the old SDK, installed once into this environment: without what the present one needs as well."""
    folder = Path(sys.prefix) / f"anthropic-{OLD}"
    if not (folder / "installed").exists():
        import subprocess

        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = ["--no-deps", f"anthropic=={OLD}", "httpx", "httpcore"]
        subprocess.run([*pip, "--target", str(folder), *wanted], check=True, timeout=300)
        (folder / "installed").touch()
    return folder


async def talk(url: str, *, sdk: Path | None = None, ca_file: Path | None = None) -> dict[str, Any]:
    """Run one session with another SDK in a separate process; return what the SDK received."""
    if sdk is None:
        return await asyncio.to_thread(session, url, KEY, str(ca_file) if ca_file is not None else None)
    environ = {**os.environ, "PYTHONPATH": str(sdk)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SESSION), url, KEY, stdout=asyncio.subprocess.PIPE, env=environ
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    result: dict[str, Any] = orjson.loads(output)
    return result


@asynccontextmanager
async def in_front_of_the_demo(
    *, tls: Tls | None = None, upstream_tls: trustme.LeafCert | None = None, ca_file: Path | None = None
) -> AsyncIterator[Running]:
    """A gateway that needs a key, before the demo's upstream; TLS on either side."""
    listener = Listener(DemoUpstream(pause=0.0), Limits())
    context = None
    if upstream_tls is not None:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        upstream_tls.configure_cert(context)
    port = await listener.listen("127.0.0.1", 0, tls=context)
    try:
        async with running(configured(port, tls, ca_file), listing=True) as gateway:
            yield gateway
    finally:
        listener.close()
        listener.abort()
        await listener.wait_closed(1.0)


def configured(port: int, tls: Tls | None, ca_file: Path | None) -> Config:
    base = configuration(0, port)
    upstream = replace(base.upstreams[0], models={"claude-*": "claude-demo"})
    if ca_file is not None:
        upstream = replace(upstream, base_url=f"https://localhost:{port}", ca_file=ca_file)
    return base._replace(
        upstreams=(upstream,),
        auth=Auth(mode="strict", keys={"laptop": Secret(KEY)}),
        server=base.server._replace(tls=tls),
    )


def assert_good(seen: dict[str, Any]) -> None:
    assert 'You said: "Hello"' in seen["created"]
    assert seen["by_token"] == seen["created"] == seen["streamed"]
    assert seen["pieces"] > 10
    assert seen["usage"] > 10
    assert seen["request_id"].startswith("req_")
    for tools in (seen["tools"], seen["streamed_tools"]):
        assert tools["stop_reason"] == "tool_use"
        assert tools["input"]["command"] == "echo hi"
        assert "hi from the shell" in tools["text"]
    assert seen["counted"] > 0
    assert set(seen["models"]) <= set(MODELS)
    assert len(seen["models"]) > 2, "the second page was fetched"
    assert seen["model"] == "claude-opus-5-5"
    for name, kind, status in (
        ("wrong_key", "AuthenticationError", 401),
        ("unknown_model", "NotFoundError", 404),
        ("bad_request", "BadRequestError", 400),
        ("missing_model", "NotFoundError", 404),
    ):
        error = seen[name]
        assert (error["class"], error["status"]) == (kind, status), name
        assert error["request_id"].startswith("req_"), name


async def test_current_sdk() -> None:
    async with in_front_of_the_demo() as gateway:
        assert_good(await talk(gateway.url))

    assert any("laptop" in line for line in gateway.lines)
    assert not any(KEY in line for line in gateway.lines)


async def test_previous_sdk(old_sdk: Path) -> None:
    async with in_front_of_the_demo() as gateway:
        seen = await talk(gateway.url, sdk=old_sdk)

    assert seen["version"] == OLD
    assert_good(seen)


async def test_tls_on_both_sides(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    front = authority.issue_cert("127.0.0.1", "localhost")
    front.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for pem in front.cert_chain_pems:
        pem.write_to_path(str(tmp_path / "cert.pem"), append=True)
    tls = Tls(certificate=tmp_path / "cert.pem", private_key=tmp_path / "key.pem")
    behind = authority.issue_cert("localhost")

    async with in_front_of_the_demo(tls=tls, upstream_tls=behind, ca_file=ca_file) as gateway:
        assert gateway.url.startswith("https://")
        assert_good(await talk(gateway.url, ca_file=ca_file))
