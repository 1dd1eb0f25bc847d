"""One connection of the load: it writes a prepared request, follows the response, and reports the result.

Made to cost little: heads are looked at once, bodies are only counted and searched by bytes methods,
and no chunk is decoded while the response comes. What the response must hold is checked all the same:
status, framing, the number of events, the closing event. A peer may cut a chunk inside a word that is
searched for; so a response that seems to miss something is decoded when it is whole, and judged again.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Protocol, cast

from bench.programs import DELTA, STAMP_DIGITS, STOP

_LENGTH = re.compile(rb"\r\ncontent-length:\s*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_TAIL = max(len(DELTA), len(STOP), len(_LAST_CHUNK)) - 1
UNTIL_LAST_CHUNK = -1
UNTIL_CLOSE = -2
MAX_ERROR_TEXT = 120


@dataclass(frozen=True, slots=True)
class Sample:
    """A response that ended: its duration, or its fault."""

    seconds: float
    problem: str = ""


class Listener(Protocol):
    """Gets an exchange's reports."""

    def first_event(self, seconds: float) -> None:
        """The first event of a stream came."""

    def deltas(self, count: int) -> None:
        """More events came."""

    def stamps(self, data: bytes) -> tuple[int, int]:
        """Read send times; how many, and how far `data` was read."""

    def unread(self, count: int) -> None:
        """`count` stamped events came, but in pieces: their times are not known."""

    def finished(self, sample: Sample) -> bool:
        """The response ended. Return True to continue with the next request."""


class Exchange(asyncio.Protocol):
    """A keep-alive connection on which one request is sent again and again, or once.

    `events` > 0: the response is a stream that must have so many deltas; `paced` has them stamped.
    """

    def __init__(self, listener: Listener, request: bytes, events: int, *, paced: bool = False) -> None:
        self._listener = listener
        self._request = request
        self._expected = events
        self._paced = paced
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._clear()

    def _clear(self) -> None:
        self._head = b""
        self._status = 0
        self._missing = 0
        self._tail = b""
        self._rest = b""
        self._events = 0
        self._stopped = False
        self._error_text = b""
        self._parts: list[bytes] = []

    def begin(self) -> None:
        """Send the request; the response is reported to the listener."""
        if self._transport is None or self._transport.is_closing():
            return
        self._clear()
        self._busy = True
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def close(self) -> None:
        """Drop the connection in any state."""
        self._busy = False
        if self._transport is not None:
            self._transport.abort()

    def itself(self) -> "Exchange":
        """A protocol factory for this one connection."""
        return self

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._busy:
            return
        if self._status and self._missing == UNTIL_CLOSE:
            self._end("")
        else:
            self._end("connection closed before the response was whole")

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            return
        if not self._status:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            self._read_head(data[: end + 2])
            data = data[end + 4 :]
        if self._status != 200:
            self._error_text += data
        elif self._expected:
            self._parts.append(data)
            if self._paced:
                self._read_stamps(data)
            else:
                self._count(data)
        self._follow(data)

    # The response

    def _read_head(self, head: bytes) -> None:
        self._status = int(head[9:12])
        length = _LENGTH.search(head)
        self._missing = (
            int(length[1]) if length else UNTIL_LAST_CHUNK if _CHUNKED.search(head) else UNTIL_CLOSE
        )

    def _count(self, data: bytes) -> None:
        """Count deltas, also one that is cut in two by the reads."""
        seam = self._tail + data[:_TAIL]
        count = data.count(DELTA)
        if self._tail and seam.find(DELTA, 0, len(self._tail) + len(DELTA) - 1) >= 0:
            count += 1
        if count:
            if not self._events:
                self._listener.first_event(time.perf_counter() - self._sent)
            self._events += count
            self._listener.deltas(count)
        if STOP in data or STOP in seam:
            self._stopped = True

    def _read_stamps(self, data: bytes) -> None:
        """Take the send time out of each event; a stamp may be cut in two by the reads."""
        seam = self._tail + data[:_TAIL]
        if self._rest:
            data = self._rest + data
        count, read = self._listener.stamps(data)
        if count and not self._events:
            self._listener.first_event(time.perf_counter() - self._sent)
        self._events += count
        self._rest = data[max(read, len(data) - STAMP_DIGITS - 2) :]
        if STOP in data or STOP in seam:
            self._stopped = True

    def _follow(self, data: bytes) -> None:
        """Where does the body end?"""
        missing = self._missing
        if missing >= 0:
            self._missing = missing - len(data)
            if self._missing <= 0:
                self._end("")
            return
        tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        if missing == UNTIL_LAST_CHUNK and tail.endswith(_LAST_CHUNK):
            self._end("")
        else:
            self._tail = tail

    def _end(self, problem: str) -> None:
        seconds = time.perf_counter() - self._sent
        self._busy = False
        if not problem:
            problem = self._judge()
        if self._listener.finished(Sample(seconds, problem)):
            self.begin()
        elif self._transport is not None:
            self._transport.close()

    def _judge(self) -> str:
        if self._status != 200:
            text = self._error_text[:MAX_ERROR_TEXT].decode("utf-8", "replace")
            return f"status {self._status}: {text}"
        if not self._expected:
            return ""
        if self._events != self._expected or not self._stopped:
            self._recount()
        if not self._stopped:
            return "stream ended without message_stop"
        if self._events != self._expected:
            return f"{self._events} events instead of {self._expected}"
        return ""

    def _recount(self) -> None:
        """Decode the whole body and count again: a chunk may end inside a word."""
        body = b"".join(self._parts)
        if self._missing == UNTIL_LAST_CHUNK:
            body = dechunked(body)
        self._stopped = STOP in body
        events = body.count(DELTA)
        if events > self._events:
            if self._paced:
                self._listener.unread(events - self._events)
            else:
                self._listener.deltas(events - self._events)
            self._events = events


def dechunked(body: bytes) -> bytes:
    """The payload of a chunked body, as far as its framing holds."""
    payload: list[bytes] = []
    position = 0
    while True:
        line_end = body.find(b"\r\n", position)
        try:
            size = int(body[position:line_end].partition(b";")[0], 16) if line_end >= 0 else 0
        except ValueError:
            size = 0
        if size == 0:
            return b"".join(payload)
        payload.append(body[line_end + 2 : line_end + 2 + size])
        position = line_end + 2 + size + 2
