"""Parsers of single values: numbers, durations, sizes, words, secrets, files.

Each takes (reading, key path, TOML value) and returns the value as the Config holds it, or raises
Mistake with what to write instead. Hosts and URLs are in `addresses`.
"""

import os
import re
from pathlib import Path
from typing import Any

from gateway.config.reading import Mistake, Parser, Reading, nearest, wrong_type
from gateway.config.secret import Secret

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}

LONGEST = 86_400.0
"""Seconds: a day. No wait in the gateway needs more."""

LARGEST = 64 * 2**30
"""Bytes, beyond any machine's memory."""

MAX_FILE = 2**20
"""Bytes: keys, certificate chains and token files have a few KB; this excludes devices and logs."""

QUOTED = r"""(["']).*\1"""

NOT_REFERENCES = (
    (QUOTED, "has quotes within its quotes: leave the inner ones out"),
    (
        r"\$\w+|%\w+%|\{+\w+\}+|(?=[A-Z0-9_]*(?:KEY|TOKEN|SECRET))[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+",
        'is not a value but looks like a variable: write "${NAME}"',
    ),
    (
        r"(?i:.*\.\.\.|<.*>|your[-_ ].*|change[-_]?me)",
        "is a placeholder: write the value itself, or a reference",
    ),
    (
        r"(?i:os\.environ[/.\[].*|\$?env[:.].*|process\.env\..*|\{env:.*\}|env\(.*\))",
        'is how another program names a variable: write "${NAME}"',
    ),
    (r"(?i:bearer)\s.*", 'holds "Bearer" beside the key: leave it out'),
)
"""Patterns of failed attempts to refer to a secret, each with what to write instead."""


def string(value: object) -> str:
    """Return the value if it is a string that is not empty. Raise Mistake."""
    if not isinstance(value, str):
        raise wrong_type("a string", value)
    if not value:
        raise Mistake("is empty")
    return value


def check_word(value: object) -> str:
    """Return the value if it can stand in a header or a log line as it is. Raise Mistake."""
    text = string(value)
    if not re.fullmatch(r"[!-~]+", text):
        raise Mistake("must be printable ASCII without blanks")
    return text


def word(reading: Reading, path: str, value: object) -> str:
    """Read printable ASCII without blanks."""
    return check_word(value)


def boolean(reading: Reading, path: str, value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise wrong_type("true or false", value)
    return value


def integer(low: int, high: int) -> Parser:
    """Return a parser for a whole number in a range, both ends included."""

    def parse(reading: Reading, path: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type("a whole number", value)
        if not low <= value <= high:
            raise Mistake(f"must be from {low} to {high}")
        return value

    return parse


def choice(**words: Any) -> Parser:
    """Return a parser for one of several words; the keyword arguments map words to values."""
    listed = ", ".join(f'"{known}"' for known in words)

    def parse(reading: Reading, path: str, value: object) -> Any:
        if not isinstance(value, str):
            raise wrong_type(f"one of {listed}", value)
        if value not in words:
            meant = nearest(value, words)
            raise Mistake(f"must be one of {listed}" + (f'; did you mean "{meant}"?' if meant else ""))
        return words[value]

    return parse


def one_of(*words: str) -> Parser:
    """Return a parser for one of several words, each its own value."""
    return choice(**{known: known for known in words})


def duration(*, zero: bool = False) -> Parser:
    """Return a parser for a duration such as "10s", in seconds. `zero` allows "0s"."""
    wanted = 'a duration with its unit, as "500ms", "10s", "5m" or "1h"'

    def parse(reading: Reading, path: str, value: object) -> float:
        if not isinstance(value, str):
            raise wrong_type(wanted, value)
        parts = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h)", value)
        if parts is None:
            raise Mistake(f"must be {wanted}")
        seconds = float(parts[1]) * SECONDS[parts[2]]
        if seconds > LONGEST or (seconds == 0 and not zero):
            raise Mistake("must be at most 24h" if zero else "must be more than 0s and at most 24h")
        return seconds

    return parse


def size(*, zero: bool = False) -> Parser:
    """Return a parser for a size in bytes, such as 65536 or "64MiB". `zero` allows 0."""
    wanted = 'a size as "64MiB", or a whole number of bytes'

    def parse(reading: Reading, path: str, value: object) -> int:
        if isinstance(value, str):
            parts = re.fullmatch(r"([0-9]{1,12}) ?([KMG]i?B|B)", value)
            if parts is None:
                raise Mistake(f"must be {wanted}")
            count = int(parts[1]) * BYTES[parts[2]]
        elif isinstance(value, int) and not isinstance(value, bool):
            count = value
        else:
            raise wrong_type(wanted, value)
        if not (0 if zero else 1) <= count <= LARGEST:
            raise Mistake("must be at most 64GiB" if zero else "must be more than 0 and at most 64GiB")
        return count

    return parse


def resolve(reading: Reading, value: object) -> str:
    """Return the value of a string that may refer to one by `${NAME}` or `${file:/path}`."""
    text = string(value)
    if "${" not in text:
        for pattern, remedy in NOT_REFERENCES:
            if re.fullmatch(pattern, text):
                raise Mistake(remedy)
        return text
    parts = re.fullmatch(r"\$\{(?:([A-Za-z_][A-Za-z0-9_]*)|file:([^}]+))\}", text)
    if parts is None:
        raise Mistake('a reference is the whole value: "${NAME}" or "${file:/path}"')
    if parts[1]:
        source = f"environment variable {parts[1]}"
        if parts[1] not in reading.environ:
            raise Mistake(f"{source} is not set")
        found = reading.environ[parts[1]].strip()
    else:
        file = reading.file(parts[2])
        source = f"file {file}"
        found = read_file(file).decode("utf-8-sig", "replace").strip()
    if not found:
        raise Mistake(f"{source} is empty")
    if re.fullmatch(QUOTED, found):
        raise Mistake(f"{source} has quotes around its value: leave them out")
    return found


def secret(reading: Reading, path: str, value: object) -> Secret:
    """Read a key, written out or by reference; note the path of one that is written out."""
    text = resolve(reading, value)
    if text == value:
        reading.literal_secrets.append(path)
    if not re.fullmatch(r"[!-~]+", text):
        raise Mistake("the secret must be printable ASCII without blanks: it is sent in a header")
    return Secret(text)


def read_file(file: Path) -> bytes:
    """Return a small file's bytes. Raise Mistake with the file's name and the system's reason."""
    try:
        with open(file, "rb") as opened:
            data = opened.read(MAX_FILE + 1)
    except OSError as error:
        raise Mistake(f"file {file} cannot be read: {os.strerror(error.errno or 0)}") from None
    except ValueError:
        raise Mistake(f"file {file} cannot be read: not a file name") from None
    if len(data) > MAX_FILE:
        raise Mistake(f"file {file} is larger than 1 MiB")
    return data


def pem(ending: str) -> Parser:
    """Return a parser for the path of a PEM file that has a block whose title ends with `ending`."""

    def parse(reading: Reading, path: str, value: object) -> Path:
        file = reading.file(string(value))
        data = read_file(file)
        if b"-----BEGIN " not in data or ending.encode() + b"-----" not in data:
            raise Mistake(f"file {file} holds no PEM block {ending}")
        if b"-----BEGIN ENCRYPTED " in data or b"Proc-Type: 4,ENCRYPTED" in data:
            raise Mistake(
                f"file {file} is encrypted, and the gateway asks for no passphrase: openssl pkey -in {file}"
            )
        return file

    return parse


def oauth_file(reading: Reading, path: str, value: object) -> Path:
    """Read the path of a Google `authorized_user` JSON file that has the fields for a refresh."""
    import orjson

    file = reading.file(string(value))
    try:
        document = orjson.loads(read_file(file))
    except orjson.JSONDecodeError:
        raise Mistake(f"file {file} is not JSON") from None
    if not isinstance(document, dict):
        raise Mistake(f"file {file} is not a JSON object")
    for key in ("client_id", "client_secret", "refresh_token"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise Mistake(f'file {file} has no "{key}": it must be an authorized_user file')
    if "token_uri" in document:
        from gateway.config.addresses import token_uri

        uri = document["token_uri"]
        try:
            token_uri(uri if isinstance(uri, str) else "")
        except Mistake as mistake:
            raise Mistake(f'file {file} has a "token_uri" that {mistake}') from None
    return file
