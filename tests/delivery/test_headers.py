"""Head fields of answers: what of an upstream's comes through, and what is told about the way."""

from typing import Any

import pytest

from gateway.config import Server
from gateway.delivery.headers import kept_headers, masked, shown_account, way_headers, with_request_id
from gateway.http1.heads import parse_response_head, render_response_head


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
    head = parse_response_head(render_response_head(200, fields))
    assert head.get(b"x-mapped-model") == shown.encode()
    assert head.get(b"x-account-email") == b"%C3%A9%0A@x"
