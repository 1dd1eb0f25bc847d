"""The page at `/status`: one file of this package, and the headers that restrict it to its own content.

The page holds no data: it requests them with the key that its reader enters.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pkgutil import get_data

from gateway.http1.heads import render_lines

POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Only this script and this style: names and upstreams' messages can only be text."""


@cache
def page() -> tuple[bytes, bytes]:
    """Return the page and its header lines."""
    text = get_data(__package__, "page.html")
    assert text is not None
    hashes = {part: _hash(text, part) for part in ("script", "style")}
    lines = render_lines(
        [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", POLICY.format(**hashes).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]
    )
    return text, lines


def _hash(text: bytes, part: str) -> str:
    """Return the hash of an element's content in the form of a Content-Security-Policy."""
    (found,) = re.findall(rb"<%b>(.*?)</%b>" % (part.encode(), part.encode()), text, re.DOTALL)
    return f"sha256-{b64encode(sha256(found).digest()).decode()}"
