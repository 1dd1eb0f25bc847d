"""What the commands share: exit codes, output, the configuration's place, the gateway that is spoken to."""

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Unpack

from gateway import stdio
from gateway.config import Config, ConfigError, find, load, places
from gateway.config.loader import Options

OK = 0
FAILED = 1
"""What was asked about is not well."""
WRONG = 2
"""The caller can correct it."""
BROKEN_PIPE = 141
"""What a shell reports for a process that SIGPIPE ended: the reader of its output left early."""


def complain(*lines: str, log_format: str = "text") -> None:
    """Say on stderr what went wrong, a line each."""
    if log_format == "json":
        import time

        from gateway.telemetry.access_log import message_line

        for line in lines:
            print(message_line("json", "error", line, time.time()), file=sys.stderr)
    else:
        for line in lines:
            print(f"gateway: {line}", file=sys.stderr)


def print_text(text: str, end: str = "\n") -> int:
    """Print a text and what was printed before; return the exit code for how that went."""
    error = stdio.write(text + end)
    if error is None:
        return OK
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    complain(f"the output could not be written: {error.strerror}")
    return WRONG


def file_name(text: str) -> str:
    """Return the text. As an argument's type this says, to a shell's completion too, that it names a file."""
    return text


def add_config(parser: ArgumentParser) -> None:
    """Let a command be told the configuration's file."""
    parser.add_argument("--config", metavar="F", type=file_name, help="the configuration file")


def add_gateway(parser: ArgumentParser) -> None:
    """Let a command be told which running gateway it speaks to: `peer.peer_of` reads these."""
    add_config(parser)
    parser.add_argument("--url", metavar="URL", help="the gateway's address, if not the configuration's")
    parser.add_argument("--key", metavar="K", help="the gateway's key, if not the configuration's first")


def config_file(explicit: str | None) -> Path:
    """Return the configuration's path. Raise ConfigError that says where it was looked for."""
    path = find(explicit, os.environ, Path.cwd())
    if path is None:
        looked = ", ".join(str(place) for place in places(os.environ, Path.cwd()))
        raise ConfigError(
            [f"no configuration found; looked for {looked}. Run `gateway init` to write one, or use --config"]
        )
    return path


def load_config(path: Path, **options: Unpack[Options]) -> Config:
    """Load the configuration. Raise ConfigError whose last line names the file, unless another does or only
    options are wrong."""
    try:
        return load(path, os.environ, **options)
    except ConfigError as error:
        if all(problem.startswith((str(path), "--")) for problem in error.problems):
            raise
        raise ConfigError([*error.problems, f"correct this in {path}"]) from None


def running_config(options: Namespace) -> Config:
    """Return the configuration of the gateway that is spoken to, the default one where only a URL says which that is.

    Raises ConfigError.
    """
    if options.url is not None and options.config is None:
        return Config()
    config = load_config(config_file(options.config))
    if config.server.port == 0 and options.url is None:
        raise ConfigError(["server.port is 0, so the system chose one: say the gateway's address with --url"])
    return config
