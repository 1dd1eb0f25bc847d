"""Splits a JSON array, or a sequence of JSON documents, that came in place of an event stream.

Hosts and proxies that do not know the stream's query send one. The documents are found while bytes arrive, by following
brackets and strings, without parsing.
"""

import re

from gateway.messages.sse import EVENT_LIMIT

_TOKEN = re.compile(rb'\\[\s\S]|["{}\[\]]|\\\Z')
"""Tokens that matter for the nesting. A backslash at the end waits for the character that it escapes."""


class JsonStream:
    """Takes the bytes of a JSON array of objects, or of a sequence of objects; returns the bytes of each object."""

    __slots__ = ("_at", "_buffer", "_depth", "_limit", "_open", "_start")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        """`limit`: bytes of one object; a longer one raises ValueError."""
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0
        """Bytes already scanned."""
        self._start = 0
        """Where the present object begins."""
        self._depth = 0
        """Open brackets, without the array's own."""
        self._open = False
        """Whether it is inside a string."""

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
