"""Frames between a worker and its parent: their format, a parser, and a bounded queue.

length of the payload (4 bytes)  kind (1 byte)  payload
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

NEWS, LIVE, ASK, EXPECT, REPLY, KEEP, BROADCAST = range(7)
"""Kinds:

- NEWS: see `news`.
- LIVE (number, number, numbers): so many workers live, you have missed so many frames, these processes have sent a
  frame.
- ASK (number, name): a request for the receiver's blob of this name; the reply repeats the number.
- EXPECT (number of an ASK, number): how many replies to it will follow.
- REPLY (number, blob): the reply to an ASK; an empty blob means none.
- KEEP (name, blob): the sender's blob of this name, kept after the sender has ended.
- BROADCAST (name, payload): an operator's action, for all processes.
"""

_HEAD = struct.Struct("!IB")
_NUMBER = struct.Struct("!I")
_KIND = 4
"""The offset of a frame's kind."""

MAX_PAYLOAD = 4 * 1024 * 1024
"""Bytes; a worker's counters have some ten thousand."""

ROOM = 1024 * 1024
"""Bytes of queued news, some thousand: a reader so far behind has stopped."""

ROOM_FOR_REST = 8 * 1024 * 1024
"""Bytes of all other queued frames: replies are few, and large."""

PIECE = 64 * 1024
"""Bytes written to a socket, or read from it, at once."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return the bytes of one frame."""
    return _HEAD.pack(len(payload), kind) + payload


def add_number(number: int, rest: bytes = b"") -> bytes:
    """Return a payload that begins with a number."""
    return _NUMBER.pack(number & 0xFFFF_FFFF) + rest


def split_number(payload: bytes) -> tuple[int, bytes]:
    """Return the number with which a payload begins, and its rest."""
    return _NUMBER.unpack_from(payload)[0], payload[_NUMBER.size :]


def add_name(name: str, rest: bytes) -> bytes:
    """Return a payload that begins with a name."""
    raw = name.encode()
    return add_number(len(raw), raw + rest)


def split_name(payload: bytes) -> tuple[str, bytes]:
    """Return the name with which a payload begins, and its rest."""
    length, rest = split_number(payload)
    return rest[:length].decode(), rest[length:]


class FrameError(ValueError):
    """The bytes are not a sequence of frames."""


class Inbox:
    """Cuts arriving bytes into frames."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield each complete frame. Raise FrameError if one is longer than MAX_PAYLOAD."""
        waiting = self._waiting
        waiting += data
        at = 0
        try:
            while len(waiting) - at >= _HEAD.size:
                length, kind = _HEAD.unpack_from(waiting, at)
                if length > MAX_PAYLOAD:
                    raise FrameError(f"a frame of {length} bytes")
                end = at + _HEAD.size + length
                if end > len(waiting):
                    return
                payload = bytes(waiting[at + _HEAD.size : end])
                at = end
                yield kind, payload
        finally:
            del waiting[:at]


class Outbox:
    """A queue of frames to send. `first`: frames sent before all others, taken from the iterator as there is room."""

    __slots__ = ("_bytes", "_first", "_news", "_rest", "_rest_bytes", "_unsent", "dropped")

    def __init__(self, first: Iterable[bytes] = ()) -> None:
        self._unsent = b""
        """The rest of what a socket did not take."""
        self._first = iter(first)
        self._news: deque[bytes] = deque()
        self._bytes = 0
        self._rest: deque[bytes] = deque()
        self._rest_bytes = 0
        self.dropped = 0
        """Frames dropped for want of room."""

    def put(self, one: bytes) -> None:
        """Add a frame. If the queue is full, drop the oldest."""
        if one[_KIND] == NEWS:
            self._news.append(one)
            self._bytes += len(one)
            while self._bytes > ROOM:
                self._bytes -= len(self._news.popleft())
                self.dropped += 1
            return
        self._rest.append(one)
        self._rest_bytes += len(one)
        while self._rest_bytes > ROOM_FOR_REST:
            self._rest_bytes -= len(self._rest.popleft())
            self.dropped += 1

    def next(self) -> bytes:
        """Return the next bytes to send, about PIECE; b"" if nothing is queued."""
        if self._unsent:
            return self._unsent
        pieces: list[bytes] = []
        size = 0
        for one in chain(self._drain_rest(), self._first, self._drain_news()):
            pieces.append(one)
            size += len(one)
            if size >= PIECE:
                break
        self._unsent = b"".join(pieces)
        return self._unsent

    def remove_sent(self, count: int) -> None:
        """Remove the first `count` bytes of what `next` returned: they were sent."""
        self._unsent = self._unsent[count:]

    def _drain_rest(self) -> Iterator[bytes]:
        while self._rest:
            one = self._rest.popleft()
            self._rest_bytes -= len(one)
            yield one

    def _drain_news(self) -> Iterator[bytes]:
        while self._news:
            one = self._news.popleft()
            self._bytes -= len(one)
            yield one
