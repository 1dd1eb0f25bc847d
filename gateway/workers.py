"""`--workers N`: processes that serve one port, and the parent that watches over them.

The parent binds the port, forks the workers before there is a loop or a thread, and serves nothing itself. A
worker that dies is replaced. Workers ignore signals and obey their parent, over a socket pair that carries the
numbers of signals one way and a byte for "ready" the other; its end tells either side that the other is gone.
"""

import asyncio
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Literal, NoReturn

from gateway import process
from gateway.app import cannot_listen
from gateway.config import Config, ConfigError
from gateway.http1.sockets import bind_sockets
from gateway.telemetry.access_log import AccessLog

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What the parent hears and passes on."""

STEADY = 10.0
"""Seconds after which a worker's death says nothing about the next one."""

FIRST_PAUSE = 0.5
"""Seconds before a worker that died young is replaced, doubled each time."""

LONGEST_PAUSE = 10.0
"""Of the pauses: connections wait meanwhile in the dead worker's queue."""

GRACE = 5.0
"""Seconds beyond the drain's own time after which a worker that still lives is killed."""

CRASHED = 1

READY = b"R"


class Forked:
    """A worker's process, seen from its parent."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        self.pid = pid
        self.link = link

    def heard(self) -> bool:
        """Whether it has said that it serves; else it is no more."""
        return received(self.link) != b""

    def order(self, number: int) -> None:
        """Tell it what a signal would; one that is dying needs no order."""
        with suppress(OSError):
            self.link.send(bytes([number]))

    def kill(self) -> None:
        """End it by force."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code of the process that has ended, the negative number of a signal that ended it."""
        self.link.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Worker:
    """A place among the workers; its sockets outlive the processes that fill it."""

    __slots__ = ("due", "failures", "first", "forked", "ready", "since", "sockets")

    def __init__(self, sockets: Sequence[socket.socket], *, first: bool) -> None:
        self.sockets = sockets
        self.first = first
        self.forked: Forked | None = None
        self.ready = False
        """It serves, by the newest configuration."""
        self.since = 0.0
        self.failures = 0
        """Deaths in a row of processes that were young."""
        self.due = 0.0
        """When an empty place is filled."""


def serve(
    config: Config,
    reload: Callable[[], Config],
    log_level: str,
    log_format: Literal["text", "json"],
    sockets: Sequence[socket.socket] = (),
) -> int:
    """`process.serve` by several processes; returns the exit code."""
    if not hasattr(os, "fork"):
        print("gateway: this system cannot fork: server.workers must be 1", file=sys.stderr)
        return process.BAD_START
    log = AccessLog(process.write_line, log_format, log_level)
    server = config.server
    listening: Sequence[Sequence[socket.socket]] = [sockets] * server.workers
    if not sockets:
        try:
            listening = bind_sockets(server.host, server.port, server.workers)
        except OSError as error:
            print(f"gateway: {cannot_listen(server.host, server.port, error)}", file=sys.stderr)
            return process.BAD_START
    places = [Worker(each, first=number == 0) for number, each in enumerate(listening)]
    # Imported before the fork, it is shared by all.
    process.loop_factory()
    return Supervisor(config, reload, log, places, process.teller(log)).run()


@contextmanager
def caught_signals() -> Iterator[socket.socket]:
    """A socket from which SIGNALS are read as bytes, instead of what they did before."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield ours
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        ours.close()
        theirs.close()


class Supervisor:
    """Keeps the places filled until a signal says stop, then waits for the last worker.

    The first worker starts alone: when it cannot serve, the reason is said once, and that is the end.
    """

    def __init__(
        self,
        config: Config,
        reload: Callable[[], Config],
        log: AccessLog,
        workers: Sequence[Worker],
        tell: Callable[[process.State], None] = process.silent,
    ) -> None:
        self._config = config
        self._reload = reload
        self._log = log
        self._workers = workers
        self._tell = tell
        self._proven = False
        """Some worker has served: what fails from now on may work again."""
        self._told = False
        """It was told that all serve by the newest configuration."""
        self._stops = 0
        """How often it was told to stop: the first time drains, the second ends."""
        self._deadline = 0.0
        self._code = 0

    def run(self) -> int:
        """Supervise; returns the exit code."""
        with caught_signals() as signals:
            while True:
                self._fill()
                links = {worker.forked.link: worker for worker in self._workers if worker.forked}
                if self._stops and not links:
                    return self._code
                readable, _, _ = select.select([signals, *links], [], [], self._patience())
                for source in readable:
                    if source is signals:
                        for number in signals.recv(64):
                            self._on_signal(number)
                    else:
                        self._on_word(links[source])
                if self._stops and time.monotonic() >= self._deadline:
                    self._kill()

    def _empty(self) -> list[Worker]:
        """The places to fill, now or when they are due."""
        if self._stops:
            return []
        return [each for each in self._workers if not each.forked and (self._proven or each.first)]

    def _patience(self) -> float | None:
        """Seconds until there is something to do unasked."""
        times = [self._deadline] if self._stops else [worker.due for worker in self._empty()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _fill(self) -> None:
        for worker in self._empty():
            if worker.due <= time.monotonic():
                worker.since = time.monotonic()
                try:
                    worker.forked = self._fork(worker)
                except OSError as error:
                    self._lost(worker, f"a worker could not be started: {error.strerror}")

    def _lost(self, worker: Worker, why: str) -> None:
        """Say when an empty place is filled again."""
        now = time.monotonic()
        worker.failures = worker.failures + 1 if now - worker.since < STEADY else 0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (worker.failures - 1)) if worker.failures else 0.0
        worker.due = now + pause
        self._log.error(f"{why}; the next one starts {f'in {pause:g} s' if pause else 'now'}")

    def _on_word(self, worker: Worker) -> None:
        """A worker serves, or is no more."""
        assert worker.forked is not None
        if worker.forked.heard():
            worker.ready = self._proven = True
            self._tell_when_ready()
            return
        pid, code = worker.forked.pid, worker.forked.wait()
        worker.forked = None
        worker.ready = False
        if self._stops:
            return
        why = f"worker {pid} ended with {f'exit code {code}' if code >= 0 else f'signal {-code}'}"
        if self._proven:
            self._lost(worker, why)
            return
        if code != process.BAD_START:
            self._log.error(why)
        self._stops = 1
        self._code = code if code > 0 else CRASHED

    def _tell_when_ready(self) -> None:
        if not self._told and all(worker.ready for worker in self._workers):
            self._told = True
            self._tell("ready")

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._on_reload()
        elif number in SIGNALS:
            self._on_stop()

    def _on_reload(self) -> None:
        """Workers read the configuration again, and say what is wrong with it; the next ones start with it."""
        self._told = False
        self._tell("reloading")
        with suppress(ConfigError):
            self._config = self._reload()
        for worker in self._workers:
            worker.ready = False
        self._order(signal.SIGHUP)

    def _on_stop(self) -> None:
        self._stops += 1
        self._deadline = time.monotonic() + GRACE
        if self._stops == 1:
            self._tell("stopping")
            self._deadline += self._config.server.limits.drain_timeout
            for worker in self._workers:
                # What its last process leaves in the queue is nobody's any more.
                for sock in worker.sockets:
                    sock.close()
        self._order(signal.SIGTERM)

    def _order(self, number: int) -> None:
        for worker in self._workers:
            if worker.forked:
                worker.forked.order(number)

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.forked:
                self._log.error(f"worker {worker.forked.pid} did not end and is killed")
                worker.forked.kill()
        self._deadline = math.inf

    def _fork(self, worker: Worker) -> Forked:
        """A process for a place. Raises OSError."""
        ours, theirs = socket.socketpair()
        # No signal may reach a worker while it still has its parent's handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(worker, ours, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return Forked(pid, ours)

    def _become(self, worker: Worker, ours: socket.socket, link: socket.socket) -> NoReturn:
        """Be the worker: serve with its sockets, and let go of all that is another's."""
        code = CRASHED
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            ours.close()
            for other in self._workers:
                for sock in other.sockets:
                    if sock not in worker.sockets:
                        sock.close()
                if other.forked:
                    other.forked.link.close()
            serve = partial(process.begin, self._config, self._reload, self._log, worker.sockets)
            code = process.run(
                partial(serve, tell=partial(answer, link), obey=partial(obey, link), first=worker.first)
            )
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)


def answer(link: socket.socket, state: process.State) -> None:
    """For a worker: tell the parent that it serves, for the first time or by a new configuration."""
    if state == "ready":
        with suppress(OSError):
            link.send(READY)


def obey(link: socket.socket, handlers: process.Handlers) -> Callable[[], None]:
    """For a worker: take signals from the parent; when that is gone, stop."""
    loop = asyncio.get_running_loop()

    def hear() -> None:
        orders = received(link)
        if not orders:
            loop.remove_reader(link)
        for number in orders or (signal.SIGTERM,):
            handlers[number]()

    def end() -> None:
        loop.remove_reader(link)

    loop.add_reader(link, hear)
    return end


def received(link: socket.socket) -> bytes:
    """What waits on a link, nothing when its other end is gone."""
    try:
        return link.recv(64)
    except ConnectionError:
        return b""
