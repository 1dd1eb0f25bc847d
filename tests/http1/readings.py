"""Heads read with a memory and without one, and hostile heads to try it with. No test in here."""

from collections.abc import Iterator
from types import FunctionType

import pytest
from hypothesis import strategies as st

from gateway.http1 import heads, lines
from gateway.http1.forms import Form, Forms
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import RequestHead, ResponseHead, parse_request_head, parse_response_head


def forget() -> None:
    """Empty every memory of heads that were read or written."""
    lines._read.clear()
    lines._written.clear()
    heads._requests._known.clear()
    heads._responses._known.clear()


def kept(thing: object) -> Iterator[bytes]:
    """All bytes that a memory holds."""
    if isinstance(thing, bytes):
        yield thing
    elif isinstance(thing, str):
        yield thing.encode()
    elif isinstance(thing, dict):
        yield from kept((*thing, *thing.values()))
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from kept(part)
    elif isinstance(thing, Form):
        yield from kept([getattr(thing, slot) for slot in Form.__slots__])
    elif isinstance(thing, FunctionType):
        yield from kept([cell.cell_contents for cell in thing.__closure__ or ()])


def assert_nothing_secret_is_kept() -> None:
    for name, value in (*lines._read.values(), *lines._written):
        assert name.lower() not in lines.JUDGED
        assert name.lower() not in lines.CREDENTIALS
        assert b"token" not in name.lower()
        assert b"bearer" not in value.lower()
    for known in kept((lines._read, lines._written, heads._requests._known, heads._responses._known)):
        name, colon, value = known.lower().partition(b":")
        assert not colon or not value.strip() or name not in lines.CREDENTIALS, known
        assert b"bearer" not in known.lower()
        assert b"token" not in name or not value


def head(*text: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*text, b""))


def facts(found: RequestHead | ResponseHead) -> tuple[object, ...]:
    """All that a head says, by whichever way it is asked."""
    names = sorted({name for name, _ in found.headers} | {b"x-none"})
    start: tuple[object, ...]
    if isinstance(found, RequestHead):
        start = (found.method, found.target, found.expects_continue)
    else:
        start = (found.status, found.reason)
    return (
        *(*start, found.version, found.keep_alive, found.content_length, found.chunked),
        *(found.headers, [found.get(name) for name in names], [found.all(name) for name in names]),
    )


def reading(raw: bytes, response: bool) -> object:
    """What a head is read as, or how it is refused."""
    parse = parse_response_head if response else parse_request_head
    try:
        found: RequestHead | ResponseHead = parse(raw)
    except ProtocolError as error:
        return error.status, error.message
    return facts(found)


def fresh_reading(raw: bytes, response: bool) -> object:
    """The reading without any memory: `strict` and h11 alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "read", lambda _: None)
        patch.setattr(heads, "_requests", Forms())
        patch.setattr(heads, "_responses", Forms())
        return reading(raw, response)


def assert_equal_readings(raw: bytes) -> None:
    """With what is remembered now, then by lines that are known, then by the form that was learnt of them."""
    for response in (False, True):
        expected = fresh_reading(raw, response)
        for _ in range(3):
            assert reading(raw, response) == expected


NAMES = st.sampled_from(
    [
        *lines.JUDGED,
        *lines.CREDENTIALS,
        *(
            b"te",
            b"date",
            b"x",
            b"x-stainless-lang",
            b"x-auth-token",
            b"accept",
            b"content_length",
            b"x y",
            b"",
        ),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                b"a",
                b"localhost:80",
                b"127.0.0.1",
                b"1.2.3.256",
                b"[::1]",
                b"a/b",
                b"5",
                b"05",
                b"5, 5",
                b"0",
            ),
            *(b"chunked", b"Chunked", b"gzip", b"close", b"Keep-Alive", b"close, x", b"100-continue", b"x"),
            *(
                b"",
                b" ",
                b"a\tb",
                b"a\xff",
                b"a\x00",
                b"a\x01",
                b"a\n b",
                b"a\rb",
                b"s3cret",
                b"Bearer s3cret",
            ),
        ]
    ),
    st.binary(max_size=6),
)
COLONS = st.sampled_from([b": ", b": ", b": ", b":", b":  ", b" :", b""])
SPELL = st.sampled_from([bytes.lower, bytes.title, bytes.upper])
LINES = st.one_of(
    st.builds(lambda name, spell, colon, value: spell(name) + colon + value, NAMES, SPELL, COLONS, VALUES),
    st.sampled_from([b" folded", b"", b"nothing", b"X: y", b"Accept: */*"]),
)
STARTS = st.sampled_from(
    [
        *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET http://a/ HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        *(b"GET / HTTP/1.0", b"GET /# HTTP/1.1", b"CONNECT / HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/2.0"),
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 204 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 101 x"),
    ]
)
ENDS = st.sampled_from([b"\r\n\r\n"] * 5 + [b"\r\n", b"\n\n", b"\r\n\r\n\r\n", b"\r\n\r\nX", b""])
RAW = st.builds(
    lambda start, text, end: b"\r\n".join([start, *text]) + end,
    STARTS,
    st.lists(LINES, max_size=5).map(lambda text: [b"Host: a", *text] if len(text) % 2 else text),
    ENDS,
)
