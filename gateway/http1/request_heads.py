"""The heads on a client's connection, one after the other: where each ends, and what it says.

Most of a client's heads are the last one again, but for the length of the body: that is seen at a glance.
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
"""Bytes of an incomplete head that are checked with each read: enough to know what is no HTTP/1.1, and so few that a
head which comes byte by byte costs no more for it."""

LENGTH_DIGITS = 18
"""The most digits that a Content-Length may have."""

_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch
_LENGTH_NAME = re.compile(rb"\r\ncontent-length: ", re.IGNORECASE).search


class Newest(Protocol):
    """What the connections of a server share."""

    template: HeadTemplate[RequestFacts] | None
    """That of the head which was learnt last."""


class RequestHeadReader:
    """Finds and reads the heads in what comes on one client connection, and remembers the last one.

    The same bytes but for the digits of Content-Length take two comparisons. Those take the same time wherever they
    differ, since there may be a key among the bytes, and the next head may come from somebody else.
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
        """Read the first head by the newest template of all connections, the others by that of the one before."""
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
        """Return the head at the beginning of `buffer` and its size in bytes, if it is the last one again."""
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
        # What the application finds out from it is known of the next one, too.
        head = self._last = RequestHead(last.facts, headers, int(digits), last.template, last.known)
        return head, size

    def take(self, buffer: bytes) -> tuple[RequestHead | None, int]:
        """Read the head at the beginning of `buffer`, once it is complete.

        Return the head, or None for one that is not complete yet, and how many bytes are done with. Raises
        ProtocolError as soon as nothing that may come can make it a head.
        """
        skipped = 0
        if buffer.startswith(b"\r\n") and not self._forgave_blank_line:
            # RFC 9112, 2.2: one empty line before a request line is forgiven.
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
        """Read another head, which is the last one from here on. Raises ProtocolError."""
        head = parse_request_head(raw, self.template or self._newest.template)
        self._last = None
        if head.template is not None:
            self.template = self._newest.template = head.template
        # A head that another Content-Length might make too large is measured each time.
        if head.template is not None and len(raw) + LENGTH_DIGITS <= self._limits.max_head:
            self._last, self._before, self._after = head, raw, b""
            self._length_at = head.template.length_at
            name = _LENGTH_NAME(raw)
            if name is not None:
                at = name.end()
                self._before, self._after = raw[:at], raw[raw.index(b"\r", at) :]
        return head
