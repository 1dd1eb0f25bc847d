"""Hosts, origins and URLs: what is taken and how it is written, and what is refused without being shown."""

from pathlib import Path

import pytest

from gateway.config.addresses import base_url, host_name, is_private, origin, proxy
from gateway.config.reading import Mistake, Parser, Reading

CANARY = "canary-51d0"

NOT_A_HOST = "must be a host name or an address, without scheme, brackets and port"
NOT_AN_ORIGIN = 'must be an origin as "https://app.example.com", without a path'
NOT_A_URL = "is not a URL: look at its scheme, host and port"
NOT_A_PROXY = 'must be "http://[user:password@]host:port"'
ASCII = "must be printable ASCII without blanks"


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
        (f"https://caf\xe9/{CANARY}", ASCII),
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
        (f'https://example.com/"{CANARY}', "has a path with characters that a URL cannot hold"),
    ],
)
def test_bad_base_urls(reading: Reading, value: object, text: str) -> None:
    assert problem(base_url, reading, value) == text


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
