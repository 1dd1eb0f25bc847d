"""The environment of a client: each line can be pasted into its shell, and each proxy leaves the gateway alone."""

import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Auth, Config, Secret, Upstream
from gateway.config.client import (
    client_environment,
    context_windows,
    export_lines,
    listed_windows,
    named_models,
    settings,
)

URL = "http://127.0.0.1:8045"

CLOSED = Config(auth=Auth(mode="strict", keys={"laptop": Secret("canary-key")}))

TOOL_HOSTS: list[tuple[tuple[Upstream, ...], str]] = [
    ((Upstream(name="a", kind="anthropic", base_url="https://api.anthropic.com"),), "true"),
    (
        (
            Upstream(name="a", kind="anthropic", base_url="https://api.anthropic.com"),
            Upstream(name="z", kind="anthropic", base_url="https://api.z.ai/api/anthropic"),
        ),
        "false",
    ),
    ((Upstream(name="g", kind="gemini", base_url="https://generativelanguage.googleapis.com"),), "false"),
]


@pytest.mark.parametrize(
    ("config", "key", "token"),
    [
        (Config(), "", "any-text"),
        (Config(), "ignored", "any-text"),
        (CLOSED, "", "<one of your [auth] keys>"),
        (CLOSED, "canary-key", "canary-key"),
    ],
)
def test_client_token_is_a_key_if_keys_are_needed(config: Config, key: str, token: str) -> None:
    assert client_environment(config, URL, {}, key) == {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_AUTH_TOKEN": token,
    }


@pytest.mark.parametrize(
    ("environ", "url", "exempt"),
    [
        ({}, URL, None),
        ({"NO_PROXY": "x"}, URL, None),
        ({"HTTPS_PROXY": "http://p:1"}, URL, "127.0.0.1"),
        ({"http_proxy": "http://p:1"}, URL, "127.0.0.1"),
        ({"ALL_PROXY": "socks5://p:1"}, "http://[::1]:8045", "::1"),
        ({"https_proxy": "http://p:1", "no_proxy": "a.com, b.com"}, URL, "a.com,b.com,127.0.0.1"),
        ({"https_proxy": "http://p:1", "NO_PROXY": "localhost,127.0.0.1"}, URL, None),
        ({"https_proxy": "http://p:1", "NO_PROXY": "*"}, URL, None),
    ],
)
def test_no_proxy_for_the_gateway(environ: Mapping[str, str], url: str, exempt: str | None) -> None:
    assert client_environment(Config(), url, environ).get("NO_PROXY") == exempt


@pytest.mark.parametrize(("upstreams", "searches"), TOOL_HOSTS)
def test_tools_are_searched_where_every_upstream_can(upstreams: tuple[Upstream, ...], searches: str) -> None:
    config = Config(upstreams=upstreams)
    assert settings(config) == {
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        "ENABLE_TOOL_SEARCH": searches,
    }
    repaired = tuple(replace(each, repairs=each.repairs | {"deferred_tools"}) for each in upstreams)
    assert settings(Config(upstreams=repaired))["ENABLE_TOOL_SEARCH"] == "false"


VALUES = ["plain", "a b", "it's", 'say "$HOME" `x`', "back\\slash\\", "%$;&|<>(){}[]*?~#!", "é", "-n", ""]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("shell", ["sh", "fish", "powershell"])
def test_lines_set_exactly_the_value(shell: str, value: str) -> None:
    (line,) = export_lines({"NAME": value}, shell)
    if shell == "sh":
        assert shlex.split(line) == ["export", f"NAME={value}"]
        run = ["/bin/sh", "-c", f'{line}\nprintf "%s" "$NAME"']
    elif shell == "fish":
        assert line.startswith("set -gx NAME ")
        run = ["fish", "-c", f'{line}\nprintf "%s" "$NAME"']
    else:
        assert line == "$Env:NAME = '" + value.replace("'", "''") + "'"
        run = ["pwsh", "-NoProfile", "-Command", f"{line}\n[Console]::Out.Write($Env:NAME)"]
    if shutil.which(run[0]):
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == value


def test_a_value_for_fish_keeps_its_backslashes() -> None:
    assert export_lines({"N": "a\\'b"}, "fish") == ["set -gx N 'a\\\\\\'b'"]


WINDOWS = st.dictionaries(st.sampled_from(["a", "b", "u/a"]), st.integers(1, 9))
TARGETS = st.dictionaries(st.text(max_size=3), st.sampled_from(["a", "b", "c", "u/a"]))


@given(TARGETS, TARGETS, WINDOWS, WINDOWS, WINDOWS)
def test_the_smallest_window_is_of_a_model_that_is_named(
    models: dict[str, str],
    own: dict[str, str],
    contexts: dict[str, int],
    own_contexts: dict[str, int],
    listed: dict[str, int],
) -> None:
    upstream = Upstream(name="u", kind="anthropic", base_url="http://u", models=own, contexts=own_contexts)
    config = Config(models=models, contexts=contexts, upstreams=(upstream,))
    known = context_windows(config, listed)
    covered = {*contexts.values(), *own_contexts.values()}
    assert {model for model in known if known[model] not in covered} <= named_models(config) & listed.keys()
    assert settings(config, listed).get("CLAUDE_CODE_MAX_CONTEXT_TOKENS") == (
        str(min(known.values())) if known else None
    )


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["id", "max_input_tokens"]), st.integers() | st.text() | st.none())
    )
)
def test_only_whole_positive_windows_are_read(models: list[dict[str, object]]) -> None:
    assert all(isinstance(id, str) and window > 0 for id, window in listed_windows(models).items())
