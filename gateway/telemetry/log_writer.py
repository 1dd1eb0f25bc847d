"""Writes log lines to a descriptor without ever blocking the caller.

A thread does the writing, since only that works for terminals, pipes, sockets and files alike: `O_NONBLOCK` would
be shared with every process that has the descriptor, and a writable descriptor may not have room for a whole write
while other processes write, too. Lines are gathered and written together. While the descriptor is not read, memory
stays bounded: lines are dropped and counted, and once it is read again a line says how many.
"""

import os
import select
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread

GATHER_SECONDS = 0.1
"""Longest time that a line waits for others; a person who follows the log does not notice it."""

GATHER_SIZE = 64 * 1024
"""Characters that are written without waiting for more: a few hundred lines, the size of a pipe on Linux."""

MAX_WAITING = 1024 * 1024
"""Characters waiting to be written, at most, some 4,000 lines; further lines are dropped."""

ATOMIC_WRITE = getattr(select, "PIPE_BUF", 512)
"""Bytes in one write. Up to here a pipe never mixes the lines of several workers; 512 is what POSIX guarantees."""

LAST_PATIENCE = 1.0
"""Seconds that the end of the process waits for the last lines to be written."""


class LogWriter:
    """Takes lines from one thread and writes them to `descriptor` in another, which starts with the first line.

    `dropped_line` returns a line that says how many were dropped.
    """

    __slots__ = (
        "_descriptor",
        "_dropped",
        "_dropped_line",
        "_hurry",
        "_open",
        "_put",
        "_queue",
        "_reported",
        "_size",
        "_terminal",
        "_thread",
        "_unwritten",
        "_written",
    )

    def __init__(self, descriptor: int, dropped_line: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped_line
        self._terminal = os.isatty(descriptor)
        # Each write releases the interpreter lock and then competes with the loop for it, so few are made.
        self._size = ATOMIC_WRITE if _may_mix(descriptor) else GATHER_SIZE
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._open = False
        self._hurry = Event()
        # Each count is changed by one thread only: the first two by the caller's, the other three by the writer's.
        self._put = 0
        self._dropped = 0
        self._written = 0
        self._reported = 0
        self._unwritten = 0

    def write(self, line: str) -> None:
        """Queue a line, given without its end. Never blocks, never raises."""
        waiting = self._put - self._written
        if waiting > MAX_WAITING:
            self._dropped += 1
            return
        self._put += len(line)
        if not self._open:
            self._start()
        self._queue.put(line)
        if self._terminal or waiting > GATHER_SIZE:
            self._hurry.set()

    def flush(self) -> None:
        """Have queued lines written at once. Does not wait for it."""
        self._hurry.set()

    def close(self, patience: float = LAST_PATIENCE) -> None:
        """Write what is queued and end the thread; wait at most `patience` seconds for it.

        A later line starts another thread, so that a process may close its log before it forks.
        """
        if self._open:
            self._open = False
            self._queue.put(None)
            self._hurry.set()
        if self._thread is not None:
            self._thread.join(patience)

    def _start(self) -> None:
        """Start a thread, with a queue of its own: a former one that was not waited for has its end still before it."""
        self._open = True
        self._queue = SimpleQueue()
        self._thread = Thread(target=self._run, args=(self._queue, self._thread), name="log", daemon=True)
        self._thread.start()

    def _run(self, queue: "SimpleQueue[str | None]", before: Thread | None) -> None:
        if before is not None:
            before.join()
        ending = False
        while not ending:
            lines, ending = self._take(queue)
            self._unwritten += self._write_all(lines)
            dropped = self._dropped
            self._written += sum(map(len, lines))
            missing = dropped - self._reported + self._unwritten
            if missing and self._write_all([self._dropped_line(missing)]) == 0:
                self._reported, self._unwritten = dropped, 0

    def _take(self, queue: "SimpleQueue[str | None]") -> tuple[list[str], bool]:
        """Wait for lines, and for more to join them; return them, and whether they are the last."""
        line = queue.get()
        self._hurry.wait(GATHER_SECONDS)
        self._hurry.clear()
        lines = []
        with suppress(Empty):
            while line is not None:
                lines.append(line)
                line = queue.get_nowait()
        return lines, line is None

    def _write_all(self, lines: Iterable[str]) -> int:
        """Write lines, waiting for the reader; return how many could not be written."""
        lost = 0
        for count, piece in pieces(lines, self._size):
            if not write_whole(self._descriptor, piece):
                lost += count
        return lost


def _may_mix(descriptor: int) -> bool:
    """Return whether larger writes may be interleaved with other processes': in pipes and sockets, not in files."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return True
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def pieces(lines: Iterable[str], most: int = ATOMIC_WRITE) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their ends as bytes, as many as fit into `most` bytes, with their number."""
    size = 0
    gathered: list[bytes] = []
    for line in lines:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if gathered and size + len(data) > most:
            yield len(gathered), b"".join(gathered)
            size, gathered = 0, []
        size += len(data)
        gathered.append(data)
    if gathered:
        yield len(gathered), b"".join(gathered)


def write_whole(descriptor: int, data: bytes) -> bool:
    """Write all of `data`, waiting as long as it takes; return False if the descriptor takes no more."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # A process that shares the descriptor has made it non-blocking.
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True
