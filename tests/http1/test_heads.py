"""Heads are read and written as h11 would, whether by h11 or from lines that it accepted before."""

import json
from collections.abc import Iterator
from pathlib import Path

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http1 import grammar as strict
from gateway.http1 import lines
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import (
    Headers,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
    render_lines,
    render_request_head,
    render_response_head,
)
from tests.http1.conformance import CASES, Case
from tests.http1.readings import (
    NAMES,
    RAW,
    VALUES,
    assert_equal_readings,
    assert_nothing_secret_is_kept,
    forget,
    head,
)

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures").glob("*.json"))


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    forget()
    yield
    forget()


REAL: list[tuple[str, str, Headers]] = [
    (real["method"], real["path"], [(name.encode(), value.encode()) for name, value in real["headers"]])
    for path in FIXTURES
    for real in json.loads(path.read_bytes())
]


def written(method: str, target: str, headers: Headers) -> bytes:
    return head(f"{method} {target} HTTP/1.1".encode(), *(b"%b: %b" % field for field in headers))


def no_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("h11 was asked")

    monkeypatch.setattr(h11, "Connection", fail)
    monkeypatch.setattr(h11, "Request", fail)
    monkeypatch.setattr(h11, "Response", fail)


# Reading.


def test_a_request() -> None:
    found = parse_request_head(head(b"POST /a?b HTTP/1.1", b"Host: a", b"X-Y:  c d ", b"x-y:"))
    assert found == RequestHead("POST", "/a?b", [(b"host", b"a"), (b"x-y", b"c d"), (b"x-y", b"")], "1.1")
    assert found.get(b"x-y") == b"c d"
    assert found.get(b"x-z") is None
    assert found.all(b"x-y") == [b"c d", b""]
    assert found != (found.method, found.target, found.headers, found.version)


WAYS = ("the long way", "by lines that are known", "by a form that is known")

FACTS = [
    ([b"Host: a"], "1.1", (True, None, False, False)),
    ([b"Host: a", b"Connection: close"], "1.1", (False, None, False, False)),
    ([b"Host: a", b"Connection: keep-alive"], "1.1", (True, None, False, False)),
    ([b"Host: a", b"Connection: x, CLOSE"], "1.1", (False, None, False, False)),
    ([b"Host: a", b"Connection: x", b"Connection: close"], "1.1", (False, None, False, False)),
    ([b"Host: a", b"Connection: closed"], "1.1", (True, None, False, False)),
    ([b"Host: a", b"Content-Length: 7"], "1.1", (True, 7, False, False)),
    ([b"Host: a", b"Content-Length: 0", b"X: y"], "1.1", (True, 0, False, False)),
    ([b"Host: a", b"Transfer-Encoding: chunked"], "1.1", (True, None, True, False)),
    ([b"Host: a", b"Transfer-Encoding: CHUNKED"], "1.1", (True, None, True, False)),
    ([b"Host: a", b"Expect: 100-continue", b"Content-Length: 7"], "1.1", (True, 7, False, True)),
    ([b"Host: a", b"Expect: 100-Continue"], "1.1", (True, None, False, True)),
    ([b"Connection: keep-alive", b"Expect: 100-continue"], "1.0", (False, None, False, False)),
]


@pytest.mark.parametrize(("text", "version", "facts"), FACTS)
def test_what_a_request_says_about_itself(
    text: list[bytes], version: str, facts: tuple[bool, int | None, bool, bool]
) -> None:
    raw = head(b"GET / HTTP/" + version.encode(), *text)
    for _ in WAYS:
        found = parse_request_head(raw)
        assert found.version == version
        assert (found.keep_alive, found.content_length, found.chunked, found.expects_continue) == facts
    made = RequestHead(found.method, found.target, found.headers, version)
    assert (made.keep_alive, made.content_length, made.chunked, made.expects_continue) == facts


@pytest.mark.parametrize(
    ("target", "seen"), [(b"http://a/x?y", "/x?y"), (b"http://A:80", "/"), (b"/http://b", "/http://b")]
)
def test_a_target_is_a_path(target: bytes, seen: str) -> None:
    assert parse_request_head(head(b"GET " + target + b" HTTP/1.1", b"Host: a")).target == seen


RESPONSES = [
    (head(b"HTTP/1.1 200 OK", b"Content-Length: 5"), ResponseHead(200, b"OK", [(b"content-length", b"5")], "1.1")),
    (head(b"HTTP/1.1 200"), ResponseHead(200, b"", [], "1.1")),
    (head(b"HTTP/1.1 200 "), ResponseHead(200, b"", [], "1.1")),
    (head(b"HTTP/1.1 404 Not  Found "), ResponseHead(404, b"Not  Found ", [], "1.1")),
    (head(b"HTTP/1.1 200 \xff"), ResponseHead(200, b"\xff", [], "1.1")),
    (head(b"HTTP/1.1 100 Continue"), ResponseHead(100, b"Continue", [], "1.1")),
    (head(b"HTTP/1.1 103 Early Hints", b"Link: x"), ResponseHead(103, b"Early Hints", [(b"link", b"x")], "1.1")),
    (head(b"HTTP/1.1 204 No Content"), ResponseHead(204, b"No Content", [], "1.1")),
    (head(b"HTTP/1.1 304 Not Modified", b"Content-Length: 5"),
     ResponseHead(304, b"Not Modified", [(b"content-length", b"5")], "1.1")),
    (head(b"HTTP/1.0 200 OK", b"X:y"), ResponseHead(200, b"OK", [(b"x", b"y")], "1.0")),
    (head(b"HTTP/1.1 599 x"), ResponseHead(599, b"x", [], "1.1")),
    (head(b"HTTP/1.1 999 x"), ResponseHead(999, b"x", [], "1.1")),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), RESPONSES)
def test_a_response(raw: bytes, expected: ResponseHead) -> None:
    for _ in WAYS:
        assert parse_response_head(raw) == expected


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ([b"HTTP/1.1 200 OK"], (True, None, False)),
        ([b"HTTP/1.1 200 OK", b"Connection: Close"], (False, None, False)),
        ([b"HTTP/1.1 200 OK", b"Connection: close", b"Content-Length: 5"], (False, 5, False)),
        ([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"], (True, None, True)),
        ([b"HTTP/1.0 200 OK", b"Connection: keep-alive", b"Content-Length: 5"], (False, 5, False)),
    ],
)
def test_what_a_response_says_about_itself(text: list[bytes], facts: tuple[bool, int | None, bool]) -> None:
    raw = head(*text, b"X: y", b"X: z")
    for known in (parse_response_head(raw), parse_response_head(raw), parse_response_head(raw)):
        assert (known.keep_alive, known.content_length, known.chunked) == facts
        assert known.get(b"x") == b"y"
        assert known.all(b"x") == [b"y", b"z"]
        assert known != known.headers


@pytest.mark.parametrize(
    "raw",
    [
        head(b"HTTP/1.1 204 No Content", b"Content-Length: 5"),
        head(b"HTTP/1.1 101 Switching Protocols"),
        head(b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        head(b"HTTP/1.1 200 OK")[:-2],
        b"",
    ],
)
def test_a_response_that_is_refused(raw: bytes) -> None:
    for _ in ("the long way", "with a memory"):
        with pytest.raises(ProtocolError, match="upstream") as caught:
            parse_response_head(raw)
        assert caught.value.status == 502


def test_h11_is_the_judge_behind_the_strict_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict, "check_request_head", lambda _: None)
    monkeypatch.setattr(strict, "check_response_head", lambda _: None)
    with pytest.raises(ProtocolError, match="h11 refuses") as caught:
        parse_request_head(head(b"GET / HTTP/1.1"))
    assert caught.value.status == 400
    with pytest.raises(ProtocolError, match="h11 refuses") as caught:
        parse_response_head(head(b"HTTP/1.1 200 OK", b"X : y"))
    assert caught.value.status == 502


# Memory.


@pytest.mark.parametrize(("method", "target", "headers"), REAL)
def test_real_heads_need_h11_once(
    method: str, target: str, headers: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = written(method, target, headers)
    first = parse_request_head(raw)
    rendered = render_request_head(method, target, first.headers)
    with monkeypatch.context() as patch:
        no_long_way(patch)
        for is_known in (False, True):
            again = parse_request_head(raw)
            assert again == first
            assert again.content_length == first.content_length
            assert (again.form is not None) is is_known
        assert render_request_head(method, target, again.headers) == rendered
    assert parse_request_head(rendered).headers == sorted(first.headers, key=lambda f: f[0] != b"host")


def test_a_typical_answer_needs_h11_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fields(number: int) -> Headers:
        return [
            (b"content-type", b"text/event-stream"),
            (b"request-id", b"req_%d" % number),
            (b"anthropic-ratelimit-tokens-remaining", b"%d" % number),
            (b"date", b"Tue, 01 Oct 2030 10:10:%02d GMT" % number),
            (b"transfer-encoding", b"chunked"),
        ]

    def answer(number: int) -> bytes:
        return head(b"HTTP/1.1 200 OK", *(b"%b: %b" % field for field in fields(number)))

    parse_response_head(answer(1))
    render_response_head(200, fields(1))
    no_long_way(monkeypatch)
    for number in (2, 3):
        found = parse_response_head(answer(number))
        assert found == ResponseHead(200, b"OK", fields(number), "1.1")
        assert found.chunked
        assert render_response_head(200, fields(number)) == answer(number).replace(b"OK", b"")
    assert found.form is not None


def h11_reading(raw: bytes) -> tuple[str, str, Headers, str]:
    connection = h11.Connection(h11.SERVER, 100_000)
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    headers = list(event.headers)
    host = dict(headers).get(b"host")
    target = strict.origin_form(event.method, event.target, host)
    return event.method.decode(), target.decode(), headers, event.http_version.decode()


def heads_of(sent: bytes) -> list[bytes]:
    """What a server may take for a head in the bytes of a conformance case."""
    end = sent.find(b"\r\n\r\n") + 4
    return [sent, sent[:end]] if end >= 4 else [sent]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_memory_makes_no_difference_to_the_conformance_table(case: Case) -> None:
    for other in REAL[:3]:
        parse_request_head(written(*other))
    parse_request_head(head(b"GET / HTTP/1.1", b"Host: a", b"X: y", b"Accept: */*"))
    for raw in heads_of(case.sent):
        assert_equal_readings(raw)
        try:
            found = parse_request_head(raw)
        except ProtocolError:
            continue
        assert (found.method, found.target, found.headers, found.version) == h11_reading(raw)


@settings(max_examples=200, deadline=None)
@given(st.lists(RAW, min_size=1, max_size=3))
def test_memory_makes_no_difference_to_hostile_heads(raws: list[bytes]) -> None:
    for raw in raws:
        assert_equal_readings(raw)
    assert_nothing_secret_is_kept()
    for line, field in lines._read.items():
        assert strict.read_field(line) == field


def rendering(start: tuple[str, str] | int, headers: Headers, reason: bytes) -> object:
    try:
        if isinstance(start, int):
            return render_response_head(start, headers, reason)
        return render_request_head(*start, headers)
    except ProtocolError as error:
        return error.status, error.message


FIELDS = st.lists(
    st.one_of(
        st.tuples(NAMES, VALUES),
        st.sampled_from([(b"host", b"a"), (b"x", b"y"), (b"Host", b"b"), (b"X-API-KEY", b"s3cret")]),
    ),
    max_size=5,
)
RENDERED = st.sampled_from(
    [
        ("GET", "/"),
        ("POST", "/a b"),
        ("G T", "/"),
        ("PUT", "/ä"),
        ("CONNECT", "a:1"),
        200,
        204,
        100,
        101,
        99,
        700,
    ]
)


@settings(max_examples=200, deadline=None)
@given(RENDERED, FIELDS, st.sampled_from([b"", b"OK", b"\xff", b"a\r\nb: c"]))
def test_what_is_written_is_strict_and_memory_makes_no_difference(
    start: tuple[str, str] | int, headers: Headers, reason: bytes
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "write", lambda _: None)
        expected = rendering(start, headers, reason)
    assert rendering(start, headers, reason) == expected
    assert rendering(start, headers, reason) == expected
    assert_nothing_secret_is_kept()
    if not isinstance(expected, bytes):
        return
    found: RequestHead | ResponseHead
    if isinstance(start, int):
        found = parse_response_head(expected)
        assert (found.status, found.reason) == (start, reason)
    else:
        found = parse_request_head(expected.replace(b"CONNECT a:1", b"GET /", 1))
        assert (found.method, found.target) == start or start[0] == "CONNECT"
    coding = b"transfer-encoding"
    expected_headers = [
        (name.lower(), value.lower() if name.lower() == coding else value) for name, value in headers
    ]
    assert sorted(found.headers) == sorted(expected_headers)


# Writing.


def test_a_request_is_written_with_host_first() -> None:
    headers = [(b"x", b""), (b"te", b"trailers"), (b"host", b"a"), (b"content-length", b"5")]
    expected = head(b"POST /a HTTP/1.1", b"host: a", b"x: ", b"te: trailers", b"content-length: 5")
    assert render_request_head("POST", "/a", headers) == expected
    assert render_request_head("POST", "/a", headers) == expected


def test_connect_is_written_for_proxies() -> None:
    assert render_request_head("CONNECT", "a:443", [(b"host", b"a:443")]) == head(
        b"CONNECT a:443 HTTP/1.1", b"host: a:443"
    )


def test_a_response_is_written() -> None:
    for _ in ("the long way", "from memory"):
        assert render_response_head(200, [(b"x", b"y")]) == head(b"HTTP/1.1 200 ", b"x: y")
    assert render_response_head(103, [(b"link", b"x")], b"Early Hints") == head(
        b"HTTP/1.1 103 Early Hints", b"link: x"
    )
    assert render_response_head(204, [(b"content-length", b"0")]) == head(
        b"HTTP/1.1 204 ", b"content-length: 0"
    )


@pytest.mark.parametrize(
    ("method", "target", "headers", "words"),
    [
        ("GET", "/", [], "Host"),
        ("GET", "/", [(b"host", b"a"), (b"host", b"a")], "Host"),
        ("GET", "/\r\nX: y", [(b"host", b"a")], "target"),
        ("G T", "/", [(b"host", b"a")], "method"),
        ("GET", "/ä", [(b"host", b"a")], "ascii"),
        ("GET", "/", [(b"host", b"a"), (b"x", b"a\r\nb: c")], "value"),
        ("GET", "/", [(b"host", b"a"), (b"x", b"\x01")], "control byte"),
        ("GET", "/#", [(b"host", b"a")], "fragment"),
        ("GET", "/", [(b"host", b"a/b")], "host"),
        ("GET", "/", [(b"host", b"a"), (b"expect", b"x")], "100-continue"),
        ("GET", "/", [(b"host", b"a"), (b"content_length", b"5")], "content_length"),
        ("GET", "/", [(b"host", b"a"), (b"x:", b"y")], "name"),
        ("GET", "/", [(b"host", b"a"), (b"content-length", b"5, 5")], "plain decimal"),
        (
            "GET",
            "/",
            [(b"host", b"a"), (b"content-length", b"5"), (b"content-length", b"5")],
            "more than once",
        ),
        (
            "GET",
            "/",
            [(b"host", b"a"), (b"content-length", b"5"), (b"Transfer-Encoding", b"chunked")],
            "both",
        ),
    ],
)
def test_a_request_that_is_not_written(method: str, target: str, headers: Headers, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        render_request_head(method, target, headers)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("status", "headers", "reason", "words"),
    [
        (200, [(b"x", b"\x00")], b"", "value"),
        (200, [(b"x", b"\x7f")], b"", "control byte"),
        (200, [], b"a\r\nb: c", "reason"),
        (200, [], b"a\n", "reason"),
        (200, [], b"a\x00", "control byte"),
        (99, [], b"", "status_code"),
        (1000, [], b"", "status_code"),
        (101, [], b"", "switches protocols"),
        (204, [(b"transfer-encoding", b"chunked")], b"", "204 has no body"),
        (200, [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], b"", "both"),
    ],
)
def test_a_response_that_is_not_written(status: int, headers: Headers, reason: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        render_response_head(status, headers, reason)
    assert caught.value.status == 502


LINES = b"date: x\r\ncontent-length: 0\r\nconnection: close\r\n"


@pytest.mark.parametrize(
    ("status", "headers", "reason", "sent"),
    [
        (200, [], b"", b"HTTP/1.1 200 \r\n" + LINES + b"\r\n"),
        (200, [(b"x", b"y")], b"", b"HTTP/1.1 200 \r\n" + LINES + b"x: y\r\n\r\n"),
        (599, [], b"No", b"HTTP/1.1 599 No\r\n" + LINES + b"\r\n"),
        (204, [], b"", b"HTTP/1.1 204 \r\n" + LINES + b"\r\n"),
    ],
)
def test_lines_that_were_written_before_come_first(
    status: int, headers: Headers, reason: bytes, sent: bytes
) -> None:
    for _ in WAYS:
        assert render_response_head(status, headers, reason, LINES) == sent


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([(b"content-length", b"0")], "more than once"),
        ([(b"transfer-encoding", b"chunked")], "both"),
        ([(b"x", b"a\r\nb: c")], "value"),
    ],
)
def test_what_lines_that_were_written_before_do_not_allow(headers: Headers, words: str) -> None:
    for _ in WAYS:
        with pytest.raises(ProtocolError, match=words) as caught:
            render_response_head(200, headers, b"", LINES)
        assert caught.value.status == 502


@pytest.mark.parametrize(
    "headers", [[], [(b"x", b"y")], [(b"x", b"y"), (b"date", b"z")], [(b"x", b""), (b"x", b"\xff")]]
)
def test_lines_to_be_written_later(headers: Headers) -> None:
    for _ in WAYS:
        known = render_lines(headers)
        assert known == b"".join(b"%b: %b\r\n" % field for field in headers)
        assert render_response_head(200, [], b"", known) == render_response_head(200, headers)


@pytest.mark.parametrize(
    "field",
    [
        *((b"content-length", b"5"), (b"Content-Length", b"5"), (b"content-length", b"5, 5")),
        *((b"transfer-encoding", b"chunked"), (b"connection", b"close, x"), (b"host", b"a")),
        *((b"x", b"a\r\nb: c"), (b"x", b"\x00"), (b"x y", b"")),
    ],
)
def test_lines_that_are_not_written(field: lines.Field) -> None:
    for _ in WAYS:
        with pytest.raises(ProtocolError, match="cannot be written") as caught:
            render_lines([(b"x-one", b"1"), field])
        assert caught.value.status == 502


def test_heads_show_no_value() -> None:
    asked = parse_request_head(head(b"GET /s3cret HTTP/1.1", b"Host: a", b"X-Api-Key: s3cret"))
    assert repr(asked) == "<RequestHead [GET, HTTP/1.1, 2 fields]>"
    answered = parse_response_head(head(b"HTTP/1.0 200 s3cret", b"Set-Cookie: s3cret"))
    assert repr(answered) == "<ResponseHead [200, HTTP/1.0, 1 fields]>"
