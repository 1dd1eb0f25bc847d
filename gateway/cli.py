"""The `gateway` command: reads its arguments and the configuration, then hands over.

Promises one clear line (or one a mistake) and exit code 2 for whatever the caller can correct, and
never a traceback for it. Every import that only one command needs is made by that command.
"""

import gc
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.config import Config, ConfigError, find, load, places

if TYPE_CHECKING:
    from socket import socket

OK = 0
WRONG = 2
INTERRUPTED = 130
"""What a shell reports for a process that SIGINT ended."""

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

HELP_WIDTH = 100
"""Columns."""

COLLECT_AFTER = 50_000
"""Containers more than at the last look before the collector looks for cycles. Requests leave none, and a large one
has some 5,000 while it is served: at Python's 700 they are looked at several times each, in vain."""

PACKAGES = ("h11", "orjson", "uvloop")
"""The run-time dependencies whose versions matter in a bug report."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Without `arguments`, those of the process."""
    options = _parser().parse_args(arguments)
    command: Callable[[Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        _complain(*error.problems)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> ArgumentParser:
    # By itself argparse asks for the terminal's width, which costs every start the import of shutil: 3 ms.
    formatter = partial(HelpFormatter, width=HELP_WIDTH)
    about = "A local HTTP gateway that speaks the Anthropic Messages API."
    parser = ArgumentParser(prog="gateway", description=about, formatter_class=formatter)
    parser.add_argument(
        "--version", dest="command", action="store_const", const=_version, help="show versions"
    )
    parser.set_defaults(command=lambda options: _usage(parser))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    add = partial(commands.add_parser, formatter_class=formatter)

    serve = add("serve", help="serve clients; the main job")
    serve.set_defaults(command=_serve)
    _add_config(serve)
    serve.add_argument("--host", metavar="H", help="listen here instead of server.host")
    serve.add_argument("--port", metavar="P", type=_port, help="listen here instead of server.port")
    serve.add_argument("--workers", metavar="N", type=int, help="processes, instead of server.workers")
    serve.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    serve.add_argument("--log-format", choices=LOG_FORMATS, default="text")

    demo = add("demo", help="the same in front of an embedded upstream: no key, no network")
    demo.set_defaults(command=_demo)
    demo.add_argument("--port", metavar="P", type=_port, default=8045)
    demo.add_argument("--upstream", choices=("anthropic", "gemini"), default="anthropic")

    init = add("init", help="write a commented starter configuration")
    init.set_defaults(command=_init)
    init.add_argument("file", metavar="F", nargs="?", type=Path, default=Path("gateway.toml"))

    check = add("check", help="validate a configuration without the network, and show it")
    check.set_defaults(command=_check)
    _add_config(check)
    return parser


def _add_config(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="F", help="the configuration file")


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text[:6]) <= 65535):
        raise ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _complain(*lines: str) -> None:
    for line in lines:
        print(f"gateway: {line}", file=sys.stderr)


def _usage(parser: ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return WRONG


def _version(options: Namespace) -> int:
    from importlib import metadata

    print(f"gateway {__version__}")
    print("Python " + sys.version.partition(" ")[0])
    for package in PACKAGES:
        try:
            print(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"{package} is not installed")
    return OK


def _config_file(explicit: str | None) -> Path:
    """The configuration's path. Raises ConfigError that says where it was looked for."""
    path = find(explicit, os.environ, Path.cwd())
    if path is None:
        looked = ", ".join(str(place) for place in places(os.environ, Path.cwd()))
        raise ConfigError(
            [f"no configuration found; looked for {looked}. Run `gateway init` to write one, or use --config"]
        )
    return path


def _load(
    path: Path, *, host: str | None = None, port: int | None = None, workers: int | None = None
) -> Config:
    """The configuration. Raises ConfigError whose last line names the file, unless the first does."""
    try:
        return load(path, os.environ, host=host, port=port, workers=workers)
    except ConfigError as error:
        if error.problems[0].startswith(str(path)):
            raise
        raise ConfigError([*error.problems, f"correct this in {path}"]) from None


def _serve(options: Namespace) -> int:
    path = _config_file(options.config)
    sockets: Sequence[socket] = ()
    host, port = options.host, options.port
    if "LISTEN_PID" in os.environ:
        from gateway import systemd

        try:
            sockets = systemd.sockets(os.environ, os.getpid())
        except systemd.HandoverError as error:
            raise ConfigError([str(error)]) from error
        if sockets:
            host, port = systemd.place(sockets)

    def read() -> Config:
        return _load(path, host=host, port=port, workers=options.workers)

    with _lasting():
        config = read()
        if config.server.workers > 1:
            from gateway.workers import serve
        else:
            from gateway.process import serve
    return serve(config, read, options.log_level, options.log_format, sockets)


@contextmanager
def _lasting() -> Iterator[None]:
    """What is made meanwhile is there for good: the collector need not look at it, neither now nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
        gc.enable()
        gc.freeze()


def _demo(options: Namespace) -> int:
    from gateway import demo

    return demo.serve(options.port, options.upstream)


def _init(options: Namespace) -> int:
    from gateway.config.starter import STARTER

    path: Path = options.file
    try:
        # Never an existing file, nor what a link points to; and never, not for a moment, readable by others.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        _complain(f"{path} exists already; nothing was written")
        return WRONG
    except OSError as error:
        _complain(f"{path} cannot be written: {error.strerror}")
        return WRONG
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(STARTER)
    print(f"Wrote {path}. Set ANTHROPIC_KEY_1 (or edit the file), then run: gateway check --config {path}")
    return OK


def _check(options: Namespace) -> int:
    config = _load(_config_file(options.config))
    from gateway.operator.check import summary

    print(summary(config))
    return OK
