"""Log lines are written in order and whole, and a reader that does not read stops nothing."""

import fcntl
import os
import pty
import select
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.telemetry import log_writer
from gateway.telemetry.log_writer import ATOMIC_WRITE, MAX_WAITING, LogWriter, pieces, write_whole
from tests.support.calls import calls
from tests.support.loops import PATIENCE


def dropped(count: int) -> str:
    return f"dropped {count}"


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[list[int]]:
    """Descriptors that are closed at the end, once no thread writes to them."""
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        with suppress(OSError):
            os.close(descriptor)


class Pipe:
    """A pipe with a writer at one end, which may stand still at the other."""

    def __init__(self, opened: list[int]) -> None:
        self.source, target = os.pipe()
        opened += [self.source, target]
        self.target = target
        self.writer = LogWriter(target, dropped)

    def read(self, until: str) -> str:
        """Read until a line with this text; return everything."""
        found = b""
        deadline = time.monotonic() + PATIENCE
        while until.encode() not in found and time.monotonic() < deadline:
            if select.select([self.source], [], [], 0.1)[0]:
                found += os.read(self.source, 65536)
        return found.decode()


@pytest.fixture
def pipe(descriptors: list[int]) -> Pipe:
    return Pipe(descriptors)


def test_lines_arrive_in_order_and_whole(pipe: Pipe) -> None:
    lines = [f"line {number} é \ud800" for number in range(500)]
    for line in lines:
        pipe.writer.write(line)
    pipe.writer.close()
    found = pipe.read("line 499 é \\ud800\n")
    assert found.splitlines() == [line.replace("\ud800", "\\ud800") for line in lines]


def test_lines_are_gathered(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    def write_whole(descriptor: int, data: bytes) -> bool:
        writes.append(data)
        return True

    monkeypatch.setattr(log_writer, "write_whole", write_whole)
    monkeypatch.setattr(log_writer, "GATHER_SECONDS", 10 * PATIENCE)
    for number in range(10):
        pipe.writer.write(str(number))
    pipe.writer.close()
    assert writes == [b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"]


@pytest.mark.parametrize("why", ["flush", "size", "terminal", "close"])
def test_lines_written_without_waiting(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(log_writer, "GATHER_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr(os, "isatty", lambda descriptor: why == "terminal")
    writer = LogWriter(pipe.target, dropped)
    if why == "size":
        monkeypatch.setattr(log_writer, "GATHER_SIZE", 3)
        writer.write("first")
    writer.write("line")
    if why == "flush":
        writer.flush()
    elif why == "close":
        writer.close()
    assert pipe.read("line\n").endswith("line\n")
    writer.close()


def test_a_line_waits_a_moment_at_most(pipe: Pipe) -> None:
    pipe.writer.write("line")
    assert pipe.read("line") == "line\n"
    pipe.writer.close()


def test_unread_lines_are_dropped_and_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_WAITING", 200_000)
    line = "x" * 999
    begun = time.monotonic()
    for _ in range(1000):
        pipe.writer.write(line)
    pipe.writer.close(0.0)
    # A pipe holds far less; had anybody waited for it, this would never be reached.
    assert time.monotonic() - begun < PATIENCE
    found = pipe.read("dropped").splitlines()
    kept = found.count(line)
    assert 200 <= kept < 300
    assert found == [line] * kept + [f"dropped {1000 - kept}"]
    # Reported once; later lines are written as before.
    pipe.writer.write("after")
    pipe.writer.close()
    assert pipe.read("after\n") == "after\n"


def test_close_has_a_timeout_for_the_reader(pipe: Pipe) -> None:
    for _ in range(200):
        pipe.writer.write("x" * 999)
    begun = time.monotonic()
    pipe.writer.close(0.05)
    assert 0.05 <= time.monotonic() - begun < PATIENCE
    os.set_blocking(pipe.source, False)
    while any(thread.name == "log" for thread in threading.enumerate()):
        with suppress(BlockingIOError):
            os.read(pipe.source, 65536)


def test_a_closed_log_has_no_thread_and_opens_again(pipe: Pipe) -> None:
    pipe.writer.close()
    for word in ("one", "two"):
        pipe.writer.write(word)
        pipe.writer.close()
        assert not any(thread.name == "log" for thread in threading.enumerate())
    assert pipe.read("two\n") == "one\ntwo\n"


def test_lines_behind_an_end_that_did_not_wait_are_written_in_their_turn(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on, written = threading.Event(), threading.Event(), list[bytes]()

    def write_whole(descriptor: int, data: bytes) -> bool:
        writing.set()
        assert go_on.wait(PATIENCE)
        written.append(data)
        return True

    monkeypatch.setattr(log_writer, "write_whole", write_whole)
    pipe.writer.write("one")
    pipe.writer.flush()
    assert writing.wait(PATIENCE)
    pipe.writer.write("two")
    pipe.writer.close(0.0)
    pipe.writer.write("three")
    go_on.set()
    pipe.writer.close(PATIENCE)
    assert written == [b"one\n", b"two\n", b"three\n"]


def test_a_stopped_terminal_does_not_block(descriptors: list[int]) -> None:
    """Ctrl-S, as it reaches a program: output is suspended."""
    ours, theirs = pty.openpty()
    descriptors += [ours, theirs]
    termios.tcflow(theirs, termios.TCOOFF)
    writer = LogWriter(theirs, dropped)
    begun = time.monotonic()
    for _ in range(10):
        writer.write("x" * 100)
    writer.close(0.05)
    assert time.monotonic() - begun < PATIENCE
    assert not select.select([ours], [], [], 0)[0]
    termios.tcflow(theirs, termios.TCOON)
    writer.write("last")
    found = b""
    while b"last" not in found and select.select([ours], [], [], PATIENCE)[0]:
        found += os.read(ours, 65536)
    assert found.decode().split() == ["x" * 100] * 10 + ["last"]
    writer.close()


def test_a_file_is_appended_to_where_it_stands(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w+b", buffering=0) as file:
        file.write(b"before\n")
        writer = LogWriter(file.fileno(), dropped)
        writer.write("line")
        writer.close()
    assert (tmp_path / "log").read_bytes() == b"before\nline\n"


def test_a_file_gets_many_lines_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = os.write, list[int]()

    def write(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with open(tmp_path / "log", "w+b", buffering=0) as file:
        writer = LogWriter(file.fileno(), dropped)
        for _ in range(1000):
            writer.write("x" * 99)
        writer.close()
    assert (tmp_path / "log").read_bytes() == (b"x" * 99 + b"\n") * 1000
    assert len(sizes) < 1000 * 100 / ATOMIC_WRITE


def test_a_closed_descriptor_is_ignored(descriptors: list[int]) -> None:
    closed = os.dup(2)
    os.close(closed)
    writer = LogWriter(closed, dropped)
    writer.write("lost")
    writer.close()


def test_a_closed_pipe_is_ignored(pipe: Pipe) -> None:
    os.close(pipe.source)
    pipe.writer.write("lost")
    pipe.writer.close()
    pipe.writer.write("lost too")
    pipe.writer.close()


def test_lines_that_could_not_be_written_are_counted_too(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full for a while."""
    real = os.write
    failing = [True, True, False]

    def write(descriptor: int, data: bytes) -> int:
        if failing and failing.pop(0):
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    pipe.writer.write("lost")
    pipe.writer.close()
    pipe.writer.write("kept")
    pipe.writer.close()
    assert pipe.read("dropped") == "kept\ndropped 1\n"


def test_a_non_blocking_descriptor_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.target, False)
    size = fcntl.fcntl(pipe.target, 1032)  # F_GETPIPE_SZ
    reader = threading.Timer(0.05, lambda: os.read(pipe.source, size))
    reader.start()
    assert write_whole(pipe.target, b"x" * (size + 1))
    reader.join()


def test_pieces_are_whole_lines_that_a_pipe_does_not_mix() -> None:
    lines = ["a" * 1000] * 9 + ["b" * 2 * ATOMIC_WRITE, "c"]
    found = list(pieces(lines))
    assert b"".join(piece for _, piece in found).decode().splitlines() == lines
    assert sum(count for count, _ in found) == len(lines)
    for count, piece in found:
        assert piece.endswith(b"\n")
        assert len(piece) <= ATOMIC_WRITE or count == 1
    assert len(found) == 5
    assert list(pieces([])) == []


def test_writing_a_line_costs_few_calls(pipe: Pipe) -> None:
    pipe.writer.write("first")
    assert calls(pipe.writer.write, "second") == (1, 2)
    assert MAX_WAITING > 100_000
    pipe.writer.close()
