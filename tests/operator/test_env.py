"""`gateway env`: a client's variables, as a shell takes them; what somebody has set stays."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import Auth, Config, Secret, Server, Upstream, load
from gateway.operator.env import env_lines, environment, fetch_windows
from gateway.operator.peer import Peer, address_of
from tests.fakes.messages import ScriptedUpstream, json_response
from tests.support.loops import eventually
from tests.support.running import running

HOST = Upstream(name="a", kind="anthropic", base_url="https://api.anthropic.com")

CLOSED = Config(
    server=Server(host="0.0.0.0", port=1),
    auth=Auth(keys={"none": Secret(""), "laptop": Secret("canary-key")}),
    upstreams=(HOST,),
)

DISCOVERY = {"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1"}


SET = {"ANTHROPIC_AUTH_TOKEN": "old", **DISCOVERY}


@pytest.mark.parametrize(
    ("config", "environ", "url", "key", "address", "token", "more"),
    [
        (CLOSED, {}, "", "", "http://127.0.0.1:1", "canary-key", {**DISCOVERY, "ENABLE_TOOL_SEARCH": "true"}),
        (CLOSED, {"ENABLE_TOOL_SEARCH": "x"}, "https://h", "mine", "https://h", "mine", DISCOVERY),
        (
            CLOSED,
            {**SET, "ENABLE_TOOL_SEARCH": "x"},
            "",
            "mine",
            "http://127.0.0.1:1",
            "mine",
            {},
        ),
        (Config(), {}, "http://h:1", "mine", "http://h:1", "mine", {}),
        (
            Config(),
            {"https_proxy": "http://p"},
            "http://h:1",
            "",
            "http://h:1",
            "any-text",
            {"NO_PROXY": "h"},
        ),
        (Config(), {"https_proxy": "p"}, "https://h/llm", "", "https://h/llm", "any-text", {"NO_PROXY": "h"}),
        (
            Config(),
            {"https_proxy": "p"},
            "https://[::1]",
            "",
            "https://[::1]",
            "any-text",
            {"NO_PROXY": "::1"},
        ),
    ],
)
def test_environment(
    config: Config,
    environ: Mapping[str, str],
    url: str,
    key: str,
    address: str,
    token: str,
    more: Mapping[str, str],
) -> None:
    assert environment(config, environ, url, key) == {
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_AUTH_TOKEN": token,
        **more,
    }


@pytest.mark.parametrize(
    "environ", [{"http_proxy": "p", "no_proxy": "a"}, {"http_proxy": "p", "NO_PROXY": "a"}]
)
def test_both_spellings_of_no_proxy(environ: Mapping[str, str]) -> None:
    found = environment(Config(), environ)
    assert found["NO_PROXY"] == "a,127.0.0.1"
    assert found.get("no_proxy", "a,127.0.0.1") == "a,127.0.0.1"
    assert ("no_proxy" in found) is ("no_proxy" in environ)


WINDOWS = Config(
    models={"haiku": "b/small", "fast": "own"},
    contexts={"b/small": 30, "own": 90},
    upstreams=(
        Upstream(name="a", kind="anthropic", base_url="http://a", models={"*": "big"}, contexts={"big": 80}),
        Upstream(name="b", kind="anthropic", base_url="http://b", models={"x": "listed"}),
    ),
)


@pytest.mark.parametrize(
    ("config", "listed", "smallest"),
    [
        (WINDOWS, {}, "30"),
        (WINDOWS, {"listed": 20, "big": 1, "own": 2, "foreign": 3}, "20"),
        (CLOSED, {"claude-haiku-4-5": 200_000}, None),
    ],
)
def test_the_smallest_context_window(config: Config, listed: Mapping[str, int], smallest: str | None) -> None:
    """The configuration wins. The client itself knows the windows of models that no table names."""
    name = "CLAUDE_CODE_MAX_CONTEXT_TOKENS"
    assert environment(config, {}, windows=listed).get(name) == smallest
    assert name not in environment(config, {name: "7"}, windows=listed)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data": 1}', b'{"data": [1]}', b'{"data": [{"id": 1, "max_input_tokens": 2}]}']
)
async def test_a_gateway_without_a_usable_model_list(body: bytes) -> None:
    async with ScriptedUpstream() as up:
        up.script([b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)])
        assert await asyncio.to_thread(fetch_windows, Peer(address_of(up.url))) == {}
    assert await asyncio.to_thread(fetch_windows, Peer(address_of(up.url))) == {}


async def test_env_reads_models_from_the_running_gateway(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CLAUDE_CODE_MAX_CONTEXT_TOKENS", raising=False)
    file = tmp_path / "gateway.toml"
    async with ScriptedUpstream() as up:
        up.script(json_response(200, {"data": [{"id": "m", "max_input_tokens": 4096}]}))
        file.write_text(
            f'[upstreams.a]\nkind = "anthropic"\nbase_url = "{up.url}"\nmodels = {{ "*" = "m" }}\n'
        )
        async with running(load(file, {}, port=0), listing=True) as g:
            await eventually(lambda: bool(g.gateway.runtime.model_list.settled))
            arguments = ["env", "--config", str(file), "--url", g.url]
            assert await asyncio.to_thread(cli.main, arguments) == 0
    assert "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=4096\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shell", "first"),
    [
        ("sh", "unset ANTHROPIC_API_KEY"),
        ("fish", "set -e ANTHROPIC_API_KEY"),
        ("powershell", "Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction SilentlyContinue"),
    ],
)
def test_another_credential_is_taken_away(shell: str, first: str) -> None:
    # Last, it would be what the shell reports: that there was none to take away.
    assert env_lines({"A": "b"}, shell).splitlines()[0] == first
