"""`gateway doctor` as a command: checks, exit codes, and no secret in its output."""

import asyncio
import re
from pathlib import Path

import orjson
import pytest
import trustme

from gateway import cli
from gateway.config import Auth, Secret, Tls
from gateway.operator.doctor import behind, contract
from gateway.operator.doctor.outside import reach_from_outside
from gateway.operator.peer import GatewayAddress
from tests.fakes.messages import (
    Received,
    Script,
    ScriptedUpstream,
    json_response,
    stream_response,
    text_events,
)
from tests.support.running import config, running, upstream

KEY = "canary-account-key"
OWN = "canary-client-key"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "LARGE", 500_000)
    monkeypatch.setattr(behind, "LARGE", 500_000)


def respond(request: Received) -> Script:
    if request.key != KEY:
        return json_response(401, {"type": "error", "error": {"type": "x", "message": f"{request.key}"}})
    if request.method == "GET":
        return json_response(200, {"data": [{"id": "m"}]})
    return stream_response(text_events())


async def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = await asyncio.to_thread(cli.main, ["doctor", *arguments])
    out, err = capsys.readouterr()
    assert "canary" not in out + err
    return code, out or err


def written(directory: Path, url: str, key: str = KEY) -> str:
    file = directory / "gateway.toml"
    file.write_text(
        f'[server]\nport = 0\n[auth]\napi_key = "{OWN}"\n[upstreams.a]\nkind = "anthropic"\nbase_url = "{url}"\n'
        f'models = {{ "*" = "m" }}\naccounts = [{{ name = "one", api_key = "{key}" }}]\n'
    )
    file.chmod(0o600)
    return str(file)


async def test_all_is_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async with ScriptedUpstream(respond=respond) as up:
        code, out = await doctor(capsys, "--config", written(tmp_path, up.url), "--spend", "--json")
    document = orjson.loads(out)
    assert code == 0
    assert document["ok"] is True
    rows = {(check["part"], check["name"]): check["state"] for check in document["checks"]}
    assert set(rows.values()) == {"ok", "skip"}
    assert rows["upstreams", "a: account one"] == "ok"
    assert rows["upstreams", "a/m: one token"] == "ok"
    assert rows["gateway", "a broken stream"] == "ok"
    assert rows["here", "port"] == "ok"


async def test_a_key_that_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async with ScriptedUpstream(respond=respond) as up:
        code, out = await doctor(capsys, "--config", written(tmp_path, up.url, "canary-wrong-key"))
    assert code == 1
    assert "its key is refused, 401: ***" in out


async def test_a_configuration_with_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[upstreams.a]\npreset = 'zai'\n[server]\nprot = 1\n")
    code, out = await doctor(capsys, "--config", str(file))
    assert code == 1
    assert "server.prot: unknown key" in out
    assert "upstreams.a.accounts: missing" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://h:x"], "--url: the port must be"),
        (["--url", "http://127.0.0.1:9", "--spend"], "--spend needs the configuration"),
    ],
)
async def test_wrong_commands(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out = await doctor(capsys, *arguments)
    assert code == 2
    assert message in out


async def test_a_gateway_that_runs_somewhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keys = Auth(mode="strict", keys={"a": Secret(OWN)})
    async with ScriptedUpstream(respond=respond) as up:
        there = upstream(up.url, models={"*": "m"})
        async with running(config(there, auth=keys)) as g:
            code, out = await doctor(capsys, "--url", g.url, "--key", OWN)
            # HEAD /api/hello is strict, too, as the configuration wants it.
            assert code == 0
            assert "warn  HEAD /api/hello" in out
            assert "ok    key as a bearer token" in out
            assert "skip  a ping in silence" in out
            code, out = await doctor(capsys, "--url", g.url, "--config", written(tmp_path, up.url))
            assert "ok    key as a bearer token" in out
            code, out = await doctor(capsys, "--url", g.url)
            assert code == 0
            for name in ("key in x-api-key", "count_tokens", "form of errors", "unknown path", "32 MB body"):
                assert re.search(f"skip  {name} +no key is known: say it with --key", out)
            code, out = await doctor(capsys, "--url", g.url, "--key", "another")
            assert code == 1
            assert out.count("-> is the key one of that gateway's?") == out.count("  fail  ") == 8
    code, out = await doctor(capsys, "--url", g.url)
    assert code == 1
    assert "Connection refused" in out


async def test_certificates_from_outside(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    tls = Tls(certificate=tmp_path / "c.pem", private_key=tmp_path / "k.pem")
    issued.cert_chain_pems[0].write_to_path(tls.certificate)
    issued.private_key_pem.write_to_path(tls.private_key)
    async with running(config(server={"tls": tls})) as g:
        rows = await reach_from_outside(
            GatewayAddress("https", "127.0.0.1", g.port, ca_file=str(tls.certificate))
        )
        assert {row.finding.state for row in rows} == {"ok"}
        rows = await reach_from_outside(GatewayAddress("https", "127.0.0.1", g.port))
        assert rows[-1].name == "certificate"
        assert rows[-1].finding.state == "fail"
        assert "NODE_EXTRA_CA_CERTS" in rows[-1].finding.todo


async def test_clock_skew_of_a_peer_without_a_date() -> None:
    async with ScriptedUpstream(respond=lambda request: json_response(200, {})) as up:
        rows = await reach_from_outside(GatewayAddress("http", "127.0.0.1", up.port))
    assert [row.finding.state for row in rows] == ["ok", "ok", "skip", "skip"]
