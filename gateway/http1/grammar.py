"""Checks heads by rules stricter than h11's, on the raw bytes before h11 normalises them.

A head that passes has the same meaning for every parser: one framing, one Host, one field a line, CRLF after each, no
control bytes, an unambiguous target. The connection limits sizes, `framing` checks a body's bytes, and access control
checks hosts and origins.
"""

import re
from collections.abc import Iterable


class ProtocolError(Exception):
    """The peer broke a rule of HTTP/1.1 or of this server; the connection must not continue.

    `status` is that of the response to a client: 400, 414, 417, 431, 501 or 505; 502 if an upstream is at fault; 0 if
    the peer does not speak HTTP/1.1, so that no response is possible. `message` is for the body of the response; it
    names fields and never quotes a value.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


SINGLE = frozenset({b"content-length", b"transfer-encoding", b"host", b"expect"})
"""Fields that determine what a message is: with two of a kind, two parsers might see two different messages."""

MISTAKABLE = frozenset({b"content_length", b"transfer_encoding"})
"""Legal names that some servers take for the real ones. Other names may contain `_`: they decide nothing here, and
only known names are forwarded."""

MAX_METHOD = 32
"""Bytes. The longest registered method has 17 (UPDATEREDIRECTREF); RFC 9112, 3: 501 for a longer one."""

MAX_HOST_NAME = 253
"""Characters of the longest name in DNS."""

_TCHAR = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]"
_TOKEN = re.compile(rb"%b+" % _TCHAR).fullmatch
_FIELD = re.compile(rb"(%b+):([\t -~\x80-\xff]*)" % _TCHAR).fullmatch
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n").search
_REQUEST_LINE = re.compile(rb"([^ ]*) ([^ ]*) (HTTP/[0-9]\.[0-9])").fullmatch
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?").fullmatch
_VISIBLE = re.compile(rb"[!-~]+").fullmatch
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch
_CODINGS = re.compile(rb"%b+(?:[ \t]*,[ \t]*%b+)*" % (_TCHAR, _TCHAR)).fullmatch
_HOST = re.compile(rb"(?:([0-9A-Za-z._-]+)|\[([0-9A-Fa-f:.]+)\])(?::([1-9][0-9]{0,4}))?").fullmatch
_ABSOLUTE = re.compile(rb"(https?)://([^/?]*)(.*)", re.IGNORECASE).fullmatch
_ORIGIN = re.compile(rb"([A-Za-z][0-9A-Za-z+.-]*)://([^/?#]*)").fullmatch
_GROUP = re.compile(r"[0-9a-f]{1,4}").fullmatch
_OCTET = re.compile(r"25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9]").fullmatch

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"
_TLS_BEGINNINGS = b"\x16\x80"
"""The first byte of a TLS record of type handshake, and that of an SSL 2 hello (its length)."""

_DEFAULT_PORT = {b"http": 80, b"https": 443}


def check_request_head(raw: bytes) -> None:
    """Check a request's head: its bytes up to and including the blank line. Raises ProtocolError."""
    check_beginning(raw)
    lines = _lines(raw)
    method, target, version = _request_line(lines[0])
    fields = [read_field(line) for line in lines[1:]]
    _check_framing(fields, version)
    single = dict(fields)
    if single.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise ProtocolError(417, "Expect asks for something other than 100-continue; leave it out")
    host = single.get(b"host")
    if host is not None:
        split_host(host)
    elif version == b"HTTP/1.1":
        raise ProtocolError(400, "Host is missing; HTTP/1.1 requires it")
    origin_form(method, target, host)


def check_response_head(raw: bytes) -> None:
    """Check a response's head by the same rules. Raises ProtocolError with status 502."""
    try:
        _check_bytes(raw)
        lines = _lines(raw)
        status, version = _status_line(lines[0])
        fields = [read_field(line) for line in lines[1:]]
        _check_framing(fields, version)
        _check_body_allowed(status, fields)
    except ProtocolError as error:
        raise ProtocolError(502, error.message) from None


def check_beginning(raw: bytes | bytearray) -> None:
    """Refuse the first bytes of a request that no further bytes can make valid. Raises ProtocolError.

    It can be called while a head is incomplete, so that the server does not wait for the end of bytes that are no
    head: TLS, HTTP/2 (status 0), or lines that end with LF alone.
    """
    if raw[:1] and raw[0] in _TLS_BEGINNINGS:
        raise ProtocolError(400, "this port speaks plain HTTP, and the client speaks TLS: use http://")
    if raw.startswith(_HTTP2_PREFACE):
        raise ProtocolError(0, "this is the preface of HTTP/2; the port speaks HTTP/1.1")
    if raw[:1] and raw[0] in b" \t\r\n":
        raise ProtocolError(400, "a blank or an empty line stands before the request line")
    _check_bytes(raw)


def head_end(data: bytes, start: int = 0) -> int:
    """Return the end of the head at the beginning of `data`, after its blank line; -1 if it is incomplete.

    Bare line feeds also end a head, so that it is checked and refused. Bytes before `start` are known to contain no
    end, and no part of one.
    """
    at = data.find(b"\r\n\r\n", start)
    end = at + 4 if at >= 0 else -1
    before = at + 2 if at >= 0 else len(data)
    for bare in (b"\n\n", b"\n\r\n"):
        at = data.find(bare, start, before)
        if at >= 0:
            end = before = at + len(bare)
    return end


def read_field(line: bytes) -> tuple[bytes, bytes]:
    """Parse a header or trailer line without its line end; return lower-case name and value. Raises ProtocolError."""
    match = _FIELD(line)
    if match is None:
        raise _field_error(line)
    name = match[1].lower()
    if name in MISTAKABLE:
        raise ProtocolError(
            400, f"{_show(name)} is easily taken for another field; write `-`, or leave it out"
        )
    return name, match[2].strip(b" \t")


def split_host(value: bytes) -> tuple[str, int | None]:
    """Return name and port of a Host value; the port is None if there is none.

    The name is in lower case, without an IPv6 address's brackets or a final dot. Only the form is checked:
    `name[:port]`, `v4[:port]` or `[v6][:port]`. Raises ProtocolError.
    """
    match = _HOST(value)
    if match is None:
        raise ProtocolError(400, "host is not of the form name[:port], v4[:port] or [v6][:port]")
    port = None if match[3] is None else int(match[3])
    if port is not None and port > 65535:
        raise ProtocolError(400, "host gives a port above 65535")
    if match[2] is not None:
        address = match[2].decode().lower()
        if not _is_v6(address):
            raise ProtocolError(400, "host has brackets around something that is not an IPv6 address")
        return address, port
    name = match[1].decode().lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_HOST_NAME or "" in labels:
        raise ProtocolError(400, "host gives a name that is empty, has an empty part or is too long")
    if labels[-1].isdigit() and not _is_v4(name):
        raise ProtocolError(400, "host ends in a number and is not an IPv4 address")
    return name, port


def origin_host(value: bytes) -> tuple[str, int | None] | None:
    """Return name and port of an Origin value, in the form of `split_host`.

    The scheme's default port becomes None. Returns None for `null`, which names no origin. Raises ProtocolError.
    """
    if value == b"null":
        return None
    match = _ORIGIN(value)
    if match is None:
        raise ProtocolError(400, "origin is not of the form scheme://host[:port]")
    return _place(match[1], match[2], "origin")


def origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Return path and query of a request target; `*` for OPTIONS of the server as a whole.

    An absolute target must have the same host and port as Host. Raises ProtocolError.
    """
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE(target)
    if match is None:
        raise ProtocolError(400, "the request target is neither a path nor an http URL")
    there = _place(match[1], match[2], "the request target")
    if host is None or there != _place(match[1], host, "host"):
        raise ProtocolError(400, "the request target names another place than host does")
    path = match[3]
    if path.startswith(b"/"):
        return path
    return b"*" if method == b"OPTIONS" and not path else b"/" + path


def _check_framing(fields: Iterable[tuple[bytes, bytes]], version: bytes) -> None:
    """Refuse fields that make the message's framing ambiguous."""
    single: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in SINGLE:
            if name in single:
                raise ProtocolError(400, f"{name.decode()} is given more than once")
            single[name] = value
    length = single.get(b"content-length")
    coding = single.get(b"transfer-encoding")
    if length is not None and coding is not None:
        raise ProtocolError(400, "content-length and transfer-encoding are both given; send one of them")
    if length is not None and _LENGTH(length) is None:
        raise ProtocolError(400, "content-length is not one plain decimal number of at most 18 digits")
    if coding is None:
        return
    if version == b"HTTP/1.0":
        raise ProtocolError(400, "transfer-encoding is given, which HTTP/1.0 does not have")
    coding = coding.lower()
    if coding != b"chunked":
        other = _CODINGS(coding) is not None and coding.count(b"chunked") < 2
        raise ProtocolError(
            501 if other else 400, "transfer-encoding is not `chunked`, the only one known here"
        )


def _check_body_allowed(status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a response that switches protocols, or that announces a body where none is allowed."""
    if status == 101:
        raise ProtocolError(502, "it switches protocols without being asked")
    if status < 200 or status == 204:
        for name, value in fields:
            if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                raise ProtocolError(502, f"status {status} has no body, and {name.decode()} announces one")


def _place(scheme: bytes, authority: bytes, what: str) -> tuple[str, int | None]:
    try:
        name, port = split_host(authority)
    except ProtocolError:
        raise ProtocolError(400, f"{what} does not give a host of the form name[:port]") from None
    return name, None if port == _DEFAULT_PORT.get(scheme.lower()) else port


def _is_v4(name: str) -> bool:
    octets = name.split(".")
    return len(octets) == 4 and all(map(_OCTET, octets))


def _is_v6(address: str) -> bool:
    """Return whether it has eight groups, or fewer with one `::`; the last two may be an IPv4 address."""
    left, gap, right = address.partition("::")
    groups = [*(left.split(":") if left else ()), *(right.split(":") if right else ())]
    if groups and _is_v4(groups[-1]) and (right or not gap):
        groups[-1:] = ("0", "0")
    return all(map(_GROUP, groups)) and (len(groups) < 8 if gap else len(groups) == 8)


def _check_bytes(raw: bytes | bytearray) -> None:
    """Refuse control bytes, and CR or LF alone; a CR at the end may still get its LF."""
    ends = raw.count(b"\r\n")
    if ends == raw.count(b"\n") == raw.count(b"\r") and _CONTROL(raw) is None:
        return
    stray = _STRAY(raw)
    if stray is None or (stray[0] == b"\r" and stray.end() == len(raw)):
        return
    if stray[0] == b"\n":
        raise ProtocolError(400, "a line ends with LF alone; every line of a head must end with CRLF")
    if stray[0] == b"\r":
        raise ProtocolError(400, "the head holds a CR that is not followed by LF")
    raise ProtocolError(400, f"the head holds the control byte 0x{stray[0][0]:02x}")


def _lines(raw: bytes) -> list[bytes]:
    """Return the lines of a complete head, without their ends and the blank line."""
    lines = raw.split(b"\r\n")
    if len(lines) < 3 or b"" in lines[:-2] or lines[-2] or lines[-1]:
        raise ProtocolError(400, "the head is not some lines and then an empty one")
    return lines[:-2]


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE(line)
    if match is None:
        raise ProtocolError(400, "the request line is not `METHOD target HTTP/1.1` with one blank between")
    method, target, version = match.groups()
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise ProtocolError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if _TOKEN(method) is None:
        raise ProtocolError(400, "the method is empty or holds a byte that methods cannot have")
    if len(method) > MAX_METHOD:
        raise ProtocolError(501, "no method has a name as long as that")
    if method == b"CONNECT":
        raise ProtocolError(400, "CONNECT asks for a proxy, which this is not; set it as the base URL")
    if _VISIBLE(target) is None:
        raise ProtocolError(400, "the request target is empty or holds bytes that must be percent-encoded")
    if b"#" in target:
        raise ProtocolError(400, "the request target holds `#`; a fragment is for the client alone")
    return method, target, version


def _status_line(line: bytes) -> tuple[int, bytes]:
    match = _STATUS_LINE(line)
    if match is None:
        raise ProtocolError(502, "its status line is not one of HTTP/1.1 or HTTP/1.0")
    return int(match[2]), match[1]


def _field_error(line: bytes) -> ProtocolError:
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return ProtocolError(400, "a header line begins with a blank; each field must be on one line")
    if not colon:
        return ProtocolError(400, "a header line has no colon")
    if name[-1:] in (b" ", b"\t"):
        return ProtocolError(400, "a blank stands between a field's name and its colon")
    if _TOKEN(name) is None:
        return ProtocolError(400, "a field's name is empty or holds a byte that names cannot have")
    return ProtocolError(400, f"the value of {_show(name)} holds a control byte")


def _show(name: bytes) -> str:
    # Long enough for all registered names; a hostile one must not fill the error.
    return name[:40].decode()
