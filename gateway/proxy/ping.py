"""Signs of life for a client while its upstream is silent.

One timer a stream, moved by what the exchange notes of its last byte; nothing happens for a chunk.
"""

from collections.abc import Callable

from gateway.http1.exchange import Exchange


class PingTimer:
    """Calls `ping` whenever the client has heard nothing for `seconds`, until it is stopped."""

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
            # A ping that has to be left out is due again after the same time, not at once.
            due = now + self._seconds
        self._handle = exchange.loop.call_at(due, self._fire)
        if pings:
            # Behind that, since it may stop this timer.
            self._ping()

    def stop(self) -> None:
        """Send no more pings."""
        self._handle.cancel()
