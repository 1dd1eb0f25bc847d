"""Parsers of hosts, origins and URLs. No error text quotes one: a URL may hold a password."""

import re
from urllib.parse import SplitResult, urlsplit

from gateway.config.parsers import resolve, string
from gateway.config.reading import Mistake, Reading
from gateway.config.values import Secret, is_loopback

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

HOST_NAME = rf"{_LABEL}(?:\.{_LABEL})*\.?"

IPV6 = r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?"

HOST_AND_PORT = r"(?:\[[^\[\]]*:[^\[\]]*\]|[^\[\]:]+)(?::[0-9]{1,5})?"

NOT_IN_PATH = r"[^A-Za-z0-9/._~%!$&'()*+,;=:@-]|%(?![0-9A-Fa-f]{2})"
"""What the path of a URL cannot hold as it is (RFC 3986, 3.3)."""

NOT_A_URL = "is not a URL: look at its scheme, host and port"

PRIVATE_SUFFIXES = (".local", ".lan", ".internal", ".home.arpa")
"""Suffixes of names that public DNS does not resolve: mDNS, home routers, the reserved private domains."""


def is_host(text: str) -> bool:
    """Return whether this is a host name or an address, without brackets and port."""
    from ipaddress import ip_address

    if ":" in text and not re.fullmatch(IPV6, text):
        return False
    # A last label of digits alone makes it an IPv4 address for readers of the Host field.
    if ":" in text or text.rstrip(".").rpartition(".")[2].isdecimal():
        try:
            ip_address(text)
        except ValueError:
            return False
        return True
    return len(text) <= 253 and re.fullmatch(HOST_NAME, text) is not None


def is_private(name: str) -> bool:
    """Return whether a host is near: loopback, a private address, a container's or a local network's name."""
    from ipaddress import ip_address

    if is_loopback(name):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return "." not in name or name.lower().rstrip(".").endswith(PRIVATE_SUFFIXES)
    return address.is_private or address.is_link_local


def host_name(reading: Reading, path: str, value: object) -> str:
    """Read a host name or an address, in lower case."""
    text = string(value)
    if not is_host(text):
        raise Mistake("must be a host name or an address, without scheme, brackets and port")
    return text.lower()


def origin(reading: Reading, path: str, value: object) -> str:
    """Read an origin as browsers send it, in lower case."""
    text = string(value).lower()
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+", text):
        raise Mistake('must be an origin as "https://app.example.com", without a path')
    return text


def base_url(reading: Reading, path: str, value: object) -> str:
    """Read scheme, host, port and path of an upstream, without a slash at the end."""
    text = in_ascii(string(value))
    parts = split_url(text)
    if parts.scheme not in ("http", "https"):
        raise Mistake('must begin with "https://"')
    if "@" in parts.netloc:
        raise Mistake("must hold no user name or password: credentials belong in accounts")
    if "?" in text or "#" in text:
        raise Mistake("must hold no query and no fragment")
    check_path(parts.path)
    # An IPv6 zone names an interface of this machine, unescaped; RFC 6874 writes its % as %25.
    host, percent, zone = parts.netloc.partition("%")
    netloc = f"{host.lower()}{percent}{zone.removeprefix('25')}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def token_uri(text: str) -> str:
    """Return the URL at which tokens are refreshed. Raises Mistake if it is invalid or unsafe for a refresh token."""
    parts = split_url(in_ascii(text))
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise Mistake("must begin with https://")
    if "@" in parts.netloc or "#" in text:
        raise Mistake("must hold no user name, no password and no fragment")
    check_path(parts.path)
    return parts.geturl()


def in_ascii(url: str) -> str:
    """Return a URL with non-ASCII letters encoded: the host's by IDNA, the path's percent-encoded.

    Invisible characters, such as a zero-width space, stay, and are refused later. Raises Mistake if IDNA fails.
    """
    if url.isascii() or not url.isprintable():
        return url
    from urllib.parse import quote

    start, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    try:
        host = host.encode("idna").decode()
    except UnicodeError:
        raise Mistake(NOT_A_URL) from None
    return f"{start}{slashes}{host}{slash}" + "".join(c if c.isascii() else quote(c) for c in path)


def check_path(path: str) -> None:
    """Check a URL's path. Raises Mistake with the correct encoding of a forbidden character."""
    bad = re.search(NOT_IN_PATH, path)
    if bad is not None:
        raise Mistake(f"has a {bad[0]} in its path that a URL cannot hold: write %{ord(bad[0]):02X}")


def proxy(reading: Reading, path: str, value: object) -> Secret:
    """Read `http://[user:password@]host:port`, written out or by reference."""
    text = resolve(reading, value)
    if text == value and "@" in text:
        reading.literal_secrets.append(path)
    parts = split_url(text)
    extra = parts.path not in ("", "/") or "?" in text or "#" in text
    if parts.scheme != "http" or parts.port is None or extra:
        raise Mistake('must be "http://[user:password@]host:port"')
    return Secret(text.rstrip("/"))


def split_url(text: str) -> SplitResult:
    """Split a URL and check its host and port. Raise Mistake."""
    if not re.fullmatch(r"[!-~]+", text):
        raise Mistake("must be printable ASCII without blanks: in a path, write %20")
    try:
        parts = urlsplit(text)
        good = parts.port != 0 and is_host(parts.hostname or "")
    except ValueError:
        good = False
    if not good or not re.fullmatch(HOST_AND_PORT, parts.netloc.rpartition("@")[2]):
        raise Mistake(NOT_A_URL)
    return parts
