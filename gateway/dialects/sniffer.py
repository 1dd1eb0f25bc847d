"""Extracts JSON documents from the payload bytes of a response of unknown form.

The form is detected from the bytes, not the content type: an event stream, one JSON document or an array.
"""

from collections.abc import Sequence

from gateway.dialects.json_stream import JsonStream
from gateway.messages.json_documents import BOM
from gateway.messages.sse import EventDecoder

_ERROR_LINE = b"error:"
"""llama.cpp's builds of 2025 write errors as a field of this name."""


class Sniffer:
    """Splits a payload into documents, as they become complete."""

    __slots__ = ("_between", "_events", "_first", "_held", "_json", "_lines")

    def __init__(self) -> None:
        self._events: EventDecoder | None = None
        self._json: JsonStream | None = None
        self._first = b""
        """First bytes whose form is not known yet."""
        self._held = b""
        """The last line, while it may be the beginning of `error:`."""
        self._lines = True
        """Whether the next byte begins a line."""
        self._between = False
        """Whether the next byte begins an event, with nothing left of earlier ones."""

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        """Add payload bytes; return (event name, data) of the documents that they complete. Raises ValueError."""
        if self._events is not None:
            if (
                self._between
                and data[:6] == b"data: "
                and data.find(b"\n") == len(data) - 2
                and data[-1:] == b"\n"
            ):
                # The usual case, one event in a read. No host ends lines with a lone CR.
                return (("", data[6:-2]),)
            self._between = data[-2:] == b"\n\n"
            return self._events.feed(self._named(data))
        if self._json is not None:
            return [("", found) for found in self._json.feed(data)]
        self._first += data
        bare = self._first.removeprefix(BOM).lstrip()
        if not bare or BOM.startswith(bare):
            return ()
        data, self._first = self._first, b""
        if bare[:1] in b"{[":
            self._json = JsonStream()
        else:
            self._events = EventDecoder()
        return self.feed(data)

    def end(self) -> Sequence[tuple[str, bytes]]:
        """Return the documents that the end of the payload completes."""
        if self._events is None:
            return ()
        return [*self._events.feed(self._held), *self._events.end()]

    def _named(self, data: bytes) -> bytes:
        """Return the bytes with `error:` lines as events of that name."""
        data = self._held + data
        begins_line = self._lines
        at = data.rfind(b"\n") + 1
        rest = len(data) - at
        may_be = 0 < rest < len(_ERROR_LINE) and (at > 0 or begins_line) and _ERROR_LINE.startswith(data[at:])
        self._held, data = (data[at:], data[:at]) if may_be else (b"", data)
        if not data:
            return data
        self._lines = data.endswith(b"\n")
        if b"\n" + _ERROR_LINE in data:
            data = data.replace(b"\n" + _ERROR_LINE, b"\nevent: error\ndata:")
        if begins_line and data.startswith(_ERROR_LINE):
            data = b"event: error\ndata:" + data[len(_ERROR_LINE) :]
        return data
