"""Gateway: how it is put together, and what every request meets before its endpoint does."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme

from gateway.app import Gateway, dialect_of
from gateway.config import Account, Auth, Config, Secret, Server, Tls, Upstream
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.listening import StartError, base_url
from gateway.proxy.model_list import LIST_EVERY
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import NO_CREDENTIAL, Credential
from gateway.telemetry.access_log import AccessLog
from tests.fakes.messages import Received, Script, ScriptedUpstream, Stall, json_response, message
from tests.support.client import Client, Response, ask, fetch
from tests.support.clock import run
from tests.support.explode import explode
from tests.support.loops import PATIENCE, eventually, settle
from tests.support.running import Running, account, config, running, upstream

QUIET = AccessLog(lambda line: None)

KEYS = {"laptop": Secret("sk-laptop")}


def good(request: Received) -> Script:
    return json_response(200, message())


def made_here(response: Response, status: int, type: str) -> str:
    """The message of an error in the protocol's shape."""
    document = response.document
    assert response.status == status
    assert response.header("content-type") == "application/json"
    assert document == {
        "type": "error",
        "error": {"type": type, "message": response.message},
        "request_id": response.header("request-id"),
    }
    return response.message


# How it is put together.


def test_a_dialect_for_each_kind() -> None:
    assert isinstance(dialect_of("anthropic", QUIET), AnthropicDialect)
    assert isinstance(dialect_of("gemini", QUIET), GeminiDialect)


def oauth_file(path: Path, **fields: str) -> Path:
    document = {
        "client_id": "i",
        "client_secret": "canary-cs",
        "refresh_token": "canary-rt",
        "token_uri": "https://token.example/token",
        **fields,
    }
    path.write_bytes(orjson.dumps(document))
    return path


def client_of(upstream: Upstream, environ: dict[str, str]) -> UpstreamClient:
    return Gateway(config(upstream), QUIET, environ).runtime.upstreams["up"]


def test_an_upstream_has_its_url_and_credentials(tmp_path: Path) -> None:
    accounts = (
        account("a@x"),
        Account(name="local"),
        Account(name="o", oauth_file=oauth_file(tmp_path / "o.json")),
    )
    made = client_of(upstream("https://api.example/base", *accounts, ca_file=Path("ca.pem")), {})
    origin = made.pool.origin
    assert (str(origin), origin.ca_file) == ("https://api.example", Path("ca.pem"))
    key, none, token = made.credentials.values()
    assert key.known == Credential("api_key", Secret("key-of-a@x"))
    assert none.known == NO_CREDENTIAL
    assert token.known is None
    assert isinstance(token, TokenRefresher)


@pytest.mark.parametrize(
    ("url", "configured", "proxy"),
    [
        ("https://api.example", "http://u:p@mine:1", "http://u:p@mine:1"),
        ("https://api.example", None, "http://env:2"),
        ("https://skipped.example", None, None),
        ("http://127.0.0.1:1", None, None),
        ("http://127.0.0.1:1", "http://mine:1", "http://mine:1"),
    ],
)
def test_the_proxy_of_an_upstream(url: str, configured: str | None, proxy: str | None) -> None:
    environ = {"https_proxy": "env:2", "no_proxy": "skipped.example"}
    secret = Secret(configured) if configured else None
    assert client_of(upstream(url, proxy=secret), environ).pool.origin.proxy == proxy


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_text("canary"), "not a JSON object"),
        (lambda path: oauth_file(path, client_id=""), "client_id: must be a non-empty string"),
        (
            lambda path: oauth_file(path, token_uri="http://far.example"),
            "token_uri: must begin with https://",
        ),
    ],
)
def test_an_oauth_file_that_cannot_be_used(
    tmp_path: Path, write: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "login.json"
    write(path)
    with pytest.raises(StartError) as raised:
        Gateway(config(upstream("https://h", Account(name="g@x", oauth_file=path))), QUIET, {})
    assert str(raised.value) == f"account g@x: {path}: {words}"


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:8045"),
        ({"host": "localhost"}, "http://localhost:8045"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8045"),
        ({"host": ""}, "http://127.0.0.1:8045"),
        ({"host": "::"}, "http://[::1]:8045"),
        ({"host": "::1"}, "http://[::1]:8045"),
        ({"host": "192.168.1.7"}, "http://192.168.1.7:8045"),
        ({"tls": Tls(certificate=Path("c"), private_key=Path("k"))}, "https://127.0.0.1:8045"),
    ],
)
def test_the_base_url(server: dict[str, Any], url: str) -> None:
    assert base_url(Config(server=Server(**server)), 8045) == url


# The start.


async def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = Gateway(Config(server=Server(port=port)), QUIET, {})
        with pytest.raises(StartError) as raised:
            await gateway.start()
    assert str(raised.value) == f"cannot listen on 127.0.0.1 port {port}: Address already in use"


async def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway(Config(server=Server(host="nowhere.invalid")), QUIET, {})

    async def listen(*_: object, **__: object) -> int:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(gateway.server, "listen", listen)
    with pytest.raises(StartError) as raised:
        await gateway.start()
    assert str(raised.value) == "cannot listen on nowhere.invalid port 8045: Name or service not known"


async def test_proxy_from_os_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    gateway = Gateway(config(upstream("https://api.example")), QUIET)
    assert gateway.runtime.upstreams["up"].pool.origin.proxy == "http://proxy.example"


# Checks of every request.


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/V1/Messages", "/v2/messages"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_a_path_that_is_not_served(method: str, path: str) -> None:
    async with running(config()) as g:
        response = await fetch(g.port, method, path + "?key=canary")
        message = made_here(response, 404, "not_found_error")
        advice = (
            f": set the client's base URL to {g.url} (without /v1)" if path in ("/v1", "/v2/messages") else ""
        )
        assert message == f"nothing is served at {path}{advice}"
        await settle()
        assert f"{method} {path} 404 refused" in g.lines[0]
        assert "canary" not in g.lines[0]


GET_ONLY = [
    "/",
    "/api/hello",
    "/healthz",
    "/health",
    "/readyz",
    "/v1/models",
    "/v1/models/claude",
    "/v1/models/x",
]
POST_ONLY = [
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/event_logging/batch",
    "/v1/api/event_logging",
    "/v1/api/event_logging/batch",
]


@pytest.mark.parametrize(
    ("path", "allow"),
    [*((path, "GET, HEAD, OPTIONS") for path in GET_ONLY), *((path, "POST, OPTIONS") for path in POST_ONLY)],
)
async def test_wrong_methods(path: str, allow: str) -> None:
    async with running(config()) as g, await g.connect() as client:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
            response = await client.request(method, path)
            if method in allow.split(", "):
                assert response.status != 405
                continue
            assert response.header("allow") == allow
            assert response.status == 405
            if method != "HEAD":
                message = made_here(response, 405, "invalid_request_error")
                assert message == f"{method} is not served here; {allow} are"


@pytest.mark.parametrize(
    ("path", "allow"), [("/healthz", "GET, HEAD, OPTIONS"), ("/v1/messages", "POST, OPTIONS"), ("*", None)]
)
async def test_options(path: str, allow: str | None) -> None:
    """Without a key: a browser's preflight cannot send one."""
    async with running(config(auth=Auth(mode="strict", keys=KEYS))) as g:
        response = await fetch(g.port, "OPTIONS", path, headers=[("access-control-request-headers", "x")])
        assert (response.status, response.body) == (200, b"")
        assert response.header("allow") == (allow or "GET, HEAD, OPTIONS, POST")
        assert not any(name.startswith("access-control") for name, _ in response.headers)
        unknown = await fetch(g.port, "OPTIONS", "/nowhere")
        assert unknown.status == 401


ORIGIN = "https://app.example"


async def test_an_allowed_origin_may_read_every_response() -> None:
    settings = config(server={"allowed_origins": (ORIGIN,)}, auth=Auth(mode="strict", keys=KEYS))
    async with running(settings) as g, await g.connect() as client:
        fields = [("origin", ORIGIN), ("access-control-request-headers", "x-api-key, content-type")]
        preflight = await client.request("OPTIONS", "/v1/messages", headers=fields)
        assert preflight.status == 200
        assert preflight.header("access-control-allow-methods") == "POST, OPTIONS"
        assert preflight.header("access-control-allow-headers") == "x-api-key, content-type"
        plain = await client.request("OPTIONS", "/v1/messages", headers=fields[:1])
        assert plain.header("access-control-allow-headers") is None
        keyed = [("origin", ORIGIN), ("x-api-key", "sk-laptop")]
        responses = [
            preflight,
            await client.request("GET", "/healthz", headers=keyed),
            await client.request("GET", "/healthz", headers=fields[:1]),
            await client.request("GET", "/nowhere", headers=keyed),
            await client.request("POST", "/healthz", headers=keyed),
            await client.request("POST", "/v1/messages", b"{", headers=keyed),
        ]
        assert [each.status for each in responses] == [200, 200, 401, 404, 405, 400]
        for each in responses:
            assert each.header("access-control-allow-origin") == ORIGIN
            assert each.header("vary") == "origin"
        without = await client.request("GET", "/healthz", headers=keyed[1:])
        assert without.header("access-control-allow-origin") is None


async def test_host_and_origin_are_checked_before_the_key() -> None:
    settings = config(auth=Auth(mode="strict", keys=KEYS))
    async with running(settings) as g, await g.connect() as client:
        client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        message = made_here(await client.response(), 403, "permission_error")
        assert "evil.example" in message
        message = made_here(await g.get("/healthz", origin="https://evil.example"), 403, "permission_error")
        assert "allowed_origins" in message


async def test_a_doubled_v1_is_served_with_one_warning() -> None:
    async with (
        ScriptedUpstream(respond=good) as up,
        running(config(upstream(up.url), models={"alias": "m"})) as g,
    ):
        served = await g.post(ask(), "/v1/v1/messages?beta=true")
        assert (served.status, up.requests[0].target) == (200, "/v1/messages?beta=true")
        statuses = [
            (await g.post(ask(), "/v1/v1/messages/count_tokens")).status,
            (await g.get("/v1/v1/models")).status,
            (await g.get("/v1/v1/models/alias")).status,
            (await g.get("/v1/v1/models/claude")).status,
            (await g.get("/v1/v1/nowhere")).status,
            (await g.get("/v1/v1/v1/models")).status,
            (await g.post(ask(), "/v1/v1/healthz")).status,
        ]
        assert statuses == [200, 200, 200, 200, 404, 404, 404]
        found = [line for line in g.lines if "warning" in line]
        assert [line.partition(" warning: ")[2] for line in found] == [
            f"a client's base URL ends in /v1: set it to {g.url} (served all the same)"
        ]


async def test_absolute_form_target() -> None:
    async with running(config()) as g:
        response = await g.get("http://127.0.0.1/v1/v1/models?limit=1")
    assert response.status == 200


# Errors of HTTP's own.


async def test_an_error_of_http_has_the_protocols_shape() -> None:
    async with running(config(limits={"max_body": 10})) as g:
        response = await g.post(b"x" * 11)
        message = made_here(response, 413, "request_too_large")
        assert message == "the request's body is larger than 10 bytes"
        assert response.header("connection") == "close"
        await settle()
        (line,) = g.lines
        assert f" {response.header('request-id')} - POST" in line
        assert "POST /v1/messages 413 refused" in line
        assert message in line


@pytest.mark.parametrize("origin", [None, ORIGIN])
async def test_a_body_timeout_belongs_to_its_request(origin: str | None) -> None:
    settings = config(
        server={"allowed_origins": (ORIGIN,)},
        auth=Auth(mode="strict", keys=KEYS),
        limits={"body_timeout": 0.02},
    )
    async with running(settings) as g, await g.connect() as client:
        extra = f"Origin: {origin}\r\n" if origin else ""
        client.writer.write(
            b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: sk-laptop\r\n"
            b"%bContent-Length: 5\r\n\r\n" % extra.encode()
        )
        response = await client.response()
        made_here(response, 408, "timeout_error")
        assert response.header("access-control-allow-origin") == origin
        await settle()
        (line,) = g.lines
        assert f"{response.header('request-id')} laptop POST /v1/messages 408 refused" in line


async def test_invalid_bytes_are_logged_without_them() -> None:
    async with running(config()) as g, await g.connect() as client:
        client.writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: sk-canary\x01\r\n\r\n")
        response = await client.response()
        made_here(response, 400, "invalid_request_error")
        (line,) = g.lines
        assert "info: refused a connection's bytes with 400: " in line
        assert "canary" not in line


async def test_too_many_connections() -> None:
    async with running(config(limits={"max_connections": 1})) as g, await g.connect() as client:
        assert (await client.request("GET", "/healthz")).status == 200
        response = await g.get("/healthz")
        made_here(response, 503, "overloaded_error")
        assert response.header("retry-after") == "1"


# The gateway's own failure.


@pytest.mark.parametrize("place", ["endpoints.models._limit", "app.router.find"])
async def test_an_internal_error(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(config()) as g, await g.connect() as client:
        with monkeypatch.context() as patch:
            patch.setattr(f"gateway.{place}", explode)
            response = await client.request("GET", "/v1/models")
        made_here(response, 500, "api_error")
        await settle()
        message, line = g.lines
        assert f"error: {response.header('request-id')}: internal error: KeyError at explode.py:" in message
        assert "GET /v1/models 500 internal_error" in line
        assert "secret" not in message + line
        # The connection is still good.
        assert (await client.request("GET", "/v1/models")).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_an_internal_error_before_the_first_attempt(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream(respond=good) as up, running(config(upstream(up.url))) as g:
        with monkeypatch.context() as patch:
            patch.setattr(AnthropicDialect, "encode", explode)
            response = await g.post(ask(stream=stream))
        made_here(response, 500, "api_error")
        await settle()
        assert "internal error: KeyError at explode.py:" in g.lines[0]
        assert not any("secret" in line for line in g.lines)
        # Its slot is free again: `running` looks.
        assert (await g.post(ask())).status == 200


# Draining and the end.


async def test_draining() -> None:
    async with running(config(auth=Auth(mode="all_except_health", keys=KEYS))) as g:
        g.gateway.drain()
        healthy = await g.get("/healthz")
        assert (healthy.status, healthy.document) == (503, {"status": "draining"})
        assert healthy.header("connection") == "close"
        assert (await g.get("/readyz")).status == 503
        assert (await g.get("/")).status == 200
        refused = await g.post(ask(), x_api_key="sk-laptop")
        made_here(refused, 503, "api_error")
        assert "shutting down" in refused.message
        assert refused.header("retry-after") == "1"
        assert (await g.post(ask())).status == 401


async def test_stop_lets_a_request_end() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.respond = good
        async with await g.connect() as client, await g.connect() as idle:
            assert (await idle.request("GET", "/healthz")).status == 200
            client.writer.write(
                b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
            )
            await eventually(lambda: "BODY" in repr(g.gateway.server.connections))
            stopping = asyncio.create_task(g.gateway.stop(PATIENCE))
            assert await idle.reader.read() == b""
            client.writer.write(orjson.dumps(ask()).ljust(100))
            response = await client.response()
            assert (response.status, response.header("connection")) == (200, "close")
            assert await stopping


async def test_stop_cuts_off_slow_requests() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.script([Stall()])
        async with await g.connect() as client:
            client.send("POST", "/v1/messages", ask(stream=True))
            await eventually(lambda: up.requests)
            assert not await g.gateway.stop(0.01)
            assert (await client.response()).status == 503
        await settle()
        assert "POST /v1/messages m up/one@example.com 503 shutdown" in g.lines[-1]


async def test_the_port_is_closed_at_the_end() -> None:
    async with running(config(upstream("http://127.0.0.1:1")), listing=True) as g:
        port = g.port
        assert await g.gateway.stop()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(port)


# Model lists.


def test_models_are_listed_at_the_start_and_again() -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up:
            up.respond = lambda _: json_response(200, {"data": [{"id": f"list-{len(up.requests)}"}]})
            async with running(config(upstream(up.url)), listing=True) as g:
                await asyncio.sleep(1.0)
                for number in (1, 2, 3):
                    assert listed(g) == [f"list-{number}"]
                    assert len(up.requests) == number
                    await asyncio.sleep(LIST_EVERY)
            assert {request.target for request in up.requests} == {"/v1/models?limit=1000"}

    run(scenario())


def listed(g: Running) -> list[str]:
    return list(g.gateway.runtime.model_list.models)


# Reload.


async def test_a_reload_applies_from_the_next_request() -> None:
    async with ScriptedUpstream(respond=good) as one, ScriptedUpstream(respond=good) as two:
        async with running(config(upstream(one.url, "a@x"))) as g:
            assert (await g.post(ask())).header("x-account-email") == "a@x"
            before = g.gateway.runtime
            auth = Auth(mode="strict", keys=KEYS)
            other = config(upstream(two.url, "b@x", name="other"), auth=auth, limits={"max_body": 1000})
            g.gateway.reload(other)
            response = await g.post(ask(), x_api_key="sk-laptop")
            assert response.header("x-account-email") == "b@x"
            assert (await g.post(ask())).status == 401
            assert (await g.post(b"x" * 1001, x_api_key="sk-laptop")).status == 413
            after = g.gateway.runtime
            assert after.correction is before.correction
            assert not any("warning" in line for line in g.lines)
        assert (len(one.requests), len(two.requests)) == (1, 1)


async def test_a_request_under_way_keeps_its_configuration() -> None:
    body = orjson.dumps(ask())
    head = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with (
        ScriptedUpstream(respond=good) as up,
        running(config(upstream(up.url, "a@x"))) as g,
        await g.connect() as client,
    ):
        client.writer.write(head)
        await eventually(lambda: "BODY" in repr(g.gateway.server.connections))
        g.gateway.reload(config(upstream("http://127.0.0.1:9", "b@x"), auth=Auth(mode="strict")))
        client.writer.write(body)
        assert (await client.response()).header("x-account-email") == "a@x"


async def test_cool_downs_dialects_and_connections_outlive_a_reload() -> None:
    async with ScriptedUpstream() as up:
        up.script(json_response(429, {}, [("retry-after", "600")]))
        async with running(config(upstream(up.url, "a@x"))) as g:
            assert (await g.post(ask())).status == 429
            before = g.gateway.runtime.upstreams["up"]
            g.gateway.reload(
                config(upstream(up.url, "a@x"), upstream(up.url, "g@x", name="g", kind="gemini"))
            )
            runtime = g.gateway.runtime
            assert runtime.upstreams["up"].dialect is before.dialect
            assert runtime.upstreams["up"].pool is before.pool
            assert before.pool.limits is runtime.config.server.limits
            assert isinstance(runtime.upstreams["g"].dialect, GeminiDialect)
            g.gateway.reload(config(upstream(up.url, "a@x")))
            response = await g.post(ask())
            assert (response.status, len(up.requests)) == (429, 1)


async def test_a_reload_while_draining() -> None:
    async with running(config()) as g:
        g.gateway.drain()
        g.gateway.reload(config())
        assert (await g.get("/healthz")).status == 503


async def test_a_broken_configuration_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    async with ScriptedUpstream(respond=good) as up, running(config(upstream(up.url, "a@x"))) as g:
        before = g.gateway.runtime
        lost = Account(name="g@x", oauth_file=tmp_path / "lost.json")
        auth = Auth(mode="strict", keys=KEYS)
        broken = config(upstream(up.url, lost, name="other"), auth=auth, limits={"idle_timeout": 1.0})
        with pytest.raises(StartError, match=r"account g@x: .*lost\.json: No such file"):
            g.gateway.reload(broken)
        assert g.gateway.runtime is before
        assert before.upstreams["up"].pool.limits is before.config.server.limits
        assert (await g.post(ask())).header("x-account-email") == "a@x"


async def test_a_reload_refreshes_model_lists() -> None:
    async with ScriptedUpstream() as up:
        up.respond = lambda _: json_response(200, {"data": [{"id": f"list-{len(up.requests)}"}]})
        async with running(config(upstream(up.url)), listing=True) as g:
            await eventually(lambda: listed(g) == ["list-1"])
            g.gateway.reload(config(upstream(up.url)))
            # The earlier list stays until the new list is there.
            assert listed(g) == ["list-1"]
            await eventually(lambda: listed(g) == ["list-2"])


@pytest.mark.parametrize(
    "server",
    [
        {"host": "0.0.0.0"},
        {"port": 1},
        {"host": "::1", "port": 2, "tls": Tls(certificate=Path("c.pem"), private_key=Path("k.pem"))},
    ],
    ids=["host", "port", "all"],
)
async def test_a_reload_does_not_change_the_address(server: dict[str, Any]) -> None:
    async with running(config()) as g:
        url = g.url
        other = Config(server=Server(**{"host": "127.0.0.1", "port": 0, "expose": "none", **server}))
        g.gateway.reload(other)
        assert [line.partition(" warning: ")[2] for line in g.lines] == [
            "host, port and TLS on or off take effect at the next start"
        ]
        assert g.url == url
        served = g.gateway.runtime.config.server
        assert (served.host, served.tls, served.expose) == ("127.0.0.1", None, "none")
        assert (await g.get("/v1/models")).status == 200
        # The next configuration with the same address causes no second warning.
        g.gateway.reload(config())
        assert len([line for line in g.lines if " warning: " in line]) == 1


async def test_a_reload_does_not_open_a_public_gateway() -> None:
    """`auto` depends on the current address, not on the one after the next start."""
    bound = Config(server=Server(host="0.0.0.0", port=0), auth=Auth(keys=KEYS))
    async with running(bound) as g:
        assert (await g.get("/v1/models")).status == 401
        g.gateway.reload(config(auth=Auth(keys=KEYS)))
        assert (await g.get("/v1/models")).status == 401


# TLS.


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def pem(ca: trustme.CA, directory: Path, name: str) -> Tls:
    """A certificate for localhost whose common name is `name`."""
    directory.mkdir(exist_ok=True)
    certificate = ca.issue_cert("localhost", common_name=name)
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return Tls(certificate=chain, private_key=key)


async def peer_name(g: Running, ca: trustme.CA) -> str:
    """The common name that a new connection is shown, after one request over it."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with await Client.connect(g.port, tls=context) as client:
        assert (await client.request("GET", "/healthz")).status == 200
        tls = client.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        subject = dict(pair[0] for pair in tls.getpeercert()["subject"])
        return str(subject["commonName"])


async def test_tls_and_another_certificate_after_a_reload(ca: trustme.CA, tmp_path: Path) -> None:
    tls = pem(ca, tmp_path / "one", "one")
    async with running(config(server={"tls": tls})) as g:
        assert g.url == f"https://127.0.0.1:{g.port}"
        assert await peer_name(g, ca) == "one"
        pem(ca, tmp_path / "one", "renewed")
        g.gateway.reload(config(server={"tls": tls}))
        assert await peer_name(g, ca) == "renewed"
        g.gateway.reload(config(server={"tls": pem(ca, tmp_path / "two", "two")}))
        assert await peer_name(g, ca) == "two"
        # TLS off takes effect at the next start.
        g.gateway.reload(config())
        assert await peer_name(g, ca) == "two"
        assert g.url.startswith("https://")


def mixed(ca: trustme.CA, directory: Path) -> Tls:
    """A certificate and the key of another one."""
    one, other = pem(ca, directory / "c", "c"), pem(ca, directory / "k", "k")
    return Tls(certificate=one.certificate, private_key=other.private_key)


async def test_a_bad_certificate_at_a_reload_changes_nothing(ca: trustme.CA, tmp_path: Path) -> None:
    async with running(config(server={"tls": pem(ca, tmp_path / "one", "one")})) as g:
        bad = config(server={"tls": mixed(ca, tmp_path)}, auth=Auth(mode="strict"))
        with pytest.raises(StartError, match="cannot be used together"):
            g.gateway.reload(bad)
        assert await peer_name(g, ca) == "one"
        lost = Account(name="g@x", oauth_file=tmp_path / "lost.json")
        broken = config(
            upstream("https://h", lost, kind="gemini"), server={"tls": pem(ca, tmp_path / "two", "two")}
        )
        with pytest.raises(StartError, match="No such file"):
            g.gateway.reload(broken)
        assert await peer_name(g, ca) == "one"


@pytest.mark.parametrize("kind", ["mixed", "lost", "no PEM"])
async def test_invalid_certificates(ca: trustme.CA, tmp_path: Path, kind: str) -> None:
    tls = mixed(ca, tmp_path)
    if kind == "lost":
        os.remove(tls.private_key)
    elif kind == "no PEM":
        tls.certificate.write_text("hello")
    gateway = Gateway(config(server={"tls": tls}), QUIET, {})
    with pytest.raises(StartError) as raised:
        await gateway.start()
    message = str(raised.value)
    reason = {"mixed": "KEY_VALUES_MISMATCH", "lost": "No such file or directory", "no PEM": "not PEM"}[kind]
    assert message.startswith(
        f"server.tls: {tls.certificate} and {tls.private_key} cannot be used together: "
    )
    assert reason in message
    assert "\n" not in message
