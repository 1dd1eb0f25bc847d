"""A host's error in terms of the Messages protocol: status, type, message.

Other modules judge it by these for accounts and retries. Here the status is made to fit the error (hosts report an
exhausted balance as 429, a missing model as 400), and a prompt or a limit that is too large gets the message by which
clients recover.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.dialects.base import StreamFailure
from gateway.dialects.limits import limit_in
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.messages.errors import STATUS_OF_TYPE, error_type
from gateway.patterns import LazyPattern
from gateway.routing.error_bodies import ErrorBody
from gateway.routing.failures import Failure, FailureKind, error_of, status_named

STATUS_OF_WORD: Mapping[str, int] = {
    **STATUS_OF_TYPE,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "invalid_encrypted_content": 400,
    "invalid_prompt": 400,
    "bad_request_error": 400,
    "badrequesterror": 400,
    "model_not_found": 404,
    "notfounderror": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_reached_error": 429,
    "too_many_requests": 429,
    "server_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "server_is_overloaded": 529,
    "service_unavailable_error": 503,
    "unavailable_error": 503,
    "timeout": 504,
}
"""Code or type -> status, for errors inside a stream, which have no HTTP status."""


class StatusRow(NamedTuple):
    """One row: an error with one of these codes or words has this status."""

    status: int
    codes: frozenset[str] = frozenset()
    """Codes and types."""
    words: LazyPattern[str] | None = None
    """Matched in the message."""
    only: frozenset[int] = frozenset()
    """Statuses that the row applies to; empty: any."""


def _words(pattern: str) -> LazyPattern[str]:
    return LazyPattern(pattern, re.IGNORECASE)


def _codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


STATUS_ROWS: tuple[StatusRow, ...] = (
    # OpenAI, Kimi, MiniMax, DashScope, GLM: an exhausted balance, sent as 429, 400, 402 or 500.
    StatusRow(
        402,
        _codes(
            "insufficient_quota exceeded_current_quota_error insufficient_balance_error arrearage "
            "billing_not_active billing_hard_limit_reached 1113 base_resp.1008"
        ),
        _words(r"insufficient balance"),
    ),
    # GLM 1000 to 1004; MiniMax.
    StatusRow(
        401,
        _codes("invalid_api_key 1000 1001 1002 1003 1004 base_resp.1004"),
        only=frozenset({0, 200, 400, 401, 403}),
    ),
    StatusRow(529, _codes("engine_overloaded_error overloaded_error server_is_overloaded")),
    # Groq's flex tier.
    StatusRow(529, only=frozenset({498})),
    # z.ai's limits of a rate and of a window.
    StatusRow(429, _codes("1302 1303 1305 1308 1310 1316 1317"), only=frozenset({0, 200, 400, 403, 429, 500})),
    # Not a missing model: no provider accepts the request's features.
    StatusRow(400, words=_words(r"no endpoints found"), only=frozenset({404})),
    # OpenAI; DeepSeek; OpenRouter; GLM; Mistral: a prompt that is too long.
    StatusRow(
        404,
        _codes("model_not_found 1211 1500 invalid_model"),
        _words(r"model not exist|not a valid model id|(the )?model \S+ (does not exist|not found|is not found)"),
        only=frozenset({400, 404, 422}),
    ),
    # llama.cpp, LM Studio.
    StatusRow(503, words=_words(r"loading model|model is unloaded|model has crashed")),
    # OpenAI and Azure, DashScope, GLM.
    StatusRow(400, _codes("content_filter content_policy_violation data_inspection_failed datainspectionfailed 1301")),
    StatusRow(400, only=frozenset({422})),
)  # fmt: skip
"""The first row that fits decides; without one the status stays."""

NAMES_MODEL = LazyPattern(r"\bmodels?\b|deployment", re.IGNORECASE)


def translate_failure(failure: Failure, sent: EncodedRequest) -> Failure:
    """Return the failure with status, type and message of the Messages protocol. Its body is kept for retry hints. A
    failure without status and body (no connection) is returned unchanged."""
    if not failure.body and not failure.status:
        return failure
    said = error_of(failure)
    status = failure.status if failure.status >= 400 else 0
    limit = limit_in(said, status, sent.max_tokens)
    if limit is not None:
        return failure._replace(status=limit.status, type=error_type(limit.status), message=limit.text)
    status = status_of(said, status)
    message = said.message or f"the upstream responded with status {status}"
    if failure.status == 404 and status == 404 and not _names_model(said, sent):
        message = f"{message} (asked: {sent.url}; is the upstream's base_url right?)"
    return failure._replace(status=status, type=error_type(status), message=message)


def status_of(said: ErrorBody, status: int) -> int:
    """Return the status that fits an error. `status`: the response's, 0 if it had none."""
    for meaning in STATUS_ROWS:
        if meaning.only and status not in meaning.only:
            continue
        if not meaning.codes and meaning.words is None:
            return meaning.status
        if not meaning.codes.isdisjoint(said.words) or (meaning.words and meaning.words.search(said.message)):
            return meaning.status
    named = (STATUS_OF_WORD[word] for word in said.words if word in STATUS_OF_WORD)
    return status or status_named(said.codes) or next(named, 500)


def read_stream_error(data: bytes, sent: EncodedRequest) -> StreamFailure:
    """Return the failure for an error object inside a 200, judged by the status that it names."""
    return StreamFailure(translate_failure(Failure(kind=FailureKind.STREAM_ERROR, body=data), sent))


def incomplete(message: str) -> StreamFailure:
    """Return the failure for a response that ended too early or cannot be read."""
    return StreamFailure(Failure(kind=FailureKind.INCOMPLETE, status=502, message=message))


def _names_model(said: ErrorBody, sent: EncodedRequest) -> bool:
    text = said.message
    return bool(sent.model and sent.model in text) or NAMES_MODEL.compiled.search(text) is not None
