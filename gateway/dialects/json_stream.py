"""A JSON array, or JSON documents one after the other, where an event stream was asked for.

Hosts and proxies that do not know the stream's query send one. The documents are found while the bytes come,
without reading them: brackets and strings are followed, and nothing else.
"""

import re

from gateway.messages.sse import EVENT_LIMIT

_TOKEN = re.compile(rb'\\[\s\S]|["{}\[\]]|\\\Z')
"""What can change where in a document one is. A backslash at the end waits for what it escapes."""


class JsonStream:
    """Bytes of a JSON array of objects, or of objects in a row, in; the bytes of each object out."""

    __slots__ = ("_at", "_buffer", "_depth", "_limit", "_open", "_start")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        """`limit`: bytes of one object; more raise ValueError."""
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0
        """What was looked at already."""
        self._start = 0
        """Where the object begins."""
        self._depth = 0
        """Brackets that are open, without the array's own."""
        self._open = False
        """Inside a string."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the objects that `data` completes, in order. Raises ValueError for one that is too large."""
        self._buffer += data
        buffer, found = self._buffer, []
        while (token := _TOKEN.search(buffer, self._at)) is not None and token[0] != b"\\":
            self._at = token.end()
            mark = token[0]
            if mark == b'"':
                self._open = not self._open
            elif self._open or mark[:1] == b"\\":
                continue
            elif mark in b"{[":
                if not self._depth:
                    if mark == b"[":
                        continue
                    self._start = token.start()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if not self._depth:
                    found.append(bytes(buffer[self._start : self._at]))
        if token is None:
            self._at = len(buffer)
        if not self._depth:
            self._start = self._at
        del buffer[: self._start]
        self._at -= self._start
        self._start = 0
        if len(buffer) > self._limit:
            raise ValueError(f"an object of more than {self._limit} bytes")
        return found
