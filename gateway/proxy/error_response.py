"""The response to a request that could not be served: the upstream's own error if the client understands it, else one
in the protocol's form."""

from collections.abc import Callable
from typing import NamedTuple

from gateway.config import Server
from gateway.http1.heads import render_lines
from gateway.messages.errors import error_type
from gateway.messages.protocol import MESSAGES
from gateway.proxy.response_headers import content_type_line, kept_headers, shown_account
from gateway.routing.failures import FailureKind
from gateway.routing.retries import GiveUp

HINTS = frozenset({b"retry-after", b"retry-after-ms"})


class ErrorResponse(NamedTuple):
    """A whole error response, with its type and message for a stream that has begun."""

    status: int
    lines: bytes
    """Its header lines."""
    body: bytes
    type: str
    message: str


def error_response(
    stop: GiveUp,
    server: Server,
    request_id: str,
    *,
    relays: bool,
    censor: Callable[[str], str] = str,
) -> ErrorResponse:
    """Return the client's response.

    `relays`: the failure came from an upstream with the client's protocol, so that its body is passed on byte for byte,
    since clients recover by its wording. `censor` removes secrets: only then do bytes change.
    """
    failure = stop.failure
    quoted = failure if relays and stop.own_words else None
    if quoted is not None and (quoted.kind is not FailureKind.STATUS or not quoted.body):
        quoted = None
    message = stop.error_message(lambda account: shown_account(server, account) or "of this upstream", censor)
    type = error_type(stop.status)
    headers: list[tuple[bytes, bytes]] = []
    if failure is not None and stop.own_words:
        type = failure.type or type
        headers = kept_headers(failure.headers)
    if stop.retry_after is not None:
        # `retry_after` is the earliest of all accounts, while the upstream's hint is about one.
        headers = [field for field in headers if field[0] not in HINTS]
        headers.append((b"retry-after", b"%d" % stop.retry_after))
    if stop.final:
        headers.append((b"x-should-retry", b"false"))
    known_id = next((value for name, value in headers if name == b"request-id"), None)
    if known_id is None:
        headers.append((b"request-id", request_id.encode()))
    else:
        request_id = known_id.decode("latin-1")
    if quoted is not None:
        content_type = next((v for n, v in quoted.headers if n == b"content-type"), b"application/json")
        body = censor(quoted.body.decode("latin-1")).encode("latin-1")
    else:
        content_type = b"application/json"
        body = MESSAGES.error_body(stop.status, message, request_id, type=type)
    lines = render_lines(headers) + content_type_line(content_type)
    return ErrorResponse(status=stop.status, lines=lines, body=body, type=type, message=message)
