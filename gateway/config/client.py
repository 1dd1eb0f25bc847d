"""The environment of a client that is to use a gateway: what the start-up lines show and `gateway env` prints."""

from collections.abc import Mapping

from gateway.config.presets import PRESETS
from gateway.config.values import Config

PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Variables, in either case, by which clients reach even loopback through a proxy unless NO_PROXY names it."""

PLACEHOLDER = "<one of your [auth] keys>"
"""Shown in place of a key where others may read along."""

ANY_KEY = "any-text"
"""Good where no key is asked for: clients want one all the same."""

SHELLS = {
    "sh": "export {name}={value}",
    "fish": "set -gx {name} {value}",
    "powershell": "$Env:{name} = {value}",
}
"""How each kind of shell sets a variable."""


def client_environment(
    config: Config, base_url: str, environ: Mapping[str, str], key: str = ""
) -> dict[str, str]:
    """Return the variables that a client needs; `key` is used where one is asked for, else a placeholder.

    `environ` is that of the person who starts it: with a proxy in it, the gateway's address is exempt.
    """
    mode = config.auth.effective_mode(config.server.host)
    token = ANY_KEY if mode == "off" else key or PLACEHOLDER
    # Claude Code's first start takes no ANTHROPIC_API_KEY; see README.
    found = {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_AUTH_TOKEN": token}
    exempt = no_proxy(base_url, environ)
    if exempt:
        found["NO_PROXY"] = exempt
    return found


def no_proxy(base_url: str, environ: Mapping[str, str]) -> str:
    """Return the NO_PROXY that keeps a client from asking a proxy for `base_url`; "" where none is needed."""
    if not any(environ.get(name) or environ.get(name.lower()) for name in PROXY_VARIABLES):
        return ""
    host = base_url.partition("://")[2].rpartition(":")[0].strip("[]")
    exempt = [part.strip() for part in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")]
    if host in exempt or "*" in exempt:
        return ""
    return ",".join([*filter(None, exempt), host])


def settings(config: Config) -> dict[str, str]:
    """Return further settings of Claude Code that suit the upstreams of a configuration."""
    own_host = PRESETS["anthropic"]["base_url"]
    searches = all(
        upstream.base_url == own_host and "deferred_tools" not in upstream.repairs
        for upstream in config.upstreams
    )
    return {
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        # Tools loaded on demand need hosts that know `tool_reference`.
        "ENABLE_TOOL_SEARCH": "true" if searches else "false",
    }


def export_lines(variables: Mapping[str, str], shell: str = "sh") -> list[str]:
    """Return the lines that set variables in one of SHELLS."""
    return [SHELLS[shell].format(name=name, value=_quoted(value, shell)) for name, value in variables.items()]


def _quoted(value: str, shell: str) -> str:
    """Return a value as one word of a shell."""
    if shell == "powershell":
        return "'" + value.replace("'", "''") + "'"
    if value and not set(value) - _SAFE:
        return value
    if shell == "fish":
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + value.replace("'", "'\"'\"'") + "'"


_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-")
"""Characters that no shell gives a meaning."""
