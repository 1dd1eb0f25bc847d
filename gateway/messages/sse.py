"""A parser for Server-Sent Events.

It takes bytes cut anywhere (in a line end, in a character) and returns the events that they complete. Lines end with
LF, CRLF or CR; comments, unknown fields and a byte order mark are skipped.
"""

from typing import NamedTuple

from gateway.messages.json_documents import BOM

EVENT_LIMIT = 16 * 1024 * 1024
"""Bytes of one event: an image of the API's own 5 MB limit as base64 fits twice."""


class Event(NamedTuple):
    """One event: `name` is "" when no `event:` line named it; `data` lines are joined by LF."""

    name: str
    data: bytes


class EventDecoder:
    """Takes the bytes of one event stream; returns complete events.

    For an event (or a single line, comments too) of more than `limit` bytes `feed` raises ValueError; the decoder
    cannot be used after that.
    """

    __slots__ = ("_data", "_limit", "_name", "_pieces", "_size", "_skip_lf", "_start")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._start: bytes | None = b""
        """The first bytes, while they could still become a byte order mark; None from then on."""
        self._skip_lf = False
        """Whether the last byte was a CR, so that an LF after it belongs to it."""
        self._pieces: list[bytes] = []
        """The unfinished line, in pieces: joining them each time would be quadratic."""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        """Bytes of the unfinished event: its `_name` and `_data` lines, and `_pieces`."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes, in order."""
        if self._start is not None:
            data = self._without_bom(data)
        if not self._size and data[:6] == b"data: ":
            # The usual case from servers that write CRLF: one event in a read.
            end = data.find(b"\r", 6)
            if data[end:] == b"\r\n\r\n" and data.find(b"\n", 6) == end + 1 and end < self._limit:
                self._skip_lf = False
                return [Event("", data[6:end])]
        if self._skip_lf and data:
            self._skip_lf = False
            if data[0] == 0x0A:
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._size:
            return self._pass(data)
        # Between two events; usually each one that follows is `event: NAME`, `data: ...` and a blank line.
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        events = []
        for block in blocks:
            first, _, value = block.rpartition(b"\n")
            named = first[:7] == b"event: " and b"\n" not in first
            if (named or not first) and value[:6] == b"data: " and len(block) < self._limit:
                events.append(Event(first[7:].decode("utf-8", "replace"), value[6:]))
            else:
                events += self._lines([*block.split(b"\n"), b""])
        return events + self._pass(rest) if rest else events

    def _pass(self, data: bytes) -> list[Event]:
        """Parse bytes line by line; return the events that they complete."""
        lines = data.split(b"\n")
        last = lines.pop()
        if lines and self._pieces:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._size -= len(lines[0]) - len(self._pieces.pop())
            self._pieces.clear()
        events = self._lines(lines) if lines else []
        if last:
            self._pieces.append(last)
            self._grow(len(last))
        return events

    def end(self) -> list[Event]:
        """Finish at the end of the stream; return a last event without its blank line, if there is one."""
        rest = (self._start or b"") + b"".join(self._pieces)
        self._start = None
        self._pieces.clear()
        # The line end that `_lines` counts never came, so an event of exactly `limit` bytes must not fail.
        self._size -= len(rest) + 1
        return self._lines([rest, b""])

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._start or b"") + data
        if len(data) < len(BOM) and BOM.startswith(data):
            self._start = data
            return b""
        self._start = None
        return data.removeprefix(BOM)

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > self._limit:
            raise ValueError(f"an event of the stream is larger than {self._limit} bytes")

    def _lines(self, lines: list[bytes]) -> list[Event]:
        """Parse complete lines, without their ends; return the events that they complete."""
        events = []
        for line in lines:
            if line:
                self._line(line)
            else:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    events.append(Event(self._name, data))
                    self._data.clear()
                self._name = ""
                self._size = 0
        return events

    def _line(self, line: bytes) -> None:
        self._grow(len(line) + 1)
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        else:
            self._size -= len(line) + 1
