"""[sharing]: accepted URLs and how the package gets them; refused ones are not shown."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Sharing, parse
from gateway.config import store as parsers
from gateway.config.reading import Mistake, Parser, Reading

CANARY = "canary-51d0"

NOT_A_STORE = 'must begin with "valkey://", "valkeys://" (TLS), "redis://", "rediss://" or "unix:///"'
ENDING = 'must end with the port, or with a database\'s number, as "valkey://host:6379/0"'
NOT_A_URL = (
    "is not a URL: look at its scheme, host and port; in a password, write %23 for #, %2F for /, %3F for ?, "
    "%25 for %"
)
NOT_A_SOCKET = 'must be "unix:///path/of/the/socket", with "?db=1" behind it for another database than 0'
ODD_OPTION = 'may hold "?db=1" behind the path and nothing else'


@pytest.fixture
def reading() -> Reading:
    return Reading({"STORE": f"valkeys://me:{CANARY}@store.lan:6380/2", "SHORT": "canary-51d0"}, Path())


def problem(parse: Parser, reading: Reading, value: object) -> str:
    with pytest.raises(Mistake) as raised:
        parse(reading, "sharing.key", value)
    assert CANARY not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("valkey://localhost", "redis://localhost"),
        ("valkey://store.lan:6380/0", "redis://store.lan:6380/0"),
        ("VALKEYS://store.lan/", "rediss://store.lan/"),
        ("redis://[::1]:6379/15", "redis://[::1]:6379/15"),
        ("rediss://user:p%23%2Fss@store.lan", "rediss://user:p%23%2Fss@store.lan"),
        ("redis://:p@ss%25@store.lan", "redis://:p@ss%25@store.lan"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("unix://:pass@/run/valkey.sock?db=3", "unix://:pass@/run/valkey.sock?db=3"),
        ("${STORE}", f"rediss://me:{CANARY}@store.lan:6380/2"),
    ],
)
def test_urls(reading: Reading, value: str, url: str) -> None:
    assert parsers.store_url(reading, "sharing.url", value).reveal() == url
    assert bool(reading.literal_secrets) is ("@" in value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("localhost:6379", NOT_A_STORE),
        (f"http://:{CANARY}@store.lan", NOT_A_STORE),
        (f"redis+sentinel://:{CANARY}@store.lan", NOT_A_STORE),
        (f"valkey://:{CANARY}#1@store.lan", NOT_A_URL),
        (f"valkey://:{CANARY}/1@store.lan", NOT_A_URL),
        (f"valkey://:{CANARY}?1@store.lan", NOT_A_URL),
        ("valkey://", NOT_A_URL),
        ("valkey://store.lan:port", NOT_A_URL),
        ("valkey://store.lan/gateway", ENDING),
        (f"valkey://store.lan/0?password={CANARY}", ENDING),
        (f"rediss://store.lan/0?ssl_cert_reqs=none#{CANARY}", ENDING),
        ("unix://run/valkey.sock", NOT_A_SOCKET),
        ("unix://", NOT_A_SOCKET),
        (f"unix:///run/valkey.sock#{CANARY}", NOT_A_SOCKET),
        (f"unix:///run/valkey.sock?password={CANARY}", ODD_OPTION),
        ("unix:///run/valkey.sock?db=one", ODD_OPTION),
        (6379, "must be a string, not a whole number"),
    ],
)
def test_invalid_store_urls(reading: Reading, value: object, text: str) -> None:
    assert problem(parsers.store_url, reading, value) == text


def test_sharing_without_the_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        configured('url = "valkey://localhost"')
    assert raised.value.problems == [
        "sharing.url: needs the redis package: pip install 'messages-gateway[sharing]'"
    ]


def test_prefixes(reading: Reading) -> None:
    assert parsers.store_prefix(reading, "sharing.prefix", "{team-a}:gateway:") == "{team-a}:gateway:"
    text = r"must be at most 64 characters, none of them * ? [ ] \ or ^"
    assert problem(parsers.store_prefix, reading, "gateway*") == text
    assert problem(parsers.store_prefix, reading, "a" * 65) == text
    assert problem(parsers.store_prefix, reading, "") == "is empty"


def test_secrets(reading: Reading) -> None:
    text = "must be at least 16 characters: openssl rand -hex 32"
    assert problem(parsers.store_secret, reading, "${SHORT}") == text
    assert parsers.store_secret(reading, "sharing.secret", "a pass phrase, ü").reveal() == "a pass phrase, ü"
    assert reading.literal_secrets == ["sharing.secret"]


def configured(section: str) -> Config:
    upstream = '[upstreams.up]\npreset = "anthropic"\naccounts = [{ name = "a", api_key = "k" }]'
    return parse(f"[sharing]\n{section}\n{upstream}", {"STORE": "valkey://:pass@store.lan"})


def test_the_section() -> None:
    assert configured("").sharing == Sharing()
    found = configured('url = "${STORE}"\nprefix = "team:"\nsecret = "0123456789abcdef"').sharing
    assert (found.prefix, bool(found.url), bool(found.secret)) == ("team:", True, True)
    assert "pass" not in repr(found)
    assert "0123" not in repr(found)
