"""Translates Gemini's errors to the Messages protocol.

A Google error is `{"error": {code, message, status, details}}`, or a list of one. `routing` judges it for accounts and
retries; here the status is made to fit the error (a bad key comes as a 400), and errors from which clients recover (a
prompt that is too long, too large a max_tokens) get the messages that they look for.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.messages.errors import error_type
from gateway.messages.json_values import as_dict, as_text, dicts_in, json_in
from gateway.patterns import LazyPattern
from gateway.routing.failures import Failure, message_of, status_of

STATUS_OF_CODE: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "FAILED_PRECONDITION": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 503,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""google.rpc code -> status, for errors inside a stream, which have no HTTP status."""

STATUS_OF_SPECIAL: Mapping[tuple[int, str], int] = {
    (400, "FAILED_PRECONDITION"): 403,
    (400, "API_KEY_INVALID"): 401,
    (499, "CANCELLED"): 503,
}
"""(HTTP status, code or reason) -> the status that fits. FAILED_PRECONDITION is documented as "not available in your
country, enable billing", which is about the account. A cancelled call was not cancelled by the client."""

LONGEST = 4096
"""Characters of a message that are searched; Google's have some 500."""

_MAX_TOKENS = LazyPattern(
    r"maxOutputTokens value of (\d+) .{0,40}range is from \d+ \(inclusive\) to (\d+) \(exclusive\)"
)
_TOO_LONG = LazyPattern(r"exceeds the maximum number of tokens|input token count", re.IGNORECASE)
_TOO_LONG_NUMBERS = LazyPattern(r"token count\D{0,40}?([\d,]+)\D.*?([\d,]*\d{3})", re.IGNORECASE | re.DOTALL)


def translate_failure(failure: Failure) -> Failure:
    """Return the failure with status, type and message of the Messages protocol.

    The body is kept for retry hints. A failure without a body (no connection) is returned unchanged.
    """
    error = read_error(failure.body)
    if error is None:
        status = status_of(failure)
        if not status:
            return failure
        message = message_of(failure).strip() or f"the upstream responded with status {status}"
        return failure._replace(status=status, message=message, type=error_type(status))
    code = as_text(error.get("status"))
    status = failure.status or _status(error.get("code"), code)
    for special in (code, *_reasons(error)):
        status = STATUS_OF_SPECIAL.get((status, special), status)
    text = as_text(error.get("message")) or code or f"the upstream responded with status {status}"
    if status == 400:
        text = _with_api_message(text)
    return failure._replace(status=status, type=error_type(status), message=text)


def read_error(body: bytes) -> dict[str, Any] | None:
    """Return the error object of a Google error body; None if it is not one."""
    document = json_in(body)
    if isinstance(document, list) and document:
        document = document[0]
    error = as_dict(document).get("error")
    return error if isinstance(error, dict) else None


def _status(given: object, code: str) -> int:
    if isinstance(given, int) and 400 <= given <= 599:
        return given
    return STATUS_OF_CODE.get(code, 500)


def _reasons(error: Mapping[str, Any]) -> list[str]:
    reasons = [detail.get("reason") for detail in dicts_in(error.get("details"))]
    return [reason for reason in reasons if isinstance(reason, str)]


def output_limit(text: str) -> int:
    """Return the model's limit of output tokens if a refusal says it, else 0."""
    found = _MAX_TOKENS.compiled.search(text, 0, LONGEST)
    return int(found[2]) - 1 if found else 0


def _with_api_message(text: str) -> str:
    """Return a message with the API's own in front, by which clients compact or ask for less."""
    found = _MAX_TOKENS.compiled.search(text, 0, LONGEST)
    if found:
        return f"max_tokens: {found[1]} > {output_limit(text)}, which is the maximum allowed output. {text}"
    if not _TOO_LONG.compiled.search(text, 0, LONGEST):
        return text
    numbers = _TOO_LONG_NUMBERS.compiled.search(text, 0, LONGEST)
    if numbers is None:
        return f"prompt is too long: {text}"
    given, most = (group.replace(",", "") for group in numbers.groups())
    return f"prompt is too long: {given} tokens > {most} maximum. {text}"
