"""Header lines of responses: which of an upstream's come through, cold and warm, and who served the request."""

from typing import Any

import pytest

from gateway.config import Server
from gateway.http1.heads import Headers, ResponseHead, parse_response_head
from gateway.proxy.response_headers import (
    JSON,
    content_type_line,
    kept_headers,
    mask,
    routing_lines,
    shown_account,
    upstream_head,
)


def read(*lines: bytes, after: ResponseHead | None = None) -> ResponseHead:
    """An upstream's head; `after`: the last one of its connection."""
    raw = b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))
    return parse_response_head(raw, after.template if after is not None else None)


def fields_of(lines: bytes) -> Headers:
    """The fields that these lines are."""
    return parse_response_head(b"HTTP/1.1 200 \r\n%b\r\n" % lines).headers


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
def test_forwarded_response_headers(name: bytes, kept: bool) -> None:
    assert kept_headers([(name, b"1")]) == ([(name, b"1")] if kept else [])


def test_order_and_repetition_of_headers_stay() -> None:
    fields = [(b"anthropic-b", b"2"), (b"retry-after", b"1"), (b"anthropic-b", b"1")]
    assert kept_headers([(b"server", b"x"), *fields]) == fields
    assert kept_headers([(b"connection", b"close,\tAnthropic-B"), *fields]) == fields[1:2]


LIMITS = (b"anthropic-ratelimit-tokens-limit: 5", b"Retry-After: 1")

KEPT: list[tuple[list[bytes], bytes]] = [
    ([], b"request-id: req_ours\r\n"),
    ([b"Server: x", b"Set-Cookie: s3cret"], b"request-id: req_ours\r\n"),
    ([b"Request-Id: req_1"], b"request-id: req_1\r\n"),
    (
        [b"Date: x", b"X:y", b"X-Should-Retry: true", b"Anthropic-B:  2 ", b"anthropic-b: 1%b%%"],
        b"x-should-retry: true\r\nanthropic-b: 2\r\nanthropic-b: 1%b%%\r\nrequest-id: req_ours\r\n",
    ),
    (
        [*LIMITS, b"Content-Length: 7", b"request-id: a", b"request-id: b"],
        b"anthropic-ratelimit-tokens-limit: 5\r\nretry-after: 1\r\nrequest-id: a\r\nrequest-id: b\r\n",
    ),
    # A name may hold a percent sign, and this one is a secret's.
    ([b"anthropic-%b-token: %d"], b"anthropic-%b-token: %d\r\nrequest-id: req_ours\r\n"),
    # None of these heads has a template.
    # Fields named in Connection concern this hop only.
    ([b"Connection: close, Anthropic-Hop", b"anthropic-hop: 1"], b"request-id: req_ours\r\n"),
    ([b"request-id:x"], b"request-id: x\r\n"),
    ([b"retry-after: 1 "], b"retry-after: 1\r\nrequest-id: req_ours\r\n"),
]


@pytest.mark.parametrize(("text", "lines"), KEPT)
def test_kept_lines_are_the_same_cold_and_warm(text: list[bytes], lines: bytes) -> None:
    cold = read(*text)
    about = upstream_head(cold)
    assert about.lines(cold.values, "req_ours") == lines
    warm = read(*text, after=cold)
    assert warm.template is cold.template
    for each in (about, upstream_head(warm)):
        assert each.lines(warm.values, "req_ours") == lines


def test_varying_values_are_those_of_each_head() -> None:
    first = read(b"request-id: one", b"anthropic-a: b", b"retry-after: 1")
    about = upstream_head(first)
    other = read(b"request-id: two", b"anthropic-a: b", b"retry-after: 2", after=first)
    assert other.template is first.template
    assert about.lines(other.values, "") == b"request-id: two\r\nanthropic-a: b\r\nretry-after: 2\r\n"
    assert about.lines(first.values, "") == b"request-id: one\r\nanthropic-a: b\r\nretry-after: 1\r\n"


@pytest.mark.parametrize("name", [b"content-type", b"content-encoding"])
def test_a_type_or_a_coding_that_varies_is_not_kept_for_the_next_head(name: bytes) -> None:
    """A value that looks like a secret is not part of a template, wherever it stands."""
    first = read(name + b": text/event-stream; token=1")
    upstream_head(first)
    other = read(name + b": application/json; token=2", after=first)
    assert other.template is first.template
    assert other.template is not None
    assert other.template.known is None
    about = upstream_head(other)
    assert (about.content_type or about.coding) == b"application/json; token=2"


def test_the_content_of_a_response() -> None:
    about = upstream_head(read(b"Content-Type: text/event-stream; charset=utf-8", b"Content-Encoding: gzip"))
    assert (about.content_type, about.coding) == (b"text/event-stream; charset=utf-8", b"gzip")
    assert about.content_type_line == b"content-type: text/event-stream; charset=utf-8\r\n"
    about = upstream_head(read())
    assert (about.content_type, about.content_type_line, about.coding) == (b"", b"", None)


def test_a_content_type_that_is_invalid_in_a_header() -> None:
    assert content_type_line(b"a/b") == b"content-type: a/b\r\n"
    assert content_type_line(b"a\x01") == content_type_line(b"a\r\nx: y") == JSON


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
    assert mask(account) == shown


@pytest.mark.parametrize(
    ("expose", "expected"),
    [
        ("full", b"x-account-email: work@example.com\r\nx-mapped-model: glm-4.7\r\n"),
        ("masked", b"x-account-email: w***@example.com\r\nx-mapped-model: glm-4.7\r\n"),
        ("none", b""),
    ],
)
def test_headers_that_name_the_account(expose: Any, expected: bytes) -> None:
    assert routing_lines(Server(expose=expose), "work@example.com", "glm-4.7") == expected
    assert routing_lines(Server(expose=expose), "", "glm-4.7") == b""
    assert (shown_account(Server(expose=expose), "a@x") == "") is (expose == "none")


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
def test_a_models_name_cannot_inject_header_lines(model: str, shown: str) -> None:
    fields = fields_of(routing_lines(Server(), "é\n@x", model))
    assert fields == [(b"x-account-email", b"%C3%A9%0A@x"), (b"x-mapped-model", shown.encode())]
