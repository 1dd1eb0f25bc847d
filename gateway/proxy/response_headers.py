"""Header lines of responses: the upstream's that go to the client, and those about routing."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from urllib.parse import quote

from gateway.config import Server
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import ResponseHead, render_lines

KEPT = frozenset(
    {b"request-id", b"retry-after", b"retry-after-ms", b"x-should-retry", b"content-language", b"deprecation"}
)
"""Upstream fields that clients act on, besides `anthropic-*`. The caller adds Content-Type."""

CONTENT = frozenset({b"content-type", b"content-encoding"})
"""Upstream fields that determine how the body is read."""

LONGEST = 256
"""Characters of a name in a field; no model's name is longer."""

VISIBLE = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters that need no encoding, besides letters and digits."""

JSON = b"content-type: application/json\r\n"

EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\n"

STREAM_LINES = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
"""For every stream: proxies between here and the client must not cache or buffer it."""


class UpstreamHead:
    """The relevant parts of an upstream's response head: content type, coding, and the lines for the client.

    Computed once for all heads of a template, which differ in the values that `lines` fills in.
    """

    __slots__ = ("_format", "_pick", "coding", "content_type", "content_type_line", "has_request_id")

    def __init__(self, head: ResponseHead) -> None:
        """Raise ProtocolError (502) for a field that cannot be a line."""
        self.coding = head.get(b"content-encoding")
        self.content_type = head.get(b"content-type") or b""
        self.content_type_line = content_type_line(self.content_type) if self.content_type else b""
        self.has_request_id = False
        holes = head.template.holes if head.template is not None else {}
        named = options_of(head.headers)
        lines, picked = [], []
        for at, (name, value) in enumerate(head.headers):
            if not is_kept(name) or name in named:
                continue
            line = render_lines([(name, value)])
            if at in holes:
                picked.append(holes[at])
                line = b"%b: %%b\r\n" % name.replace(b"%", b"%%")
            else:
                line = line.replace(b"%", b"%%")
            lines.append(line)
            self.has_request_id = self.has_request_id or name == b"request-id"
        self._format = b"".join(lines)
        self._pick: Callable[[Sequence[bytes]], object] = itemgetter(*picked) if picked else _nothing

    def lines(self, values: Sequence[bytes], request_id: str) -> bytes:
        """Return the client's lines for a head with these values in its holes; with `request_id` if it has none."""
        lines = self._format % self._pick(values)
        return lines if self.has_request_id else b"%brequest-id: %b\r\n" % (lines, request_id.encode())


def _nothing(values: Sequence[bytes]) -> object:
    return ()


def upstream_head(head: ResponseHead) -> UpstreamHead:
    """Return the relevant parts of a head, and keep them with its template. Raises ProtocolError (502).

    They are not kept if the content's type or coding is a hole, since these differ between heads of the template.
    """
    about = UpstreamHead(head)
    template = head.template
    if template is not None and not template.hole_names & CONTENT:
        template.known = about
    return about


def is_kept(name: bytes) -> bool:
    """Return whether a field of an upstream's head goes to the client: no cookie, CORS or hop-by-hop field."""
    return name in KEPT or name.startswith(b"anthropic-")


def kept_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields of an upstream's head that go to the client."""
    named = options_of(headers)
    return [field for field in headers if is_kept(field[0]) and field[0] not in named]


def options_of(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the names of fields that Connection lists: they are hop-by-hop."""
    return frozenset(
        option.strip(b" \t").lower()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
    )


def content_type_line(value: bytes) -> bytes:
    """Return an upstream's Content-Type as a line; JSON's if it cannot be one."""
    try:
        return render_lines([(b"content-type", value)])
    except ProtocolError:
        return JSON


def shown_account(server: Server, account: str) -> str:
    """Return an account's name as clients may see it; "" if they may not."""
    if server.expose == "full":
        return account
    return mask(account) if server.expose == "masked" else ""


def mask(account: str) -> str:
    """Return an account's name with all but its first letter and its domain hidden."""
    name, at, domain = account.partition("@")
    return f"{name[:1]}***{at}{domain}"


def field_value(name: str) -> bytes:
    """Return a name as a field's value: percent-encoded unless it is visible ASCII, and cut if it is too long.

    Without a table of models clients choose the names.
    """
    if name.isascii() and name.isprintable() and len(name) <= LONGEST and name == name.strip():
        return name.encode()
    return quote(name[:LONGEST], safe=VISIBLE, errors="surrogatepass").encode()


def routing_lines(server: Server, account: str, wire_model: str) -> bytes:
    """Return the lines that name the account and the wire model that served a request."""
    if server.expose == "none" or not account:
        return b""
    return render_lines(
        [
            (b"x-account-email", field_value(shown_account(server, account))),
            (b"x-mapped-model", field_value(wire_model)),
        ]
    )
