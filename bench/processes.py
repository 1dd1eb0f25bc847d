"""A run's processes: started in their own sessions, pinned, measured by /proc, and always stopped."""

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 3.0
"""Between SIGTERM and SIGKILL."""
POLL_SECONDS = 0.002
"""Between two looks whether a peer is ready; a start is measured no finer."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores a process may use."""

    peer: frozenset[int]
    load: frozenset[int]


def choose_cores() -> Cores:
    """One core for the peer, the last one; the others for load and upstream. A single core is shared."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[-1:]), frozenset(usable[:-1] or usable))


@dataclass(slots=True)
class Child:
    """A process with all its descendants: they share a session, so none is lost when it forks."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def session(self) -> int:
        """The session's id: the first process's."""
        return self.process.pid

    def alive(self) -> bool:
        """Is the first process still there?"""
        return self.process.poll() is None

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return " | ".join(text.strip().splitlines()[-4:])[-400:]


@dataclass(slots=True)
class Processes:
    """Starts children and owns them until `stop_all`; a `with` block ends them in any case."""

    directory: Path
    children: list[Child] = field(default_factory=list)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop_all()

    def start(
        self,
        name: str,
        command: Sequence[str],
        cores: frozenset[int],
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
        piped: bool = False,
    ) -> Child:
        """Start `command` on `cores`; stderr (and stdout unless `piped`) goes to a log file."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                cwd=directory,
                env=dict(environ) if environ is not None else None,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def stop(self, child: Child) -> None:
        """End a child and its descendants, by force if need be."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.session, number)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline and (child.alive() or members(child.session)):
                time.sleep(0.01)
            if not child.alive() and not members(child.session):
                break
        for stream in (child.process.stdin, child.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if child in self.children:
            self.children.remove(child)

    def stop_all(self) -> None:
        """End every child, the youngest first."""
        for child in reversed(list(self.children)):
            self.stop(child)


def members(session: int) -> list[int]:
    """Process ids of a session, without zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields and int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry))
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; [] if the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_seconds(session: int) -> float:
    """User and system time that the session's processes, and their ended children, have used.

    /proc/PID/stat counts in ticks of 10 ms but forgets nothing; the scheduler's own count is in
    nanoseconds but only of threads that still live. The larger is right to a tick, and mostly exact.
    """
    return sum(max(_ticks(pid) / TICKS, _scheduled(pid)) for pid in members(session))


def _ticks(pid: int) -> int:
    """utime + stime + cutime + cstime."""
    return sum(int(value) for value in _stat(pid)[11:15])


def _scheduled(pid: int) -> float:
    """Seconds on a core, by the scheduler, of a process's living threads; 0 where it doesn't report them."""
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(path.read_text("ascii").split()[0])
    return nanoseconds / 1e9


def resident_bytes(session: int) -> int:
    """RSS of all processes of the session. Pages that two of them share count twice."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in members(session):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
    return total


def free_port() -> int:
    """Return a port of loopback without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str, timeout: float = 1.0) -> int:
    """The status of a GET, 0 when there was no response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def wait_ready(child: Child, port: int, path: str, seconds: float) -> str:
    """Send requests until one gets a 200. Return "" when the peer is ready, else the problem."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not child.alive():
            return f"{child.name} ended with {child.process.returncode}: {child.last_words()}"
        if get(port, path) == 200:
            return ""
        time.sleep(POLL_SECONDS)
    return f"{child.name} was not ready after {seconds:.0f} s: {child.last_words()}"


def lines(child: Child, seconds: float) -> Iterator[bytes]:
    """Lines of a piped child's stdout as they come. TimeoutError when it takes longer than `seconds`."""
    stdout = child.process.stdout
    assert stdout is not None
    deadline = time.monotonic() + seconds
    pending = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([stdout], [], [], left)[0]:
            raise TimeoutError(f"{child.name} printed nothing more within {seconds:.0f} s")
        data = os.read(stdout.fileno(), 65536)
        if not data:
            return
        *complete, pending = (pending + data).split(b"\n")
        yield from complete
