"""One timer for each connection, moved by storing a time, so that chunks need not arm timers."""

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """Calls `expired` once `when` (loop time) has passed; moving `when` later costs an assignment.

    An armed timer may fire early, because `when` was moved since; it then arms itself for the rest. Only moving `when`
    before the armed time needs the loop.
    """

    __slots__ = ("_expired", "_handle", "_loop", "armed", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None
        self.armed = inf
        """Loop time at which the timer fires. Code that moves `when` before it must call `arm`."""
        self.when = inf

    def set(self, seconds: float) -> None:
        """Expire `seconds` from now, instead of at any earlier deadline."""
        self.when = when = self._loop.time() + seconds
        if when < self.armed:
            self.arm(when)

    def clear(self) -> None:
        """Do not expire until it is set again. The timer stays armed and finds nothing to do."""
        self.when = inf

    def cancel(self) -> None:
        """Drop the timer and the reference to its owner: nothing expires any more."""
        self.when = inf
        self._expired = _never
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self.armed = inf

    def arm(self, when: float) -> None:
        """Arm the timer for `when` instead."""
        if self._handle is not None:
            self._handle.cancel()
        self.armed = when
        self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self.armed = inf
        if self._loop.time() < self.when:
            if self.when != inf:
                self.arm(self.when)
            return
        self.when = inf
        self._expired()


def _never() -> None:
    """Replace the callback of a cancelled deadline."""
