"""Head fields of answers: what of an upstream's comes through, and what is told about the way."""

from typing import Any

import pytest

from gateway.config import Server
from gateway.http1.forms import MAX_FORMS
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import (
    Headers,
    ResponseHead,
    parse_response_head,
    render_lines,
    render_response_head,
)
from gateway.proxy import response_headers as headers
from gateway.proxy.response_headers import (
    STREAM_HEADERS,
    STREAM_LINES,
    content_type_line,
    kept_headers,
    kept_lines,
    masked,
    shown_account,
    way_headers,
    way_lines,
    with_request_id,
)
from tests.http1.readings import forget, head


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"request-id", True),
        (b"retry-after", True),
        (b"retry-after-ms", True),
        (b"x-should-retry", True),
        (b"anthropic-ratelimit-requests-reset", True),
        (b"anthropic-organization-id", True),
        (b"content-type", False),
        (b"content-length", False),
        (b"content-encoding", False),
        (b"transfer-encoding", False),
        (b"connection", False),
        (b"keep-alive", False),
        (b"date", False),
        (b"server", False),
        (b"set-cookie", False),
        (b"location", False),
        (b"access-control-allow-origin", False),
        (b"x-account-email", False),
        (b"x-anthropic-key", False),
    ],
)
def test_what_of_an_upstreams_head_a_client_sees(name: bytes, kept: bool) -> None:
    assert kept_headers([(name, b"1")]) == ([(name, b"1")] if kept else [])


def test_their_order_and_repetition_stay() -> None:
    fields = [(b"anthropic-b", b"2"), (b"retry-after", b"1"), (b"anthropic-b", b"1")]
    assert kept_headers([(b"server", b"x"), *fields]) == fields


def test_an_answer_has_one_request_id() -> None:
    assert with_request_id([(b"a", b"b")], "req_ours") == [(b"a", b"b"), (b"request-id", b"req_ours")]
    theirs = [(b"request-id", b"req_theirs"), (b"a", b"b")]
    assert with_request_id(theirs, "req_ours") == theirs


ANSWERS: list[tuple[list[bytes], Headers]] = [
    ([], [(b"request-id", b"req_ours")]),
    ([b"Server: x", b"Set-Cookie: s3cret"], [(b"request-id", b"req_ours")]),
    ([b"Request-Id: req_1"], [(b"request-id", b"req_1")]),
    (
        [
            b"Date: x",
            b"retry-after: 1",
            b"X:y",
            b"Anthropic-B:  2 ",
            b"X-Should-Retry: true",
            b"anthropic-b: 1",
        ],
        [
            *((b"retry-after", b"1"), (b"anthropic-b", b"2"), (b"x-should-retry", b"true")),
            *((b"anthropic-b", b"1"), (b"request-id", b"req_ours")),
        ],
    ),
    (
        [b"anthropic-ratelimit-tokens-limit: 5", b"Content-Length: 7", b"request-id: a", b"request-id: b"],
        [(b"anthropic-ratelimit-tokens-limit", b"5"), (b"request-id", b"a"), (b"request-id", b"b")],
    ),
]


def in_lines(lines: bytes) -> Headers:
    """The fields that these lines are."""
    return parse_response_head(b"HTTP/1.1 200 \r\n" + lines + b"\r\n").headers


def answered(text: list[bytes]) -> list[ResponseHead]:
    """An answer's head as it is read for the first time, and when its form is known."""
    forget()
    raw = head(b"HTTP/1.1 200 OK", *text)
    first, _, last = (parse_response_head(raw) for _ in range(3))
    assert [each.form is not None for each in (first, last)] == [False, True]
    return [first, last]


@pytest.mark.parametrize(("text", "fields"), ANSWERS)
def test_lines_are_kept_as_fields_are(text: list[bytes], fields: Headers) -> None:
    for answer in answered(text):
        for _ in ("the first time", "again"):
            assert in_lines(kept_lines(answer, "req_ours")) == fields


def test_lines_of_a_form_are_of_this_answer() -> None:
    *_, answer = answered([b"request-id: one", b"anthropic-a: b", b"retry-after: 1"])
    kept_lines(answer, "req_ours")
    other = parse_response_head(
        head(b"HTTP/1.1 200 OK", b"request-id: two", b"anthropic-a: b", b"retry-after: 2")
    )
    assert other.form is answer.form
    assert kept_lines(other, "req_ours") == b"request-id: two\r\nanthropic-a: b\r\nretry-after: 2\r\n"


def test_what_is_known_of_forms_is_bounded() -> None:
    for number in range(2 * MAX_FORMS):
        *_, answer = answered([b"X: %d" % number, b"retry-after: 1"])
        assert kept_lines(answer, "req_1") == b"retry-after: 1\r\nrequest-id: req_1\r\n"
        assert len(headers._picks) <= MAX_FORMS


def test_lines_of_the_gateways_own() -> None:
    assert render_lines(STREAM_HEADERS) == STREAM_LINES
    for _ in ("the first time", "again"):
        assert content_type_line(b"text/event-stream; charset=utf-8") == (
            b"content-type: text/event-stream; charset=utf-8\r\n"
        )
        assert way_lines("full", "a@x", "m", 2) == (
            b"x-account-email: a@x\r\nx-mapped-model: m\r\nx-gateway-attempts: 2\r\n"
        )
        assert way_lines("none", "a@x", "m", 1) == b""
        assert way_lines("masked", "a@x", "m", 1) == b"x-account-email: a***@x\r\nx-mapped-model: m\r\n"
        with pytest.raises(ProtocolError):
            content_type_line(b"a\r\nb: c")


@pytest.mark.parametrize(
    ("account", "shown"),
    [
        ("work@example.com", "w***@example.com"),
        ("w@example.com", "w***@example.com"),
        ("local", "l***"),
        ("é@x", "é***@x"),
        ("@x", "***@x"),
        ("", "***"),
    ],
)
def test_a_masked_account(account: str, shown: str) -> None:
    assert masked(account) == shown


@pytest.mark.parametrize(
    ("expose", "attempts", "expected"),
    [
        ("full", 1, {"x-account-email": "work@example.com", "x-mapped-model": "glm-4.7"}),
        (
            "full",
            2,
            {"x-account-email": "work@example.com", "x-mapped-model": "glm-4.7", "x-gateway-attempts": "2"},
        ),
        ("masked", 1, {"x-account-email": "w***@example.com", "x-mapped-model": "glm-4.7"}),
        ("none", 1, {}),
        ("none", 3, {"x-gateway-attempts": "3"}),
    ],
)
def test_who_served_a_request(expose: Any, attempts: int, expected: dict[str, str]) -> None:
    fields = way_headers(Server(expose=expose), "work@example.com", "glm-4.7", attempts)
    assert {name.decode(): value.decode() for name, value in fields} == expected


def test_nobody_is_named_where_nobody_served() -> None:
    assert way_headers(Server(), "", "", 2) == [(b"x-gateway-attempts", b"2")]
    assert shown_account(Server(expose="none"), "a@x") == ""


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("glm\r\nset-cookie: a=b", "glm%0D%0Aset-cookie:%20a=b"),
        (" \tm", "%20%09m"),
        ("a b", "a b"),
        ("a b ", "a%20b%20"),
        ("100%", "100%"),
        ("modèle 漢", "mod%C3%A8le%20%E6%BC%A2"),
        ("half \ud800", "half%20%ED%A0%80"),
        ('!"#$%&()*+,-./:;<=>?@[]^_`{|}~é', '!"#$%&()*+,-./:;<=>?@[]^_`{|}~%C3%A9'),
        ("", ""),
        ("m" * 1000, "m" * 256),
    ],
)
def test_a_name_that_a_client_chose_cannot_break_a_head(model: str, shown: str) -> None:
    fields = way_headers(Server(), "é\n@x", model, 1)
    answer = parse_response_head(render_response_head(200, fields))
    assert answer.get(b"x-mapped-model") == shown.encode()
    assert answer.get(b"x-account-email") == b"%C3%A9%0A@x"
    assert in_lines(way_lines("full", "é\n@x", model, 1)) == answer.headers
