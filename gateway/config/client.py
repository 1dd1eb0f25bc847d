"""The environment of a gateway's client, as the greeting shows it and `gateway env` prints it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from gateway.config.presets import PRESETS
from gateway.config.values import Config

PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Variables (also in lower case) that send even loopback requests through a proxy unless NO_PROXY excludes them."""

PLACEHOLDER = "<one of your [auth] keys>"
"""Shown in place of a key where others may see it."""

ANY_KEY = "any-text"
"""A key for gateways that need none: clients insist on having one."""

SHELLS = {
    "sh": "export {name}={value}",
    "fish": "set -gx {name} {value}",
    "powershell": "$Env:{name} = {value}",
}
"""How each shell sets a variable."""


def client_environment(
    config: Config, base_url: str, environ: Mapping[str, str], key: str = ""
) -> dict[str, str]:
    """Return the variables that a client needs. `key`: used if the gateway wants one; by default a placeholder.

    `environ` is the client's own: if it has a proxy, the gateway's address is exempt from it.
    """
    mode = config.auth.effective_mode(config.server.host)
    token = ANY_KEY if mode == "off" else key or PLACEHOLDER
    # Claude Code does not accept ANTHROPIC_API_KEY at its first start; see README.
    found = {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_AUTH_TOKEN": token}
    exempt = no_proxy(base_url, environ)
    if exempt:
        found["NO_PROXY"] = exempt
        if "no_proxy" in environ:
            # Many programs read the lower-case one first.
            found["no_proxy"] = exempt
    return found


def no_proxy(base_url: str, environ: Mapping[str, str]) -> str:
    """Return the NO_PROXY that exempts `base_url` from a client's proxy; "" if none is needed."""
    if not any(environ.get(name) or environ.get(name.lower()) for name in PROXY_VARIABLES):
        return ""
    host = urlsplit(base_url).hostname or ""
    exempt = [part.strip() for part in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")]
    if host in exempt or "*" in exempt:
        return ""
    return ",".join([*filter(None, exempt), host])


def settings(config: Config, windows: Mapping[str, int] = MappingProxyType({})) -> dict[str, str]:
    """Return further settings of Claude Code that suit the upstreams of a configuration.

    `windows`: context windows in tokens by model, as upstreams list them.
    """
    own_host = PRESETS["anthropic"]["base_url"]
    searches = all(
        upstream.base_url == own_host and "deferred_tools" not in upstream.repairs
        for upstream in config.upstreams
    )
    found = {
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        # Tools loaded on demand need upstreams that know `tool_reference`.
        "ENABLE_TOOL_SEARCH": "true" if searches else "false",
    }
    known = context_windows(config, windows)
    if known:
        found["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(min(known.values()))
    return found


def named_models(config: Config) -> set[str]:
    """Return the models that the tables name. Clients know others by themselves, better than any list does."""
    found = {model for upstream in config.upstreams for model in upstream.models.values()}
    return found | {_without_upstream(config, model) for model in config.models.values()}


def context_windows(config: Config, listed: Mapping[str, int]) -> dict[str, int]:
    """Return the known context windows, in tokens, of the models that the tables name.

    The configuration's values replace those that upstreams list.
    """
    found = {model: listed[model] for model in named_models(config) if model in listed}
    for table in (config.contexts, *(upstream.contexts for upstream in config.upstreams)):
        found.update({_without_upstream(config, model): context for model, context in table.items()})
    return found


def _without_upstream(config: Config, target: str) -> str:
    """Return the model of a target of `[models]`, which may be `upstream/model`."""
    prefix, slash, model = target.partition("/")
    return model if slash and any(prefix == upstream.name for upstream in config.upstreams) else target


def listed_windows(models: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the context windows in a model list's entries, in tokens by model."""
    found = {}
    for model in models:
        id, window = model.get("id"), model.get("max_input_tokens")
        if isinstance(id, str) and type(window) is int and window > 0:
            found[id] = window
    return found


def export_lines(variables: Mapping[str, str], shell: str = "sh") -> list[str]:
    """Return the lines that set variables in one of SHELLS."""
    return [SHELLS[shell].format(name=name, value=_quote(value, shell)) for name, value in variables.items()]


def _quote(value: str, shell: str) -> str:
    """Return a value as one word of a shell."""
    if shell == "powershell":
        return "'" + value.replace("'", "''") + "'"
    if value and not set(value) - _SAFE:
        return value
    if shell == "fish":
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + value.replace("'", "'\"'\"'") + "'"


_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-")
"""Characters without a special meaning in any shell."""
