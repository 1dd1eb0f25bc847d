"""The variables of a client that is to use a gateway, for a shell: `gateway env` prints them."""

import os
from argparse import Namespace
from collections.abc import Mapping
from types import MappingProxyType

import orjson

from gateway.config import Config
from gateway.config.client import (
    client_environment,
    export_lines,
    listed_windows,
    named_models,
    settings,
)
from gateway.listening import base_url
from gateway.operator.command_line import print_text, running_config
from gateway.operator.peer import Peer, PeerError, peer_for

PATIENCE = 1.0
"""Seconds that a gateway gets to list its models: it has the list in memory, and a shell waits for this."""


def command(options: Namespace) -> int:
    """Print the lines for a shell; return the exit code. Raise ConfigError."""
    config = running_config(options)
    windows = {}
    if named_models(config):
        windows = listed_by(peer_for(config, options.url, options.key, patience=PATIENCE))
    variables = environment(config, os.environ, options.url or "", options.key or "", windows)
    return print_text(env_lines(variables, options.shell))


def listed_by(peer: Peer) -> dict[str, int]:
    """Return the context windows that a running gateway lists, in tokens by model; none if it does not run."""
    try:
        return listed_windows(orjson.loads(peer.request("GET", "/v1/models").body)["data"])
    except (PeerError, ValueError, KeyError, TypeError, AttributeError):
        # A shell gets its variables also before the gateway is started.
        return {}


def environment(
    config: Config,
    environ: Mapping[str, str],
    url: str = "",
    key: str = "",
    windows: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the variables for a client of the gateway with this configuration; what is set in `environ` stays,
    but for the address and the key themselves.

    `url` and `key` are for a gateway that is reached in another way than the configuration says. The first
    configured key is used where one is asked for. `windows`: the context windows that upstreams list.
    """
    found = client_environment(
        config, url or base_url(config, config.server.port), environ, key or config.auth.first_key
    )
    if key:
        found["ANTHROPIC_AUTH_TOKEN"] = key
    further = settings(config, windows) if config.upstreams else {}
    return {**found, **{name: value for name, value in further.items() if name not in environ}}


def env_lines(variables: Mapping[str, str], shell: str) -> str:
    """Return the lines that set variables in a shell, ready for its `eval`."""
    # A second credential in the shell would be sent, too, and might be preferred.
    unset = {"sh": "unset ANTHROPIC_API_KEY", "fish": "set -e ANTHROPIC_API_KEY"}
    remove = unset.get(shell, "Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction SilentlyContinue")
    return "\n".join([*export_lines(variables, shell), remove])
