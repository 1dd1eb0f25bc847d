import orjson
import pytest

from gateway.dialects.gemini.errors import output_limit, translate_failure
from gateway.routing.error_bodies import LONGEST
from gateway.routing.failures import Failure, FailureKind


def body(code: int, status: str, message: str, *details: dict[str, object]) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message, "status": status, "details": details}})


INFO = "type.googleapis.com/google.rpc.ErrorInfo"

STATUSES: list[tuple[int, bytes, int, str, str]] = [
    (400, body(400, "INVALID_ARGUMENT", "bad"), 400, "invalid_request_error", "bad"),
    (400, b"[" + body(400, "INVALID_ARGUMENT", "bad") + b"]", 400, "invalid_request_error", "bad"),
    (401, body(401, "UNAUTHENTICATED", "who"), 401, "authentication_error", "who"),
    (403, body(403, "PERMISSION_DENIED", "no"), 403, "permission_error", "no"),
    (404, body(404, "NOT_FOUND", "what"), 404, "not_found_error", "what"),
    (429, body(429, "RESOURCE_EXHAUSTED", "slow"), 429, "rate_limit_error", "slow"),
    (499, body(499, "CANCELLED", "gone"), 503, "api_error", "gone"),
    (500, body(500, "INTERNAL", "oops"), 500, "api_error", "oops"),
    (503, body(503, "UNAVAILABLE", "The model is overloaded."), 503, "api_error", "The model is overloaded."),
    (504, body(504, "DEADLINE_EXCEEDED", "late"), 504, "timeout_error", "late"),
    (
        400,
        body(400, "INVALID_ARGUMENT", "API key not valid.", {"@type": INFO, "reason": "API_KEY_INVALID"}),
        401,
        "authentication_error",
        "API key not valid.",
    ),
    (400, body(400, "FAILED_PRECONDITION", "location"), 403, "permission_error", "location"),
    # without a message: the body itself
    (400, b'{"error":{"status":5}}', 400, "invalid_request_error", '{"error":{"status":5}}'),
    (400, b'{"error":{"message":"m","details":[5,{"reason":5}]}}', 400, "invalid_request_error", "m"),
    # no Google error
    (502, b"<html>Bad Gateway</html>\n", 502, "api_error", "<html>Bad Gateway</html>"),
    (502, b"x" * 900, 502, "api_error", "x" * 500),
    (502, b"", 502, "api_error", "the upstream responded with status 502"),
    (404, b'{"error":"gone"}', 404, "not_found_error", "gone"),
    (404, b"[]", 404, "not_found_error", "[]"),
    (500, b"5", 500, "api_error", "5"),
]


@pytest.mark.parametrize(("given", "raw", "status", "type", "message"), STATUSES)
def test_translated(given: int, raw: bytes, status: int, type: str, message: str) -> None:
    failure = Failure(kind=FailureKind.STATUS, status=given, headers=[(b"a", b"b")], body=raw)
    assert translate_failure(failure) == Failure(
        kind=FailureKind.STATUS, status=status, headers=[(b"a", b"b")], body=raw, message=message, type=type
    )


TOO_LONG = [
    (
        "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
        "prompt is too long: 1200293 tokens > 1048576 maximum. The input token count (1200293) exceeds",
    ),
    (
        "Unable to submit request because the input token count is 300,000 but the model only supports up to 131072.",
        "prompt is too long: 300000 tokens > 131072 maximum. Unable to submit",
    ),
    (
        "The request exceeds the maximum number of tokens.",
        "prompt is too long: The request exceeds the maximum number of tokens.",
    ),
    ("Input token count is too high", "prompt is too long: Input token count is too high"),
]


@pytest.mark.parametrize(("text", "expected"), TOO_LONG)
def test_a_prompt_that_is_too_long(text: str, expected: str) -> None:
    failure = translate_failure(
        Failure(kind=FailureKind.STATUS, status=400, body=body(400, "INVALID_ARGUMENT", text))
    )
    assert (failure.status, failure.type) == (400, "invalid_request_error")
    assert failure.message.startswith(expected)
    assert failure.message.endswith(text)


OUTPUT = (
    "Unable to submit request because it has a maxOutputTokens value of 128000 but the supported range is from 1 "
    "(inclusive) to 65537 (exclusive). Update the value and try again."
)


def test_too_many_tokens_of_output() -> None:
    failure = Failure(kind=FailureKind.STATUS, status=400, body=body(400, "INVALID_ARGUMENT", OUTPUT))
    found = translate_failure(failure)
    assert found.message.startswith("max_tokens: 128000 > 65536, which is the maximum ")
    assert found.message.endswith(OUTPUT)
    assert output_limit(OUTPUT) == output_limit(found.message) == 65536


@pytest.mark.parametrize("text", ["maxOutputTokens is too large", "token count 1 " * 10_000, "9" * 100_000])
def test_texts_of_other_kinds_stay(text: str) -> None:
    assert output_limit(text) == 0
    found = translate_failure(
        Failure(kind=FailureKind.STATUS, status=400, body=body(400, "INVALID_ARGUMENT", text))
    )
    assert found.message == text[:LONGEST]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (body(429, "RESOURCE_EXHAUSTED", "m"), 429),
        (b'{"error":{"code":"x","status":"UNAVAILABLE","message":"m"}}', 503),
        (b'{"error":{"code":200,"status":"NOT_FOUND","message":"m"}}', 404),
        (b'{"error":{"message":"m"}}', 500),
    ],
)
def test_an_error_inside_a_stream_names_its_status(raw: bytes, status: int) -> None:
    failure = translate_failure(Failure(kind=FailureKind.STREAM_ERROR, body=raw))
    assert (failure.status, failure.message) == (status, "m")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", 400),
        ("OUT_OF_RANGE", 400),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("FAILED_PRECONDITION", 403),
        ("NOT_FOUND", 404),
        ("ABORTED", 409),
        ("ALREADY_EXISTS", 409),
        ("RESOURCE_EXHAUSTED", 429),
        ("CANCELLED", 503),
        ("UNKNOWN", 500),
        ("INTERNAL", 500),
        ("DATA_LOSS", 500),
        ("UNIMPLEMENTED", 501),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
        ("NEW", 500),
    ],
)
@pytest.mark.parametrize("number", [None, 399, 600, "4290"])
def test_error_code_gives_the_status_without_a_number(code: str, status: int, number: object) -> None:
    raw = orjson.dumps({"error": {"code": number, "status": code, "message": "m"}})
    assert translate_failure(Failure(kind=FailureKind.STREAM_ERROR, body=raw)).status == status


@pytest.mark.parametrize("number", [400, 599, "429"])
def test_error_number_precedes_the_code(number: int) -> None:
    raw = orjson.dumps({"error": {"code": number, "status": "NOT_FOUND", "message": "m"}})
    assert translate_failure(Failure(kind=FailureKind.STREAM_ERROR, body=raw)).status == int(str(number))


def test_no_response_stays_as_it_is() -> None:
    failure = Failure(kind=FailureKind.CONNECT, message="refused")
    assert translate_failure(failure) is failure


def test_a_given_message_stays() -> None:
    failure = translate_failure(Failure(kind=FailureKind.STATUS, status=500, body=b"x", message="said"))
    assert failure.message == "said"
