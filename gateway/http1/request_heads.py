"""Reads the heads on a client's connection, one after the other: finds the end of each, and parses it.

Most of a client's heads repeat the last one except for the body's length, which two comparisons show.
"""

import re
from hmac import compare_digest
from typing import Protocol

from gateway.http1 import grammar
from gateway.http1.grammar import ProtocolError, head_end
from gateway.http1.heads import RequestFacts, RequestHead, parse_request_head
from gateway.http1.limits import Limits
from gateway.http1.template import HeadTemplate

BEGINNING = 64
"""Bytes of an incomplete head that are checked with each read: enough to recognise what is no HTTP/1.1, and so few that
a head which arrives byte by byte costs no more for it."""

LENGTH_DIGITS = 18
"""Digits of a Content-Length, at most: `grammar` allows no more."""

_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch
_LENGTH_NAME = re.compile(rb"\r\ncontent-length: ", re.IGNORECASE).search


class Newest(Protocol):
    """State that a server's connections share."""

    template: HeadTemplate[RequestFacts] | None
    """The template of the last head learnt."""


class RequestHeadReader:
    """Finds and parses the heads on one client connection, and remembers the last one.

    A head that differs only in the digits of Content-Length takes two comparisons. They run in constant time, since a
    head may contain a key, and the next head may come from somebody else.
    """

    __slots__ = (
        *(
            "_after",
            "_before",
            "_forgave_blank_line",
            "_last",
            "_length_at",
            "_limits",
            "_newest",
            "_searched",
        ),
        "template",
    )

    def __init__(self, newest: Newest, limits: Limits) -> None:
        """Parse the first head by the newest template of all connections, later ones by their predecessor's."""
        self._limits = limits
        self._newest = newest
        self._forgave_blank_line = False
        self._searched = 0
        self._before = b""
        self._after = b""
        self._last: RequestHead | None = None
        self._length_at = -1
        self.template: HeadTemplate[RequestFacts] | None = None

    def recall(self, buffer: bytes) -> tuple[RequestHead, int] | None:
        """Return the head at the beginning of `buffer` and its size in bytes, if it repeats the last one."""
        last = self._last
        before = self._before
        at = len(before)
        if last is None or not compare_digest(buffer[:at], before):
            return None
        after = self._after
        if not after:
            self._searched = 0
            self._forgave_blank_line = False
            return last, at
        end = buffer.find(b"\r", at, at + 20)
        digits = buffer[at:end]
        size = end + len(after)
        if _LENGTH(digits) is None or not compare_digest(buffer[end:size], after):
            return None
        self._searched = 0
        self._forgave_blank_line = False
        headers = last.headers.copy()
        headers[self._length_at] = (b"content-length", digits)
        # What the application derived from the last head is valid for this one, too.
        head = self._last = RequestHead(last.facts, headers, int(digits), last.template, last.known)
        return head, size

    def take(self, buffer: bytes) -> tuple[RequestHead | None, int]:
        """Parse the head at the beginning of `buffer`, if it is complete.

        Return the head, or None for an incomplete one, and the number of bytes that are used up. Raises ProtocolError
        as soon as no further bytes can make it valid.
        """
        skipped = 0
        if buffer.startswith(b"\r\n") and not self._forgave_blank_line:
            # RFC 9112, 2.2: ignore one empty line before a request line.
            self._forgave_blank_line = True
            skipped = 2
            buffer = buffer[2:]
            if not buffer:
                return None, skipped
        end = buffer.find(b"\r\n\r\n", self._searched) + 4
        if end < 4:
            end = head_end(buffer, self._searched)
        self._searched = max(0, len(buffer) - 3) if end < 0 else 0
        size = end if end >= 0 else len(buffer)
        longest, largest = self._limits.max_request_line, self._limits.max_head
        if size > longest and buffer.find(b"\n", 0, longest) < 0:
            raise ProtocolError(414, f"the request line is longer than {longest} bytes")
        if size > largest:
            raise ProtocolError(431, f"the request's head is larger than {largest} bytes")
        if end < 0:
            if buffer != b"\r" or self._forgave_blank_line:
                grammar.check_beginning(buffer[:BEGINNING])
            return None, skipped
        self._forgave_blank_line = False
        return self.read(buffer[:end]), skipped + end

    def read(self, raw: bytes) -> RequestHead:
        """Parse a different head, and remember it. Raises ProtocolError."""
        head = parse_request_head(raw, self.template or self._newest.template)
        self._last = None
        if head.template is not None:
            self.template = self._newest.template = head.template
        # If a longer Content-Length could make the head too large, the size is checked each time.
        if head.template is not None and len(raw) + LENGTH_DIGITS <= self._limits.max_head:
            self._last, self._before, self._after = head, raw, b""
            self._length_at = head.template.length_at
            name = _LENGTH_NAME(raw)
            if name is not None:
                at = name.end()
                self._before, self._after = raw[:at], raw[raw.index(b"\r", at) :]
        return head
