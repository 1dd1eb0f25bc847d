"""Frames between a worker and its parent: what they are, how they are cut from bytes, and a queue that has an end.

length of the payload (4 bytes)  kind (1 byte)  payload
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

NEWS, LIVE, ASK, EXPECT, ANSWER, KEEP, TELL = range(7)
"""Kinds:

- NEWS: see `news`.
- LIVE (number, number, numbers): so many workers live, you have missed so many frames, these processes have spoken.
- ASK (number, name): give your blob of this name; the number comes back with it.
- EXPECT (number of the question, number): so many answers will come to what you asked.
- ANSWER (number, blob): an empty one stands for none.
- KEEP (name, blob): my blob of this name, to be kept when I am gone.
- TELL (name, payload): what an operator wants of all.
"""

_HEAD = struct.Struct("!IB")
_NUMBER = struct.Struct("!I")
_KIND = 4
"""Where a frame's kind stands."""

MAX_PAYLOAD = 4 * 1024 * 1024
"""Bytes; the counters of one worker have some ten thousand."""

ROOM = 1024 * 1024
"""Bytes of news that wait for a reader, some thousand: one that is so far behind has stopped."""

ROOM_FOR_REST = 8 * 1024 * 1024
"""Bytes of all else that waits: answers are few, and large."""

PIECE = 64 * 1024
"""Bytes that are handed to a socket, or taken from it, at once."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return the bytes of one frame."""
    return _HEAD.pack(len(payload), kind) + payload


def numbered(number: int, rest: bytes = b"") -> bytes:
    """Return a payload that begins with a number."""
    return _NUMBER.pack(number & 0xFFFF_FFFF) + rest


def number_in(payload: bytes) -> tuple[int, bytes]:
    """Return the number with which a payload begins, and its rest."""
    return _NUMBER.unpack_from(payload)[0], payload[_NUMBER.size :]


def named(name: str, rest: bytes) -> bytes:
    """Return a payload that begins with a name."""
    raw = name.encode()
    return numbered(len(raw), raw + rest)


def name_in(payload: bytes) -> tuple[str, bytes]:
    """Return the name with which a payload begins, and its rest."""
    length, rest = number_in(payload)
    return rest[:length].decode(), rest[length:]


class FrameError(ValueError):
    """Bytes that are no frames."""


class Inbox:
    """Cuts what arrives into frames."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield each frame that is complete. Raise FrameError if one is too large to be meant."""
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
    """Frames that wait to be sent. `first`: news that go before all others, made one by one as there is room."""

    __slots__ = ("_bytes", "_first", "_news", "_rest", "_rest_bytes", "_unsent", "dropped")

    def __init__(self, first: Iterable[bytes] = ()) -> None:
        self._unsent = b""
        """What a socket did not take."""
        self._first = iter(first)
        self._news: deque[bytes] = deque()
        self._bytes = 0
        self._rest: deque[bytes] = deque()
        self._rest_bytes = 0
        self.dropped = 0
        """News, and others, for which there was no room."""

    def put(self, one: bytes) -> None:
        """Add a frame. If too many wait, the oldest is dropped."""
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
        """Return what to send next, PIECE bytes or a little more; b"" if nothing waits."""
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

    def sent(self, count: int) -> None:
        """Note that so many bytes of what `next` returned were taken."""
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
