"""The checks on a head's raw bytes: each rule refuses what it names, and nothing else."""

import time

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http1 import grammar as strict
from gateway.http1.grammar import ProtocolError
from tests.http1.conformance import CASES

OK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*lines, b""))


def request(*fields: bytes) -> bytes:
    return head(b"POST /x HTTP/1.1", b"Host: a", *fields)


def start(line: bytes) -> bytes:
    return head(line, b"Host: a")


REFUSED = [
    (b"\r\n" + OK, 400, "before the request line"),
    (b" " + OK, 400, "before the request line"),
    (b"", 400, "an empty one"),
    (b"GET / HTTP/1.1\r\n", 400, "an empty one"),
    (OK + OK, 400, "an empty one"),
    (OK[:-2], 400, "an empty one"),
    (b"\x16\x03\x01\x02\x00", 400, "TLS"),
    (b"\x80\x2e\x01\x03\x01", 400, "TLS"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, "HTTP/2"),
    (OK.replace(b"\r\n", b"\n"), 400, "LF alone"),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "LF alone"),
    (request(b"X: a\rb"), 400, "not followed by LF"),
    (request(b"X: a\r"), 400, "not followed by LF"),
    (request(b"X: \x00"), 400, "control byte 0x00"),
    (request(b"X: \x7f"), 400, "control byte 0x7f"),
    (start(b"GET /"), 400, "METHOD target HTTP/1.1"),
    (start(b"GET / HTTP/1.1 "), 400, "METHOD target HTTP/1.1"),
    (start(b"GET /a b HTTP/1.1"), 400, "METHOD target HTTP/1.1"),
    (start(b"GET / http/1.1"), 400, "METHOD target HTTP/1.1"),
    (start(b"GET / HTTP/1.10"), 400, "METHOD target HTTP/1.1"),
    (start(b"GET / HTTP/2.0"), 505, "HTTP/1.1 and HTTP/1.0"),
    (start(b"GET / HTTP/0.9"), 505, "HTTP/1.1 and HTTP/1.0"),
    (start(b"G(T / HTTP/1.1"), 400, "method"),
    (start(b"/ / HTTP/1.1"), 400, "method"),
    (start(b"A" * 33 + b" / HTTP/1.1"), 501, "no method"),
    (start(b"CONNECT a:80 HTTP/1.1"), 400, "CONNECT"),
    (start(b"GET  HTTP/1.1"), 400, "percent-encoded"),
    (start(b"GET /\xff HTTP/1.1"), 400, "percent-encoded"),
    (start(b"GET /\t HTTP/1.1"), 400, "percent-encoded"),
    (start(b"GET /# HTTP/1.1"), 400, "fragment"),
    (start(b"GET * HTTP/1.1"), 400, "neither a path nor"),
    (start(b"GET a HTTP/1.1"), 400, "neither a path nor"),
    (start(b"GET ws://a/ HTTP/1.1"), 400, "neither a path nor"),
    (start(b"GET http://b/ HTTP/1.1"), 400, "another place"),
    (start(b"GET http://a:81/ HTTP/1.1"), 400, "another place"),
    (start(b"GET https://a:80/ HTTP/1.1"), 400, "another place"),
    (start(b"GET http://u@a/ HTTP/1.1"), 400, "does not give a host"),
    (head(b"GET http://a/ HTTP/1.0"), 400, "another place"),
    (request(b"X: a", b" b"), 400, "begins with a blank"),
    (request(b"\tX: a"), 400, "begins with a blank"),
    (request(b"nothing"), 400, "no colon"),
    (request(b"X : a"), 400, "between a field's name and its colon"),
    (request(b"X\t: a"), 400, "between a field's name and its colon"),
    (request(b": a"), 400, "name is empty"),
    (request(b"X\xe9: a"), 400, "name is empty or holds"),
    (request(b"Content_Length: 5"), 400, "content_length"),
    (request(b"transfer_encoding: chunked"), 400, "transfer_encoding"),
    (request(b"Host: a"), 400, "host is given more than once"),
    (request(b"Expect: 100-continue", b"Expect: 100-continue"), 400, "expect is given more"),
    (request(b"Content-Length: 5", b"Content-Length: 5"), 400, "content-length is given more"),
    (
        request(b"Transfer-Encoding: chunked", b"transfer-encoding: chunked"),
        400,
        "transfer-encoding is given",
    ),
    (request(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, "both given"),
    (request(b"Content-Length: 5, 5"), 400, "plain decimal"),
    (request(b"Content-Length: 05"), 400, "plain decimal"),
    (request(b"Content-Length: +5"), 400, "plain decimal"),
    (request(b"Content-Length:"), 400, "plain decimal"),
    (request(b"Content-Length: " + b"1" * 19), 400, "plain decimal"),
    (request(b"Transfer-Encoding: gzip, chunked"), 501, "only one known"),
    (request(b"Transfer-Encoding: identity"), 501, "only one known"),
    (request(b"Transfer-Encoding: chunked, chunked"), 400, "only one known"),
    (request(b"Transfer-Encoding:"), 400, "only one known"),
    (head(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"), 400, "HTTP/1.0 does not have"),
    (request(b"Expect: 200-ok"), 417, "100-continue"),
    (request(b"Expect:"), 417, "100-continue"),
    (head(b"GET / HTTP/1.1"), 400, "Host is missing"),
    (head(b"GET / HTTP/1.1", b"Host: a/b"), 400, "host is not of the form"),
]

ACCEPTED = [
    OK,
    head(b"GET / HTTP/1.0"),
    start(b"OPTIONS * HTTP/1.1"),
    start(b"GET HTTP://A:80/x HTTP/1.1"),
    start(b"GET https://a:443/x HTTP/1.1"),
    start(b"get / HTTP/1.1"),
    start(b"A" * 32 + b" / HTTP/1.1"),
    start(b"GET //b/../%00 HTTP/1.1"),
    request(b"X:", b"Y: \t ", b"Z: \xff\x80", b"x_y: z", b"!#$%&'*+-.^_`|~: x"),
    request(b"Content-Length: " + b"9" * 18),
    request(b"Content-Length:\t0 "),
    request(b"Transfer-Encoding: ChunKed"),
    request(b"Expect: 100-Continue"),
    request(b"Upgrade: h2c", b"Connection: upgrade"),
]

RESPONSES_REFUSED = [
    (head(b"HTTP/2 200 OK"), "status line"),
    (head(b"HTTP/1.2 200 OK"), "status line"),
    (head(b"http/1.1 200 OK"), "status line"),
    (head(b"HTTP/1.1 20 OK"), "status line"),
    (head(b"HTTP/1.1 099 OK"), "status line"),
    (head(b"HTTP/1.1  200 OK"), "status line"),
    (head(b"ICY 200 OK"), "status line"),
    (head(b"\tHTTP/1.1 200 OK"), "status line"),
    (b"\r\n" + head(b"HTTP/1.1 200 OK"), "an empty one"),
    (head(b"HTTP/1.1 200 O\x00K"), "control byte"),
    (head(b"HTTP/1.1 200 OK\rX"), "not followed by LF"),
    (head(b"HTTP/1.1 200 OK").replace(b"\r\n", b"\n"), "LF alone"),
    (head(b"HTTP/1.1 200 OK", b"X: a", b" b"), "begins with a blank"),
    (head(b"HTTP/1.1 200 OK", b"X : a"), "its colon"),
    (head(b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 5"), "more than once"),
    (head(b"HTTP/1.1 200 OK", b"Content-Length: 5, 5"), "plain decimal"),
    (head(b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Transfer-Encoding: chunked"), "both given"),
    (head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"), "only one known"),
    (head(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"), "HTTP/1.0 does not have"),
    (head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: h2c"), "switches protocols"),
    (head(b"HTTP/1.1 204 No Content", b"Content-Length: 5"), "204 has no body"),
    (head(b"HTTP/1.1 204 No Content", b"Transfer-Encoding: chunked"), "204 has no body"),
    (head(b"HTTP/1.1 100 Continue", b"Content-Length: 5"), "100 has no body"),
]

RESPONSES_ACCEPTED = [
    head(b"HTTP/1.1 200 OK"),
    head(b"HTTP/1.1 200 "),
    head(b"HTTP/1.1 200"),
    head(b"HTTP/1.1 200 Gr\xfc\xdfe, \tGott"),
    head(b"HTTP/1.0 200 OK", b"Content-Length: 5"),
    head(b"HTTP/1.1 100 Continue"),
    head(b"HTTP/1.1 103 Early Hints", b"Link: x"),
    head(b"HTTP/1.1 204 No Content", b"Content-Length: 0"),
    head(b"HTTP/1.1 304 Not Modified", b"Content-Length: 5"),
    head(b"HTTP/1.1 529 Overloaded", b"X:"),
]


@pytest.mark.parametrize(("raw", "status", "words"), REFUSED)
def test_request_refused(raw: bytes, status: int, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        strict.check_request_head(raw)
    assert caught.value.status == status
    assert str(caught.value) == caught.value.message


@pytest.mark.parametrize("raw", ACCEPTED)
def test_request_accepted(raw: bytes) -> None:
    strict.check_request_head(raw)


@pytest.mark.parametrize(("raw", "words"), RESPONSES_REFUSED)
def test_response_refused(raw: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        strict.check_response_head(raw)
    assert caught.value.status == 502


@pytest.mark.parametrize("raw", RESPONSES_ACCEPTED)
def test_response_accepted(raw: bytes) -> None:
    strict.check_response_head(raw)


@pytest.mark.parametrize("raw", ACCEPTED)
def test_no_prefix_of_a_valid_head_is_refused(raw: bytes) -> None:
    for end in range(len(raw) + 1):
        strict.check_beginning(bytearray(raw[:end]))


@pytest.mark.parametrize(
    ("raw", "status", "needed"),
    [
        (b"\x16\x03\x01", 400, 1),
        (b"PRI * HTTP/2.0\r\n\r\n", 0, 16),
        (b" GET", 400, 1),
        (b"\r\nGET", 400, 1),
        (b"GET / HTTP/1.1\nHost", 400, 15),
        (b"GET / HTTP/1.1\rHost", 400, 16),
        (b"GET /\x00", 400, 6),
    ],
)
def test_an_invalid_prefix_is_refused_at_once(raw: bytes, status: int, needed: int) -> None:
    strict.check_beginning(raw[: needed - 1])
    with pytest.raises(ProtocolError) as caught:
        strict.check_beginning(raw[:needed])
    assert caught.value.status == status


@pytest.mark.parametrize(
    "raw",
    [
        request(b"Authorization: sk-secret\x00"),
        request(b"Authorization: sk-secret", b" sk-secret"),
        request(b"Content-Length: sk-secret"),
        request(b"Transfer-Encoding: sk-secret"),
        request(b"Expect: sk-secret"),
        request(b"sk-secret"),
        start(b"GET /#sk-secret HTTP/1.1"),
        start(b"GET sk-secret HTTP/1.1"),
        start(b"GET http://sk-secret/ HTTP/1.1"),
        head(b"GET / HTTP/1.1", b"Host: sk-secret@a"),
    ],
)
def test_messages_never_quote_a_value(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        strict.check_request_head(raw)
    assert "sk-secret" not in caught.value.message


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"a", ("a", None)),
        (b"LocalHost:8045", ("localhost", 8045)),
        (b"a.example.", ("a.example", None)),
        (b"my_service:1", ("my_service", 1)),
        (b"127.0.0.1:65535", ("127.0.0.1", 65535)),
        (b"255.249.199.9", ("255.249.199.9", None)),
        (b"1.2.3.4.", ("1.2.3.4", None)),
        (b"4.a", ("4.a", None)),
        (b"a." * 126 + b"b.", ("a." * 126 + "b", None)),
        (b"[::1]:80", ("::1", 80)),
        (b"[::]", ("::", None)),
        (b"[1::]", ("1::", None)),
        (b"[2001:DB8:0:0:0:0:0:1]", ("2001:db8:0:0:0:0:0:1", None)),
        (b"[1:2:3:4:5:6:7::]", ("1:2:3:4:5:6:7::", None)),
        (b"[::ffff:192.0.2.1]", ("::ffff:192.0.2.1", None)),
        (b"[1:2:3:4:5:6:192.0.2.1]", ("1:2:3:4:5:6:192.0.2.1", None)),
    ],
)
def test_split_host(value: bytes, parts: tuple[str, int | None]) -> None:
    assert strict.split_host(value) == parts


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" a", b"a ", b"a/b", b"a?", b"a#", b"u@a", b"a, b", b"a b", b"a\\b", b"a%41", b"\xe4", b"*"),
        *(b"a:", b"a:0", b"a:080", b"a:x", b"a:65536", b"a:123456", b"a:1:2", b":80"),
        *(b".", b"a..b", b".a", b"a..", b"a" * 254),
        *(b"1", b"127.1", b"1.2.3.256", b"1.2.3.04", b"1.2.3.4.5", b"a.1"),
        *(b"::1", b"[::1", b"::1]", b"[]", b"[:]", b"[:::]", b"[1::2::3]", b"[1:2:3:4:5:6:7]"),
        *(b"[1:2:3:4:5:6:7:8:9]", b"[1:2:3:4:5:6:7:8::]", b"[12345::]", b"[g::]", b"[::1%1]", b"[1.2.3.4]"),
        *(b"[1.2.3.4::]", b"[::1.2.3.256]", b"[:1]", b"[1:]", b"[::1]a", b"[::1]:", b"a[::1]"),
    ],
)
def test_split_host_refuses(value: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        strict.split_host(value)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (b"http://a", ("a", None)),
        (b"http://A:80", ("a", None)),
        (b"HTTPS://a:443", ("a", None)),
        (b"http://a:443", ("a", 443)),
        (b"http://127.0.0.1:8045", ("127.0.0.1", 8045)),
        (b"http://[::1]:8045", ("::1", 8045)),
        (b"vscode-webview://0a1b2c", ("0a1b2c", None)),
        (b"null", None),
    ],
)
def test_origin_host(value: bytes, place: tuple[str, int | None] | None) -> None:
    assert strict.origin_host(value) == place


@pytest.mark.parametrize(
    "value",
    [b"", b"a", b"//a", b"http://", b"http://a/", b"http://a?", b"http://a b", b"http://u@a", b"NULL"],
)
def test_origin_host_refuses(value: bytes) -> None:
    with pytest.raises(ProtocolError, match="origin"):
        strict.origin_host(value)


@pytest.mark.parametrize(
    ("method", "target", "form"),
    [
        (b"GET", b"/a?b", b"/a?b"),
        (b"GET", b"//a", b"//a"),
        (b"OPTIONS", b"*", b"*"),
        (b"OPTIONS", b"http://a", b"*"),
        (b"OPTIONS", b"http://a/", b"/"),
        (b"OPTIONS", b"http://a?b", b"/?b"),
        (b"GET", b"http://a", b"/"),
        (b"GET", b"http://a?b", b"/?b"),
        (b"GET", b"http://A:80/b?c", b"/b?c"),
    ],
)
def test_origin_form(method: bytes, target: bytes, form: bytes) -> None:
    assert strict.origin_form(method, target, b"a") == form


def test_read_field() -> None:
    assert strict.read_field(b"X-Name: \t a b\t ") == (b"x-name", b"a b")
    with pytest.raises(ProtocolError, match="the value of X holds a control byte"):
        strict.read_field(b"X: \x01")


def h11_reads(raw: bytes) -> bool:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return False
    return isinstance(event, h11.Request) and connection.trailing_data[0] == b""


HEADS = st.sampled_from(
    [*ACCEPTED, *(raw for raw, _, _ in REFUSED), *(c.sent for c in CASES if len(c.sent) < 600)]
)
JUNK = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\x00", b"\x0b", b"\x85", b"_", b"5", b"#", b","]
)


@settings(max_examples=100)
@given(HEADS, st.lists(st.tuples(st.integers(0, 600), st.integers(0, 2), JUNK), max_size=3))
def test_accepted_heads_are_one_head_for_h11(raw: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    for at, drop, junk in edits:
        raw = raw[:at] + junk + raw[at + drop :]
    try:
        strict.check_request_head(raw)
    except ProtocolError:
        return
    assert h11_reads(raw)
    assert raw.endswith(b"\r\n\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")


@pytest.mark.parametrize(
    "line",
    [
        *(b"X:" + b" " * 32000, b"X: " + b"a " * 16000, b"X" * 32000, b"X:" + b"\t" * 32000 + b"\x01"),
        *(b"Transfer-Encoding: " + b"a, " * 10000, b"Host: " + b"a." * 16000, b"Host: [" + b":" * 32000),
    ],
)
def test_patterns_take_linear_time(line: bytes) -> None:
    began = time.thread_time()
    try:
        strict.check_request_head(head(b"GET / HTTP/1.1", line))
    except ProtocolError:
        pass
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n"),
        (b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", b"\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", b"\n\n"),
        (b"a\n\r\n", b"b\n\n"),
        (b"\n\n", b""),
        (b"\n\r\n", b""),
        (b"\r\n\r\n", b"\n\n"),
    ],
)
def test_end_of_head(head: bytes, rest: bytes) -> None:
    assert [strict.head_end(head[:size]) for size in range(len(head))] == [-1] * len(head)
    assert strict.head_end(head + rest) == strict.head_end(head) == len(head)
