"""The log of `gateway run`: a private file of limited size, since the client owns the terminal."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from tempfile import mkstemp

NAME = "run.log"

MAX_SIZE = 2 * 1024 * 1024
"""Bytes, some 7,000 requests; then the file is renamed to `run.log.1` and a new one begins."""

LOOK_EVERY = 10.0
"""Seconds between two checks of the size."""

SHOWN = 20
"""Lines shown when a gateway dies."""

LONGEST_TAIL = 16 * 1024
"""Bytes at the end of the file that are searched for these lines."""


class RunLog:
    """One log file. Several gateways may write to it: each write appends whole lines."""

    def __init__(self, path: str, descriptor: int, *, temporary: bool) -> None:
        self.path = path
        self.descriptor = descriptor
        self._temporary = temporary
        self._start = os.fstat(descriptor).st_size
        self._timer: asyncio.TimerHandle | None = None

    def keep_small(self) -> None:
        """Check the size now and every LOOK_EVERY seconds. Needs a running loop."""
        if os.fstat(self.descriptor).st_size > MAX_SIZE:
            self._begin_again()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self.keep_small)

    def _begin_again(self) -> None:
        self._start = 0
        try:
            os.replace(self.path, f"{self.path}.1")
            fresh = _open(self.path)
        except OSError:
            # No second file is possible (disk full, read-only): drop what this one holds.
            os.ftruncate(self.descriptor, 0)
            return
        os.dup2(fresh, self.descriptor, inheritable=False)
        os.close(fresh)

    def last_lines(self) -> list[str]:
        """Return the last lines since this log was opened."""
        with open(self.path, "rb") as file:
            file.seek(max(self._start, os.fstat(file.fileno()).st_size - LONGEST_TAIL))
            return file.read().decode("utf-8", "replace").splitlines()[-SHOWN:]

    def close(self) -> None:
        """Close the file; remove a temporary one."""
        if self._timer is not None:
            self._timer.cancel()
        os.close(self.descriptor)
        for path in (self.path, f"{self.path}.1") if self._temporary else ():
            with suppress(OSError):
                os.unlink(path)


def open_run_log(environ: Mapping[str, str]) -> RunLog:
    """Open the log in the user's state directory, else a temporary file, else /dev/null: the client runs anyway."""
    state = environ.get("XDG_STATE_HOME", "")
    home = environ.get("HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(home, ".local", "state") if os.path.isabs(home) else ""
    if state:
        path = os.path.join(state, "gateway", NAME)
        # A home may be read-only, full, or not there at all.
        with suppress(OSError):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            return RunLog(path, _open(path), temporary=False)
    try:
        descriptor, path = mkstemp(prefix="gateway-run-", suffix=".log")
    except OSError:
        return RunLog(os.devnull, os.open(os.devnull, os.O_WRONLY), temporary=False)
    return RunLog(path, descriptor, temporary=True)


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
