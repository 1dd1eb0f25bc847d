"""The operator's commands as a table: how each is called, and the module of this package that carries it out.

A module is imported when its command is called, and has a function `command` that takes the options and returns the
exit code. It raises ConfigError for what the caller can correct.
"""

from argparse import REMAINDER, ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from gateway.config.client import SHELLS
from gateway.operator.command_line import add_config, add_gateway


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
    parser.add_argument("file", metavar="FILE", nargs="?", help="the same as --config FILE")
    add_config(parser)
    parser.add_argument("--model", metavar="NAME", help="say only who would serve this model")


def _env(parser: ArgumentParser) -> None:
    add_gateway(parser)
    parser.add_argument("--shell", choices=tuple(SHELLS), default="sh")


def _run(parser: ArgumentParser) -> None:
    parser.add_argument("--demo", action="store_true", help="in front of the demo's upstream")
    add_config(parser)
    parser.add_argument("words", metavar="-- COMMAND", nargs=REMAINDER, help="the client, as in a shell")


def _doctor(parser: ArgumentParser) -> None:
    add_gateway(parser)
    parser.add_argument(
        "--spend", action="store_true", help="ask each route for one token, too: it costs money"
    )
    parser.add_argument("--json", action="store_true", help="print the report for machines")


COMMANDS = {
    "check": Command(
        "validate a configuration without the network, and show it",
        ("gateway check", "gateway check team.toml --model claude-opus-5-5"),
        _check,
    ),
    "doctor": Command(
        "prove that all is well here, at the upstreams and in the gateway, or say what is not",
        ("gateway doctor", "gateway doctor --spend", "gateway doctor --url http://gateway.lan:8045 --json"),
        _doctor,
    ),
    "env": Command(
        "print the variables that a client needs, for a shell's eval; keys included",
        ('eval "$(gateway env)" && claude', "gateway env --shell fish | source"),
        _env,
    ),
    "run": Command(
        "start a gateway of its own and a client behind it; end with the client",
        ("gateway run -- claude", 'gateway run --demo -- claude -p "run echo hi"'),
        _run,
    ),
}
"""By name, in the order in which `gateway --help` lists them."""
