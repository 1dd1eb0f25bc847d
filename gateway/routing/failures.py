"""A failed attempt as a value. `meanings` interprets it, `policy` says what follows."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.json_values import json_in
from gateway.routing.error_bodies import ErrorBody, is_error, read_error

Headers = Sequence[tuple[bytes, bytes]]

PAGE = 500
"""Bytes shown of a body that is no error object: the beginning of a proxy's HTML page says enough."""


class FailureKind(Enum):
    """How an attempt failed."""

    CONNECT = "connect"
    """No response: connect, TLS, reset. With status 504: the request was sent, and no response came in time."""
    STATUS = "status"
    """A complete response whose status, or whose body under a 200, is an error."""
    STREAM_ERROR = "stream_error"
    """A 200 stream that reports an error."""
    REFRESH = "refresh"
    """No token could be fetched. The message is the gateway's own, and not for clients."""
    INCOMPLETE = "incomplete"
    """A 200 that ended before any content. With status 504: it stalled."""
    UNUSABLE = "unusable"
    """A 200 in which the model ended with something invalid, such as a malformed call."""
    EMPTY = "empty"
    """A complete 200 without content that says `output_tokens` 0."""
    NO_MESSAGE = "no message"
    """A 200 that is neither a message nor an error: a web page, other text, other JSON."""


class Failure(NamedTuple):
    """One failed attempt. Unknown fields are empty; then the body is read for them."""

    kind: FailureKind
    status: int = 0
    headers: Headers = ()
    """Lower-case names."""
    body: bytes = b""
    """The bytes of the error: a response's body, or the data of an error event."""
    message: str = ""
    type: str = ""
    """The Messages protocol's error type, if the upstream or its dialect gave one."""
    code: str = ""
    """A code that a dialect found outside the body."""
    param: str = ""
    """The field at fault, likewise."""


def status_of(failure: Failure) -> int:
    """Return the status that counts: an error response's own, or the one that its type or code stands for."""
    if failure.status >= 400 or failure.kind not in (FailureKind.STATUS, FailureKind.STREAM_ERROR):
        return failure.status
    if failure.status >= 300:
        return failure.status
    error = read_error(failure.body)
    status = status_named((failure.code, *error.codes), failure.type or error.type)
    return status or (500 if failure.kind is FailureKind.STREAM_ERROR else 502)


def status_named(codes: Sequence[str], type: str = "") -> int:
    """Return the status that a type of the Messages protocol, or a code, names; 0 if none does."""
    if type in STATUS_OF_TYPE:
        return STATUS_OF_TYPE[type]
    return next((int(code) for code in codes if code.isdecimal() and 400 <= int(code[:4]) <= 599), 0)


def message_of(failure: Failure) -> str:
    """Return the upstream's message for people, or else the beginning of its body."""
    return failure.message or error_of(failure).message


def error_of(failure: Failure) -> ErrorBody:
    """Return the content of a failure's body. One in no known form (a proxy's page) is the message itself."""
    error = read_error(failure.body)
    if error.message:
        return error
    return error._replace(message=failure.message or failure.body[:PAGE].decode("utf-8", "replace").strip())


def failure_in(body: bytes) -> Failure | None:
    """Return the failure in the whole body of a 200; None for a JSON object that reports no error.

    An error with a known type or code is judged as if it had the matching status. A body that is no JSON object is no
    message, whatever its content type says.
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
