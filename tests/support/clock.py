"""A loop whose clock jumps: nothing to do until a timer is due means that it is due now.

Waits of any length take no time, and are told apart exactly, since work takes no time either. Sockets stay real:
before each jump the loop looks for bytes longer than loopback ever takes.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

GRACE = 0.01
"""Seconds of real time in which bytes may still come; loopback takes microseconds, on a busy machine a few more."""

TURN = 1e-6
"""Seconds that a turn of the loop takes, so that what happens later has a later time."""

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Holds the time, and skips what of it is spent waiting."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += TURN
        if timeout is None or timeout <= 0.0:
            return super().select(timeout)
        ready = super().select(min(timeout, GRACE))
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
