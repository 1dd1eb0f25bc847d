"""`gateway env`: prints the environment variables that let a client use a gateway, as lines for a shell."""

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
"""Seconds to wait for the gateway's model list: it is in memory there, and a shell's start waits for it."""


def command(options: Namespace) -> int:
    """Print the lines for a shell; return the exit code. Raise ConfigError."""
    config = running_config(options)
    peer = peer_for(config, options.url, options.key, patience=PATIENCE)
    windows = fetch_windows(peer) if named_models(config) else {}
    variables = environment(config, os.environ, peer.url, options.key or "", windows)
    return print_text(env_lines(variables, options.shell))


def fetch_windows(peer: Peer) -> dict[str, int]:
    """Return the context windows that a running gateway lists, in tokens by model; {} if it cannot be reached."""
    try:
        return listed_windows(orjson.loads(peer.request("GET", "/v1/models").body)["data"])
    except (PeerError, ValueError, KeyError, TypeError, AttributeError):
        # A shell gets its variables even before the gateway is started.
        return {}


def environment(
    config: Config,
    environ: Mapping[str, str],
    url: str = "",
    key: str = "",
    windows: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the variables for a client of the gateway with this configuration. Variables that `environ` has are
    left alone, except for the address and the key.

    `url` and `key` replace what the configuration says. Where the gateway wants a key, the first configured one is
    used. `windows`: the context windows that upstreams list.
    """
    found = client_environment(
        config, url or base_url(config, config.server.port), environ, key or config.auth.first_key
    )
    if key:
        found["ANTHROPIC_AUTH_TOKEN"] = key
    further = settings(config, windows) if config.upstreams else {}
    return {**found, **{name: value for name, value in further.items() if name not in environ}}


def env_lines(variables: Mapping[str, str], shell: str) -> str:
    """Return the lines that set variables in a shell, for its `eval`."""
    # A second credential in the shell would also be sent, and might be preferred. It goes first: fish reports a failure
    # where there is none.
    unset = {"sh": "unset ANTHROPIC_API_KEY", "fish": "set -e ANTHROPIC_API_KEY"}
    remove = unset.get(shell, "Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction SilentlyContinue")
    return "\n".join([remove, *export_lines(variables, shell)])
