"""The operator's commands as a table: each one's arguments, and the module of this package that carries it out.

A module is imported when its command is called, and has a function `command` that takes the options and returns the
exit code. It raises ConfigError for what the caller can correct.
"""

from argparse import REMAINDER, ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from gateway.config.client import SHELLS
from gateway.operator.command_line import add_config, add_gateway, file_name


class Command(NamedTuple):
    """A command's declaration. Its module has its name, unless several share one."""

    about: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]
    module: str = ""


def run(name: str, options: Namespace) -> int:
    """Carry out a command of the table; return the exit code."""
    code: int = import_module(f"gateway.operator.{COMMANDS[name].module or name}").command(options)
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


def _status(parser: ArgumentParser) -> None:
    add_gateway(parser)
    parser.add_argument("--watch", action="store_true", help="go on, and print it whenever it changes")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing; 0 if a request could be served")


def _action(name: str, form: str) -> Callable[[ArgumentParser], None]:
    def add(parser: ArgumentParser) -> None:
        add_gateway(parser)
        parser.add_argument("place", metavar=form, help="by the names in the configuration")
        parser.set_defaults(action=name)

    return add


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
    "explain": Command(
        "say what would become of a request, without sending it",
        (
            "gateway explain request.json",
            "gateway explain request.json --header 'anthropic-beta: context-1m-2025-08-07' --json",
            "gateway explain - --url http://127.0.0.1:8045 < request.json",
        ),
        _explain,
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
    "status": Command(
        "show how a running gateway is; 1 if it is not ready or an account needs you",
        ("gateway status --watch", "gateway status --url http://gateway.lan:8045 --key K --json"),
        _status,
    ),
    "clear": Command(
        "end cool-downs in a running gateway, and forget what an upstream refuses",
        ("gateway clear zai", "gateway clear zai/work@example.com"),
        _action("clear", "UPSTREAM[/ACCOUNT]"),
        "action",
    ),
    "disable": Command(
        "have a running gateway ask an account for nothing more, until the next reload",
        ("gateway disable zai/work@example.com",),
        _action("disable", "UPSTREAM/ACCOUNT"),
        "action",
    ),
    "enable": Command(
        "have a running gateway ask a disabled account again",
        ("gateway enable zai/work@example.com",),
        _action("enable", "UPSTREAM/ACCOUNT"),
        "action",
    ),
    "run": Command(
        "start a gateway of its own and a client behind it; end with the client",
        ("gateway run -- claude", 'gateway run --demo -- claude -p "run echo hi"'),
        _run,
    ),
}
"""By name, in the order in which `gateway --help` lists them."""
