"""Parses and renders the heads of requests and responses.

Heads are parsed in two tiers. `template` recognises one like the last of its connection; all others are checked by
`grammar` and parsed by h11. Both give the same values. `framing` handles bodies.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import h11

from gateway.http1 import grammar
from gateway.http1.grammar import ProtocolError
from gateway.http1.template import DECIDING, HeadTemplate

Headers = list[tuple[bytes, bytes]]
"""Lower-case names, values without surrounding blanks, in order; names may repeat."""

FRAMING_FIELDS = DECIDING | {b"content-length"}
"""Fields that determine a message's framing and destination: each head is rendered with its own."""

_LINE = re.compile(
    rb"(?!(?:content[-_]length|transfer[-_]encoding|connection|host|expect):)"
    rb"[!#$%&'*+.^_`|~0-9a-z-]+: (?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?\r\n"
).fullmatch
"""Matches the line of a field that is not among FRAMING_FIELDS; stricter than `grammar` and h11."""


class RequestFacts(NamedTuple):
    """The contents of a request's head other than its fields."""

    method: str
    target: str
    version: str
    keep_alive: bool
    chunked: bool
    expects_continue: bool


class RequestHead:
    """An accepted request head. Immutable, except for `known`, which the application sets."""

    __slots__ = (
        "chunked",
        "content_length",
        "expects_continue",
        "facts",
        "headers",
        "keep_alive",
        "known",
        "method",
        "target",
        "template",
        "version",
    )

    def __init__(
        self,
        facts: RequestFacts,
        headers: Headers,
        content_length: int | None,
        template: HeadTemplate[RequestFacts] | None = None,
        known: object = None,
    ) -> None:
        self.facts = facts
        self.method, self.target, self.version, self.keep_alive, self.chunked, self.expects_continue = facts
        """`target`: path and query, or `*`; an absolute one is reduced to these, since its host is the one in Host.
        `version`: 1.1 or 1.0. `keep_alive`: whether another request may follow, always False for HTTP/1.0. `chunked`:
        whether the body comes in chunks. `expects_continue`: the client waits for `100 Continue` to send the body."""
        self.headers = headers
        self.content_length = content_length
        """Bytes of the body; None if the head does not say."""
        self.template = template
        """The head's template: its heads differ only in their holes. None: this head has none."""
        self.known = known
        """What the application derived from this head; valid for all heads that differ only in Content-Length."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestHead) and (self.facts, self.headers) == (other.facts, other.headers)

    def __repr__(self) -> str:
        return f"<RequestHead [{self.method}, HTTP/{self.version}, {len(self.headers)} fields]>"

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a field, None if there is none. `name`: in lower case."""
        return _first(self.headers, name)


class ResponseFacts(NamedTuple):
    """The contents of a response's head other than its fields."""

    status: int
    version: str
    keep_alive: bool
    chunked: bool


class ResponseHead:
    """An accepted response head, also an informational one. Immutable."""

    __slots__ = (
        "_headers",
        "chunked",
        "content_length",
        "facts",
        "keep_alive",
        "status",
        "template",
        "values",
        "version",
    )

    def __init__(
        self,
        facts: ResponseFacts,
        headers: Headers | None,
        content_length: int | None,
        template: HeadTemplate[ResponseFacts] | None = None,
        values: Sequence[bytes] = (),
    ) -> None:
        """Without `headers` they are made from `template` and `values` on first use."""
        self.facts = facts
        self.status, self.version, self.keep_alive, self.chunked = facts
        """`version`: 1.1 or 1.0. `keep_alive`: whether the connection can serve another request, always False for
        HTTP/1.0. `chunked`: whether the body comes in chunks."""
        self._headers = headers
        self.content_length = content_length
        """Bytes of the body, or of the one that GET would get; None if the head does not say."""
        self.template = template
        """The head's template: its heads differ only in their holes. None: this head has none."""
        self.values = values
        """The values in the template's holes."""

    @property
    def headers(self) -> Headers:
        """All fields."""
        if self._headers is None:
            assert self.template is not None
            self._headers = self.template.fields(self.values)
        return self._headers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResponseHead) and (self.facts, self.headers) == (other.facts, other.headers)

    def __repr__(self) -> str:
        return f"<ResponseHead [{self.status}, HTTP/{self.version}, {len(self.headers)} fields]>"

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a field, None if there is none. `name`: in lower case."""
        return _first(self.headers, name)


def parse_request_head(raw: bytes, template: HeadTemplate[RequestFacts] | None = None) -> RequestHead:
    """Parse a request's head: its bytes up to and including the blank line. Raises ProtocolError.

    `template`: that of an earlier accepted head.
    """
    values = template.match(raw) if template is not None else None
    if template is not None and values is not None:
        length = int(values[template.length]) if template.length >= 0 else None
        return RequestHead(template.facts, template.fields(values), length, template)
    grammar.check_request_head(raw)
    event = _event(h11.Connection(h11.SERVER), raw, 400)
    assert isinstance(event, h11.Request)
    headers = list(event.headers)
    target = grammar.origin_form(event.method, event.target, _first(headers, b"host"))
    version = event.http_version.decode()
    close, length, chunked, expects = _framing(headers)
    recent = version == "1.1"
    facts = RequestFacts(
        event.method.decode(), target.decode(), version, recent and not close, chunked, recent and expects
    )
    return RequestHead(facts, headers, length, HeadTemplate.learn(raw, headers, facts))


def parse_response_head(raw: bytes, template: HeadTemplate[ResponseFacts] | None = None) -> ResponseHead:
    """Parse a response's head, also of a 1xx. Raises ProtocolError with status 502.

    `template`: that of an earlier accepted head.
    """
    values = template.match(raw) if template is not None else None
    if template is not None and values is not None:
        length = int(values[template.length]) if template.length >= 0 else None
        return ResponseHead(template.facts, None, length, template, values)
    try:
        grammar.check_response_head(raw)
    except ProtocolError as error:
        raise ProtocolError(502, f"the upstream's response cannot be trusted: {error.message}") from None
    event = _event(h11.Connection(h11.CLIENT), raw, 502)
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    headers = list(event.headers)
    version = event.http_version.decode()
    close, length, chunked, _ = _framing(headers)
    facts = ResponseFacts(event.status_code, version, version == "1.1" and not close, chunked)
    # An interim head differs from the one after it; with a 204, only a Content-Length of 0 is allowed.
    learnt = HeadTemplate.learn(raw, headers, facts) if facts.status >= 200 and facts.status != 204 else None
    values = learnt.match(raw) if learnt is not None else None
    return ResponseHead(facts, headers, length, learnt, values or ())


def render_request_head(method: str, target: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a request's head with its blank line; Host comes first. Raises ProtocolError (400)."""
    start = f"{method} {target} HTTP/1.1\r\n"
    try:
        h11.Request(method=method, target=target, headers=list(headers))
        # The grammar refuses CONNECT, as a server must; for a head to a proxy only the fields are checked.
        judged = "GET / HTTP/1.1\r\n" if method == "CONNECT" else start
        lines = [b"%b: %b\r\n" % field for field in headers]
        lines.sort(key=_is_not_host)
        text = b"".join((*lines, b"\r\n"))
        grammar.check_request_head(judged.encode() + text)
    except (h11.LocalProtocolError, UnicodeEncodeError, ProtocolError) as error:
        raise ProtocolError(400, f"the request cannot be written: {error}") from None
    return start.encode() + text


def render_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return fields as lines, for a head that is joined from several parts. Raises ProtocolError (502).

    Refuses names not in lower case, values that a line cannot contain, and FRAMING_FIELDS.
    """
    lines = [b"%b: %b\r\n" % field for field in headers]
    for line in lines:
        if _LINE(line) is None:
            message = "a head cannot be written: one of its fields is not valid or decides framing"
            raise ProtocolError(502, message)
    return b"".join(lines)


def _event(connection: h11.Connection, raw: bytes, status: int) -> object:
    """Return what h11 parses. Its own limit on a head's size is raised, since ours applies."""
    if connection.our_role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[(b"host", b"a")]))
    connection.receive_data(raw)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        raise ProtocolError(status, f"h11 refuses the head: {error}") from None


def _is_not_host(line: bytes) -> bool:
    return line[:5].lower() != b"host:"


def _first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    for known, value in headers:
        if known == name:
            return value
    return None


def _framing(headers: Headers) -> tuple[bool, int | None, bool, bool]:
    """Return what the fields say about the message: (Connection: close, length, chunked, expects 100)."""
    close, length, chunked, expects = False, None, False, False
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"expect":
            expects = True
        elif name == b"connection":
            close = close or b"close" in (option.strip(b" \t").lower() for option in value.split(b","))
    return close, length, chunked, expects
