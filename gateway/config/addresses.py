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

URL_PATH = r"[A-Za-z0-9/._~%!$&'()*+,;=:@-]*"

PRIVATE_SUFFIXES = (".local", ".lan", ".internal", ".home.arpa")
"""Suffixes of names that public DNS does not resolve: mDNS, home routers, the reserved private domains."""


def is_host(text: str) -> bool:
    """Return whether this is a host name or an address, without brackets and port."""
    from ipaddress import ip_address

    if ":" in text and not re.fullmatch(IPV6, text):
        return False
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
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
    text = string(value)
    parts = split_url(text)
    if parts.scheme not in ("http", "https"):
        raise Mistake('must begin with "https://"')
    if "@" in parts.netloc:
        raise Mistake("must hold no user name or password: credentials belong in accounts")
    if "?" in text or "#" in text:
        raise Mistake("must hold no query and no fragment")
    if not re.fullmatch(URL_PATH, parts.path):
        raise Mistake("has a path with characters that a URL cannot hold")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


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
        raise Mistake("must be printable ASCII without blanks")
    try:
        parts = urlsplit(text)
        good = parts.port != 0 and is_host(parts.hostname or "")
    except ValueError:
        good = False
    if not good or not re.fullmatch(HOST_AND_PORT, parts.netloc.rpartition("@")[2]):
        raise Mistake("is not a URL: look at its scheme, host and port")
    return parts
