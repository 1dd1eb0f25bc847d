"""`--workers N`: processes that serve one port, and the parent that supervises them.

The parent binds the port, forks the workers before there is a loop or a thread, and serves nothing itself. A
worker that dies is replaced. Events between workers go through the parent: see `sharing.hub`. Workers ignore
signals and obey their parent over a channel (a socket pair): it carries the numbers of signals to them and a byte for
"ready" back. When one side exits the other reads its end.
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
from typing import NoReturn

from gateway import process, signals
from gateway.config import Config, ConfigError
from gateway.http1.sockets import bind_sockets
from gateway.listening import listen_error
from gateway.proxy.request import place_of
from gateway.sharing.hub import Hub
from gateway.sharing.peers import Sharing
from gateway.telemetry.access_log import Format

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that the parent passes on to its workers."""

STEADY = 10.0
"""Seconds of life after which a worker's death does not count as a failure to start."""

FIRST_PAUSE = 0.5
"""Seconds before a worker that died early is replaced; doubled each time in a row."""

LONGEST_PAUSE = 10.0
"""Seconds, at most; meanwhile connections wait in the dead worker's accept queue."""

GRACE = 5.0
"""Seconds after the drain's own time at which a worker that still lives is killed."""

CRASHED = 1
"""Exit code of a worker that raised an exception, as Python's own."""

READY = b"R"
"""Sent by a worker once it serves, and again after each reload."""

MAX_MESSAGES = 64
"""Bytes read from a channel at once; more than one or two never wait there."""


class WorkerProcess:
    """A worker's process, as its parent sees it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel

    def receive_ready(self) -> bool:
        """Read from the channel; return True if the worker reported ready, False if it has exited."""
        return receive(self.channel) != b""

    def order(self, number: int) -> None:
        """Send the number of a signal; an exiting worker is left alone."""
        with suppress(OSError):
            self.channel.send(bytes([number]))

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait until it exits; return the exit code, or the negative number of the signal that killed it."""
        self.channel.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Worker:
    """A slot for one worker process; its listening sockets outlive the processes that fill it."""

    __slots__ = ("due", "failures", "first", "forked", "ready", "since", "sockets")

    def __init__(self, sockets: Sequence[socket.socket], *, first: bool) -> None:
        self.sockets = sockets
        self.first = first
        self.forked: WorkerProcess | None = None
        self.ready = False
        """Whether it serves by the newest configuration."""
        self.since = 0.0
        self.failures = 0
        """Early deaths in a row."""
        self.due = 0.0
        """Monotonic time at which an empty slot is filled."""


def serve(
    config: Config,
    reload: Callable[[], Config],
    log_level: str,
    log_format: Format,
    sockets: Sequence[socket.socket] = (),
) -> int:
    """Serve as `process.serve` does, with several processes; return the exit code."""
    open_log = partial(process.open_log, log_level, log_format)
    log, writer = open_log()
    try:
        if not hasattr(os, "fork"):
            process.complain(log, "this system cannot fork: server.workers must be 1")
            return process.BAD_START
        server = config.server
        listening: Sequence[Sequence[socket.socket]] = [sockets] * server.workers
        if not sockets:
            try:
                listening = bind_sockets(server.host, server.port, server.workers)
            except OSError as error:
                process.complain(log, str(listen_error(server.host, server.port, error)))
                return process.BAD_START
        places = [Worker(each, first=number == 0) for number, each in enumerate(listening)]
        # Imported before the fork, so that all workers share its memory.
        process.loop_factory()
        return Supervisor(config, reload, open_log, places, process.notifier(log)).run()
    finally:
        writer.close()


@contextmanager
def catch_signals() -> Iterator[socket.socket]:
    """Yield a socket from which SIGNALS are read as bytes; they have no other effect meanwhile."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    signals.release()
    try:
        yield ours
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        ours.close()
        theirs.close()


class Supervisor:
    """Keeps the slots filled until a signal stops it, then waits for the last worker.

    The first worker starts alone: if it cannot serve it logs why, once, and the supervisor exits.
    """

    def __init__(
        self,
        config: Config,
        reload: Callable[[], Config],
        open_log: process.OpenLog,
        workers: Sequence[Worker],
        notify: process.Notify = process.no_notify,
    ) -> None:
        self._config = config
        self._reload = reload
        self._open_log = open_log
        self._log, self._writer = open_log()
        self._workers = workers
        self._notify = notify
        self._hub = Hub()
        """Distributes events between workers."""
        self._proven = False
        """Some worker has served, so a later failure may be temporary."""
        self._notified = False
        """`notify` was called for the newest configuration."""
        self._stops = 0
        """Signals to stop so far: the first drains, the second kills."""
        self._deadline = 0.0
        self._code = 0

    def run(self) -> int:
        """Supervise; return the exit code."""
        with catch_signals() as caught:
            while True:
                self._fill()
                channels = {worker.forked.channel: worker for worker in self._workers if worker.forked}
                if self._stops and not channels:
                    self._hub.close()
                    return self._code
                sources = [caught, *channels, *self._hub.readers]
                readable, _, _ = select.select(sources, self._hub.writers, [], self._timeout())
                for source in readable:
                    if source is caught:
                        for number in caught.recv(MAX_MESSAGES):
                            self._on_signal(number)
                    elif source in channels:
                        self._on_message(channels[source])
                self._hub.handle(readable)
                if self._stops and time.monotonic() >= self._deadline:
                    self._kill()

    def _empty(self) -> list[Worker]:
        """Return the slots to fill, now or when they are due."""
        if self._stops:
            return []
        return [each for each in self._workers if not each.forked and (self._proven or each.first)]

    def _timeout(self) -> float | None:
        """Return the seconds until the next timed action; None if only messages matter."""
        times = [self._deadline] if self._stops else [worker.due for worker in self._empty()]
        due = min(times, default=math.inf)
        return max(0.0, due - time.monotonic()) if due < math.inf else None

    def _fill(self) -> None:
        for worker in self._empty():
            if worker.due <= time.monotonic():
                worker.since = time.monotonic()
                try:
                    worker.forked = self._fork(worker)
                except OSError as error:
                    self._lost(worker, f"a worker could not be started: {error.strerror}")

    def _lost(self, worker: Worker, why: str) -> None:
        """Log why a slot is empty and when it is filled again."""
        now = time.monotonic()
        worker.failures = worker.failures + 1 if now - worker.since < STEADY else 0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (worker.failures - 1)) if worker.failures else 0.0
        worker.due = now + pause
        self._log.error(f"{why}; the next one starts {f'in {pause:g} s' if pause else 'now'}")

    def _on_message(self, worker: Worker) -> None:
        """Handle a message of a worker: it serves, or has exited."""
        assert worker.forked is not None
        if worker.forked.receive_ready():
            worker.ready = self._proven = True
            self._notify_when_ready()
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

    def _notify_when_ready(self) -> None:
        if not self._notified and all(worker.ready for worker in self._workers):
            self._notified = True
            self._notify("ready")

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._on_reload()
        elif number in SIGNALS:
            self._on_stop()

    def _on_reload(self) -> None:
        """Have workers reload the configuration; each logs its mistakes. Later workers start with it."""
        self._notified = False
        self._notify("reloading")
        with suppress(ConfigError):
            self._config = self._reload()
            self._hub.forget_broadcasts()
        for worker in self._workers:
            worker.ready = False
        self._order(signal.SIGHUP)

    def _on_stop(self) -> None:
        self._stops += 1
        self._deadline = time.monotonic() + GRACE
        if self._stops == 1:
            self._notify("stopping")
            self._deadline += self._config.server.limits.drain_timeout
            for worker in self._workers:
                # No process accepts the connections that still wait in its queue.
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

    def _fork(self, worker: Worker) -> WorkerProcess:
        """Start a process for a slot. Raise OSError."""
        # A process with a second thread must not fork; closing the writer ends the log's thread.
        self._writer.close()
        ours, theirs = socket.socketpair()
        hub_end, news = socket.socketpair()
        # No signal may reach the worker while it still has its parent's handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                hub_end.close()
                self._become(worker, theirs, news)
        except OSError:
            ours.close()
            hub_end.close()
            raise
        finally:
            theirs.close()
            news.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._hub.join(hub_end, pid)
        return WorkerProcess(pid, ours)

    def _become(self, worker: Worker, channel: socket.socket, news: socket.socket) -> NoReturn:
        """Run as the worker: close what belongs to others, serve, and exit."""
        code = CRASHED
        log, writer = self._open_log()
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._hub.close()
            for other in self._workers:
                for sock in other.sockets:
                    if sock not in worker.sockets:
                        sock.close()
                if other.forked:
                    other.forked.channel.close()
            serve = partial(process.run_gateway, self._config, self._reload, log, worker.sockets)
            report = partial(report_state, channel)
            code = process.run(
                partial(
                    serve,
                    notify=report,
                    source=partial(handle_orders, channel),
                    first=worker.first,
                    share=partial(Sharing, news) if self._config.sharing.workers else None,
                )
            )
        except BaseException as error:
            log.error(f"a worker failed: {place_of(error)}")
        finally:
            writer.close()
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)


def report_state(channel: socket.socket, state: process.State) -> None:
    """Tell the parent that this worker serves, after its start or a reload."""
    if state == "ready":
        with suppress(OSError):
            channel.send(READY)


def handle_orders(channel: socket.socket, handlers: process.SignalHandlers) -> Callable[[], None]:
    """Call handlers for the signals that the parent sends, and SIGTERM's when the parent is gone; a SignalSource."""
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        numbers = receive(channel)
        if not numbers:
            loop.remove_reader(channel)
        for number in numbers or (signal.SIGTERM,):
            handlers[number]()

    def stop() -> None:
        loop.remove_reader(channel)

    loop.add_reader(channel, on_readable)
    return stop


def receive(channel: socket.socket) -> bytes:
    """Return what waits on a channel; b"" when its other end is closed."""
    try:
        return channel.recv(MAX_MESSAGES)
    except ConnectionError:
        return b""
