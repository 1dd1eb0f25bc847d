"""What the applications of the embedded upstreams share: head fields, ids, who asks, and a stream sent piece by
piece with small pauses."""

import asyncio
from collections.abc import Iterator, Sequence
from random import getrandbits

from gateway.demo.accounts import ACCOUNTS
from gateway.http1.exchange import Exchange
from gateway.http1.heads import RequestHead

Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")

WORD_PAUSE = 0.03
"""Seconds between two words: about as fast as a quick model writes, and slow enough to be seen."""


def new_id(prefix: str) -> str:
    """An identifier of the length the API's own have."""
    return f"{prefix}{getrandbits(96):024x}"


def key_of(head: RequestHead, field: bytes) -> str | None:
    """The account's key, in the field `field` or as a bearer token; None for any other."""
    bearer = (head.get(b"authorization") or b"").partition(b" ")[2]
    for value in (head.get(field), bearer):
        key = (value or b"").decode("latin-1")
        if key in ACCOUNTS.values():
            return key
    return None


def play(exchange: Exchange, headers: Headers, pieces: Iterator[bytes], pause: float) -> None:
    """Answer 200 with a stream, `pause` seconds between its pieces, until it ends or the client leaves."""
    exchange.start(200, [EVENT_STREAM, (b"cache-control", b"no-cache"), *headers])
    _Playing(exchange, pieces, pause).step()


class _Playing:
    """A stream under way."""

    __slots__ = ("_exchange", "_pause", "_pieces", "_timer")

    def __init__(self, exchange: Exchange, pieces: Iterator[bytes], pause: float) -> None:
        self._exchange = exchange
        self._pieces = pieces
        self._pause = pause
        self._timer: asyncio.TimerHandle | None = None
        exchange.on_end = self._stop

    def step(self) -> None:
        """Send the next piece now, and the one after it later."""
        piece = next(self._pieces, None)
        if piece is None:
            self._timer = None
            self._exchange.finish()
        else:
            self._exchange.write(piece)
            self._timer = self._exchange.loop.call_later(self._pause, self.step)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
