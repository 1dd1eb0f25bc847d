"""Head fields of answers: which of an upstream's a client gets to see, and what the gateway tells about the way."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from gateway.config import Server
from gateway.config.values import Expose
from gateway.http1.forms import MAX_FORMS, Form, Pick, picker
from gateway.http1.heads import ResponseHead, render_lines

KEPT = frozenset(
    {b"request-id", b"retry-after", b"retry-after-ms", b"x-should-retry", b"content-language", b"deprecation"}
)
"""Upstream fields that clients act on, besides `anthropic-*`. Content-Type is the caller's to pass."""

LONGEST = 256
"""Characters of a name in a field; no model's name is longer."""

VISIBLE = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Marks that need no encoding, besides letters and digits."""

EVENT_STREAM = b"text/event-stream; charset=utf-8"

STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""On every stream: nobody between here and the client is to keep or gather it."""

STREAM_LINES = b"".join(b"%b: %b\r\n" % field for field in STREAM_HEADERS)


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What of an upstream's head goes to the client: no cookie, no CORS field, nothing about a hop."""
    return [field for field in headers if field[0] in KEPT or field[0].startswith(b"anthropic-")]


_picks: dict[Form, tuple[Pick, bool]] = {}
"""What takes the lines that are kept out of an answer's head, and whether a request id is among them."""


def kept_lines(head: ResponseHead, request_id: str) -> bytes:
    """The same as lines, with the gateway's own request id where the upstream gave none."""
    form = head.form
    if form is None:
        return render_lines(with_request_id(kept_headers(head.headers), request_id))
    known = _picks.get(form)
    if known is None:
        if len(_picks) >= MAX_FORMS:
            _picks.clear()
        names = [name for name, _ in head.headers]
        places = [at + 1 for at, name in enumerate(names) if name in KEPT or name.startswith(b"anthropic-")]
        known = _picks[form] = (picker(places), b"request-id" in form.index)
    pick, has_id = known
    lines = b"\r\n".join((*pick(head.text), b""))
    return lines if has_id else b"%brequest-id: %b\r\n" % (lines, request_id.encode())


def with_request_id(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The same, with the gateway's own request id where the upstream gave none."""
    if not any(name == b"request-id" for name, _ in headers):
        headers.append((b"request-id", request_id.encode()))
    return headers


def shown_account(server: Server, account: str) -> str:
    """An account's name as clients may see it; "" for not at all."""
    if server.expose == "full":
        return account
    return masked(account) if server.expose == "masked" else ""


def masked(account: str) -> str:
    """An account's name with all but its first letter and its domain hidden."""
    name, at, domain = account.partition("@")
    return f"{name[:1]}***{at}{domain}"


def field_value(name: str) -> bytes:
    """A name as a field's value: what is no visible ASCII is percent-encoded, and what is too long is cut.

    Without a table of models their names are the client's to choose.
    """
    if name.isascii() and name.isprintable() and len(name) <= LONGEST and name == name.strip():
        return name.encode()
    return quote(name[:LONGEST], safe=VISIBLE, errors="surrogatepass").encode()


@lru_cache(maxsize=MAX_FORMS)
def content_type_line(value: bytes) -> bytes:
    """Content-Type as a line."""
    return render_lines([(b"content-type", value)])


@lru_cache(maxsize=256)
def way_lines(expose: Expose, account: str, wire_model: str, attempts: int) -> bytes:
    """The same as lines, for a server with this setting of `expose`."""
    return render_lines(way_headers(Server(expose=expose), account, wire_model, attempts))


def way_headers(server: Server, account: str, wire_model: str, attempts: int) -> list[tuple[bytes, bytes]]:
    """Who served a request, under which wire model, and after how many attempts."""
    headers = []
    if server.expose != "none" and account:
        headers.append((b"x-account-email", field_value(shown_account(server, account))))
        headers.append((b"x-mapped-model", field_value(wire_model)))
    if attempts > 1:
        headers.append((b"x-gateway-attempts", b"%d" % attempts))
    return headers
