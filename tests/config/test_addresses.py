"""Hosts, origins and URLs: how accepted ones are normalized; refused ones are not shown."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.addresses import base_url, host_name, is_private, origin, proxy, token_uri
from gateway.config.reading import Mistake, Parser, Reading
from gateway.http1.dial import origin_of
from gateway.http1.heads import render_request_head

CANARY = "canary-51d0"

NOT_A_HOST = "must be a host name or an address, without scheme, brackets and port"
NOT_AN_ORIGIN = 'must be an origin as "https://app.example.com", without a path'
NOT_A_URL = "is not a URL: look at its scheme, host and port"
NOT_A_PROXY = 'must be "http://[user:password@]host:port"'
ASCII = "must be printable ASCII without blanks: in a path, write %20"
ONE_PLACE = "must hold no user name, no password and no fragment"


@pytest.fixture
def reading() -> Reading:
    return Reading({"PROXY": f"http://me:{CANARY}@proxy.lan:3128"}, Path())


def problem(parse: Parser, reading: Reading, value: object) -> str:
    with pytest.raises(Mistake) as raised:
        parse(reading, "a.key", value)
    assert CANARY not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("Gateway.LAN", "gateway.lan"),
        ("localhost", "localhost"),
        ("my_service-1", "my_service-1"),
        ("example.com.", "example.com."),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_hosts(reading: Reading, value: str, host: str) -> None:
    assert host_name(reading, "a.key", value) == host


@pytest.mark.parametrize(
    "value",
    [
        "http://example.com",
        "example.com:80",
        "[::1]",
        "a b",
        "a/b",
        "-a",
        "a-.b",
        "a..b",
        "1.2.3",
        "256.0.0.1",
        "example.123",
        "0x7f.1",
        "::1::",
        "fe80::1%a b",
        "x" * 64,
        "a." * 127 + "a",
        "caf\xe9.example",
    ],
)
def test_bad_hosts(reading: Reading, value: str) -> None:
    assert problem(host_name, reading, value) == NOT_A_HOST


@pytest.mark.parametrize(
    ("name", "private"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("192.168.0.9", True),
        ("169.254.1.1", True),
        ("fd00::1", True),
        ("ollama", True),
        ("nas.local", True),
        ("nas.LAN.", True),
        ("models.internal", True),
        ("models.home.arpa", True),
        ("8.8.8.8", False),
        ("2606:4700::1", False),
        ("example.com", False),
        ("local.example.com", False),
    ],
)
def test_private_hosts(name: str, private: bool) -> None:
    assert is_private(name) is private


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("https://App.example.com", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("vscode-webview://abc", "vscode-webview://abc"),
    ],
)
def test_origins(reading: Reading, value: str, result: str) -> None:
    assert origin(reading, "a.key", value) == result


@pytest.mark.parametrize("value", ["*", "null", "example.com", "https://a/", "https://a b", "https://a?b"])
def test_bad_origins(reading: Reading, value: str) -> None:
    assert problem(origin, reading, value) == NOT_AN_ORIGIN


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("HTTPS://API.Example.com/Path//", "https://api.example.com/Path"),
        ("https://api.example.com:8443/a/b", "https://api.example.com:8443/a/b"),
        ("https://[2606:4700::1]:8443", "https://[2606:4700::1]:8443"),
        ("https://8.8.8.8/", "https://8.8.8.8"),
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://[::1]:1234", "http://[::1]:1234"),
        ("http://192.168.1.5", "http://192.168.1.5"),
        ("http://ollama:11434", "http://ollama:11434"),
        ("http://[FE80::1%Wi-Fi]:1234", "http://[fe80::1%Wi-Fi]:1234"),
        ("http://[fe80::1%25eth0]:1234", "http://[fe80::1%eth0]:1234"),
        ("https://B\xfccher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://api.example.com/k\xfcche/%20", "https://api.example.com/k%C3%BCche/%20"),
    ],
)
def test_base_urls(reading: Reading, value: str, result: str) -> None:
    assert base_url(reading, "a.key", value) == result


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "must be a string, not a whole number"),
        ("", "is empty"),
        (f"https://a b/{CANARY}", ASCII),
        (f"https://api.example.com/v1\u200b{CANARY}", ASCII),
        (f"https://caf\xe9 /{CANARY}", ASCII),
        (f"https://caf\xe9..example/{CANARY}", NOT_A_URL),
        (f"https://a\n/{CANARY}", ASCII),
        (f"ftp://{CANARY}.example.com", 'must begin with "https://"'),
        (f"//{CANARY}.example.com", 'must begin with "https://"'),
        (f"{CANARY}.example.com", NOT_A_URL),
        (f"https:///{CANARY}", NOT_A_URL),
        (f"https://:80/{CANARY}", NOT_A_URL),
        (f"https://example.com:/{CANARY}", NOT_A_URL),
        (f"https://example.com:0/{CANARY}", NOT_A_URL),
        (f"https://example.com:65536/{CANARY}", NOT_A_URL),
        (f"https://example.com:x/{CANARY}", NOT_A_URL),
        (f"https://[::1/{CANARY}", NOT_A_URL),
        (f"https://[::1]x:80/{CANARY}", NOT_A_URL),
        (f"https://[v1.a]/{CANARY}", NOT_A_URL),
        (
            f"https://me:{CANARY}@example.com",
            "must hold no user name or password: credentials belong in accounts",
        ),
        (f"https://example.com?key={CANARY}", "must hold no query and no fragment"),
        ("https://example.com?", "must hold no query and no fragment"),
        (f"https://example.com#{CANARY}", "must hold no query and no fragment"),
        (
            f'https://example.com/"{CANARY}',
            'has a " in its path that a URL cannot hold: write %22',
        ),
        (f"https://example.com/{CANARY}/100%", "has a % in its path that a URL cannot hold: write %25"),
    ],
)
def test_bad_base_urls(reading: Reading, value: object, text: str) -> None:
    assert problem(base_url, reading, value) == text


@given(st.from_regex(r"https?://(\[[^\]]{1,20}\]|[^/]{1,20})(/.{0,20})?", fullmatch=True))
def test_every_base_url_that_is_taken_makes_a_head(url: str) -> None:
    try:
        taken = base_url(Reading({}, Path()), "a.key", url)
    except Mistake:
        return
    authority = origin_of(taken, proxy=None, ca_file=None).authority
    assert authority in render_request_head("POST", f"{urlsplit(taken).path}/v1", [(b"host", authority)])


@pytest.mark.parametrize(
    ("uri", "result"),
    [
        ("https://tokens.example/t?a=b", "https://tokens.example/t?a=b"),
        ("http://127.9.9.9:5000/token", "http://127.9.9.9:5000/token"),
        ("https://b\xfccher.example/\xfc", "https://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_token_uris(uri: str, result: str) -> None:
    assert token_uri(uri) == result


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("http://tokens.example/t", "must begin with https://"),
        ("https://tokens.example/a b", ASCII),
        (f"https://me:{CANARY}@tokens.example/t", ONE_PLACE),
        (f"https://tokens.example/t#{CANARY}", ONE_PLACE),
        ("https://tokens.example/{t}", "has a { in its path that a URL cannot hold: write %7B"),
        ("tokens.example/t", NOT_A_URL),
    ],
)
def test_bad_token_uris(uri: str, text: str) -> None:
    with pytest.raises(Mistake) as raised:
        token_uri(uri)
    assert str(raised.value) == text


def test_a_proxy_is_a_secret(reading: Reading) -> None:
    assert proxy(reading, "a.key", "http://proxy.lan:3128/").reveal() == "http://proxy.lan:3128"
    assert proxy(reading, "a.key", "${PROXY}").reveal() == f"http://me:{CANARY}@proxy.lan:3128"
    assert reading.literal_secrets == []
    assert CANARY not in repr(proxy(reading, "a.key", f"http://me:{CANARY}@proxy.lan:3128"))
    assert reading.literal_secrets == ["a.key"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (f"https://me:{CANARY}@proxy.lan:3128", NOT_A_PROXY),
        (f"socks5://me:{CANARY}@proxy.lan:3128", NOT_A_PROXY),
        (f"http://me:{CANARY}@proxy.lan", NOT_A_PROXY),
        (f"http://proxy.lan:3128/{CANARY}", NOT_A_PROXY),
        (f"http://proxy.lan:3128?{CANARY}", NOT_A_PROXY),
        ("http://proxy.lan:3128#", NOT_A_PROXY),
        (f"http://me:{CANARY}@:3128", NOT_A_URL),
        ("${NOT_SET}", "environment variable NOT_SET is not set"),
    ],
)
def test_bad_proxies(reading: Reading, value: str, text: str) -> None:
    assert problem(proxy, reading, value) == text
