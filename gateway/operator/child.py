"""The client that `gateway run` starts: a child in the same process group, which owns the terminal.

Signals of the terminal (Ctrl-C, Ctrl-Z, a new size) reach it directly; signals sent to the gateway's process alone
are passed on. When the child is stopped the gateway stops, too, so that the shell gets its terminal back.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread, get_ident

from gateway.operator.terminal import Terminal
from gateway.process import SignalHandlers

FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGTSTP})
"""The terminal sends these to its whole foreground group: the child has received them, and must not twice."""

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""Sent after the child has ended, these cut off its requests that are still in progress."""

PASSED_ON = FROM_TERMINAL | ENDING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT}

PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these; a child starts with the system's default."""

PATIENCE = 5.0
"""Seconds that the child gets to end after SIGTERM, when its gateway has failed."""

LOOK_EVERY = 0.02
"""Seconds between two checks whether it has ended."""


class Child:
    """One child, from its start to its end. Belongs to a running loop in the main thread."""

    def __init__(self, terminal: Terminal | None) -> None:
        self.code: int | None = None
        """Its exit code as a shell reports it, once it has ended."""
        self.started = False
        """True once the process was started, also when it has ended."""
        self._terminal = terminal
        self._loop = asyncio.get_running_loop()
        self._pid = 0
        self._stop: Callable[[], None] | None = None
        self._handled: list[int] = []

    def start(self, command: list[str], environ: Mapping[str, str], descriptors: int | None) -> None:
        """Start the child with a soft limit of `descriptors` (None: this process's own). Raises OSError."""
        for number in PASSED_ON:
            # A signal that is ignored here (nohup) is ignored by the child, too.
            ignored = signal.getsignal(number) is signal.SIG_IGN
            if not ignored and not (number == signal.SIGCONT and self._terminal is not None):
                self._loop.add_signal_handler(number, self._on_signal, number)
                self._handled.append(number)
        with _limit_descriptors(descriptors):
            self._pid = os.posix_spawnp(command[0], command, environ, setsigdef=PYTHONS_OWN)
        self.started = True
        Thread(target=self._wait, args=(self._pid,), name="child", daemon=True).start()

    def source(self, handlers: SignalHandlers) -> Callable[[], None]:
        """Call SIGTERM's handler when the child ends, and at each signal after that; a `process.SignalSource`."""
        self._stop = handlers[signal.SIGTERM]
        if self.code is not None:
            self._stop()
        return self.release

    def release(self) -> None:
        """Handle no more signals."""
        for number in self._handled:
            self._loop.remove_signal_handler(number)
        self._handled.clear()

    async def end(self) -> None:
        """End the child if it still runs: its gateway is gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.started and self.code is None:
                self._send(number)
                for _ in range(int(PATIENCE / LOOK_EVERY)):
                    await asyncio.sleep(LOOK_EVERY)
                    if self.code is not None:
                        break

    def _on_signal(self, number: int) -> None:
        if self.code is not None:
            if self._stop is not None and number in ENDING:
                self._stop()
        elif number not in FROM_TERMINAL or self._terminal is None or not self._terminal.in_foreground:
            self._send(number)

    def _send(self, number: int) -> None:
        pid = self._pid
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait(self, pid: int) -> None:
        status = os.waitpid(pid, os.WUNTRACED)[1]
        while os.WIFSTOPPED(status):
            # Without a terminal there is no shell that could continue this process.
            status = os.waitpid(pid, os.WUNTRACED)[1] if self._terminal is None else self._stop_too(pid)
        # From now on another process may have this number.
        self._pid = 0
        with suppress(RuntimeError):
            # The loop may be closed.
            self._loop.call_soon_threadsafe(self._ended, os.waitstatus_to_exitcode(status))

    def _stop_too(self, pid: int) -> int:
        """Stop this process with its child; return the child's next status once both run again."""
        # Sent to this thread, so that the call returns only after the process was continued.
        signal.pthread_kill(get_ident(), signal.SIGSTOP)
        time.sleep(LOOK_EVERY)
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if not found:
            # Unlike a shell, a plain SIGCONT to this process did not continue the child.
            self._send(signal.SIGCONT)
        if not found or os.WIFCONTINUED(status):
            status = os.waitpid(pid, os.WUNTRACED)[1]
        return status

    def _ended(self, code: int) -> None:
        self.code = 128 - code if code < 0 else code
        if self._terminal is not None:
            self._terminal.restore(died=code < 0)
        if self._stop is not None:
            self._stop()


@contextmanager
def _limit_descriptors(descriptors: int | None) -> Iterator[None]:
    """Give the child another soft limit of descriptors: programs that use `select` break above 1,024."""
    if descriptors is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
