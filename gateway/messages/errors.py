"""The protocol's errors: types, statuses, and their two forms (body and stream event).

The gateway's own errors look like the API's, so that clients handle them alike.
"""

from collections.abc import Mapping, Sequence

import orjson

TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

THREAD_UNSUPPORTED = {"error_code": "thread_unsupported_request"}
"""Details of a 400 that make SDKs and Claude Code send the whole conversation."""

STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_type(status: int) -> str:
    """Return the protocol's error type for an HTTP status; other 4xx are the request's fault, the rest the server's."""
    known = TYPE_OF_STATUS.get(status)
    if known is not None:
        return known
    return "invalid_request_error" if 400 <= status < 500 else "api_error"


def error_body(
    status: int,
    message: str,
    request_id: str,
    *,
    type: str | None = None,
    details: Mapping[str, str] | None = None,
) -> bytes:
    """Return the JSON body of an error response."""
    error: dict[str, object] = {"type": type or error_type(status), "message": message}
    if details:
        error["details"] = details
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def error_event(type: str, message: str, request_id: str) -> bytes:
    """Return an `event: error`, with its blank line, for a response that has already begun."""
    data = orjson.dumps(
        {"type": "error", "error": {"type": type, "message": message}, "request_id": request_id}
    )
    return b"event: error\ndata: " + data + b"\n\n"


class RequestError(Exception):
    """The client's request cannot be served. Holds the response to the client.

    `status`, `message` and `details`, by which SDKs act, go to the client unchanged; `headers` (lower-case names) are
    added to the response. Never raise it with a secret in the message.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or error_type(status)
        self.headers = tuple(headers)
        self.details = details
