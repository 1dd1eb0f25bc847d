"""What the commands share: exit codes, output, and options that name a configuration or a running gateway."""

import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from gateway import stdio
from gateway.config import Config, ConfigError, find, load, places
from gateway.config.loader import Options
from gateway.config.reading import printable

OK = 0
FAILED = 1
"""The command worked, and found something wrong."""
WRONG = 2
"""The caller made a mistake that the message says how to correct."""
BROKEN_PIPE = 141
"""What a shell reports for a process that SIGPIPE ended: the reader of its output left early."""


def complain(*lines: str, log_format: str = "text") -> None:
    """Print error messages on stderr, a line each."""
    if log_format == "json":
        import time

        from gateway.telemetry.access_log import message_line

        shown = [message_line("json", "error", line, time.time()) for line in lines]
    else:
        shown = [f"gateway: {line}" for line in lines]
    # The exit code says it, too.
    with suppress(OSError):
        for line in shown:
            print(line, file=sys.stderr)


def print_text(text: str, end: str = "\n") -> int:
    """Write a text to stdout and flush it; return OK, or the exit code for an error of writing."""
    error = stdio.write(text + end)
    if error is None:
        return OK
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    complain(f"the output could not be written: {error.strerror}")
    return WRONG


def file_name(text: str) -> str:
    """Return the text. As an argument's type it marks a file's name, for completion in shells, too."""
    return text


def add_config(parser: ArgumentParser) -> None:
    """Add the option that names the configuration's file."""
    parser.add_argument("--config", metavar="F", type=file_name, help="the configuration file")


def add_gateway(parser: ArgumentParser) -> None:
    """Add the options that name a running gateway; `peer.peer_of` reads them."""
    add_config(parser)
    parser.add_argument("--url", metavar="URL", help="the gateway's address, if not the configuration's")
    parser.add_argument("--key", metavar="K", help="the gateway's key, if not the configuration's first")


def config_file(explicit: str | None) -> Path:
    """Return the configuration's path. Raise ConfigError that names the places searched."""
    if explicit == "":
        raise ConfigError(["--config: is empty"])
    try:
        cwd = Path.cwd()
    except FileNotFoundError:
        raise ConfigError(["the working directory does not exist: change to another one"]) from None
    path = find(explicit, os.environ, cwd)
    if path is None:
        looked = ", ".join(map(str, places(os.environ, cwd)))
        raise ConfigError(
            [
                f"no configuration found; looked for {printable(looked)}. "
                "Run `gateway init` to write one, or use --config"
            ]
        )
    return path


def load_config(path: Path, **options: Unpack[Options]) -> Config:
    """Load the configuration. Raise ConfigError whose last line names the file, unless another does or only
    options are wrong."""
    try:
        return load(path, os.environ, **options)
    except ConfigError as error:
        shown = printable(str(path))
        if all(problem.startswith((shown, "--")) for problem in error.problems):
            raise
        raise ConfigError([*error.problems, f"correct this in {shown}"]) from None


def running_config(options: Namespace) -> Config:
    """Return the running gateway's configuration, or the default one where `--url` alone says which gateway it is.

    Raises ConfigError.
    """
    if options.url is not None and options.config is None:
        return Config()
    try:
        config = load_config(config_file(options.config))
    except ConfigError as error:
        # Often only the variables of the gateway's own shell or service are missing here.
        raise ConfigError(
            [
                *error.problems,
                "or say where the gateway runs with --url, and its key with --key: no configuration is needed then",
            ]
        ) from None
    if config.server.port == 0 and options.url is None:
        raise ConfigError(["server.port is 0, so the system chose one: say the gateway's address with --url"])
    return config
