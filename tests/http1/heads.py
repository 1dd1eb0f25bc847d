"""Heads of requests and responses, right and hostile, and what grammar and h11 make of them. No test in here."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import (
    RequestFacts,
    RequestHead,
    ResponseFacts,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from gateway.http1.template import CREDENTIALS, HeadTemplate

Text = Sequence[bytes]
"""The lines of a head."""


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*lines, b""))


def is_response(raw: bytes) -> bool:
    return raw.startswith(b"HTTP/")


def parse(raw: bytes) -> RequestHead | ResponseHead:
    return parse_response_head(raw) if is_response(raw) else parse_request_head(raw)


def learnt(text: Text) -> HeadTemplate[RequestFacts] | HeadTemplate[ResponseFacts]:
    """Return the template of a head that has one."""
    template = parse(head(*text)).template
    assert template is not None
    return template


def fields_of(head: RequestHead | ResponseHead) -> tuple[object, ...]:
    """Return everything that a head contains."""
    names = sorted({name for name, _ in head.headers} | {b"x-none"})
    return (*head.facts, head.content_length, head.headers, [head.get(name) for name in names])


def reading(read: Callable[[], RequestHead | ResponseHead]) -> object:
    """Return what a head is read as, or how it is refused."""
    try:
        return fields_of(read())
    except ProtocolError as error:
        return error.status, error.message


# Heads that are accepted, and have a template.

REQUEST: Text = (
    *(b"POST /v1/messages?beta=true HTTP/1.1", b"Host: 127.0.0.1:8045", b"User-Agent: claude-cli/2.1"),
    *(b"X-Api-Key: s3cret-1", b"authorization: Bearer s3cret-2", b"X-Request-Id: 1", b"X-Empty:"),
    *(b"Content-Type: application/json", b"Connection: keep-alive", b"Content-Length: 5"),
)
REQUEST_IN_CHUNKS: Text = (
    *(b"POST /v1/messages HTTP/1.1", b"TE: trailers", b"Expect: 100-continue", b"HOST: localhost"),
    *(b"Transfer-Encoding: chunked", b"X-A: b", b"Cookie: s3cret-3", b"Connection: close"),
)
RESPONSE: Text = (
    *(b"HTTP/1.1 200 OK", b"Date: Tue, 01 Oct 2030 10:10:10 GMT", b"Content-Type: application/json"),
    *(b"request-id: req_1", b"Set-Cookie: s3cret-4", b"anthropic-ratelimit-requests-remaining: 5"),
    *(b"X-Blank:   ", b"retry-after: 7", b"retry-after: 8", b"Content-Length: 5"),
)
RESPONSE_IN_CHUNKS: Text = (
    *(b"HTTP/1.1 529 ", b"transfer-encoding: chunked", b"Connection: close", b"age: 3", b"anthropic-a: b"),
)
NO_CONTENT: Text = (b"HTTP/1.1 204 No Content", b"content-length: 0", b"date: Tue, 01 Oct 2030 10:10:10 GMT")
BASES = (REQUEST, REQUEST_IN_CHUNKS, RESPONSE, RESPONSE_IN_CHUNKS)

# Changes to one line of a head.

Change = Callable[[Text, int], Text]

_VALUES = [
    *(b"", b" ", b"  ", b" x", b"x ", b"\tx", b"x\t", b"a\tb", b"a  b", b"a: b", b"x"),
    *(b"a\x00", b"\x01", b"\x7f", b"\xff", b"\xc2\xa0", b"a\rb", b"a\nb", b"\r", b"\n", b"a\r\n b"),
    *(b"+5", b"-5", b"0x5", b"05", b"5, 5", b"5,5", b"0", b"5_0", b"5.0", b"5;", b"1" * 18, b"1" * 19),
    *(b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked", b"identity", b"chunked\x0b"),
    *(b"close", b"Close", b"keep-alive", b"close, x", b"100-continue", b"100-Continue", b"200-ok"),
    *(b"a", b"localhost", b"a/b", b"127.0.0.1:0", b"[::1]", b"Bearer s3cret", b"close, key=s3cret"),
]
_MORE = [
    *(b" folded", b"\tfolded", b"", b"X", b"X: y", b"X : y", b": y", b"X: y\nContent-Length: 7"),
    *(
        b"Content-Length: 5",
        b"Content-Length: 6",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding : chunked",
    ),
    *(b"Transfer-Encoding:\x0bchunked", b"Host: b", b"Expect: 100-continue", b"Connection: close"),
]


def _with_line(*instead: Callable[[bytes], bytes]) -> Change:
    return lambda text, at: (*text[:at], *(make(text[at]) for make in instead), *text[at + 1 :])


def _with_value(value: bytes, colon: bytes = b": ") -> Change:
    return _with_line(lambda line: line.partition(b":")[0] + colon + value)


def _with_name(spell: Callable[[bytes], bytes]) -> Change:
    return _with_line(lambda line: spell(line.partition(b":")[0]) + b":" + line.partition(b":")[2])


def _same(line: bytes) -> bytes:
    return line


def _with_line_behind(more: bytes) -> Change:
    return _with_line(_same, lambda _: more)


def _with_end(end: bytes) -> Change:
    return _with_line(lambda line: line + end)


def _swapped(text: Text, at: int) -> Text:
    text = (*text, b"X: last")
    return (*text[:at], text[at + 1], text[at], *text[at + 2 :])


CHANGES: list[Change] = [
    *(_with_value(value) for value in _VALUES),
    *(_with_value(b"x", colon) for colon in (b":", b":  ", b" : ", b" :", b":\t", b"", b"::")),
    *(_with_value(b"5", colon) for colon in (b":", b":  ", b" : ")),
    *(_with_name(spell) for spell in (bytes.upper, bytes.lower, bytes.title, bytes.swapcase)),
    *(_with_name(spell) for spell in (lambda name: name.replace(b"-", b"_"), lambda name: b" " + name)),
    *(_with_line(_same, _same), _with_line(), _swapped),
    *(_with_line_behind(more) for more in _MORE),
    *(_with_end(end) for end in (b" ", b"\t", b"\r", b"\n", b"\x00", b"\x85")),
]

ENDS: list[Callable[[bytes], bytes]] = [
    lambda raw: raw[:-2],
    lambda raw: raw[:-1],
    lambda raw: raw + b"\r\n",
    lambda raw: raw + b"X",
    lambda raw: raw.replace(b"\r\n", b"\n"),
    lambda raw: raw.replace(b"\r\n", b"\r"),
    lambda raw: raw.replace(b"\r\n", b"\n", 2),
    lambda raw: raw.replace(b"\r\n", b"\r\n\r\n", 2),
    lambda raw: raw.replace(b"\r\n", b"\r\r\n", 2),
    lambda raw: b"\r\n" + raw,
    lambda raw: raw.replace(b"HTTP/1.1", b"HTTP/1.0"),
    lambda raw: raw.replace(b"/v1", b"/v1\x00").replace(b" 200", b" 204"),
    lambda raw: raw.replace(b"/v1", b"http://localhost/v1").replace(b"OK", b"ok"),
]

# Any head.

_NAMES = st.sampled_from(
    [
        *(b"content-length", b"transfer-encoding", b"connection", b"host", b"expect", b"content_length"),
        *(*CREDENTIALS, b"te", b"date", b"x", b"x-stainless-lang", b"x-auth-token", b"accept", b"x y", b""),
    ]
)
_ANY_VALUES = st.one_of(
    st.sampled_from([*_VALUES, b"AIzaSy", b"localhost:80", b"s3cret"]), st.binary(max_size=6)
)
_COLONS = st.sampled_from([b": ", b": ", b": ", b":", b":  ", b" :", b""])
_SPELL = st.sampled_from([bytes.lower, bytes.title, bytes.upper])
_LINES = st.one_of(
    st.builds(
        lambda name, spell, colon, value: spell(name) + colon + value, _NAMES, _SPELL, _COLONS, _ANY_VALUES
    ),
    st.sampled_from([b" folded", b"", b"nothing", b"X: y", b"Accept: */*"]),
)
_STARTS = st.sampled_from(
    [
        *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET http://a/ HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        *(b"GET / HTTP/1.0", b"GET /# HTTP/1.1", b"CONNECT / HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/2.0"),
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 204 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 101 x"),
    ]
)
_ENDS = st.sampled_from([b"\r\n\r\n"] * 5 + [b"\r\n", b"\n\n", b"\r\n\r\n\r\n", b"\r\n\r\nX", b""])
ANY = st.builds(
    lambda start, text, end: b"\r\n".join([start, *text]) + end,
    _STARTS,
    st.lists(_LINES, max_size=5).map(lambda text: [b"Host: a", *text] if len(text) % 2 else text),
    _ENDS,
)
ACCEPTABLE = st.builds(
    lambda start, fields: head(start, b"Host: a", *fields),
    st.sampled_from([b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"HTTP/1.1 200 OK", b"HTTP/1.1 204 "]),
    st.lists(_LINES, max_size=3),
)
"""Most of these are accepted, if they have no line that is hostile."""
EDITS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 3),
        st.sampled_from([b"", b"0", b" ", b"\r\n", b"\x00", b":", b"x"]),
    ),
    max_size=2,
)


def edited(raw: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, drop, junk in edits:
        at = place % (len(raw) + 1)
        raw = raw[:at] + junk + raw[at + drop :]
    return raw
