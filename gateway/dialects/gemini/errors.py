"""Translates Gemini's errors to the Messages protocol.

A Google error is `{"error": {code, message, status, details}}`, or a list of one. `routing` judges it for accounts and
retries; here the status is made to fit the error (a bad key comes as a 400), and errors from which clients recover (a
prompt that is too long, too large a max_tokens) get the messages that they look for.
"""

import re
from collections.abc import Mapping

from gateway.messages.errors import error_type
from gateway.patterns import LazyPattern
from gateway.routing.failures import Failure, error_of, status_named, status_of

STATUS_OF_CODE: Mapping[str, int] = {
    "invalid_argument": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "failed_precondition": 403,
    "not_found": 404,
    "aborted": 409,
    "already_exists": 409,
    "resource_exhausted": 429,
    "cancelled": 503,
    "unknown": 500,
    "internal": 500,
    "data_loss": 500,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
"""google.rpc code, in lower case -> status, for errors inside a stream, which have no HTTP status."""

STATUS_OF_SPECIAL: Mapping[tuple[int, str], int] = {
    (400, "failed_precondition"): 403,
    (400, "api_key_invalid"): 401,
    (499, "cancelled"): 503,
}
"""(HTTP status, code or reason) -> the status that fits. `failed_precondition` is documented as "not available in your
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

    The body is kept for retry hints. A failure without status and body (no connection) is returned unchanged.
    """
    error = error_of(failure)
    named = (STATUS_OF_CODE[code] for code in error.codes if code in STATUS_OF_CODE)
    status = failure.status or status_named(error.codes) or next(named, 0) or status_of(failure)
    if not status:
        return failure
    for code in error.codes:
        status = STATUS_OF_SPECIAL.get((status, code), status)
    text = error.message or f"the upstream responded with status {status}"
    if status == 400:
        text = _with_api_message(text)
    return failure._replace(status=status, type=error_type(status), message=text)


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
