"""Pings for a client while its upstream is silent.

Each stream has one timer, moved by the exchange's time of its last byte; a chunk costs nothing.
"""

from collections.abc import Callable

from gateway.http1.exchange import Exchange


class PingTimer:
    """Calls `ping` whenever nothing was written to the client for `seconds`, until it is stopped."""

    __slots__ = ("_exchange", "_handle", "_ping", "_seconds")

    def __init__(self, exchange: Exchange, seconds: float, ping: Callable[[], None]) -> None:
        """`ping` must not raise."""
        self._exchange = exchange
        self._seconds = seconds
        self._ping = ping
        self._handle = exchange.loop.call_at(exchange.last_write + seconds, self._fire)

    def _fire(self) -> None:
        exchange = self._exchange
        now = exchange.loop.time()
        due = exchange.last_write + self._seconds
        pings = now >= due
        if pings:
            # A ping that must be left out is due again after the same time, not at once.
            due = now + self._seconds
        self._handle = exchange.loop.call_at(due, self._fire)
        if pings:
            # Last, since it may stop this timer.
            self._ping()

    def stop(self) -> None:
        """Send no more pings."""
        self._handle.cancel()
