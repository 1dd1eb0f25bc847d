"""The heads of requests and responses: bytes to values and back.

Every head is judged by `strict`, then by h11, whose reading of it is the one that counts; `lines` spares
both for heads that are made of lines they have accepted before, and `forms` for whole heads. Bodies are `framing`'s.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import h11

from gateway.http1 import grammar as strict
from gateway.http1 import lines
from gateway.http1.forms import Form, Forms
from gateway.http1.grammar import ProtocolError

Headers = list[tuple[bytes, bytes]]
"""Lower-case names, values without blanks around them, in order; names may repeat."""

_requests = Forms()
_responses = Forms()

_METHODS = "GET|POST|HEAD|OPTIONS|PUT|PATCH|DELETE"
_REQUEST_LINE = re.compile(rb'(%b) (/[!"$-~]*) HTTP/1\.1' % _METHODS.encode()).fullmatch
_REQUEST_START = re.compile(rf'(?:{_METHODS}) /[!"$-~]* HTTP/1\.1\r\n').fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ((?!204)[2-5][0-9]{2}) ([ -~]*)").fullmatch


class RequestHead:
    """A request's head that was accepted. Nobody changes it."""

    __slots__ = (
        "chunked",
        "content_length",
        "expects_continue",
        "form",
        "headers",
        "keep_alive",
        "method",
        "target",
        "version",
    )

    def __init__(self, method: str, target: str, headers: Headers, version: str) -> None:
        self.method = method
        self.target = target
        """Path and query, or `*`. An absolute target has lost its host, which is the one in Host."""
        self.headers = headers
        self.version = version
        """1.1 or 1.0."""
        says = _says(headers)
        self.keep_alive = version == "1.1" and not says.close
        """Another request may follow on the connection; never so in HTTP/1.0."""
        self.content_length = says.length
        """Bytes of the body; None if that is not said."""
        self.chunked = says.chunked
        """The body comes in chunks."""
        self.expects_continue = version == "1.1" and says.expects
        """The client waits for `100 Continue` before it sends the body."""
        self.form: Form | None = None
        """Heads of one form differ in framing, credentials and request ids alone. None: of no known form."""

    @classmethod
    def of_form(cls, form: Form, text: Sequence[bytes]) -> Self:
        """The head that consists of these lines; see `forms`."""
        head = cls.__new__(cls)
        head.method, head.target, head.keep_alive, head.chunked, head.expects_continue = form.says
        head.headers = form.fields(text)
        head.version = "1.1"
        head.content_length = form.content_length(text)
        head.form = form
        return head

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestHead) and _facts(self) == _facts(other)

    def __repr__(self) -> str:
        return f"<RequestHead [{self.method}, HTTP/{self.version}, {len(self.headers)} fields]>"

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, None if there is none. The name is in lower case."""
        form = self.form
        if form is None:
            return _first(self.headers, name)
        at = form.index.get(name)
        return None if at is None else self.headers[at][1]

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order. The name is in lower case."""
        return [value for known, value in self.headers if known == name]


class ResponseHead:
    """A response's head that was accepted, an informational one too. Nobody changes it."""

    __slots__ = (
        "_headers",
        "chunked",
        "content_length",
        "form",
        "keep_alive",
        "reason",
        "status",
        "text",
        "version",
    )

    def __init__(self, status: int, reason: bytes, headers: Headers, version: str) -> None:
        self.status = status
        self.reason = reason
        self._headers: Headers | None = headers
        self.text: Sequence[bytes] = ()
        """Where there is a form: the lines as they came, the start line first."""
        self.version = version
        """1.1 or 1.0."""
        says = _says(headers)
        self.keep_alive = version == "1.1" and not says.close
        """Another request may be sent on the connection; never so in HTTP/1.0."""
        self.content_length = says.length
        """Bytes of the body, or of the one that GET would have had; None if that is not said."""
        self.chunked = says.chunked
        """The body comes in chunks."""
        self.form: Form | None = None
        """Heads of one form differ in framing, dates, limits and request ids alone. None: of no known form."""

    @classmethod
    def of_form(cls, form: Form, text: Sequence[bytes]) -> Self:
        """The head that consists of these lines; see `forms`."""
        head = cls.__new__(cls)
        head.status, head.reason, head.keep_alive, head.chunked = form.says
        head._headers = None
        head.text = text
        head.version = "1.1"
        head.content_length = form.content_length(text)
        head.form = form
        return head

    @property
    def headers(self) -> Headers:
        """Every field."""
        headers = self._headers
        if headers is None:
            assert self.form is not None
            headers = self._headers = self.form.fields(self.text)
        return headers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResponseHead) and _facts(self) == _facts(other)

    def __repr__(self) -> str:
        return f"<ResponseHead [{self.status}, HTTP/{self.version}, {len(self.headers)} fields]>"

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, None if there is none. The name is in lower case."""
        form = self.form
        return _first(self.headers, name) if form is None else form.value(self.text, name)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order. The name is in lower case."""
        return [value for known, value in self.headers if known == name]


def parse_request_head(raw: bytes) -> RequestHead:
    """Read a request's head: its bytes up to and including the blank line. Raises ProtocolError."""
    text = raw.split(b"\r\n")
    form = _requests.find(text)
    if form is not None:
        return RequestHead.of_form(form, text)
    match = _REQUEST_LINE(text[0])
    if match is not None and not text[-1] and not text[-2]:
        known = lines.read(text[1:-2])
        if known is not None and b"host" in known[1]:
            head = RequestHead(match[1].decode(), match[2].decode(), known[0], "1.1")
            says = (head.method, head.target, head.keep_alive, head.chunked, head.expects_continue)
            _requests.learn(text, known[0], says)
            return head
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
    form = _responses.find(text)
    if form is not None:
        return ResponseHead.of_form(form, text)
    match = _STATUS_LINE(text[0])
    if match is not None and not text[-1] and not text[-2]:
        known = lines.read(text[1:-2])
        if known is not None:
            answer = ResponseHead(int(match[1]), match[2], known[0], "1.1")
            _responses.learn(
                text, known[0], (answer.status, answer.reason, answer.keep_alive, answer.chunked)
            )
            return answer
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


def render_response_head(
    status: int, headers: Sequence[tuple[bytes, bytes]], reason: bytes = b"", rendered: bytes = b""
) -> bytes:
    """A response's head with its blank line. `rendered`: lines that were judged before. Raises ProtocolError (502)."""
    start = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    if 200 <= status <= 599 and status != 204 and not reason:
        if not headers:
            return b"%b%b\r\n" % (start, rendered)
        known = lines.write(headers)
        if known is not None and (not rendered or not known[1]):
            return b"".join((start, rendered, *known[0], b"\r\n"))
    if b"\r" in reason or b"\n" in reason:
        raise ProtocolError(502, "the answer cannot be written: its reason holds a line end")
    try:
        if status < 200:
            h11.InformationalResponse(status_code=status, headers=list(headers))
        else:
            h11.Response(status_code=status, headers=list(headers))
        text = rendered + _write_fields(headers)
        strict.check_response_head(start + text)
    except (h11.LocalProtocolError, ProtocolError) as error:
        raise ProtocolError(502, f"the answer cannot be written: {error}") from None
    _remember_written(headers)
    return start + text


def render_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Lines of a response's fields, to be `rendered` ones later. Raises ProtocolError (502), also for fields that
    decide what a message is: those are written with the head that they belong to."""
    known = lines.write(headers)
    if known is not None and not known[1]:
        return b"".join(known[0])
    if any(name.lower() in lines.JUDGED for name, _ in headers):
        raise ProtocolError(502, "the answer cannot be written: its framing is not the application's")
    head = render_response_head(200, headers)
    return head[head.index(b"\r\n") + 2 : -2]


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


class _Says(NamedTuple):
    """What fields say about the message they stand in."""

    close: bool
    length: int | None
    chunked: bool
    expects: bool


def _says(headers: Headers) -> _Says:
    close, length, chunked, expects = False, None, False, False
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"expect":
            expects = True
        elif name == b"connection":
            close = close or b"close" in map(_option, value.split(b","))
    return _Says(close, length, chunked, expects)


def _facts(head: RequestHead | ResponseHead) -> tuple[object, ...]:
    start = (head.method, head.target) if isinstance(head, RequestHead) else (head.status, head.reason)
    return (*start, head.headers, head.version)


def _option(text: bytes) -> bytes:
    """One of Connection's, as they are compared."""
    return text.strip(b" \t").lower()
