"""The client as a process: the callback at its end, and how it is stopped and continued."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

from gateway.operator.child import Child
from gateway.operator.terminal import Terminal
from tests.support.loops import eventually

Handlers = Mapping[int, Callable[[], None]]


class Foreground:
    """A terminal in whose foreground this process is."""

    in_foreground = True

    def __init__(self) -> None:
        self.restored: list[bool] = []

    def restore(self, *, died: bool) -> None:
        self.restored.append(died)


@pytest.fixture
def before() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == handlers


@pytest.mark.usefixtures("before")
async def test_the_end_is_reported_once() -> None:
    calls: list[str] = []
    handlers: Handlers = {signal.SIGTERM: lambda: calls.append("stop")}
    child = Child(None)
    await child.end()
    child.start(["/bin/sh", "-c", "exit 3"], os.environ, None)
    await eventually(lambda: child.code is not None)
    child._on_signal(signal.SIGTERM)
    assert calls == []
    release = child.source(handlers)
    assert calls == ["stop"]
    child._on_signal(signal.SIGTSTP)
    assert calls == ["stop"]
    child._on_signal(signal.SIGINT)
    assert calls == ["stop", "stop"]
    child._send(signal.SIGTERM)
    assert child.code == 3
    release()


@pytest.mark.usefixtures("before")
async def test_a_stopped_client_stops_the_gateway_and_both_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Foreground()
    child = Child(cast(Terminal, terminal))
    stops: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: stops.append(number))
    child.start(["/bin/sh", "-c", "kill -STOP $$; kill -STOP $$; kill -KILL $$"], os.environ, None)
    await eventually(lambda: child.code is not None)
    child.release()
    assert child.code == 137
    assert terminal.restored == [True]
    assert stops == [signal.SIGSTOP] * 2


async def test_terminal_signals_are_not_forwarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(Child, "_send", lambda child, number: sent.append(number))
    child = Child(cast(Terminal, Foreground()))
    for number in (signal.SIGINT, signal.SIGTSTP, signal.SIGTERM):
        child._on_signal(number)
    assert sent == [signal.SIGTERM]


@pytest.mark.parametrize("rest", ["sleep 0.1", "true"])
@pytest.mark.usefixtures("before")
async def test_a_client_that_the_shell_continued_is_not_continued_again(
    monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    """A second SIGCONT would wake it up if it had stopped again since."""
    child = Child(cast(Terminal, Foreground()))
    sent: list[int] = []
    real = os.kill

    def shell(thread: int, number: int) -> None:
        real(child._pid, signal.SIGCONT)

    monkeypatch.setattr(signal, "pthread_kill", shell)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    child.start(["/bin/sh", "-c", f"kill -STOP $$; {rest}; exit 4"], os.environ, None)
    await eventually(lambda: child.code is not None)
    child.release()
    assert (child.code, sent) == (4, [])


@pytest.mark.usefixtures("before")
async def test_a_closed_loop_gets_no_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(None)

    def closed(*_: Any) -> None:
        raise RuntimeError("Event loop is closed")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", closed)
        child.start(["true"], os.environ, None)
        await eventually(lambda: child._pid == 0)
    child.release()
    assert child.code is None
