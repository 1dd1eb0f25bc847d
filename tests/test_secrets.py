"""Nothing secret is ever shown: every path, driven at the log level `debug` with marked secrets, and no mark is
found in a log line, in an error that the gateway makes, in a `repr`, or on the standard streams.

Marked are client keys, account keys, tokens, a proxy's password, clients' prompts and upstreams' responses.
"""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest

from gateway import cli, signals
from gateway.app import Gateway
from gateway.config import Account, Auth, Config, ConfigError, Retry, Secret, load
from gateway.dialects.anthropic import AnthropicDialect
from gateway.endpoints import messages
from gateway.operator.check import summary
from gateway.process import greeting
from gateway.proxy import attempt, forward
from gateway.proxy.responses import relay
from gateway.telemetry.access_log import AccessLog
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Received,
    Reset,
    Script,
    ScriptedUpstream,
    Stall,
    Step,
    chunked,
    error_response,
    event,
    json_response,
    message,
    message_start,
    stream_response,
    text_events,
)
from tests.support.client import Client, Response
from tests.support.explode import explode
from tests.support.loops import eventually, settle
from tests.support.running import Running, config, running, upstream

MARK = "canary"
KEY, ACCOUNT, PROXY = f"{MARK}-client", f"{MARK}-account", f"{MARK}-proxy"
QUICK = Retry(max_attempts=2, max_wait=0.0)
ENCODED = [base64.b64encode(f"user:{PROXY}".encode()).decode(), base64.b64encode(KEY.encode()).decode()]

PROMPT: dict[str, Any] = {
    "model": "m",
    "max_tokens": 10,
    "system": f"{MARK} system",
    "metadata": {"user_id": f"{MARK}-user"},
    "tools": [{"name": "t", "description": f"{MARK} tool", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": f"{MARK} prompt"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "t", "input": {MARK: MARK}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": MARK}]},
    ],
}
TARGET = f"/v1/messages?key={MARK}-query"
COUNT = f"/v1/messages/count_tokens?key={MARK}-query"

Format = Literal["text", "json"]
FORMATS: list[Format] = ["text", "json"]


def check(*texts: str | bytes) -> None:
    """Assert that no mark is there, in any encoding."""
    for text in texts:
        shown = text.decode("latin-1") if isinstance(text, bytes) else text
        for mark in (MARK, *ENCODED):
            assert mark not in shown, shown


class Watched:
    """A gateway whose every word is looked at."""

    def __init__(self, running: Running) -> None:
        self.running = running

    async def post(
        self, body: dict[str, Any] | bytes = b"", target: str = TARGET, *, key: str = KEY, own: bool = False
    ) -> Response:
        """A request; `own`: what comes back must be the gateway's own words."""
        document = body or PROMPT
        response = await self.running.post(
            document, target, x_api_key=key, cookie=f"a={MARK}-cookie", anthropic_beta=f"{MARK}-beta"
        )
        if own:
            assert response.status >= 400
            check(response.body, repr(response.headers))
        await settle()
        check(*self.running.lines)
        return response


@asynccontextmanager
async def watched(settings: Config, format: Format = "text", **more: Any) -> AsyncIterator[Watched]:
    async with running(settings, format=format, level="debug", **more) as g:
        yield Watched(g)
        await settle()
        check((await g.get("/metrics", x_api_key=KEY)).body)
        runtime = g.gateway.runtime
        check(repr(runtime), repr(runtime.scheduler), repr(runtime.upstreams), repr(runtime.config))
        check(repr(g.gateway.server.connections), repr(g.gateway.server.template))
    check(*g.lines)
    assert g.lines


def keyed(*names: str) -> tuple[Account, ...]:
    return tuple(Account(name=name, api_key=Secret(f"{ACCOUNT}-{name}")) for name in names or ("a@x",))


def before(up: ScriptedUpstream, *names: str, **fields: Any) -> Config:
    """A gateway with a client's key before an upstream with marked accounts."""
    auth = Auth(mode="strict", keys={"laptop": Secret(KEY)})
    return config(upstream(up.url, *keyed(*names), **fields), auth=auth, retry=QUICK)


@pytest.fixture(autouse=True)
def streams(capfd: pytest.CaptureFixture[str]) -> Any:
    """Standard streams are searched, too."""
    yield
    check(*capfd.readouterr())


# Good responses.


GOOD = message(f"{MARK} reply")


def good(request: Received) -> Script:
    if request.method == "GET":
        return json_response(200, {"data": [{"id": "m"}]})
    if "count_tokens" in request.target:
        return json_response(200, {"input_tokens": 5, "more": MARK})
    document: Any = request.document
    if document.get("stream"):
        return stream_response(text_events(f"{MARK} reply"))
    return json_response(200, GOOD, [("set-cookie", f"a={MARK}")])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("internally", [False, True])
async def test_good_responses(format: Format, internally: bool) -> None:
    async with (
        ScriptedUpstream(respond=good) as up,
        watched(before(up, stream_internally=internally), format, listing=True) as g,
    ):
        for stream in (False, True):
            response = await g.post({**PROMPT, "stream": stream})
            assert response.status == 200
            assert MARK.encode() in response.body
            check(repr(response.headers))
        assert (await g.post(target=COUNT)).status == 200
        assert (await g.post({**PROMPT, "messages": [{"role": "user", "content": "Warmup"}]})).status == 200
        assert (await g.post(target="/api/event_logging/batch")).status == 200
        assert any("input=11" in line or '"input_tokens":11' in line for line in g.running.lines)


@pytest.mark.parametrize("format", FORMATS)
async def test_status_page_and_actions(format: Format) -> None:
    """An upstream's message is there without the quoted key; conversations have no name of the client's."""
    message = f"you sent {ACCOUNT}-a@x"
    async with ScriptedUpstream() as up, watched(before(up, models={"m": "m"}), format) as g:
        up.script(error_response(429, "api_error", message, [("retry-after", "60")]))
        body = {**PROMPT, "metadata": {"user_id": f"user_session_{MARK}"}}
        response = await g.running.post(
            body, TARGET, x_api_key=KEY, x_claude_code_session_id=f"{MARK}-session"
        )
        assert response.status == 429
        own = {"x_api_key": KEY}
        for shown in (await g.running.get("/status.json", **own), await g.running.get("/status")):
            assert shown.status == 200
            check(shown.body, repr(shown.headers))
        async with await g.running.connect() as client:
            client.send("GET", "/status/events", b"", [("x-api-key", KEY)])
            events = b""
            while b"event: status" not in events or not events.endswith(b"\n\n\r\n"):
                events += await client.receive()
            assert b"you sent ***" in events
            check(events)
        for document in ({"upstream": "up"}, {"upstream": MARK}, MARK, {"upstream": "up", "account": MARK}):
            for action in ("clear", "disable"):
                acted = await g.running.post(
                    orjson.dumps(document), f"/status/{action}?{MARK}", **own, x_gateway_action=MARK
                )
                check(acted.body, repr(acted.headers))


# Refusals of the gateway.


BODIES: list[bytes] = [
    b"{",
    b'"%b"' % MARK.encode(),
    b'{"model": "m", "messages": [{"role": "user", "content": "%b"}], }' % MARK.encode(),
    b'{"model": ["%b"], "messages": []}' % MARK.encode(),
    b'{"model": "m", "messages": "%b"}' % MARK.encode(),
    b'{"model": "m", "messages": ["%b"]}' % MARK.encode(),
    b'{"model": "m", "messages": [{"%b": "\xff"}]}' % MARK.encode(),
    b'{"model": "m", "messages": [], "x": %b}' % MARK.encode(),
    b'{"model": "m", "messages": [], "%b": %b}' % (MARK.encode(), b"[" * 300 + b"]" * 300),
    b'["%b' % MARK.encode(),
]


@pytest.mark.parametrize("format", FORMATS)
async def test_requests_that_are_refused(format: Format) -> None:
    async with ScriptedUpstream() as up, watched(before(up, models={"m": "m"}), format) as g:
        for key in ("", f"{MARK}-wrong"):
            assert (await g.post(key=key, own=True)).status == 401
        for body in BODIES:
            assert (await g.post(body, own=True)).status == 400
            assert (await g.post(body, COUNT, own=True)).status == 400
        assert (await g.post({**PROMPT, "model": "x"}, own=True)).status == 404
        assert (await g.post(target=f"/nowhere?key={MARK}", own=True)).status == 404
        assert (await g.post(target=f"/healthz?key={MARK}", own=True)).status == 405
        assert not up.requests


HEADS = [
    "GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {}\x01\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key {}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key : {}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\n {}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: {}\r\n\r\n",
    "GET / HTTP/1.1\r\nAuthorization: Bearer {}\r\n\r\n",
    "GET /?{} HTTP/1.1 x\r\nHost: localhost\r\n\r\n",
    "GET /?{}# HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET http://elsewhere/?{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nX: {}\r\n\r\n",
    "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: canary-client\r\n"
    "Transfer-Encoding: chunked\r\n\r\n{}\r\n",
    "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: canary-client\r\n"
    "Transfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n",
    "{}\r\n\r\n",
    "GET /?{}",
]


@pytest.mark.parametrize("format", FORMATS)
async def test_invalid_requests(format: Format) -> None:
    limits = {"header_timeout": 0.05, "max_body": 1000}
    auth = Auth(mode="strict", keys={"laptop": Secret(KEY)})
    async with watched(config(auth=auth, limits=limits), format) as g:
        for head in HEADS:
            async with await Client.connect(g.running.port) as client:
                client.writer.write(head.format(MARK).encode("latin-1"))
                response = await client.response()
                assert response.status >= 400
                check(response.body, repr(response.headers))
        check(*g.running.lines)


# Failures of upstreams.


def spoiled(*events: bytes) -> list[Step]:
    return [SSE_HEAD + chunked(events)]


DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": MARK})
CALL = {"type": "tool_use", "id": "1", "name": "t", "input": {}}
MESSAGE = orjson.dumps(GOOD)
BROKEN: list[Script] = [
    [Close()],
    [Reset()],
    [f"HTTP/1.1 200 OK\r\n{MARK}\r\n\r\n".encode()],
    [f"HTTP/1.1 200 OK\r\nx: {MARK}\x01\r\n\r\n".encode()],
    [f"{MARK}\r\n\r\n".encode()],
    [b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + MESSAGE, Close()],
    [b"HTTP/1.1 200 OK\r\n\r\n" + MESSAGE[:-1], Close()],
    [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + MARK.encode()],
    [SSE_HEAD + chunked([message_start(), DELTA], end=False) + MARK.encode()],
    [SSE_HEAD + chunked([message_start(), DELTA], end=False), Close()],
    [SSE_HEAD + chunked([message_start(), DELTA[:-9]], end=False), Reset()],
    json_response(200, MESSAGE, [("content-encoding", "gzip")]),
    json_response(200, gzip.compress(MESSAGE)[:-3], [("content-encoding", "gzip")]),
    json_response(200, MESSAGE, [("content-encoding", f"{MARK[:2]}")]),
    json_response(307, MESSAGE, [("location", f"http://{MARK}")]),
    json_response(200, b"", [("x", MARK)]),
    spoiled(message_start(), DELTA),
    spoiled(message_start(), b"data: " + MARK.encode() + b"\n\n"),
    spoiled(
        message_start(), event("content_block_delta", index=MARK, delta={"type": "text_delta", "text": MARK})
    ),
    spoiled(
        message_start(),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": {MARK: 1}}),
    ),
    spoiled(message_start(), event("content_block_start", index=0, content_block=MARK)),
    spoiled(event("message_start", message=MARK)),
    spoiled(
        event("message_start", message={MARK: MARK}),
        event("message_delta", delta=MARK),
        event("message_stop"),
    ),
    spoiled(
        message_start(),
        event("content_block_start", index=0, content_block=CALL),
        event(
            "content_block_delta",
            index=0,
            delta={"type": "input_json_delta", "partial_json": f'{{"{MARK}": '},
        ),
        event("content_block_stop", index=0),
        event("message_stop"),
    ),
]


@pytest.mark.parametrize("mode", ["whole", "stream", "internal", "count", "gemini", "gemini stream"])
async def test_responses_that_are_broken(mode: str) -> None:
    fields: dict[str, Any] = {"stream_internally": mode == "internal"}
    if "gemini" in mode:
        fields["kind"] = "gemini"
    async with ScriptedUpstream() as up:
        for index, script in enumerate(BROKEN):
            up.script(script)
            async with watched(before(up, "a@x", **fields), FORMATS[index % 2]) as g:
                body = {**PROMPT, "stream": "stream" in mode}
                response = await g.post(body, COUNT if mode == "count" else TARGET)
                if response.status >= 400:
                    check(response.body, repr(response.headers))
                elif response.names[-1:] == ["error"]:
                    check(response.events[-1].data)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 500, 503, 529])
async def test_errors_of_upstreams(status: int) -> None:
    """Upstreams' messages are shown without a key that they quote; the message about a refused login is not shown."""
    message = f"you sent {ACCOUNT}-a@x"
    async with ScriptedUpstream() as up:
        up.script(error_response(status, "api_error", message, [("x-key", ACCOUNT)]))
        for stream in (False, True):
            async with watched(before(up, "a@x", "b@x"), FORMATS[stream]) as g:
                response = await g.post({**PROMPT, "stream": stream})
                assert response.status >= 400
                check(repr(response.headers))
                if status in {401, 402, 403}:
                    check(response.body)


@pytest.mark.parametrize("format", FORMATS)
async def test_clients_that_leave(format: Format) -> None:
    async with ScriptedUpstream() as up, watched(before(up), format) as g:
        up.script([SSE_HEAD, chunked([message_start(), DELTA], end=False), Stall()])
        async with await g.running.connect() as client:
            client.send("POST", TARGET, {**PROMPT, "stream": True}, [("x-api-key", KEY)])
            await eventually(lambda: up.requests)
        await eventually(lambda: up.left)


# Proxies and tokens.


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "script",
    [
        error_response(407, MARK, MARK),
        [f"{MARK}\r\n\r\n".encode()],
        [Close()],
        [b"HTTP/1.1 200 OK\r\n\r\n", MARK.encode(), Close()],
        None,
    ],
    ids=["refused", "nonsense", "closed", "no TLS", "not there"],
)
async def test_a_proxy_with_a_password(format: Format, script: Script | None) -> None:
    async with ScriptedUpstream() as proxy:
        proxy.script(script or [])
        url = f"http://user:{PROXY}@127.0.0.1:{proxy.port}"
        if script is None:
            await proxy.stop()
        at = upstream("https://upstream.example", *keyed(), proxy=Secret(url))
        async with watched(config(at, retry=QUICK), format, listing=True) as g:
            response = await g.post(own=True)
            assert response.status == 502
            check(summary(g.running.gateway.runtime.config))
        if script is not None:
            credentials = {request.header("proxy-authorization") for request in proxy.requests}
            assert credentials == {f"Basic {ENCODED[0]}"}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "script",
    [
        json_response(200, {"access_token": f"{MARK}-token", "id_token": MARK}),
        json_response(200, {"access_token": f"{MARK}\n"}),
        json_response(400, {"error": "invalid_grant", "error_description": MARK}),
        json_response(400, {"error": f"{MARK}-1"}),
        json_response(500, MARK.encode()),
        [f"{MARK}\r\n\r\n".encode()],
        [Close()],
    ],
    ids=["good", "unusable", "refused", "odd", "trouble", "nonsense", "closed"],
)
async def test_tokens(format: Format, script: Script, tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    refused = error_response(401, "authentication_error", f"no: {MARK}-token")
    async with ScriptedUpstream() as up, ScriptedUpstream() as login:
        document = {"client_id": "id", "client_secret": f"{MARK}-s", "refresh_token": f"{MARK}-r"}
        file.write_bytes(orjson.dumps({**document, "token_uri": f"{login.url}/token"}))
        login.script(script)
        up.script(refused)
        at = upstream(up.url, Account(name="g@x", oauth_file=file), kind="gemini")
        async with watched(config(at, retry=QUICK), format, listing=True) as g:
            response = await g.post(own=True)
            assert response.status == 503


# The gateway's own failures.


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "place",
    [
        (messages, "conversation_id"),
        (AnthropicDialect, "encode"),
        (AnthropicDialect, "failure"),
        (attempt, "choose_response"),
        (forward, "error_response"),
        (relay, "kind_of"),
        (relay, "Ending"),
    ],
    ids=lambda place: str(place[1]),
)
async def test_internal_errors(
    format: Format, place: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream() as up, watched(before(up), format) as g:
        wrong = place[1] in {"failure", "error_response"}
        # Events without names, and the last one is missing: neither end is as most write it.
        odd = stream_response(each.partition(b"\n")[2] for each in text_events(MARK)[:-1])
        up.script(error_response(400, "x", MARK) if wrong else odd)
        monkeypatch.setattr(place[0], place[1], explode)
        response = await g.post({**PROMPT, "stream": True})
        if response.status == 500:
            check(response.body)
        assert any("internal error: KeyError at explode.py:" in line for line in g.running.lines)


# Configurations.


CONFIG = f"""
[auth]
mode = "strict"
api_keys = {{ laptop = "{KEY}" }}
[upstreams.one]
preset = "zai"
proxy = "http://user:{PROXY}@proxy.example:3128"
[[upstreams.one.accounts]]
email = "work@example.com"
api_key = "{ACCOUNT}"
"""

SPOILED = [
    ('mode = "strict"', 'mode = "sometimes"'),
    (f'laptop = "{KEY}"', f'laptop = ["{KEY}"]'),
    (f'laptop = "{KEY}"', f'laptop = "{KEY}\\n"'),
    (f'"{KEY}"', f'"{KEY}'),
    (f'"{KEY}"', f"{KEY}"),
    (f'api_key = "{ACCOUNT}"', f'api_key = {{ value = "{ACCOUNT}" }}'),
    (f'api_key = "{ACCOUNT}"', f'api_key = "{ACCOUNT} "'),
    (f'api_key = "{ACCOUNT}"', f'api_key = "${{{ACCOUNT[:6].upper()}}}{ACCOUNT}"'),
    (f'api_key = "{ACCOUNT}"', f'api_kye = "{ACCOUNT}"'),
    (f'api_key = "{ACCOUNT}"', f'api_key = "{ACCOUNT}"\napi_key = "{ACCOUNT}"'),
    ("proxy.example:3128", "proxy.example:99999"),
    (f'"http://user:{PROXY}@proxy.example:3128"', f'"socks5://user:{PROXY}@proxy.example"'),
    (f'"http://user:{PROXY}@proxy.example:3128"', f'"user:{PROXY}@proxy.example"'),
    ('preset = "zai"', f'kind = "anthropic"\nbase_url = "https://user:{PROXY}@host.example"'),
    ('preset = "zai"', f'kind = "anthropic"\nbase_url = "https://host.example/?key={PROXY}"'),
]


def settings_in(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("change", SPOILED, ids=range(len(SPOILED)))
async def test_a_broken_configuration(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    change: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the start, for `check`, and at a reload."""
    # As if the process ended.
    monkeypatch.setattr(signals, "hold", lambda: None)
    assert change[0] in CONFIG
    path = settings_in(tmp_path, CONFIG.replace(*change))
    for command in ("check", "serve"):
        assert cli.main([command, "--config", str(path)]) == 2
    out, err = capfd.readouterr()
    check(out, err)
    assert err
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    check(*raised.value.problems, str(raised.value), repr(raised.value))


async def test_a_good_configuration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = settings_in(tmp_path, CONFIG)
    path.chmod(0o644)
    assert cli.main(["check", "--config", str(path)]) == 0
    assert cli.main(["--version"]) == 0
    out, err = capfd.readouterr()
    assert "work@example.com" in out
    check(out, err)
    settings = load(path, {})
    lines: list[str] = []
    gateway = Gateway(settings, AccessLog(lines.append, "text", "debug"), {})
    assert settings.warnings
    check(*settings.warnings, *lines, greeting(gateway, {}), summary(settings))
    check(repr(settings), str(settings), repr(gateway.runtime), repr(gateway.runtime.upstreams))
    for account in settings.upstreams[0].accounts:
        check(repr(account), str(account.api_key))
    origin = gateway.runtime.upstreams["one"].pool.origin
    assert origin.proxy == f"http://user:{PROXY}@proxy.example:3128"
    check(repr(origin), str(origin))


def test_marks_are_found() -> None:
    """The tests above can fail."""
    for text in (f"x {KEY} x", ENCODED[0], json.dumps({"a": ACCOUNT}), MARK.encode()):
        with pytest.raises(AssertionError):
            check(text)
