"""`gateway serve` as a separate process."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Self

ROOT = Path(__file__).parents[2]

CONFIG = """
[upstreams.none]
kind = "anthropic"
base_url = "http://127.0.0.1:9"
models = { "*" = "wire" }
accounts = [{ name = "one", api_key = "k" }]
"""

PATIENCE = 60.0
"""Seconds for anything that a process should do; then it is killed, and reading from it ends."""


@contextmanager
def unused_port() -> Iterator[int]:
    """A port at which nobody listens. Meanwhile no other process is given it; a server that asks for it by its number,
    and sets SO_REUSEADDR as servers do, may listen there."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def get(port: int, path: str) -> int:
    """Return the status of a GET on a separate connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


class Spawned:
    """A gateway's process, from its greeting to its end."""

    def __init__(
        self,
        command: Sequence[str],
        config: Path,
        environ: Mapping[str, str] | None = None,
        *,
        directory: Path = ROOT,
    ) -> None:
        self.config = config
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={"PATH": os.environ["PATH"], **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._patience = Timer(PATIENCE, self.process.kill)
        self._patience.start()
        self._printed: list[str] = []
        self._ended = False
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        found = re.search(r"http[^ ,]*:(\d+)", greeting)
        if found is None:
            raise AssertionError(f"no greeting: {greeting}{self.wait()}")
        self.port = int(found[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.wait()

    def signal(self, name: str) -> None:
        """Send `SIG<name>`."""
        self.process.send_signal(signal.Signals[f"SIG{name}"])

    def line(self, words: str) -> str:
        """The next line of the log with these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._printed.append(line)
            if words in line:
                return line
        raise AssertionError(f"no line has {words!r}: {self._printed}")

    def wait(self) -> str:
        """Its whole stderr, once it has ended."""
        if not self._ended:
            self._ended = True
            try:
                self._printed.append(self.process.communicate()[1])
            finally:
                self._patience.cancel()
        return "".join(self._printed)


def limited(ulimit: str) -> list[str]:
    """Return a command's prefix that runs it with other limits: options of the shell's `ulimit`."""
    return ["/bin/sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh"]


@contextmanager
def spawned(
    directory: Path,
    *arguments: str,
    text: str = CONFIG,
    environ: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[Spawned]:
    """`gateway serve` on a free port, with a configuration in `directory`; killed at the end if it still runs.

    `before` stands before its command.
    """
    config = directory / "gateway.toml"
    config.write_text(text)
    config.chmod(0o600)
    command = [*before, sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    command += arguments
    with Spawned(command, config, environ) as gateway:
        yield gateway
