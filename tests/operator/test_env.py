"""`gateway env`: a client's variables, as a shell takes them; what somebody has set stays."""

from collections.abc import Mapping

import pytest

from gateway.config import Auth, Config, Secret, Server, Upstream
from gateway.operator.env import env_lines, environment

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
    ("shell", "last"),
    [
        ("sh", "unset ANTHROPIC_API_KEY"),
        ("fish", "set -e ANTHROPIC_API_KEY"),
        ("powershell", "Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction SilentlyContinue"),
    ],
)
def test_another_credential_is_taken_away(shell: str, last: str) -> None:
    assert env_lines({"A": "b"}, shell).splitlines()[-1] == last
