"""The log of `gateway run`: a file, since the client owns the terminal. Nobody else can read it, and it stays small."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from tempfile import mkstemp

NAME = "run.log"

MAX_SIZE = 2 * 1024 * 1024
"""Bytes, some 7,000 requests; then the file becomes `run.log.1` and another one begins."""

LOOK_EVERY = 10.0
"""Seconds between two looks at the size."""

SHOWN = 20
"""Lines that are shown when a gateway dies."""

LONGEST_TAIL = 16 * 1024
"""Bytes in which these lines are looked for."""


class RunLog:
    """One file. Several gateways may write to the same one: each line is appended."""

    def __init__(self, path: str, descriptor: int, *, temporary: bool) -> None:
        self.path = path
        self.descriptor = descriptor
        self._temporary = temporary
        self._start = os.fstat(descriptor).st_size
        self._timer: asyncio.TimerHandle | None = None

    def keep_small(self) -> None:
        """Look at the size now, and again from time to time; in a running loop."""
        if os.fstat(self.descriptor).st_size > MAX_SIZE:
            self._begin_again()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self.keep_small)

    def _begin_again(self) -> None:
        self._start = 0
        try:
            os.replace(self.path, f"{self.path}.1")
            fresh = _open(self.path)
        except OSError:
            # Another one cannot be had: what is in this one goes.
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
        """Let go of the file; remove a temporary one."""
        if self._timer is not None:
            self._timer.cancel()
        os.close(self.descriptor)
        for path in (self.path, f"{self.path}.1") if self._temporary else ():
            with suppress(OSError):
                os.unlink(path)


def open_run_log(environ: Mapping[str, str]) -> RunLog:
    """Open the log in the user's state directory, else a temporary one, else none: a client runs without."""
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
