"""Checks of upstreams: sound ones pass, each fault is found, and inconclusive evidence is reported as such."""

import gzip
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config import Account, Secret, Upstream, parse
from gateway.operator.doctor import free_calls, upstreams
from gateway.operator.doctor.findings import Finding, Row
from gateway.operator.doctor.upstreams import look_at_upstreams, wire_models
from gateway.proxy.call import Call
from tests.fakes.messages import (
    Close,
    Received,
    Script,
    ScriptedUpstream,
    Sleep,
    Stall,
    error_response,
    json_response,
)
from tests.support.running import config, upstream

LIST = {"data": [{"id": "claude-opus-5-5"}, {"id": "glm-4.7:latest"}]}
COUNTED = json_response(200, {"input_tokens": 7})
PAGE = [b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"]
NOTHING = "nothing that is free, and so nothing says whether its key is taken"
REFUSED = error_response(401, "authentication_error", "invalid x-api-key key-of-one@example.com")


class Host:
    """An upstream that knows one key, and responds as scripted."""

    def __init__(self, listing: Script | None = None, count: Script | None = None) -> None:
        self.listing = [*(listing or json_response(200, LIST))]
        self.count = [*(count or COUNTED)]
        self.public = False
        self.spent = 0

    def __call__(self, request: Received) -> Script:
        if not self.public and not (request.key or "").endswith("key-of-one@example.com"):
            return error_response(401, "authentication_error", "invalid")
        if request.method == "GET":
            return self.listing
        if request.target.startswith("/v1/messages/count_tokens"):
            return self.count
        self.spent += 1
        return error_response(500, "api_error", "this would have cost tokens")


async def look(
    host: Host, *, models: Mapping[str, str] | None = None, **fields: Any
) -> dict[str, tuple[str, str]]:
    async with ScriptedUpstream(respond=host) as up:
        there = upstream(up.url, models={"*": "claude-opus-5-5"} if models is None else models, **fields)
        rows = await look_at_upstreams(config(there), {})
    assert host.spent == 0
    assert "key-of" not in str(rows)
    return by_name(rows)


def by_name(rows: list[Row]) -> dict[str, tuple[str, str]]:
    return {row.name.removeprefix("up: "): (row.finding.state, row.finding.saw) for row in rows}


async def test_a_sound_upstream() -> None:
    found = await look(Host())
    assert found == {
        "clock": ("skip", "no upstream sent its time"),
        "name": ("ok", "127.0.0.1, 1 addresses"),
        "connect": ("ok", "127.0.0.1"),
        "HTTP": ("ok", "connected"),
        "account one@example.com": ("ok", "taken, 2 models"),
        "models": ("ok", "1 of the tables, all there"),
    }


@pytest.mark.parametrize(
    ("listing", "count", "state", "saw"),
    [
        (REFUSED, None, "fail", "its key is refused, 401: invalid x-api-key ***"),
        (
            error_response(402, "billing_error", "empty"),
            None,
            "fail",
            "there is nothing to pay with, 402: empty",
        ),
        (json_response(302, {}, [("location", "/x")]), None, "fail", "it redirects elsewhere (302)"),
        (error_response(429, "rate_limit_error", "slow"), None, "warn", "limited, 429: slow"),
        ([b"HTTP/1.1 503 X\r\ncontent-length: 2\r\n\r\nno"], None, "warn", "in trouble, 503: no"),
        # Keys that may do one thing only.
        (error_response(401, "x", "Missing scopes: api.model.read"), None, "ok", "taken (count_tokens)"),
        (error_response(403, "permission_error", "no"), None, "ok", "taken (count_tokens)"),
        (
            error_response(404, "not_found_error", "no"),
            REFUSED,
            "fail",
            "its key is refused, 401: invalid x-api-key ***",
        ),
        (
            error_response(404, "not_found_error", "no"),
            error_response(404, "not_found_error", "no"),
            "warn",
            NOTHING,
        ),
        (PAGE, None, "fail", "it responds with a web page"),
        (json_response(200, {}), None, "ok", "taken (count_tokens)"),
        (json_response(200, {}), PAGE, "fail", "it responds with a web page"),
        (
            json_response(200, {}),
            json_response(200, {}),
            "warn",
            NOTHING,
        ),
        ([Close()], None, "fail", "the upstream closed the connection before it responded"),
        (
            [b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n"],
            None,
            "fail",
            "the upstream compresses with 'br', which it was asked not to do",
        ),
        (
            [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"],
            None,
            "fail",
            "the upstream's gzip body is broken: Error -3 while decompressing data: incorrect header check",
        ),
    ],
)
async def test_key_checks(listing: Script, count: Script | None, state: str, saw: str) -> None:
    found = await look(Host(listing, count))
    assert found["account one@example.com"] == (state, saw)


async def test_a_public_model_list_is_detected_with_one_request() -> None:
    again = Account(name="again", api_key=Secret("key-of-one@example.com"))
    host, keys = Host(), []

    def respond(request: Received) -> Script:
        keys.append(request.key)
        return host(request)

    async with ScriptedUpstream(respond=respond) as up:
        there = upstream(up.url, "one@example.com", again)
        found = by_name(await look_at_upstreams(config(there), {}))
    assert found["account again"] == ("ok", "taken, 2 models")
    assert sorted(str(key)[:7] for key in keys) == ["doctor-", "key-of-", "key-of-"]


async def test_a_public_model_list_proves_no_key() -> None:
    host = Host()
    host.public = True
    assert (await look(host))["account one@example.com"] == ("ok", "2 models; no key is asked for")
    found = by_name(await over_tls(host))
    assert found["account one@example.com"] == ("ok", "taken (count_tokens)")
    host.count = [*error_response(404, "not_found_error", "no")]
    found = by_name(await over_tls(host))
    assert found["account one@example.com"][0] == "warn"
    assert found["account one@example.com"][1].startswith(
        "everybody may list its models, and so nothing says"
    )


async def over_tls(host: Host, name: str = "127.0.0.1", *, trusted: bool = True, **fields: Any) -> list[Row]:
    authority = trustme.CA()
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **fields).configure_cert(context)
    up = ScriptedUpstream(respond=host)
    await up.start(context)
    with authority.cert_pem.tempfile() as file:
        there = upstream(
            f"https://127.0.0.1:{up.port}",
            models={"*": "claude-opus-5-5"},
            ca_file=Path(file) if trusted else None,
        )
        try:
            return await look_at_upstreams(config(there), {})
        finally:
            await up.stop()


async def test_certificates_of_upstreams() -> None:
    found = by_name(await over_tls(Host()))
    assert found["TLS"][0] == "ok"
    assert found["TLS"][1].startswith("TLSv1.3, certificate good for ")
    rows = await over_tls(Host(), trusted=False)
    assert rows[-1].finding.state == "fail"
    assert "failed: unable to get local issuer certificate" in rows[-1].finding.saw
    assert "ca_file" in rows[-1].finding.todo
    rows = await over_tls(Host(), "other.example")
    assert "is base_url right?" in rows[-1].finding.todo


async def test_an_own_authoritys_certificate_that_ends_soon() -> None:
    import datetime

    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3, hours=1)
    found = by_name(await over_tls(Host(), not_after=soon))
    assert found["TLS"] == ("warn", "good for 3 days")


async def test_unknown_hosts_and_closed_ports() -> None:
    lost = replace(upstream("https://no-such-host.invalid", name="lost"), models={})
    closed = upstream("http://127.0.0.1:9", name="closed")
    rows = await look_at_upstreams(config(lost, closed), {})
    assert [(row.name, row.finding.state) for row in rows[1:]] == [
        ("lost: name", "fail"),
        ("closed: name", "ok"),
        ("closed: connect", "fail"),
    ]
    assert rows[-1].finding.todo == "start it, or correct base_url"


@pytest.mark.parametrize(
    ("response", "saw", "todo"),
    [
        (
            b"HTTP/1.1 407 X\r\n\r\n",
            "the proxy refused the tunnel with status 407",
            "the proxy wants a login",
        ),
        (
            b"HTTP/1.1 403 X\r\n\r\n",
            "the proxy refused the tunnel with status 403",
            "does the proxy let this host",
        ),
        (b"", "the proxy closed the connection", "does the proxy let this host"),
    ],
)
async def test_proxies(response: bytes, saw: str, todo: str) -> None:
    async with ScriptedUpstream(respond=lambda request: [response, Close()]) as up:
        port = up.port
        there = upstream("https://host.example", proxy=Secret(f"http://me:canary@127.0.0.1:{port}"))
        rows = await look_at_upstreams(config(there), {})
    assert [row.finding.state for row in rows] == ["skip", "ok", "ok", "fail"]
    assert rows[1].finding.saw == f"127.0.0.1 (through the proxy 127.0.0.1:{port}), 1 addresses"
    assert saw in rows[-1].finding.saw
    assert todo in rows[-1].finding.todo
    assert "canary" not in str(rows)


async def test_an_unreachable_proxy() -> None:
    there = upstream("https://host.example", proxy=Secret("http://me:canary@127.0.0.1:9"))
    rows = await look_at_upstreams(config(there), {})
    assert rows[-1].finding.state == "fail"
    assert rows[-1].finding.todo == "correct the upstream's proxy, or HTTPS_PROXY"
    far = upstream("https://127.0.0.1:9")
    rows = await look_at_upstreams(config(far), {})
    assert rows[-1].finding.todo == "is a firewall or a proxy in between?"


async def test_a_first_address_that_is_silent_does_not_hide_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: object) -> Finding:
        return Finding("fail", "127.0.0.1 works, but ::1 is tried first and does not")

    monkeypatch.setattr(upstreams, "connect", connect)
    found = await look(Host())
    assert found["connect"][0] == "fail"
    assert found["account one@example.com"][0] == "ok"


async def test_the_clock_of_the_upstreams() -> None:
    late = [("date", formatdate(time.time() + 1000, usegmt=True))]
    found = await look(Host(json_response(200, LIST, late)))
    assert found["clock"][0] == "fail"
    assert found["clock"][1].endswith("s behind")


async def test_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks: list[Callable[[str], None]] = []

    class Kept(Call):
        def send(self) -> None:
            super().send()
            callbacks.append(self._then)

    monkeypatch.setattr(free_calls, "Call", Kept)
    monkeypatch.setattr(upstreams, "DEADLINE", 0.2)
    found = await look(Host([Stall()]))
    assert found["account one@example.com"][0] == "fail"
    assert found["account one@example.com"][1].startswith("nothing within 0.")
    callbacks[0]("a late result")


# Models.


@pytest.mark.parametrize(
    ("models", "count", "state", "saw"),
    [
        ({}, None, "skip", "no table names a model: clients' names go there as they are"),
        ({"*": "glm-4.7"}, error_response(404, "x", "no"), "ok", "1 of the tables, all there"),
        # An alias that no list holds.
        ({"*": "claude-opus-5"}, None, "ok", "1 of the tables, all there"),
        (
            {"*": "claude-opus-5"},
            error_response(404, "not_found_error", "model: claude-opus-5"),
            "fail",
            "there is no claude-opus-5 (nearest: claude-opus-5-5)",
        ),
        (
            {"*": "zzz"},
            error_response(404, "not_found_error", "no such page"),
            "warn",
            "not in its list: zzz",
        ),
    ],
)
async def test_models_of_the_tables(
    models: Mapping[str, str], count: Script | None, state: str, saw: str
) -> None:
    assert (await look(Host(count=count), models=models))["models"] == (state, saw)


async def test_models_of_a_host_without_a_list() -> None:
    host = Host(error_response(404, "x", "no"), error_response(404, "x", "no"))
    found = await look(host, models={"*": "m"})
    assert found["models"] == ("skip", "it lists none: nothing says whether m exists")


async def test_number_of_model_requests_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "ASKED_FOR", 1)
    found = await look(Host(), models={"a": "a", "b": "b"})
    assert found["models"] == ("warn", "not in its list: b")


def test_which_models_the_tables_lead_to() -> None:
    first = upstream("http://a", name="a", models={"opus": "big", "claude-*": "small"})
    second = upstream("http://b", name="b", models={"haiku": "tiny"})
    there = config(first, second, models={"fast": "b/haiku", "lost": "nowhere", "any-*": "claude-x"})
    assert wire_models(there, "a") == ["small", "big"]
    assert wire_models(there, "b") == ["tiny"]
    assert wire_models(config(upstream("http://a", name="a"), models={"x-*": "y"}), "a") == ["y"]


# Other kinds.


async def test_a_local_upstream_without_a_key() -> None:
    host = Host()
    host.public = True
    async with ScriptedUpstream(respond=host) as up:
        there = Upstream(name="up", kind="anthropic", base_url=up.url, accounts=(Account(name="up"),))
        found = by_name(await look_at_upstreams(config(there), {}))
    assert found["account up"] == ("ok", "no key is needed, 2 models")


async def test_a_host_that_can_neither_list_nor_count() -> None:
    there = Upstream(
        name="up",
        kind="openai",
        base_url="http://127.0.0.1:1",
        models={"*": "m"},
        accounts=(Account(name="a", api_key=Secret("k")),),
    )
    async with ScriptedUpstream(respond=lambda request: error_response(404, "x", "no")) as up:
        found = by_name(await look_at_upstreams(config(replace(there, base_url=up.url)), {}))
    assert found["account a"][0] == "warn"
    assert found["models"][0] == "skip"


@pytest.mark.parametrize(
    ("token", "state", "saw"),
    [
        (json_response(200, {"access_token": "t", "expires_in": 3600}), "ok", "taken, 1 models"),
        (json_response(400, {"error": "invalid_grant"}), "fail", ""),
        (json_response(503, {}), "fail", ""),
    ],
)
async def test_oauth_is_proved_by_a_refresh(tmp_path: Path, token: Script, state: str, saw: str) -> None:
    def respond(request: Received) -> Script:
        if request.target == "/token":
            return token
        return json_response(200, {"models": [{"name": "models/gemini-3"}]})

    async with ScriptedUpstream(respond=respond) as up:
        file = tmp_path / "google.json"
        secrets = {"client_id": "canary", "client_secret": "canary", "refresh_token": "canary"}
        file.write_text(json.dumps({**secrets, "token_uri": f"{up.url}/token"}))
        account = Account(name="g", oauth_file=file)
        there = Upstream(
            name="up", kind="gemini", base_url=up.url, models={"*": "gemini-3"}, accounts=(account,)
        )
        rows = await look_at_upstreams(config(there), {})
    found = by_name(rows)
    assert found["account g"][0] == state
    assert found["account g"][1].startswith(saw)
    assert "canary" not in str(rows)


async def test_oauth_at_a_host_without_a_list(tmp_path: Path) -> None:
    """A count that fails for another reason does not count against a login that was renewed."""

    def respond(request: Received) -> Script:
        if request.target == "/token":
            return json_response(200, {"access_token": "t", "expires_in": 3600})
        return json_response(404, {})

    async with ScriptedUpstream(respond=respond) as up:
        file = tmp_path / "google.json"
        secrets = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
        file.write_text(json.dumps({**secrets, "token_uri": f"{up.url}/token"}))
        there = Upstream(
            name="up", kind="gemini", base_url=up.url, accounts=(Account(name="g", oauth_file=file),)
        )
        found = by_name(await look_at_upstreams(config(there), {}))
    assert found["account g"] == ("ok", "its login was renewed")


async def test_a_login_that_cannot_be_read_is_that_upstreams_fault_alone(tmp_path: Path) -> None:
    lost = Account(name="g", oauth_file=tmp_path / "none.json")
    broken = Upstream(name="broken", kind="gemini", base_url="http://127.0.0.1:9", accounts=(lost,))
    async with ScriptedUpstream(respond=Host()) as up:
        rows = await look_at_upstreams(config(broken, upstream(up.url)), {})
    assert rows[1].name == "broken: accounts"
    assert "No such file" in rows[1].finding.saw
    assert by_name(rows)["account one@example.com"][0] == "ok"


async def test_requests_that_cannot_be_made() -> None:
    host = Host(json_response(200, {"data": []}), COUNTED)
    assert (await look(host, models={"*": "m"}))["models"][0] == "ok"
    there = Upstream(
        name="up",
        kind="gemini",
        base_url="http://127.0.0.1:9",
        models={"*": "../x"},
        accounts=(Account(name="a", api_key=Secret("k")),),
    )
    async with ScriptedUpstream(respond=lambda request: json_response(404, {})) as up:
        found = by_name(await look_at_upstreams(config(replace(there, base_url=up.url)), {}))
    assert found["account a"][0] == "fail"
    assert found["account a"][1].startswith("../x: ")


async def test_a_key_that_is_invalid_in_a_header() -> None:
    account = Account(name="a", api_key=Secret("can\nary"))
    async with ScriptedUpstream(respond=Host()) as up:
        there = Upstream(name="up", kind="anthropic", base_url=up.url, accounts=(account,))
        rows = await look_at_upstreams(config(there), {})
    assert by_name(rows)["account a"][0] == "fail"
    assert "ary" not in by_name(rows)["account a"][1]


async def test_a_list_that_is_compressed() -> None:
    packed = gzip.compress(json.dumps(LIST).encode())
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    assert (await look(Host([head + packed[:9], Sleep(0.02), packed[9:]])))["account one@example.com"] == (
        "ok",
        "taken, 2 models",
    )


async def test_model_list_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_calls, "MAX_BODY", 5)
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"6\r\nabcdef\r\n" * 3
    found = await look(Host([endless]))
    assert found["account one@example.com"] == ("fail", "the upstream's response is larger than 5 bytes")


async def test_a_host_with_its_own_paths_has_no_model_list() -> None:
    """As with Azure: each deployment has its path."""
    preset = {"kind": "openai", "base_url": "http://127.0.0.1:1", "path": "/deployments/{model}/chat"}
    account = '[{ name = "a", api_key = "k" }]'
    table = "\n".join(f'{key} = "{value}"' for key, value in preset.items())
    there = parse(f'[upstreams.up]\n{table}\nmodels = {{ "*" = "m" }}\naccounts = {account}\n', {})
    async with ScriptedUpstream(respond=lambda request: error_response(404, "x", "no")) as up:
        moved = replace(there.upstreams[0], base_url=up.url)
        found = by_name(await look_at_upstreams(config(moved), {}))
    assert found["account a"][0] == "warn"


async def test_models_of_accounts_whose_login_failed(tmp_path: Path) -> None:
    async with ScriptedUpstream(respond=lambda request: json_response(503, {})) as up:
        file = tmp_path / "google.json"
        secrets = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
        file.write_text(json.dumps({**secrets, "token_uri": f"{up.url}/token"}))
        there = Upstream(
            name="up",
            kind="gemini",
            base_url=up.url,
            models={"*": "m"},
            accounts=(Account(name="g", oauth_file=file),),
        )
        found = by_name(await look_at_upstreams(config(there), {}))
    assert (found["account g"][0], found["models"][0]) == ("fail", "skip")
