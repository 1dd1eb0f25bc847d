"""A real store for tests: Debian's redis-server or valkey-server, which keeps nothing on the disk."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.spawned import PATIENCE, unused_port

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")

needs_a_store = pytest.mark.skipif(
    PROGRAM is None,
    reason="neither valkey-server nor redis-server is installed: apt-get install redis-server",
)


class StoreServer:
    """A server's process, which may be killed, stopped and started again in the same place, until `close`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._place = ExitStack()
        self.port = self._place.enter_context(unused_port())
        self.path = directory / "store.sock"
        self._command = [
            *(PROGRAM or "", "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.path)),
            *("--save", "", "--appendonly", "no", "--dir", str(directory), "--daemonize", "no", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it listens; it blocks the loop, for some 20 ms."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert self._process.poll() is None, "the store ended"
                assert time.monotonic() < deadline, "the store does not listen"
                time.sleep(0.005)
            else:
                return

    async def execute(self, *command: str | bytes | int) -> Any:
        """Send one command, on a separate connection, and return the reply."""
        # Not above: each test run reads this module.
        from redis.asyncio import Redis

        async with Redis(port=self.port) as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        """End it as `kill -9` does; its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it for ever."""
        self.kill()
        self._place.close()

    def hang(self) -> None:
        """Stop it: its connections stay, and nothing comes back."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
