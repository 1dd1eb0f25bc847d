"""Heads are read as h11 reads them once grammar has passed them, and written so that both would pass them.

What a connection remembers of heads is `test_template`'s.
"""

import json
from pathlib import Path

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http1 import grammar
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import (
    FRAMING_FIELDS,
    Headers,
    parse_request_head,
    parse_response_head,
    render_lines,
    render_request_head,
)
from tests.http1.conformance import CASES
from tests.http1.heads import ANY, head, is_response

REAL: list[tuple[str, str, Headers]] = [
    (real["method"], real["path"], [(name.encode(), value.encode()) for name, value in real["headers"]])
    for path in sorted((Path(__file__).parents[2] / "fixtures").glob("*.json"))
    for real in json.loads(path.read_bytes())
]

# Reading.


def test_a_request() -> None:
    found = parse_request_head(head(b"POST /a?b HTTP/1.1", b"Host: a", b"X-Y:  c d ", b"x-y:"))
    assert (found.method, found.target, found.version) == ("POST", "/a?b", "1.1")
    assert found.headers == [(b"host", b"a"), (b"x-y", b"c d"), (b"x-y", b"")]
    assert found.get(b"x-y") == b"c d"
    assert found.get(b"x-z") is None


@pytest.mark.parametrize(
    ("lines", "version", "facts"),
    [
        # Keep-alive, length, chunked, expects 100.
        ([b"Host: a"], "1.1", (True, None, False, False)),
        ([b"Host: a", b"Connection: close"], "1.1", (False, None, False, False)),
        ([b"Host: a", b"Connection: keep-alive"], "1.1", (True, None, False, False)),
        ([b"Host: a", b"Connection: x, CLOSE"], "1.1", (False, None, False, False)),
        ([b"Host: a", b"Connection: x", b"Connection: close"], "1.1", (False, None, False, False)),
        ([b"Host: a", b"Connection: close", b"Connection: x"], "1.1", (False, None, False, False)),
        ([b"Host: a", b"Connection: closed"], "1.1", (True, None, False, False)),
        ([b"Host: a", b"Content-Length: 7"], "1.1", (True, 7, False, False)),
        ([b"Host: a", b"Content-Length: 0", b"X: y"], "1.1", (True, 0, False, False)),
        ([b"Host: a", b"Transfer-Encoding: chunked"], "1.1", (True, None, True, False)),
        ([b"Host: a", b"Transfer-Encoding: CHUNKED"], "1.1", (True, None, True, False)),
        ([b"Host: a", b"Expect: 100-continue", b"Content-Length: 7"], "1.1", (True, 7, False, True)),
        ([b"Host: a", b"Expect: 100-Continue"], "1.1", (True, None, False, True)),
        ([b"Connection: keep-alive", b"Expect: 100-continue"], "1.0", (False, None, False, False)),
    ],
)
def test_request_facts(lines: list[bytes], version: str, facts: tuple[bool, int | None, bool, bool]) -> None:
    found = parse_request_head(head(b"GET / HTTP/" + version.encode(), *lines))
    assert found.version == version
    assert (found.keep_alive, found.content_length, found.chunked, found.expects_continue) == facts


@pytest.mark.parametrize(
    ("target", "seen"), [(b"http://a/x?y", "/x?y"), (b"http://A:80", "/"), (b"/http://b", "/http://b")]
)
def test_a_target_is_a_path(target: bytes, seen: str) -> None:
    assert parse_request_head(head(b"GET " + target + b" HTTP/1.1", b"Host: a")).target == seen


@pytest.mark.parametrize(
    ("lines", "status", "version", "facts"),
    [
        # Keep-alive, length, chunked.
        ([b"HTTP/1.1 200 OK"], 200, "1.1", (True, None, False)),
        ([b"HTTP/1.1 200"], 200, "1.1", (True, None, False)),
        ([b"HTTP/1.1 404 Not  Found "], 404, "1.1", (True, None, False)),
        ([b"HTTP/1.1 200 \xff", b"Content-Length: 5"], 200, "1.1", (True, 5, False)),
        ([b"HTTP/1.1 100 Continue"], 100, "1.1", (True, None, False)),
        ([b"HTTP/1.1 103 Early Hints", b"Link: x"], 103, "1.1", (True, None, False)),
        ([b"HTTP/1.1 204 No Content"], 204, "1.1", (True, None, False)),
        ([b"HTTP/1.1 304 Not Modified", b"Content-Length: 5"], 304, "1.1", (True, 5, False)),
        ([b"HTTP/1.1 599 x"], 599, "1.1", (True, None, False)),
        ([b"HTTP/1.1 999 x"], 999, "1.1", (True, None, False)),
        ([b"HTTP/1.1 200 OK", b"Connection: Close"], 200, "1.1", (False, None, False)),
        ([b"HTTP/1.1 200 OK", b"Connection: close", b"Content-Length: 5"], 200, "1.1", (False, 5, False)),
        ([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"], 200, "1.1", (True, None, True)),
        (
            [b"HTTP/1.0 200 OK", b"Connection: keep-alive", b"Content-Length: 5"],
            200,
            "1.0",
            (False, 5, False),
        ),
    ],
)
def test_response_facts(
    lines: list[bytes], status: int, version: str, facts: tuple[bool, int | None, bool]
) -> None:
    found = parse_response_head(head(*lines, b"X: y", b"X: z"))
    assert (found.status, found.version) == (status, version)
    assert (found.keep_alive, found.content_length, found.chunked) == facts
    assert [found.get(name) for name in (b"x", b"x-none")] == [b"y", None]


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
    with pytest.raises(ProtocolError, match="upstream's response cannot be trusted") as caught:
        parse_response_head(raw)
    assert caught.value.status == 502


def test_equality_of_heads() -> None:
    lines = b"Host: a", b"X: y"
    request = parse_request_head(head(b"GET / HTTP/1.1", *lines))
    assert request == parse_request_head(head(b"GET / HTTP/1.1", b"host:a", b"x:  y"))
    assert request != parse_request_head(head(b"PUT / HTTP/1.1", *lines))
    assert request != request.headers
    response = parse_response_head(head(b"HTTP/1.1 200 OK", *lines))
    assert response == parse_response_head(head(b"HTTP/1.1 200 Fine", b"host:a", b"x:  y"))
    assert response != parse_response_head(head(b"HTTP/1.1 200 OK"))
    assert response != response.headers


def test_repr_of_heads_has_no_value() -> None:
    request = parse_request_head(head(b"GET /s3cret HTTP/1.1", b"Host: a", b"X-Api-Key: s3cret"))
    assert repr(request) == "<RequestHead [GET, HTTP/1.1, 2 fields]>"
    response = parse_response_head(head(b"HTTP/1.0 200 s3cret", b"Set-Cookie: s3cret"))
    assert repr(response) == "<ResponseHead [200, HTTP/1.0, 1 fields]>"


def test_h11_errors_after_the_grammar_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "check_request_head", lambda _: None)
    monkeypatch.setattr(grammar, "check_response_head", lambda _: None)
    with pytest.raises(ProtocolError, match="h11 refuses") as caught:
        parse_request_head(head(b"GET / HTTP/1.1"))
    assert caught.value.status == 400
    with pytest.raises(ProtocolError, match="h11 refuses") as caught:
        parse_response_head(head(b"HTTP/1.1 200 OK", b"X : y"))
    assert caught.value.status == 502


# Held to h11.

Reading = tuple[object, object, Headers, str]


def h11_reading(raw: bytes) -> Reading | None:
    """Return the head as h11 alone reads it; None for a head that it refuses."""
    connection = h11.Connection(h11.CLIENT if is_response(raw) else h11.SERVER, 100_000)
    if is_response(raw):
        connection.send(h11.Request(method="GET", target="/", headers=[(b"host", b"a")]))
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if isinstance(event, h11.Request):
        host = dict(event.headers).get(b"host")
        target = grammar.origin_form(event.method, event.target, host)
        return event.method.decode(), target.decode(), list(event.headers), event.http_version.decode()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    return event.status_code, None, list(event.headers), event.http_version.decode()


def assert_read_as_h11_reads(raw: bytes) -> None:
    found: Reading
    try:
        if is_response(raw):
            response = parse_response_head(raw)
            found = response.status, None, response.headers, response.version
        else:
            request = parse_request_head(raw)
            found = request.method, request.target, request.headers, request.version
    except ProtocolError:
        return
    assert found == h11_reading(raw)


def test_the_conformance_table() -> None:
    for case in CASES:
        for raw in (case.sent, case.sent[: case.sent.find(b"\r\n\r\n") + 4]):
            assert_read_as_h11_reads(raw)


@settings(max_examples=100)
@given(ANY)
def test_any_head(raw: bytes) -> None:
    assert_read_as_h11_reads(raw)


# Writing.


@pytest.mark.parametrize(("method", "target", "headers"), REAL)
def test_real_requests(method: str, target: str, headers: Headers) -> None:
    raw = head(f"{method} {target} HTTP/1.1".encode(), *map(b": ".join, headers))
    found = parse_request_head(raw)
    rendered = render_request_head(method, target, found.headers)
    again = parse_request_head(rendered)
    assert (again.facts, again.content_length) == (found.facts, found.content_length)
    assert again.headers == sorted(found.headers, key=lambda field: field[0] != b"host")


def test_a_request_is_written_with_host_first() -> None:
    headers = [(b"x", b""), (b"te", b"trailers"), (b"host", b"a"), (b"content-length", b"5")]
    assert render_request_head("POST", "/a", headers) == head(
        b"POST /a HTTP/1.1", b"host: a", b"x: ", b"te: trailers", b"content-length: 5"
    )


def test_connect_is_written_for_proxies() -> None:
    assert render_request_head("CONNECT", "a:443", [(b"host", b"a:443")]) == head(
        b"CONNECT a:443 HTTP/1.1", b"host: a:443"
    )


HOST = (b"host", b"a")
LENGTH = (b"content-length", b"5")


@pytest.mark.parametrize(
    ("method", "target", "headers", "words"),
    [
        ("GET", "/", [], "Host"),
        ("GET", "/", [HOST, HOST], "Host"),
        ("GET", "/\r\nX: y", [HOST], "target"),
        ("G T", "/", [HOST], "method"),
        ("GET", "/ä", [HOST], "ascii"),
        ("GET", "/", [HOST, (b"x", b"a\r\nb: c")], "value"),
        ("GET", "/", [HOST, (b"x", b"\x01")], "control byte"),
        ("GET", "/#", [HOST], "fragment"),
        ("GET", "/", [(b"host", b"a/b")], "host"),
        ("GET", "/", [HOST, (b"expect", b"x")], "100-continue"),
        ("GET", "/", [HOST, (b"content_length", b"5")], "content_length"),
        ("GET", "/", [HOST, (b"x:", b"y")], "name"),
        ("GET", "/", [HOST, (b"content-length", b"5, 5")], "plain decimal"),
        ("GET", "/", [HOST, LENGTH, LENGTH], "more than once"),
        ("GET", "/", [HOST, LENGTH, (b"Transfer-Encoding", b"chunked")], "both"),
    ],
)
def test_a_request_that_cannot_be_rendered(method: str, target: str, headers: Headers, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        render_request_head(method, target, headers)
    assert caught.value.status == 400


NAMES = st.sampled_from([*FRAMING_FIELDS, b"x", b"X-Api-Key", b"x-y", b"content_length", b"x y", b"", b"X:"])
VALUES = st.sampled_from(
    [b"a", b"", b" a", b"a ", b"a\r\nb: c", b"\x00", b"\xff", b"5", b"chunked"]
) | st.binary(max_size=4)
FIELDS = st.lists(st.tuples(NAMES, VALUES) | st.sampled_from([HOST, LENGTH]), max_size=4)


@settings(max_examples=100)
@given(
    st.sampled_from([("GET", "/"), ("POST", "/a b"), ("G T", "/"), ("PUT", "/ä"), ("CONNECT", "a:1")]), FIELDS
)
def test_rendered_heads_are_parsed_to_the_same_fields(start: tuple[str, str], headers: Headers) -> None:
    try:
        raw = render_request_head(*start, headers)
    except ProtocolError:
        return
    found = parse_request_head(raw.replace(b"CONNECT a:1", b"GET /", 1))
    assert start in ((found.method, found.target), ("CONNECT", "a:1"))
    lowered = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    coding = b"transfer-encoding"
    assert sorted(found.headers) == sorted((n, v.lower() if n == coding else v) for n, v in lowered)


@settings(max_examples=100)
@given(FIELDS)
def test_lines_are_fields_of_any_head_that_do_not_decide_about_it(headers: Headers) -> None:
    try:
        lines = render_lines(headers)
    except ProtocolError:
        return
    assert not {name for name, _ in headers} & FRAMING_FIELDS
    found = parse_response_head(b"HTTP/1.1 200 \r\n" + lines + b"content-length: 5\r\n\r\n")
    assert found.headers == [*headers, LENGTH]


@pytest.mark.parametrize(
    "headers", [[], [(b"x", b"y")], [(b"x", b"y"), (b"date", b"z")], [(b"x", b""), (b"x", b"\xff")]]
)
def test_lines(headers: Headers) -> None:
    assert render_lines(headers) == b"".join(b"%b: %b\r\n" % field for field in headers)


@pytest.mark.parametrize(
    "field",
    [
        *(*[(name, b"5") for name in FRAMING_FIELDS], (b"Content-Length", b"5"), (b"content_length", b"5")),
        *((b"x", b"a\r\nb: c"), (b"x", b"\x00"), (b"x y", b""), (b"X", b"y"), (b"x", b" y"), (b"", b"y")),
    ],
)
def test_lines_that_cannot_be_rendered(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ProtocolError, match="cannot be written") as caught:
        render_lines([(b"x-one", b"1"), field])
    assert caught.value.status == 502
