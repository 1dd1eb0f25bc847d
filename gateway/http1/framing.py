"""Finds the end of a body: by its length, by its chunks, or by the close of the connection.

`Framing` follows a body's bytes as they arrive and stores none of them, except for an incomplete line. It reads bodies
in both directions: stricter than h11 about chunks, and otherwise with the same result. `grammar` has checked the
framing that a head announces; the caller limits the size of a body.
"""

import re
from collections.abc import Iterable
from typing import Literal, Self

from gateway.http1.grammar import ProtocolError, read_field
from gateway.http1.heads import RequestHead, ResponseHead

Mode = Literal["none", "length", "chunked", "close"]

LAST_CHUNK = b"0\r\n\r\n"
"""The chunk that ends a chunked body, with an empty trailer section."""

MAX_SIZE_LINE = 1024
"""Bytes of a chunk's size line: 16 digits, and extensions, which no known client uses."""

MAX_EXTENSIONS = 16 * 1024
"""Bytes of extensions in one body: they mean nothing and do not count as payload (Go's limit, too)."""

MAX_TRAILERS = 8 * 1024
"""Bytes from the last chunk to the end of the trailer section: as much as a request line may have."""

FORBIDDEN_TRAILERS = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"authorization", b"content-encoding", b"content-type"}
)
"""Fields that would change, after a body, how it should have been handled."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t -~\x80-\xff]*)?\r\n").fullmatch
_SIZE_LINE_BEGINNING = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\t -~\x80-\xff]*)?\r?").fullmatch
_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_SIZES = {b"%x" % size: size for size in range(1, 2048)}
"""Sizes as they are usually written, those of a chunk with an event or two: a look-up takes a tenth of the time."""

_BUDGET = range(2048)
"""Chunks that are followed at once; with those followed piece by piece, one call of `feed` does at most twice as much.
That takes a few ms: other connections should not wait for a body in chunks of one byte."""

_SIZE, _DATA, _DATA_END, _TRAILER, _LENGTH, _CLOSE, _DONE, _BROKEN = range(8)


class Framing:
    """Follows one body from its first byte; `for_request` and `for_response` create one from a head.

    Bytes that break the framing raise ProtocolError, and leave all attributes as they were before them: a caller that
    has passed on nothing of the last `data` can still end the body properly.
    """

    __slots__ = (
        "_extensions",
        "_line",
        "_state",
        "_status",
        "chunk_end",
        "chunk_left",
        "consumed",
        "ended",
        "mode",
        "more",
        "unsettled",
    )

    def __init__(self, mode: Mode, length: int = 0, status: int = 400) -> None:
        """`length`: for mode "length". `status`: that of errors, 400, or 502 for an upstream's body."""
        self.mode = mode
        self.chunk_left = length
        """Bytes missing in the present chunk's data, or in a body of known length."""
        self.chunk_end = b""
        """What must follow the present chunk's data: CRLF, LF or nothing."""
        self.unsettled = 0
        """Number of trailing bytes that may be held back: an incomplete size line, or the last chunk with its trailers.
        Without them the gateway can still add a chunk."""
        self.consumed = 0
        """The number of bytes of the last `data` that belong to the body."""
        self.more = False
        """Whether the last `data` has more small chunks than one call follows, so that the rest needs another call."""
        self.ended = mode == "none" or (mode == "length" and not length)
        """Whether the body is complete."""
        self._status = status
        self._line = b""
        self._extensions = 0
        if self.ended:
            self._state = _DONE
        else:
            self._state = {"chunked": _SIZE, "length": _LENGTH, "close": _CLOSE}[mode]

    def __repr__(self) -> str:
        where = "ended" if self.ended else f"{self.chunk_left} left"
        return f"<Framing [{self.mode}, {where}]>"

    @classmethod
    def for_request(cls, head: RequestHead) -> Self:
        """Return the framing of the body after a request's head; one that announces none has none."""
        if head.chunked:
            return cls("chunked")
        length = head.content_length
        return cls("length", length) if length else cls("none")

    @classmethod
    def for_response(cls, head: ResponseHead, method: str) -> Self:
        """Return the framing of the body after a response's head, to a request with this method."""
        status = head.status
        if method == "HEAD" or status < 200 or status in (204, 304):
            return cls("none", 0, 502)
        if head.chunked:
            return cls("chunked", 0, 502)
        length = head.content_length
        return cls("close", 0, 502) if length is None else cls("length", length, 502)

    @property
    def at_chunk_boundary(self) -> bool:
        """Whether the body is chunked, and the gateway could add a chunk at this point."""
        return self.mode == "chunked" and not (
            self.chunk_left or self.chunk_end or self.unsettled or self.ended
        )

    def feed(self, data: bytes, pieces: list[bytes] | None = None) -> int:
        """Follow `data`; return how many of its bytes belong to this body: all, unless it has `ended` or there are
        `more` for the next call.

        Their payload is added to `pieces`. Raises ProtocolError.
        """
        self.more = False
        state = self._state
        if state == _SIZE and not self._line:
            at = _pass_chunks(data, 0, pieces, _BUDGET)
            rest = data[at : at + 6]
            if rest == LAST_CHUNK:
                self._state = _DONE
                self.ended = True
                at += 5
                self.unsettled = 5
            elif rest:
                return self._follow(data, at, pieces)
            self.consumed = at
            return at
        if state < _LENGTH:
            return self._follow(data, 0, pieces)
        if state == _BROKEN:
            raise self._broken("the body broke its framing before")
        count = 0 if state == _DONE else len(data)
        if state == _LENGTH:
            count = min(count, self.chunk_left)
            self.chunk_left -= count
            if not self.chunk_left:
                self._state = _DONE
                self.ended = True
        if pieces is not None and count:
            pieces.append(data[:count])
        self.consumed = count
        return count

    def payload(self, data: bytes) -> list[bytes]:
        """Follow all of `data`; return its payload in pieces. `consumed` says how many bytes belonged to the body."""
        pieces: list[bytes] = []
        at = self.feed(data, pieces)
        while self.more:
            at += self.feed(data[at:], pieces)
        self.consumed = at
        return pieces

    def close(self) -> None:
        """Handle the close of the connection. Raises ProtocolError unless the body may end here."""
        if self._state == _CLOSE:
            self._state = _DONE
            self.ended = True
        elif self._state != _DONE:
            raise self._broken("the connection was closed before the end of the body")

    def copy(self) -> Self:
        """Return an independent copy with the same state."""
        twin = type(self).__new__(type(self))
        twin.mode, twin.ended, twin.consumed, twin.unsettled = (
            self.mode,
            self.ended,
            self.consumed,
            self.unsettled,
        )
        twin.chunk_left, twin.chunk_end, twin.more = self.chunk_left, self.chunk_end, self.more
        twin._state, twin._line = self._state, self._line
        twin._status, twin._extensions = self._status, self._extensions
        return twin

    def _follow(self, data: bytes, at: int, pieces: list[bytes] | None) -> int:
        """Follow the chunked body from `at` on. State changes only after all of it was found valid."""
        state, left, missing = self._state, self.chunk_left, self.chunk_end
        line, unsettled, end = self._line, self.unsettled, len(data)
        budget = iter(_BUDGET)
        for _ in budget:
            if at == end or state == _DONE:
                break
            if state == _DATA:
                stop = min(end, at + left)
                if pieces is not None:
                    pieces.append(data[at:stop])
                left -= stop - at
                at = stop
                state = _DATA if left else _DATA_END
            elif state == _DATA_END:
                found = data[at : at + len(missing)]
                if not missing.startswith(found):
                    raise self._broken("a chunk's data is not followed by CRLF: its size is wrong")
                at += len(found)
                missing = missing[len(found) :]
                if not missing:
                    state = _SIZE
                    at = _pass_chunks(data, at, pieces, budget)
            else:
                stop = data.find(b"\n", at, at + MAX_TRAILERS) + 1 or min(end, at + MAX_TRAILERS)
                unsettled += stop - at
                line += data[at:stop]
                at = stop
                if line[-1] != 0x0A:
                    self._check_beginning(state, line, unsettled)
                    continue
                if state == _SIZE:
                    left = self._size(line)
                    state = _DATA if left else _TRAILER
                    if left:
                        unsettled, missing = 0, b"\r\n"
                else:
                    state = self._trailer(line, unsettled)
                line = b""
        self._state, self.chunk_left, self.chunk_end = state, left, missing
        self._line, self.unsettled, self.consumed = line, unsettled, at
        self.ended = state == _DONE
        self.more = at < end and not self.ended
        return at

    def _check_beginning(self, state: int, line: bytes, unsettled: int) -> None:
        """Refuse an incomplete line that no further bytes can make valid."""
        if state == _TRAILER:
            if unsettled > MAX_TRAILERS:
                raise self._broken("the trailer section is too large")
        elif len(line) > MAX_SIZE_LINE or _SIZE_LINE_BEGINNING(line) is None:
            raise self._broken("a chunk does not begin with its size in hexadecimal")

    def _size(self, line: bytes) -> int:
        match = _SIZE_LINE(line)
        if match is None or len(line) > MAX_SIZE_LINE:
            raise self._broken("a chunk's size line is not 1 to 16 hexadecimal digits and CRLF")
        extension = match[2]
        if extension is not None:
            self._extensions += len(extension)
            if self._extensions > MAX_EXTENSIONS:
                raise self._broken("the body's chunk extensions are too large")
        return int(match[1], 16)

    def _trailer(self, line: bytes, unsettled: int) -> int:
        if line == b"\r\n":
            return _DONE
        if unsettled > MAX_TRAILERS:
            raise self._broken("the trailer section is too large")
        if not line.endswith(b"\r\n"):
            raise self._broken("a trailer line ends with LF alone")
        try:
            name, _ = read_field(line[:-2])
        except ProtocolError as error:
            raise self._broken(f"in the trailer section, {error.message}") from None
        if name in FORBIDDEN_TRAILERS:
            raise self._broken(f"{name.decode()} is given as a trailer, where it means nothing")
        return _TRAILER

    def _broken(self, message: str) -> ProtocolError:
        self._state = _BROKEN
        whose = "the request's" if self._status == 400 else "the upstream's"
        return ProtocolError(self._status, f"{whose} body is broken: {message}")


def chunk(data: bytes) -> bytes:
    """Return one chunk with `data`; b"" for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _pass_chunks(data: bytes, at: int, pieces: list[bytes] | None, budget: Iterable[int]) -> int:
    """Follow complete chunks without extensions from `at` on, at most as many as `budget`; return their end."""
    find, size_of = data.find, _SIZES.get
    for _ in budget:
        # 18: at most 16 digits, and CRLF.
        stop = find(b"\r\n", at, at + 18)
        if stop < 0:
            break
        text = data[at:stop]
        if text == b"0":
            break
        size = size_of(text) or _read_size(text)
        start = stop + 2
        stop = start + size
        if not size or data[stop : stop + 2] != b"\r\n":
            break
        if pieces is not None:
            pieces.append(data[start:stop])
        at = stop + 2
    return at


def _read_size(text: bytes) -> int:
    """Return a size without extensions; 0 if it is not valid."""
    return 0 if not text or text.translate(None, _HEX_DIGITS) else int(text, 16)
