"""A failed attempt, as the upstream told it. What it means is read in `meanings`, what follows in `policy`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.json_values import json_in
from gateway.routing.error_bodies import is_error, read_error

Headers = Sequence[tuple[bytes, bytes]]

PAGE = 500
"""Bytes shown of a body that is no error object: a proxy's HTML page says enough in its head."""


class FailureKind(Enum):
    """How an attempt failed."""

    CONNECT = "connect"
    """No head of a response: connect, TLS, reset. With status 504: the request was sent, and no head came in time."""
    STATUS = "status"
    """A complete response whose status, or whose body under a 200, is an error."""
    STREAM_ERROR = "stream_error"
    """A 200 stream that reports an error."""
    REFRESH = "refresh"
    """No token could be got to ask with. The message is the gateway's own, and not for clients."""
    INCOMPLETE = "incomplete"
    """A 200 that ended before any content. With status 504: it fell silent."""
    UNUSABLE = "unusable"
    """A 200 in which the model stopped without an end: it made a call that is none."""
    EMPTY = "empty"
    """A complete 200 without content that says `output_tokens` 0."""
    NO_MESSAGE = "no message"
    """A 200 that is neither what was asked for nor an error that says what it is: a page, any text, JSON of another
    kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt. Fields that are not known stay empty; what the body says of them is read there."""

    kind: FailureKind
    status: int = 0
    headers: Headers = ()
    """Lower-case names."""
    body: bytes = b""
    """The error's own bytes: a response's body, or the data of an error event."""
    message: str = ""
    type: str = ""
    """The Messages protocol's error type, where the upstream or its dialect gave one."""
    code: str = ""
    """A code that a dialect read elsewhere than in the body."""
    param: str = ""
    """The field that is complained of, likewise."""


def status_of(failure: Failure) -> int:
    """Return the status that decides: an error response's own, or the one that its type or code stands for."""
    if failure.status >= 400 or failure.kind not in (FailureKind.STATUS, FailureKind.STREAM_ERROR):
        return failure.status
    if failure.status >= 300:
        return failure.status
    error = read_error(failure.body)
    status = _status_in(failure.type or error.type, (failure.code, *error.codes))
    return status or (500 if failure.kind is FailureKind.STREAM_ERROR else 502)


def _status_in(type: str, codes: Sequence[str]) -> int:
    """Return the status that a type or a code names, 0 for none."""
    if type in STATUS_OF_TYPE:
        return STATUS_OF_TYPE[type]
    return next((int(code) for code in codes if code.isdecimal() and 400 <= int(code[:4]) <= 599), 0)


def message_of(failure: Failure) -> str:
    """Return what the upstream said, for people: its message, or its body's beginning where that has none."""
    return (
        failure.message or read_error(failure.body).message or failure.body[:PAGE].decode("utf-8", "replace")
    )


def error_in(body: bytes) -> tuple[str, str]:
    """Return (type, message) of an error body in any of the usual shapes; "" for what is not there."""
    error = read_error(body)
    return error.type, error.message


def failure_in(body: bytes) -> Failure | None:
    """Return the failure that the whole body of a 200 is; None for a JSON object that reports no error.

    An error that says what it is (by type or code) is judged as if it had come with that status. Anything else that
    is no JSON object is no message, whatever its label says.
    """
    if not body.strip():
        return Failure(kind=FailureKind.INCOMPLETE, status=502)
    document = json_in(body)
    if isinstance(document, dict | list) and is_error(document):
        error = read_error(body)
        if error.codes or error.type:
            return Failure(kind=FailureKind.STATUS, status=200, body=body)
    elif isinstance(document, dict):
        return None
    return Failure(kind=FailureKind.NO_MESSAGE, status=502, body=body)
