"""The client's terminal: modes that are restored afterwards, and when it is left alone."""

import os
import pty
import signal
import termios
import tty
from collections.abc import Iterator

import pytest

from gateway import cli
from gateway.operator import run, terminal
from gateway.operator.terminal import Terminal

Pair = tuple[int, Terminal]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A terminal with this process in its foreground, as it seems, and the side that shows what is written to it."""
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp())
    shown, descriptor = pty.openpty()
    yield shown, Terminal(descriptor)
    os.close(shown)
    os.close(descriptor)


def canonical(descriptor: int) -> bool:
    return bool(termios.tcgetattr(descriptor)[3] & termios.ICANON)


def test_modes_come_back_and_a_dead_clients_are_ended(pair: Pair) -> None:
    shown, there = pair
    tty.setraw(shown)
    there.restore(died=False)
    assert canonical(shown)
    tty.setraw(shown)
    there.restore(died=True)
    assert canonical(shown)
    assert os.read(shown, 4096).decode() == terminal.RESET
    assert signal.SIGTTOU not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_no_terminal_modes_in_the_background(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, there = pair
    tty.setraw(shown)
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: 1)
    there.restore(died=True)
    started_there = Terminal(there._descriptor)
    monkeypatch.undo()
    started_there.restore(died=True)
    assert not canonical(shown)


def test_a_closed_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, descriptor = pty.openpty()
    there = Terminal(descriptor)
    assert not there.in_foreground
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp())
    there = Terminal(descriptor)
    os.close(shown)
    there.close()
    there.restore(died=True)


def test_no_controlling_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    shown, descriptor = pty.openpty()
    name = os.ttyname(descriptor)
    monkeypatch.setattr(os, "open", lambda path, flags: real(name, flags))
    found = terminal.controlling_terminal()
    assert found is not None
    found.close()
    monkeypatch.setattr(os, "open", lambda path, flags: real("/no/such/device", flags))
    assert terminal.controlling_terminal() is None
    os.close(shown)
    os.close(descriptor)


def test_terminal_signals_are_not_forwarded(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pair: Pair, tmp_path: str
) -> None:
    """Ctrl-C reaches the client directly; the gateway gets it too, and does not forward it."""
    _, there = pair
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(there, "close", lambda: None)
    monkeypatch.setattr(run, "controlling_terminal", lambda: there)
    script = "trap 'echo twice' INT; trap 'echo once; exit 3' TERM; kill -INT $PPID; kill -TERM $PPID; sleep 9 & wait"
    assert cli.main(["run", "--demo", "--", "/bin/sh", "-c", script]) == 3
    assert capfd.readouterr().out == "once\n"
