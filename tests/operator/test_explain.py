"""`gateway explain`: its input, its output, and that it opens no connection."""

import asyncio
import io
import json
import socket
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import cli
from gateway.config import Auth, ConfigError, Secret, parse
from gateway.operator.explain import ExplainRequest, command, requests_in
from gateway.operator.explain_text import WIDTH, report_text
from tests.fakes.messages import read_request
from tests.support.client import ask
from tests.support.explode import explode
from tests.support.in_memory import in_memory
from tests.support.running import config, running, upstream
from tests.support.spawned import unused_port

FIXTURES = Path(__file__).parents[2] / "fixtures"

CONFIG = """
[auth]
mode = "strict"
api_key = "canary-client"
[intercept]
quota_probe = true
[models]
"claude-haiku-*" = "up/small"
[upstreams.up]
kind = "anthropic"
base_url = "https://up.example"
models = { "claude-*" = "large", small = "small" }
drop_betas = ["context-1m-*"]
accounts = [{ name = "a@x", api_key = "canary-key-a" }, { name = "b@x", api_key = "canary-key-b" }]
"""

REQUEST = {
    "model": "claude-haiku-4-5",
    "max_tokens": 10,
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": " "}]},
    ],
}

TEXT = """\
request       claude-haiku-4-5, not streamed, 2 messages, 143 bytes
              about 12 input tokens
warm-up       no: it is no warm-up
conversation  default/s-1, by x-claude-code-session-id
route         1. up: small, priority 0, by [models] up/small
accounts      -> up/a@x (small): priority 0, 0 in flight
                 up/b@x (small): priority 0, 0 in flight
repairs       empty_text at messages.1
cures         betas (context-1m-*) at head: anthropic-beta
sent to       up/a@x, model small
              POST https://up.example/v1/messages
head          host: up.example
              accept-encoding: identity
              x-api-key: ***
              x-claude-code-session-id: s-1
              anthropic-beta: other
              anthropic-version: 2023-06-01
              user-agent: messages-gateway/0.1.0
              content-type: application/json
              content-length: 77
body          rewritten, 77 bytes
              sha256 270c"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with a configuration and a request, on a machine without sockets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    (tmp_path / "gateway.toml").write_text(CONFIG)
    (tmp_path / "gateway.toml").chmod(0o600)
    (tmp_path / "request.json").write_bytes(orjson.dumps(REQUEST))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be opened or looked up."""
    for name in ("socket", "getaddrinfo", "create_connection", "socketpair"):
        monkeypatch.setattr(socket, name, explode)


HEADERS = ["--header", "x-claude-code-session-id: s-1", "--header", "Anthropic-Beta:context-1m-2025-08-07"]
HEADERS += ["--header", "anthropic-beta: other"]


@pytest.mark.usefixtures("offline")
def test_the_whole_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "request.json", *HEADERS]) == 0
    assert capsys.readouterr().out.startswith(TEXT)


@pytest.mark.usefixtures("offline")
def test_a_store_that_gateways_share_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("gateway.toml").open("a") as file:
        file.write('[sharing]\nurl = "valkey://127.0.0.1:1/0"\n')
    assert cli.main(["explain", "request.json", *HEADERS]) == 0
    assert capsys.readouterr().out.startswith(TEXT)


@pytest.mark.usefixtures("offline")
def test_the_same_as_json_from_the_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Namespace(buffer=io.BytesIO(b"\xef\xbb\xbf" + orjson.dumps(REQUEST))))
    assert cli.main(["explain", "-", "--json", *HEADERS]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["upstream_request"]["cures"][0]["at"] == "head: anthropic-beta"
    assert "canary" not in json.dumps(report)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_whole_capture(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", str(path)]) == 0
    shown = capsys.readouterr().out
    recorded = json.loads(path.read_bytes())
    recorded_requests = [one for one in recorded if one["path"].partition("?")[0].endswith("/messages")]
    assert len(shown.split("\n\n")) == len(recorded_requests)
    assert all(len(line) < 110 for line in shown.splitlines())
    assert "sk-test-key" not in shown
    assert cli.main(["explain", str(path), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [one["request"]["model"] for one in reports] == [one["body"]["model"] for one in recorded_requests]


def test_one_captured_request_and_fields_that_win_over_it() -> None:
    pairs = [["X-App", "cli"], ["X-Api-Key", "k"], ["Host", "h"], ["Content-Encoding", "gzip"]]
    one = {"path": "/sub/v1/messages?beta=true", "headers": pairs, "body": {"model": "m"}}
    assert requests_in(orjson.dumps(one), "f", {"x-app": "mine"}) == (
        [ExplainRequest("beta=true", {"x-app": "mine"}, b'{"model":"m"}')],
        False,
    )
    assert requests_in(orjson.dumps([{**one, "headers": {"A": "b"}}, {**one, "headers": None}]), "f", {}) == (
        [
            ExplainRequest("beta=true", {"a": "b"}, b'{"model":"m"}'),
            ExplainRequest("beta=true", {}, b'{"model":"m"}'),
        ],
        True,
    )
    for headers in ("a: b", [["a"]], [1]):
        with pytest.raises(ConfigError, match="must be pairs"):
            requests_in(orjson.dumps({**one, "headers": headers}), "f", {})
    other = {"path": "/v1/messages/count_tokens", "body": {"model": "m"}}
    with pytest.raises(ConfigError, match="f holds no request to /v1/messages"):
        requests_in(orjson.dumps([other, {**one, "body": None}]), "f", {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["request.json", "--header", "no field"], "'no field' is not a header such as"),
        (["request.json", "--header", "a: \n"], "is not a header such as"),
        (["request.json", "--header", "a: é"], "is not a header such as"),
        (["request.json", "--header", "Host: h"], "the header host is not for clients to choose"),
        (["nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
        (["gateway.toml"], "gateway.toml is not JSON: "),
        (["request.json", "--config", "nowhere.toml"], "nowhere.toml"),
        (["request.json", "--url", "ftp://h"], "--url: must be an address"),
    ],
)
def test_usage_errors(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", *arguments]) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.err.count("\n") == 1
    assert not output.out


def test_an_account_whose_file_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    text = '[upstreams.g]\npreset = "gemini"\naccounts = [{ name = "o", oauth_file = "user.json" }]\n'
    Path("gateway.toml").write_text(text)
    Path("user.json").write_text('{"client_id":"c","client_secret":"s","refresh_token":"r"}')
    assert cli.main(["explain", "request.json"]) == 0
    user = {
        "client_id": "c",
        "client_secret": "s",
        "refresh_token": "r",
        "token_uri": "http://elsewhere.example",
    }
    Path("user.json").write_text(json.dumps(user))
    capsys.readouterr()
    assert cli.main(["explain", "request.json"]) == 2
    assert "user.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (ask(model="gpt"), 'REFUSED       404 not_found_error: model "gpt" is not served here'),
        (
            [1],
            "REFUSED       400 invalid_request_error: the request body must be a JSON object, not an array",
        ),
    ],
)
def test_a_request_that_would_be_refused(
    document: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("request.json").write_bytes(orjson.dumps(document))
    assert cli.main(["explain", "request.json"]) == 1
    assert words in capsys.readouterr().out


KEY = "this gateway's key is missing or wrong"


@pytest.mark.parametrize(
    ("arguments", "old", "new", "words"),
    [
        (["--header", "x-api-key: wrong"], "", "", f"401 {KEY}"),
        (["--key", "wrong"], "", "", f"401 {KEY}"),
        ([], 'api_key = "canary-client"', "", f"401 {KEY}"),
        (["--header", "content-encoding: zz"], "", "", "400 "),
        (
            [],
            "[intercept]",
            "[server]\nmax_body = 100\n[intercept]",
            "413 the body is larger than server.max_body",
        ),
    ],
)
def test_a_request_that_is_refused_before_it_is_read(
    arguments: list[str], old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("gateway.toml").write_text(CONFIG.replace(old, new))
    assert cli.main(["explain", "request.json", *arguments]) == 1
    assert f"the request was not explained: {words}" in capsys.readouterr().err


# A gateway that runs.


async def test_explain_with_a_running_gateway(capsys: pytest.CaptureFixture[str]) -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("canary")})
    async with running(config(upstream("http://127.0.0.1:9", "a@x", "b@x"), auth=auth)) as g:
        scheduler = g.gateway.runtime.scheduler
        scheduler.conversations.bind("laptop/s-1", g.gateway.runtime.targets("m")[1].state, 1e9)
        given = Namespace(
            file="request.json", header=HEADERS[1::2], config=None, url=g.url, key="canary", json=False
        )
        assert await asyncio.to_thread(command, given) == 0
        shown = capsys.readouterr().out
        assert "conversation  laptop/s-1, by x-claude-code-session-id, lives on up/b@x" in shown
        assert "-> up/b@x (claude-haiku-4-5): priority 0, the conversation's own account" in shown
        assert await asyncio.to_thread(command, Namespace(**{**vars(given), "key": "wrong"})) == 1
        assert "the request was not explained: 401 this gateway's key" in capsys.readouterr().err


def test_no_gateway_at_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    with unused_port() as port:
        assert cli.main(["explain", "request.json", "--url", f"http://127.0.0.1:{port}"]) == 1
    assert "does not respond: Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("response", [b"404 X\r\n\r\n{}", b"200 X\r\n\r\n[]", b"200 X\r\n\r\n<html>"])
async def test_another_server_at_the_address(response: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 " + response)
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    given = Namespace(file="request.json", header=[], config=None, url=url, key=None, json=False)
    assert await asyncio.to_thread(command, given) == 1
    words = f"the request was not explained: {response[:3].decode()} without an explanation"
    assert words in capsys.readouterr().err
    server.close()
    await server.wait_closed()


# The text of reports that need a gateway in trouble.

ACCOUNT = {
    "upstream": "up",
    "account": "a@x",
    "wire_model": "m",
    "asked": False,
    "reason": "cooling down: limit",
}

REPORT: dict[str, Any] = {
    "request": {"model": "m\x1b[2J", "stream": True, "bytes": 1234, "messages": 1},
    "warmup": {"intercepted": False, "why": "it is no warm-up"},
    "conversation": {"id": "1", "key": "", "source": "metadata.user_id", "home": None},
    "route": {"mapped": None, "targets": []},
    "accounts": [{**ACCOUNT, "account": "", "opens_in": 12.5}],
}


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (
            {"step": "wait", "seconds": 1.5},
            "next          no account is open now: waits 1.5 s for the first",
        ),
        ({"step": "give up"}, "next          no account is open, and none will be soon"),
        (
            {"step": "ask", "alone": True},
            "next          uses an account in spite of its cool-down: no other can serve this",
        ),
    ],
)
def test_next_step(step: dict[str, Any], line: str) -> None:
    shown = report_text({**REPORT, "next": step}).splitlines()
    assert shown[0] == "request       m?[2J, streamed, 1 messages, 1,234 bytes"
    assert line in shown
    assert shown[-1] == "accounts         up/(not shown) (m): cooling down: limit, opens in 12.5 s"


def test_an_interception_and_changes_that_find_nothing() -> None:
    warmup = {"intercepted": True, "why": "a quota probe"}
    assert report_text({"request": REPORT["request"], "warmup": warmup}).splitlines()[1:] == [
        "warm-up       yes: a quota probe",
        "response      the gateway's own; no upstream is used",
    ]
    cures = [{"name": "wire", "at": "", "detail": "chat"}, {"name": "x", "at": "sent: a"}]
    sent = {
        **ACCOUNT,
        "repairs": [],
        "cures": cures,
        "method": "POST",
        "url": "u",
        "head": ["a: " + "b" * 200],
    }
    lines = report_text(
        {"upstream_request": {**sent, "body": {"is": "same", "bytes": 1, "sha256": "0"}}}
    ).splitlines()
    assert lines[:3] == [
        "repairs       none",
        "cures         wire (chat) finds nothing here",
        "              x at sent: a",
    ]
    assert max(map(len, lines)) == WIDTH


async def test_explain_is_the_same_with_and_without_a_running_gateway(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["explain", "request.json", "--json", *HEADERS]) == 0
    alone = json.loads(capsys.readouterr().out)
    # The command's client is one that waits, so that it has no place in this loop.
    head = "POST /status/explain HTTP/1.1\r\nHost: localhost\r\nX-Gateway-Action: a\r\nX-Api-Key: canary-client\r\n"
    head += "X-Claude-Code-Session-Id: s-1\r\nAnthropic-Beta: context-1m-2025-08-07, other\r\n"
    body = orjson.dumps(REQUEST)
    async with in_memory(parse(CONFIG, {}, path=Path("gateway.toml"))) as g:
        client = g.connect()
        client.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        response = await client.response()
        await client.leave()
    assert response.document == alone


def test_names_that_only_lenient_readers_take(capsys: pytest.CaptureFixture[str]) -> None:
    Path("request.json").write_bytes(orjson.dumps(REQUEST).replace(b"haiku-4-5", b"haiku-\\ud83d"))
    assert cli.main(["explain", "request.json"]) == 0
    assert capsys.readouterr().out.startswith("request       claude-haiku-?, not streamed")
    assert cli.main(["explain", "request.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"]["model"] == "claude-haiku-\ud83d"
