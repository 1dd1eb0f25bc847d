"""Header lines of responses: which of an upstream's a client gets to see, and who served the request."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from urllib.parse import quote

from gateway.config import Server
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import ResponseHead, render_lines

KEPT = frozenset(
    {b"request-id", b"retry-after", b"retry-after-ms", b"x-should-retry", b"content-language", b"deprecation"}
)
"""Upstream fields that clients act on, besides `anthropic-*`. Content-Type is the caller's to pass."""

CONTENT = frozenset({b"content-type", b"content-encoding"})
"""Upstream fields that decide who reads the body."""

LONGEST = 256
"""Characters of a name in a field; no model's name is longer."""

VISIBLE = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Marks that need no encoding, besides letters and digits."""

JSON = b"content-type: application/json\r\n"

EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\n"

STREAM_LINES = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
"""On every stream: no proxy between here and the client is to cache or buffer it."""


class UpstreamHead:
    """What matters of an upstream's response head: its content's type and coding, and the lines that are kept.

    Made once for all heads of a template; those differ in the values that `lines` fills in.
    """

    __slots__ = ("_format", "_pick", "coding", "content_type", "content_type_line", "has_request_id")

    def __init__(self, head: ResponseHead) -> None:
        """Raise ProtocolError (502) for a field that no line can hold."""
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
        """Return the kept lines of a head with these values in its holes, with `request_id` where it has none."""
        lines = self._format % self._pick(values)
        return lines if self.has_request_id else b"%brequest-id: %b\r\n" % (lines, request_id.encode())


def _nothing(values: Sequence[bytes]) -> object:
    return ()


def upstream_head(head: ResponseHead) -> UpstreamHead:
    """Find out what matters of a head, and leave it with the head's template. Raises ProtocolError (502).

    Not with one in which the content's type or coding varies: another head of it may say something else.
    """
    about = UpstreamHead(head)
    template = head.template
    if template is not None and not template.hole_names & CONTENT:
        template.known = about
    return about


def is_kept(name: bytes) -> bool:
    """Return whether a field of an upstream's head goes to the client: no cookie, no CORS field, no hop's own."""
    return name in KEPT or name.startswith(b"anthropic-")


def kept_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields of an upstream's head that go to the client."""
    named = options_of(headers)
    return [field for field in headers if is_kept(field[0]) and field[0] not in named]


def options_of(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the names of fields that Connection names: they are between two hops."""
    return frozenset(
        option.strip(b" \t").lower()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
    )


def content_type_line(value: bytes) -> bytes:
    """Return an upstream's Content-Type as a line, or JSON's where it cannot be written."""
    try:
        return render_lines([(b"content-type", value)])
    except ProtocolError:
        return JSON


def shown_account(server: Server, account: str) -> str:
    """Return an account's name as clients may see it; "" for not at all."""
    if server.expose == "full":
        return account
    return masked(account) if server.expose == "masked" else ""


def masked(account: str) -> str:
    """Return an account's name with all but its first letter and its domain hidden."""
    name, at, domain = account.partition("@")
    return f"{name[:1]}***{at}{domain}"


def field_value(name: str) -> bytes:
    """Return a name as a field's value: what is no visible ASCII is percent-encoded, and what is too long is cut.

    Without a table of models their names are the client's to choose.
    """
    if name.isascii() and name.isprintable() and len(name) <= LONGEST and name == name.strip():
        return name.encode()
    return quote(name[:LONGEST], safe=VISIBLE, errors="surrogatepass").encode()


def routing_lines(server: Server, account: str, wire_model: str) -> bytes:
    """Return the lines that say who served a request, and under which wire model."""
    if server.expose == "none" or not account:
        return b""
    return render_lines(
        [
            (b"x-account-email", field_value(shown_account(server, account))),
            (b"x-mapped-model", field_value(wire_model)),
        ]
    )
