"""Signals before there are handlers: they do not end the process, and a SIGHUP is not lost."""

import signal
import threading
from collections.abc import Iterator

import pytest

from gateway import signals


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)}
    yield
    signals.release()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_hangup_waits_for_its_handler_and_user_signals_are_ignored() -> None:
    received: list[int] = []
    signals.hold()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # Another thread of the tests' process would not hold it.
        signal.pthread_kill(threading.get_ident(), number)
    signal.signal(signal.SIGHUP, lambda number, frame: received.append(number))
    assert received == []
    signals.release()
    assert received == [signal.SIGHUP]


def test_a_system_without_these_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    signals.hold()
    signals.release()
