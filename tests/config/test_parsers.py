"""Single values: which are accepted, and the exact message for each refused one."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config import parsers
from gateway.config.reading import Mistake, Parser, Reading

CANARY = "canary-51d0"

DURATION = 'a duration with its unit, as "500ms", "10s", "5m" or "1h"'
SIZE = 'a size as "64MiB", or a whole number of bytes'


VARIABLE = 'is not a value but looks like a variable: write "${NAME}"'
PLACEHOLDER = "is a placeholder: write the value itself, or a reference"
OTHERS_VARIABLE = 'is how another program names a variable: write "${NAME}"'


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    quoted = f'"{CANARY}"'
    environ = {"KEY": CANARY, "BLANK": "  ", "PADDED": f" {CANARY}\n", "TWO": "a b", "QUOTED": quoted}
    return Reading(environ, tmp_path)


def problem(parse: Parser, reading: Reading, value: object) -> str:
    with pytest.raises(Mistake) as raised:
        parse(reading, "a.key", value)
    return str(raised.value)


GOOD: list[tuple[Parser, Any, Any]] = [
    (parsers.word, "me@example.com", "me@example.com"),
    (parsers.boolean, True, True),
    (parsers.boolean, False, False),
    (parsers.integer(0, 9), 0, 0),
    (parsers.integer(0, 9), 9, 9),
    (parsers.choice(fold=True, keep=False), "fold", True),
    (parsers.choice(fold=True, keep=False), "keep", False),
    (parsers.one_of("x-api-key", "authorization"), "x-api-key", "x-api-key"),
    (parsers.duration(), "500ms", 0.5),
    (parsers.duration(), "10s", 10.0),
    (parsers.duration(), "1.5 s", 1.5),
    (parsers.duration(), "5m", 300.0),
    (parsers.duration(), "24h", 86400.0),
    (parsers.duration(zero=True), "0s", 0.0),
    (parsers.size(), 65536, 65536),
    (parsers.size(), "1B", 1),
    (parsers.size(), "64MiB", 64 * 2**20),
    (parsers.size(), "8 KiB", 8192),
    (parsers.size(), "1GB", 10**9),
    (parsers.size(), "64GiB", 64 * 2**30),
    (parsers.size(zero=True), 0, 0),
]


@pytest.mark.parametrize(("parse", "value", "result"), GOOD)
def test_good_values(reading: Reading, parse: Parser, value: object, result: object) -> None:
    found = parse(reading, "a.key", value)
    assert found == result
    assert type(found) is type(result)


BAD: list[tuple[Parser, Any, str]] = [
    (parsers.word, 1, "must be a string, not a whole number"),
    (parsers.word, "", "is empty"),
    (parsers.word, "a b", "must be printable ASCII without blanks"),
    (parsers.word, "caf\xe9", "must be printable ASCII without blanks"),
    (parsers.word, "a\n", "must be printable ASCII without blanks"),
    (parsers.boolean, 1, "must be true or false, not a whole number"),
    (parsers.boolean, "true", "must be true or false, not a string"),
    (parsers.integer(0, 9), -1, "must be from 0 to 9"),
    (parsers.integer(0, 9), 10, "must be from 0 to 9"),
    (parsers.integer(0, 9), True, "must be a whole number, not true or false"),
    (parsers.integer(0, 9), 1.0, "must be a whole number, not a number with a fraction"),
    (parsers.one_of("full", "none"), "Full", 'must be one of "full", "none"; did you mean "full"?'),
    (parsers.one_of("full", "none"), "x", 'must be one of "full", "none"'),
    (parsers.one_of("full", "none"), 0, 'must be one of "full", "none", not a whole number'),
    (parsers.duration(), 10, f"must be {DURATION}, not a whole number"),
    (parsers.duration(), "10", f"must be {DURATION}"),
    (parsers.duration(), "10s ", f"must be {DURATION}"),
    (parsers.duration(), "-10s", f"must be {DURATION}"),
    (parsers.duration(), "\u0661s", f"must be {DURATION}"),
    (parsers.duration(), "0s", "must be more than 0s and at most 24h"),
    (parsers.duration(), "25h", "must be more than 0s and at most 24h"),
    (parsers.duration(zero=True), "25h", "must be at most 24h"),
    (parsers.size(), "64", f"must be {SIZE}"),
    (parsers.size(), "64mb", f"must be {SIZE}"),
    (parsers.size(), 1.5, f"must be {SIZE}, not a number with a fraction"),
    (parsers.size(), True, f"must be {SIZE}, not true or false"),
    (parsers.size(), 0, "must be more than 0 and at most 64GiB"),
    (parsers.size(), -1, "must be more than 0 and at most 64GiB"),
    (parsers.size(), "65GiB", "must be more than 0 and at most 64GiB"),
    (parsers.size(zero=True), -1, "must be at most 64GiB"),
]


@pytest.mark.parametrize(("parse", "value", "text"), BAD)
def test_bad_values(reading: Reading, parse: Parser, value: object, text: str) -> None:
    assert problem(parse, reading, value) == text


def test_a_key_from_the_environment(reading: Reading) -> None:
    assert parsers.secret(reading, "a.key", "${KEY}").reveal() == CANARY
    assert parsers.secret(reading, "a.key", "${PADDED}").reveal() == CANARY
    assert reading.literal_secrets == []


def test_a_key_from_a_file(reading: Reading, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY + "\n")
    assert parsers.secret(reading, "a.key", "${file:key}").reveal() == CANARY
    assert parsers.secret(reading, "a.key", f"${{file:{tmp_path}/key}}").reveal() == CANARY
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbf" + CANARY.encode() + b"\r\n")
    assert parsers.secret(reading, "a.key", "${file:key}").reveal() == CANARY
    assert reading.literal_secrets == []


@pytest.mark.parametrize(
    "key", [CANARY, "k", "xxx", "my-secret-key", "sk-ant-api03-A_B.c", "ABCDEF012345", "A_B"]
)
def test_a_key_in_the_configuration_is_noted(reading: Reading, key: str) -> None:
    assert parsers.secret(reading, "a.key", key).reveal() == key
    assert reading.literal_secrets == ["a.key"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "must be a string, not a whole number"),
        ("", "is empty"),
        ("${NOT_SET}", "environment variable NOT_SET is not set"),
        ("${BLANK}", "environment variable BLANK is empty"),
        ("${file:empty}", "file {dir}/empty is empty"),
        ("${file:none}", "file {dir}/none cannot be read: No such file or directory"),
        ("${file:.}", "file {dir} cannot be read: Is a directory"),
        ("${file:a\0b}", "file {dir}/a\0b cannot be read: not a file name"),
        ("${file:big}", "file {dir}/big is larger than 1 MiB"),
        ("${file:}", 'a reference is the whole value: "${NAME}" or "${file:/path}"'),
        ("${KEY}x", 'a reference is the whole value: "${NAME}" or "${file:/path}"'),
        ("x${KEY}", 'a reference is the whole value: "${NAME}" or "${file:/path}"'),
        ("${KEY}${KEY}", 'a reference is the whole value: "${NAME}" or "${file:/path}"'),
        ("${1}", 'a reference is the whole value: "${NAME}" or "${file:/path}"'),
        ("$MY_KEY", VARIABLE),
        ("%MY_KEY%", VARIABLE),
        ("{MY_KEY}", VARIABLE),
        ("{{MY_KEY}}", VARIABLE),
        ("MY_API_KEY", VARIABLE),
        ("GITHUB_TOKEN_2", VARIABLE),
        ("sk-ant-...", PLACEHOLDER),
        ("<your key>", PLACEHOLDER),
        ("YOUR_API-KEY", PLACEHOLDER),
        ("changeme", PLACEHOLDER),
        ("env(MY_KEY)", OTHERS_VARIABLE),
        ("os.environ/MY_KEY", OTHERS_VARIABLE),
        ("os.environ['MY_KEY']", OTHERS_VARIABLE),
        ("env:MY_KEY", OTHERS_VARIABLE),
        ("$env:MY_KEY", OTHERS_VARIABLE),
        ("ENV.MY_KEY", OTHERS_VARIABLE),
        ("process.env.MY_KEY", OTHERS_VARIABLE),
        ("{env:MY_KEY}", OTHERS_VARIABLE),
        (f'"{CANARY}"', "has quotes within its quotes: leave the inner ones out"),
        (f"'{CANARY}'", "has quotes within its quotes: leave the inner ones out"),
        ("${QUOTED}", "environment variable QUOTED has quotes around its value: leave them out"),
        ("${file:quoted}", "file {dir}/quoted has quotes around its value: leave them out"),
        (f"Bearer {CANARY}", 'holds "Bearer" beside the key: leave it out'),
        ("a b", "the secret must be printable ASCII without blanks: it is sent in a header"),
        ("${TWO}", "the secret must be printable ASCII without blanks: it is sent in a header"),
        ("${file:latin}", "the secret must be printable ASCII without blanks: it is sent in a header"),
    ],
)
def test_bad_keys(reading: Reading, tmp_path: Path, value: object, text: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "big").write_bytes(b"x" * (2**20 + 1))
    (tmp_path / "quoted").write_text(f"'{CANARY}'\n")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    assert problem(parsers.secret, reading, value) == text.replace("{dir}", str(tmp_path))


@pytest.mark.parametrize("ending", ["CERTIFICATE", "PRIVATE KEY"])
def test_pem_files(reading: Reading, tmp_path: Path, ending: str) -> None:
    (tmp_path / "good.pem").write_text(f"-----BEGIN {ending}-----\nAAAA\n-----END {ending}-----\n")
    (tmp_path / "bad.pem").write_text(CANARY)
    parse = parsers.pem(ending)
    assert parse(reading, "a.key", "good.pem") == tmp_path / "good.pem"
    assert problem(parse, reading, "bad.pem") == f"file {tmp_path}/bad.pem holds no PEM block {ending}"
    assert problem(parse, reading, "none") == f"file {tmp_path}/none cannot be read: {os.strerror(2)}"
    assert problem(parse, reading, "") == "is empty"


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ],
)
def test_a_key_with_a_passphrase(reading: Reading, tmp_path: Path, text: str) -> None:
    file = tmp_path / "key.pem"
    file.write_text(text)
    message = problem(parsers.pem("PRIVATE KEY"), reading, "key.pem")
    assert (
        message
        == f"file {file} is encrypted, and the gateway asks for no passphrase: openssl pkey -in {file}"
    )


USER = {"type": "authorized_user", "client_id": "c", "client_secret": CANARY, "refresh_token": CANARY}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"token_uri": "https://oauth2.googleapis.com/token"},
        {"token_uri": "http://127.0.0.1:5000/token"},
        {"token_uri": "http://localhost/token"},
        {"token_uri": "http://[::1]:5000/token"},
    ],
)
def test_oauth_files(reading: Reading, tmp_path: Path, more: dict[str, str]) -> None:
    (tmp_path / "user.json").write_bytes(orjson.dumps({**USER, **more}))
    assert parsers.oauth_file(reading, "a.key", "user.json") == tmp_path / "user.json"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (CANARY.encode(), "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (orjson.dumps({"client_id": "c"}), 'has no "client_secret": it must be an authorized_user file'),
        (
            orjson.dumps({**USER, "refresh_token": ""}),
            'has no "refresh_token": it must be an authorized_user file',
        ),
        (orjson.dumps({**USER, "client_id": 5}), 'has no "client_id": it must be an authorized_user file'),
        (
            orjson.dumps({**USER, "token_uri": "http://example.com"}),
            'has a "token_uri" that must begin with https://',
        ),
        (
            orjson.dumps({**USER, "token_uri": "http://localhost.example.com"}),
            'has a "token_uri" that must begin with https://',
        ),
        (
            orjson.dumps({**USER, "token_uri": None}),
            'has a "token_uri" that must be printable ASCII without blanks: in a path, write %20',
        ),
    ],
)
def test_bad_oauth_files(reading: Reading, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "user.json").write_bytes(content)
    assert problem(parsers.oauth_file, reading, "user.json") == f"file {tmp_path}/user.json {text}"
