"""The heads of requests and responses: bytes to values and back.

Every head is judged by `strict`, then by h11, whose reading of it is the one that counts; `lines` spares
both for heads that are made of lines they have accepted before. Bodies are `framing`'s.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import h11

from gateway.http1 import lines, strict
from gateway.http1.strict import ProtocolError

Headers = list[tuple[bytes, bytes]]
"""Lower-case names, values without blanks around them, in order; names may repeat."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields about one connection and not about the message: RFC 9110, 7.6.1, and those of older days."""

_METHODS = "GET|POST|HEAD|OPTIONS|PUT|PATCH|DELETE"
_REQUEST_LINE = re.compile(rb'(%b) (/[!"$-~]*) HTTP/1\.1' % _METHODS.encode()).fullmatch
_REQUEST_START = re.compile(rf'(?:{_METHODS}) /[!"$-~]* HTTP/1\.1\r\n').fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ((?!204)[2-5][0-9]{2}) ([ -~]*)").fullmatch
_PLAIN_REASON = re.compile(rb"[ -~]*").fullmatch


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's head that was accepted."""

    method: str
    target: str
    """Path and query, or `*`. An absolute target has lost its host, which is the one in Host."""
    headers: Headers
    version: str
    """1.1 or 1.0."""
    _single: dict[bytes, bytes] | None = field(default=None, repr=False, compare=False)
    """The fields of `lines.JUDGED` among the headers, where they have been gathered already."""

    @property
    def keep_alive(self) -> bool:
        """Another request may follow on the connection; never so in HTTP/1.0."""
        return self.version == "1.1" and _keeps_alive(self.headers, self._single)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body; None if that is not said."""
        length = _find(self.headers, self._single, b"content-length")
        return None if length is None else int(length)

    @property
    def chunked(self) -> bool:
        """The body comes in chunks."""
        return _find(self.headers, self._single, b"transfer-encoding") is not None

    @property
    def expects_continue(self) -> bool:
        """The client waits for `100 Continue` before it sends the body."""
        return self.version == "1.1" and _find(self.headers, self._single, b"expect") is not None

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, None if there is none. The name is in lower case."""
        return _first(self.headers, name)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order. The name is in lower case."""
        return [value for known, value in self.headers if known == name]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's head that was accepted, an informational one too."""

    status: int
    reason: bytes
    headers: Headers
    version: str
    """1.1 or 1.0."""
    _single: dict[bytes, bytes] | None = field(default=None, repr=False, compare=False)

    @property
    def keep_alive(self) -> bool:
        """Another request may be sent on the connection; never so in HTTP/1.0."""
        return self.version == "1.1" and _keeps_alive(self.headers, self._single)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, or of the one that GET would have had; None if that is not said."""
        length = _find(self.headers, self._single, b"content-length")
        return None if length is None else int(length)

    @property
    def chunked(self) -> bool:
        """The body comes in chunks."""
        return _find(self.headers, self._single, b"transfer-encoding") is not None

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, None if there is none. The name is in lower case."""
        return _first(self.headers, name)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order. The name is in lower case."""
        return [value for known, value in self.headers if known == name]


def parse_request_head(raw: bytes) -> RequestHead:
    """Read a request's head: its bytes up to and including the blank line. Raises ProtocolError."""
    text = raw.split(b"\r\n")
    match = _REQUEST_LINE(text[0])
    if match is not None and not text[-1] and not text[-2]:
        known = lines.read(text[1:-2])
        if known is not None and b"host" in known[1]:
            return RequestHead(match[1].decode(), match[2].decode(), known[0], "1.1", known[1])
    strict.check_request_head(raw)
    event = _event(h11.Connection(h11.SERVER), raw, 400)
    assert isinstance(event, h11.Request)
    headers = list(event.headers)
    lines.remember_read(text[1:-2], headers)
    target = strict.origin_form(event.method, event.target, _first(headers, b"host"))
    return RequestHead(event.method.decode(), target.decode(), headers, event.http_version.decode())


def parse_response_head(raw: bytes) -> ResponseHead:
    """Read a response's head, also of a 1xx. Raises ProtocolError with status 502."""
    text = raw.split(b"\r\n")
    match = _STATUS_LINE(text[0])
    if match is not None and not text[-1] and not text[-2]:
        known = lines.read(text[1:-2])
        if known is not None:
            return ResponseHead(int(match[1]), match[2], known[0], "1.1", known[1])
    try:
        strict.check_response_head(raw)
    except ProtocolError as error:
        raise ProtocolError(502, f"the upstream's answer cannot be trusted: {error.message}") from None
    event = _event(h11.Connection(h11.CLIENT), raw, 502)
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    headers = list(event.headers)
    lines.remember_read(text[1:-2], headers)
    return ResponseHead(event.status_code, event.reason, headers, event.http_version.decode())


def render_request_head(method: str, target: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A request's head with its blank line; Host comes first. Raises ProtocolError (400)."""
    start = f"{method} {target} HTTP/1.1\r\n"
    known = lines.write(headers)
    if known is not None and b"host" in known[1] and _REQUEST_START(start) is not None:
        return b"".join((start.encode(), *known[0], b"\r\n"))
    try:
        h11.Request(method=method, target=target, headers=list(headers))
        # CONNECT is refused where it comes in; going out, to a proxy, only its fields are judged.
        judged = "GET / HTTP/1.1\r\n" if method == "CONNECT" else start
        text = _write_fields(headers)
        strict.check_request_head(judged.encode() + text)
    except (h11.LocalProtocolError, UnicodeEncodeError, ProtocolError) as error:
        raise ProtocolError(400, f"the request cannot be written: {error}") from None
    _remember_written(headers)
    return start.encode() + text


def render_response_head(status: int, headers: Sequence[tuple[bytes, bytes]], reason: bytes = b"") -> bytes:
    """A response's head with its blank line. Raises ProtocolError (502)."""
    if b"\r" in reason or b"\n" in reason:
        raise ProtocolError(502, "the answer cannot be written: its reason holds a line end")
    start = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    known = lines.write(headers)
    plain = 200 <= status <= 599 and status != 204
    if known is not None and plain and _PLAIN_REASON(reason) is not None:
        return b"".join((start, *known[0], b"\r\n"))
    try:
        if status < 200:
            h11.InformationalResponse(status_code=status, headers=list(headers))
        else:
            h11.Response(status_code=status, headers=list(headers))
        text = _write_fields(headers)
        strict.check_response_head(start + text)
    except (h11.LocalProtocolError, ProtocolError) as error:
        raise ProtocolError(502, f"the answer cannot be written: {error}") from None
    _remember_written(headers)
    return start + text


def hop_by_hop(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Names of the fields that are not forwarded: those of one connection, and those Connection names."""
    options = _connection_options(headers)
    return HOP_BY_HOP.union(options) if options else HOP_BY_HOP


def _event(connection: h11.Connection, raw: bytes, status: int) -> object:
    """What h11 reads. Its own limit of a head's size must not stand in the way of ours."""
    if connection.our_role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[(b"host", b"a")]))
    connection.receive_data(raw)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        raise ProtocolError(status, f"h11 refuses the head: {error}") from None


def _write_fields(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header lines, Host first, and the blank line, for fields that h11 has accepted."""
    text = [b"%b: %b\r\n" % field for field in headers]
    text.sort(key=_is_not_host)
    return b"".join((*text, b"\r\n"))


def _remember_written(headers: Sequence[tuple[bytes, bytes]]) -> None:
    lines.remember_written(headers, [b"%b: %b\r\n" % field for field in headers])


def _is_not_host(line: bytes) -> bool:
    return line[:5].lower() != b"host:"


def _first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    for known, value in headers:
        if known == name:
            return value
    return None


def _find(headers: Headers, single: dict[bytes, bytes] | None, name: bytes) -> bytes | None:
    return _first(headers, name) if single is None else single.get(name)


def _keeps_alive(headers: Headers, single: dict[bytes, bytes] | None) -> bool:
    if single is not None:
        return single.get(b"connection") != b"close"
    return b"close" not in _connection_options(headers)


def _connection_options(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    options: list[bytes] = []
    for name, value in headers:
        if name == b"connection":
            options += (option.strip(b" \t").lower() for option in value.split(b","))
    return options
