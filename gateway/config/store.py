"""Parsers of `[sharing]`'s store: its URL, prefix and secret. No error text quotes a value."""

import re
from importlib.util import find_spec
from urllib.parse import parse_qsl, urlsplit

from gateway.config.addresses import split_url
from gateway.config.parsers import check_word, resolve
from gateway.config.reading import Mistake, Reading
from gateway.config.secret import Secret

PACKAGE = "redis"

SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis": "redis", "rediss": "rediss"}
"""Scheme in the configuration -> scheme for the package."""

LEAST_SECRET = 16
"""Characters: an attacker who reads the store can try secrets offline, without a rate limit."""

MAX_PREFIX = 64
"""Characters of a prefix, which every key in the store repeats."""


def store_url(reading: Reading, path: str, value: object) -> Secret:
    """Read a store's URL, written out or by reference; return it in the package's form."""
    text = resolve(reading, value)
    if text == value and "@" in text:
        reading.literal_secrets.append(path)
    scheme, colon, rest = text.partition("://")
    found = _unix(text) if scheme == "unix" else _network(SCHEMES.get(scheme.lower(), ""), colon + rest)
    if find_spec(PACKAGE) is None:
        raise Mistake(f"needs the {PACKAGE} package: pip install 'messages-gateway[sharing]'")
    return Secret(found)


def _network(scheme: str, rest: str) -> str:
    if not scheme:
        raise Mistake(
            'must begin with "valkey://", "valkeys://" (TLS), "redis://", "rediss://" or "unix:///"'
        )
    try:
        parts = split_url(scheme + rest)
    except Mistake as mistake:
        raise Mistake(f"{mistake}; in a password, write %23 for #, %2F for /, %3F for ?, %25 for %") from None
    if "?" in rest or "#" in rest or not re.fullmatch(r"/?|/[0-9]{1,6}", parts.path):
        raise Mistake('must end with the port, or with a database\'s number, as "valkey://host:6379/0"')
    return scheme + rest


def _unix(text: str) -> str:
    parts = urlsplit(text)
    options = parse_qsl(parts.query, keep_blank_values=True)
    if "#" in text or not re.fullmatch(r"/[!-~]+", parts.path) or parts.netloc.rpartition("@")[2]:
        raise Mistake(
            'must be "unix:///path/of/the/socket", with "?db=1" behind it for another database than 0'
        )
    if any(name != "db" or not re.fullmatch(r"[0-9]{1,6}", number) for name, number in options):
        raise Mistake('may hold "?db=1" behind the path and nothing else')
    return text


def place_of(url: str) -> str:
    """Return a store's address for messages, without user and password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]


def store_prefix(reading: Reading, path: str, value: object) -> str:
    """Read the prefix of names in the store; it has no characters that patterns interpret."""
    text = check_word(value)
    if len(text) > MAX_PREFIX or re.search(r"[*?\[\]\\^]", text):
        raise Mistake(rf"must be at most {MAX_PREFIX} characters, none of them * ? [ ] \ or ^")
    return text


def store_secret(reading: Reading, path: str, value: object) -> Secret:
    """Read the secret that seals messages."""
    text = resolve(reading, value)
    if text == value:
        reading.literal_secrets.append(path)
    if len(text) < LEAST_SECRET:
        raise Mistake(f"must be at least {LEAST_SECRET} characters: openssl rand -hex 32")
    return Secret(text)
