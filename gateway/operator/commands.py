"""The operator's commands as a table: how each is called, and the module of this package that carries it out.

A module is imported when its command is called, and has a function `command` that takes the options and returns the
exit code. It raises ConfigError for what the caller can correct.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from gateway.config.client import SHELLS
from gateway.operator.command_line import add_config, add_gateway, file_name


class Command(NamedTuple):
    """How a command is called. Its module has its name."""

    about: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]


def run(name: str, options: Namespace) -> int:
    """Carry out a command of the table; return the exit code."""
    code: int = import_module(f"gateway.operator.{name}").command(options)
    return code


def _check(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", type=file_name, help="the same as --config FILE")
    add_config(parser)
    parser.add_argument("--model", metavar="NAME", help="say only who would serve this model")


def _env(parser: ArgumentParser) -> None:
    add_gateway(parser)
    parser.add_argument("--shell", choices=tuple(SHELLS), default="sh")


def _explain(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="REQUEST.json", type=file_name, help="the request's body, or a capture"
    )
    parser.add_argument(
        "--header",
        metavar="'X: Y'",
        action="append",
        default=[],
        help="a field of the request's head; repeatable",
    )
    add_config(parser)
    parser.add_argument("--url", metavar="URL", help="ask the gateway that runs there, as it stands")
    parser.add_argument("--key", metavar="K", help="that gateway's key, if not the configuration's first")
    parser.add_argument("--json", action="store_true", help="print JSON")


COMMANDS = {
    "check": Command(
        "validate a configuration without the network, and show it",
        ("gateway check", "gateway check team.toml --model claude-opus-5-5"),
        _check,
    ),
    "explain": Command(
        "say what would become of a request, without sending it",
        (
            "gateway explain request.json",
            "gateway explain request.json --header 'anthropic-beta: context-1m-2025-08-07' --json",
            "gateway explain - --url http://127.0.0.1:8045 < request.json",
        ),
        _explain,
    ),
    "env": Command(
        "print the variables that a client needs, for a shell's eval; keys included",
        ('eval "$(gateway env)" && claude', "gateway env --shell fish | source"),
        _env,
    ),
}
"""By name, in the order in which `gateway --help` lists them."""
