"""The `gateway` command: reads its arguments and the configuration, then hands over.

A mistake that the caller can correct becomes one clear line and exit code 2, never a traceback. An import that
only one command needs is made by that command.
"""

import gc
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__, signals, stdio
from gateway.config import Config, ConfigError
from gateway.operator.command_line import (
    WRONG,
    add_config,
    complain,
    config_file,
    load_config,
    print_text,
)
from gateway.operator.commands import COMMANDS, run

if TYPE_CHECKING:
    from socket import socket

INTERRUPTED = 130
"""What a shell reports for a process that SIGINT ended."""

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

SHELLS = ("bash", "zsh", "fish")
"""The shells that `gateway completion` writes scripts for."""

HELP_WIDTH = 100
"""Columns of the help texts."""

COLLECT_AFTER = 50_000
"""How many more containers than at the last collection start another one. Requests leave no cycles, but a large
one has some 5,000 containers while it is served: Python's 700 would scan them several times each, in vain."""

PACKAGES = ("h11", "orjson", "uvloop")
"""The run-time dependencies whose versions matter in a bug report."""

EXAMPLES = {
    "": ("gateway demo", "gateway init && gateway check && gateway serve"),
    "serve": ("gateway serve", "gateway serve --config team.toml --host 0.0.0.0 --log-format json"),
    "demo": ("gateway demo", "gateway demo --port 9000"),
    "init": ("gateway init", "gateway init ~/.config/gateway/gateway.toml"),
    "config": ("gateway config path", 'nano "$(gateway config path)"'),
    "completion": ('eval "$(gateway completion bash)"', "gateway completion fish | source"),
    "help": ("gateway help", "gateway help serve"),
}
"""Examples at the end of each command's help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `arguments`: by default the process's own."""
    if arguments is None:
        # See `_freeze`. Other callers may have garbage, which would stay for ever.
        gc.freeze()
    stdio.open_missing()
    log_format = "text"
    try:
        options = _parsed(arguments)
        log_format = getattr(options, "log_format", log_format)
        command: Callable[[Namespace], int] = options.command
        code = command(options)
    except ConfigError as error:
        complain(*error.problems, log_format=log_format)
        code = WRONG
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else WRONG
    return print_text("", end="") or code


def _parsed(arguments: Sequence[str] | None) -> Namespace:
    """Parse arguments. Raises SystemExit when the help or an error has been printed."""
    # Depending on its version, argparse raises OSError where its help cannot be written, or ignores that.
    help = StringIO()
    try:
        with redirect_stdout(help):
            return make_parser().parse_args(arguments)
    except SystemExit as left:
        raise SystemExit(print_text(help.getvalue(), end="") or left.code) from None


def make_parser() -> ArgumentParser:
    # argparse would import shutil for the terminal's width, which costs each start 3 ms.
    formatter = partial(RawDescriptionHelpFormatter, width=HELP_WIDTH)
    about = "A local HTTP gateway that speaks the Anthropic Messages API."
    parser = ArgumentParser(
        prog="gateway",
        description=about,
        epilog=_examples(EXAMPLES[""]),
        formatter_class=formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-V", "--version", dest="command", action="store_const", const=_version, help="show versions"
    )
    parser.set_defaults(command=lambda options: _usage(parser))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")

    def add(
        name: str, command: Callable[[Namespace], int], about: str, examples: Sequence[str] = ()
    ) -> ArgumentParser:
        epilog = _examples(examples or EXAMPLES[name])
        added = commands.add_parser(
            name, help=about, description=about, epilog=epilog, formatter_class=formatter
        )
        added.set_defaults(command=command)
        return added

    serve = add("serve", _serve, "serve clients; the main job")
    add_config(serve)
    serve.add_argument("--host", metavar="H", help="listen here instead of server.host")
    serve.add_argument("--port", metavar="P", type=_port, help="listen here instead of server.port")
    serve.add_argument("--workers", metavar="N", type=int, help="processes, instead of server.workers")
    serve.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    serve.add_argument("--log-format", choices=LOG_FORMATS, default="text")

    demo = add("demo", _demo, "serve in front of an embedded upstream: no key, no network")
    demo.add_argument("--port", metavar="P", type=_port, default=8045)

    init = add("init", _init, "write a commented starter configuration")
    init.add_argument("file", metavar="FILE", nargs="?", type=Path, default=Path("gateway.toml"))

    config = add("config", _config_path, "say which configuration file is used")
    config.add_argument("what", choices=("path",), nargs="?", default="path")
    add_config(config)

    for name, operators in COMMANDS.items():
        operators.add_arguments(add(name, partial(run, name), operators.about, operators.examples))

    completion = add("completion", partial(_completion, parser), "print a script that completes commands")
    completion.add_argument("shell", choices=SHELLS)

    help = add("help", partial(_help, parser, commands.choices), "show the help of a command")
    help.add_argument("about", metavar="COMMAND", nargs="?")
    return parser


def _examples(lines: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text[:6]) <= 65535):
        raise ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _usage(parser: ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return WRONG


def _help(parser: ArgumentParser, commands: dict[str, ArgumentParser], options: Namespace) -> int:
    if options.about is None:
        return print_text(parser.format_help(), end="")
    if options.about not in commands:
        complain(f"there is no command {options.about!r}; there are {', '.join(commands)}")
        return WRONG
    return print_text(commands[options.about].format_help(), end="")


def _completion(parser: ArgumentParser, options: Namespace) -> int:
    from gateway.operator.completion import script

    return print_text(script(parser, options.shell))


def _version(options: Namespace) -> int:
    from importlib import metadata

    lines = [f"gateway {__version__}", "Python " + sys.version.partition(" ")[0]]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{package} is not installed")
    return print_text("\n".join(lines))


def _serve(options: Namespace) -> int:
    signals.hold()
    path = config_file(options.config)
    sockets: Sequence[socket] = ()
    host, port = options.host, options.port
    if "LISTEN_PID" in os.environ:
        from gateway import systemd

        try:
            sockets = systemd.sockets(os.environ, os.getpid())
        except systemd.HandoverError as error:
            raise ConfigError([str(error)]) from error
        if sockets:
            host, port = systemd.public_address(sockets)

    def read() -> Config:
        return load_config(path, host=host, port=port, workers=options.workers)

    with _freeze():
        config = read()
        if config.server.workers > 1:
            from gateway.workers import serve
        else:
            from gateway.process import serve
    return serve(config, read, options.log_level, options.log_format, sockets)


@contextmanager
def _freeze() -> Iterator[None]:
    """Freeze objects created in this block, so that the garbage collector skips them.

    Garbage is collected first: the commands' parsers, and the half of `datetime` that is not used. `main` has frozen
    the interpreter's own objects, so that this takes half a millisecond, not ten.
    """
    # Else those who need it would import it, and its garbage be frozen, below.
    import datetime  # noqa: F401

    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
        gc.enable()
        gc.freeze()


def _demo(options: Namespace) -> int:
    signals.hold()
    from gateway import demo

    return demo.serve(options.port)


def _init(options: Namespace) -> int:
    from gateway.config.starter import STARTER

    path: Path = options.file
    try:
        # O_EXCL: an existing file is never replaced nor a link followed. 0o600: the file is private from the start.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        complain(f"{path} exists already; nothing was written")
        return WRONG
    except OSError as error:
        complain(f"{path} cannot be written: {error.strerror}")
        return WRONG
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(STARTER)
    return print_text(f"Wrote {path}. Set ANTHROPIC_KEY_1 (or edit the file), then run: gateway check {path}")


def _config_path(options: Namespace) -> int:
    return print_text(str(config_file(options.config)))
