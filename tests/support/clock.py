"""A loop whose clock jumps: nothing to do until a timer is due means that it is due now.

Waits of any length take no time, and differ exactly, since work takes no time either. Sockets stay real:
before each jump the loop makes sure that no bytes are under way between them.
"""

import asyncio
import selectors
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

ECHOES = 3
"""Bytes that are sent after all others before a jump: a handshake takes as many packets, each sent for the last."""

GRACE = 0.001
"""Seconds of real time for what an echo does not stand behind: packets that were sent on another core."""

TURN = 1e-6
"""Seconds that a turn of the loop takes, so that what happens later has a later time."""

T = TypeVar("T")


class _Echo:
    """A connection over loopback, which keeps the order of what is sent over it: when a byte of this connection has
    arrived, so has what was sent before, however busy the machine."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._here = socket.create_connection(server.getsockname())
            self._there, _ = server.accept()
        self._here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sync(self) -> None:
        self._here.send(b".")
        self._there.recv(1)

    def close(self) -> None:
        self._here.close()
        self._there.close()


class _Selector(selectors.DefaultSelector):
    """Holds the time, and skips what of it is spent waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self._echo = _Echo()

    def close(self) -> None:
        super().close()
        self._echo.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += TURN
        if timeout is None or timeout <= 0.0:
            return super().select(timeout)
        ready = super().select(0)
        for _ in range(ECHOES):
            if ready:
                return ready
            self._echo.sync()
            ready = super().select(0)
        ready = ready or super().select(min(timeout, GRACE))
        if not ready:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """The standard loop with that clock."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(scenario: Coroutine[Any, Any, T], *, debug: bool = True) -> T:
    """Run to the end on a clock that jumps. `debug` costs half of the time and is on in all other tests."""
    with asyncio.Runner(debug=debug, loop_factory=JumpingLoop) as runner:
        return runner.run(scenario)
