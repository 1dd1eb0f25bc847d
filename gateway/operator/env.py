"""The variables of a client that is to use a gateway, for a shell: `gateway env` prints them."""

import os
from argparse import Namespace
from collections.abc import Mapping

from gateway.config import Config
from gateway.config.client import client_environment, export_lines, settings
from gateway.listening import base_url
from gateway.operator.command_line import print_text, running_config


def command(options: Namespace) -> int:
    """Print the lines for a shell; return the exit code. Raise ConfigError."""
    variables = environment(running_config(options), os.environ, options.url or "", options.key or "")
    return print_text(env_lines(variables, options.shell))


def environment(config: Config, environ: Mapping[str, str], url: str = "", key: str = "") -> dict[str, str]:
    """Return the variables for a client of the gateway with this configuration; what is set in `environ` stays,
    but for the address and the key themselves.

    `url` and `key` are for a gateway that is reached in another way than the configuration says. The first
    configured key is used where one is asked for.
    """
    known = next((secret.reveal() for secret in config.auth.keys.values() if secret), "")
    found = client_environment(config, url or base_url(config, config.server.port), environ, key or known)
    if key:
        found["ANTHROPIC_AUTH_TOKEN"] = key
    further = settings(config) if config.upstreams else {}
    return {**found, **{name: value for name, value in further.items() if name not in environ}}


def env_lines(variables: Mapping[str, str], shell: str) -> str:
    """Return the lines that set variables in a shell, ready for its `eval`."""
    # A second credential in the shell would be sent, too, and might be preferred.
    unset = {"sh": "unset ANTHROPIC_API_KEY", "fish": "set -e ANTHROPIC_API_KEY"}
    remove = unset.get(shell, "Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction SilentlyContinue")
    return "\n".join([*export_lines(variables, shell), remove])
