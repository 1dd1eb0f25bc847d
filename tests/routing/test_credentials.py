"""Credentials, and an OAuth token's life on a clock that is passed in."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from gateway.config import Account, Secret
from gateway.routing.credentials import (
    ASSUMED_LIFE,
    GOOGLE_URI,
    NO_CREDENTIAL,
    REFRESH_AHEAD,
    Credential,
    OAuthToken,
    RefreshError,
    credential_of,
)

FILE = {
    "type": "authorized_user",
    "client_id": "id",
    "client_secret": "very-secret",
    "refresh_token": "also-secret",
}

ACCOUNTS = [
    (Account(name="a", api_key=Secret("k")), Credential("api_key", Secret("k"))),
    (Account(name="a"), NO_CREDENTIAL),
    (Account(name="a", oauth_file=Path("f")), None),
]


@pytest.mark.parametrize(("account", "expected"), ACCOUNTS)
def test_credential_of(account: Account, expected: Credential | None) -> None:
    assert credential_of(account) == expected


def test_no_secret_is_shown() -> None:
    token = OAuthToken(orjson.dumps(FILE))
    token.accept(200, b'{"access_token":"hidden","expires_in":100}', 0.0)
    shown = f"{token!r} {token} {Credential('bearer', Secret('hidden'))!r}"
    assert "hidden" not in shown
    assert "secret" not in shown.replace("secret=Secret(***)", "")


def token(**changes: object) -> OAuthToken:
    return OAuthToken(orjson.dumps({**FILE, **changes}))


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "service_account"}, "type: must be"),
    ({"client_id": ""}, "client_id: must be"),
    ({"client_secret": None}, "client_secret: must be"),
    ({"refresh_token": 7}, "refresh_token: must be"),
    ({"token_uri": ""}, "token_uri: must be"),
    ({"token_uri": "http://tokens.example/t"}, "token_uri: must begin with https"),
    ({"token_uri": "http://localhost.example/t"}, "token_uri: must begin with https"),
    ({"token_uri": "ftp://127.0.0.1/t"}, "token_uri: must begin with https"),
    ({"token_uri": "https://tokens.example/a b"}, "token_uri: must be printable ASCII"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_faulty_files(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        token(**changes)
    assert "secret-" not in str(caught.value)
    assert "also-secret" not in str(caught.value)


@pytest.mark.parametrize("file", [b"", b"{", b"[]", b"7", b"\xff"])
def test_files_that_are_no_object(file: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        OAuthToken(file)


@pytest.mark.parametrize(
    "uri",
    [
        "https://tokens.example/t",
        "http://127.0.0.1:8080/t",
        "http://127.1.2.3/t",
        "http://localhost/t",
        "http://[::1]:9/t",
    ],
)
def test_token_uri(uri: str) -> None:
    assert token(token_uri=uri).uri == uri


def test_a_credential_file_without_optional_fields() -> None:
    file = {name: value for name, value in FILE.items() if name != "type"}
    assert OAuthToken(orjson.dumps(file)).uri == GOOGLE_URI


def test_refresh_body() -> None:
    body = token(client_secret="a&b=c d").refresh_body()
    assert parse_qs(body.decode("ascii"), strict_parsing=True) == {
        "grant_type": ["refresh_token"],
        "client_id": ["id"],
        "client_secret": ["a&b=c d"],
        "refresh_token": ["also-secret"],
    }


def test_token_lifetime() -> None:
    subject = token()
    assert repr(subject) == "<OAuthToken [empty]>"
    assert (subject.credential(0.0), subject.due(0.0)) == (None, True)
    first = subject.accept(200, b'{"access_token":"t1","expires_in":3600,"token_type":"Bearer"}', 1000.0)
    assert first == Credential("bearer", Secret("t1"))
    assert repr(subject) == "<OAuthToken [until 4600]>"
    for wall, expected, due in (
        (1000.0, first, False),
        (4600.0 - REFRESH_AHEAD - 1, first, False),
        (4600.0 - REFRESH_AHEAD, first, True),
        (4599.0, first, True),
        (4600.0, None, True),
    ):
        assert (subject.credential(wall), subject.due(wall)) == (expected, due)
    second = subject.accept(200, b'{"access_token":"t2","expires_in":"3600"}', 4400.0)
    assert subject.credential(4700.0) == second
    assert not subject.due(4700.0)


def test_a_refused_token_is_forgotten_unless_it_was_replaced() -> None:
    subject = token()
    first = subject.accept(200, b'{"access_token":"t1"}', 0.0)
    second = subject.accept(200, b'{"access_token":"t2"}', 1.0)
    subject.refused(first)
    assert subject.credential(2.0) == second
    subject.refused(second)
    assert subject.credential(2.0) is None
    assert subject.due(2.0)


LIVES: list[tuple[object, float]] = [
    (100, 100.0),
    (99.5, 99.5),
    ("100", 100.0),
    (10**12, 366 * 86400.0),
    ("9" * 5000, 366 * 86400.0),
    (None, ASSUMED_LIFE),
    (0, ASSUMED_LIFE),
    (-5, ASSUMED_LIFE),
    (True, ASSUMED_LIFE),
    ("soon", ASSUMED_LIFE),
    ("-5", ASSUMED_LIFE),
    ("", ASSUMED_LIFE),
    ("١٠", ASSUMED_LIFE),
    ([], ASSUMED_LIFE),
]


@pytest.mark.parametrize(("expires_in", "life"), LIVES)
def test_expires_in(expires_in: object, life: float) -> None:
    subject = token()
    subject.accept(200, orjson.dumps({"access_token": "t", "expires_in": expires_in}), 0.0)
    assert subject.credential(life - 0.001) is not None
    assert subject.credential(life) is None


def test_a_short_token_lifetime_is_halved() -> None:
    subject = token()
    subject.accept(200, b'{"access_token":"t","expires_in":60}', 0.0)
    assert not subject.due(29.0)
    assert subject.due(30.0)


RESPONSES = [
    (400, b'{"error":"invalid_grant","error_description":"also-secret"}', 401, "400 (invalid_grant)"),
    (401, b'{"error":{"message":"also-secret"}}', 401, "responded with 401"),
    (403, b'{"error":"also-secret!"}', 401, "responded with 403"),
    (429, b"", 503, "responded with 429"),
    (500, b"<html>", 503, "responded with 500"),
    (302, b"", 503, "responded with 302"),
    (200, b"", 503, "no usable access_token"),
    (200, b"[]", 503, "no usable access_token"),
    (200, b'{"access_token":7}', 503, "no usable access_token"),
    (200, b'{"access_token":""}', 503, "no usable access_token"),
    (200, b'{"access_token":"a\\r\\nx: y"}', 503, "no usable access_token"),
    (200, b'{"access_token":"a b"}', 503, "no usable access_token"),
]


@pytest.mark.parametrize(("status", "body", "becomes", "message"), RESPONSES)
def test_responses_without_a_token(status: int, body: bytes, becomes: int, message: str) -> None:
    subject = token()
    old = subject.accept(200, b'{"access_token":"old","expires_in":400}', 0.0)
    with pytest.raises(RefreshError) as caught:
        subject.accept(status, body, 200.0)
    assert caught.value.status == becomes
    assert message in str(caught.value)
    assert "also-secret" not in str(caught.value)
    assert subject.credential(201.0) == old, "the old one serves as long as it lasts"
