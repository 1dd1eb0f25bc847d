"""Error bodies in every shape that hosts send."""

from typing import Any

import orjson
import pytest

from gateway.routing.error_bodies import LONGEST, ErrorBody, is_error, read_error

BODIES: list[tuple[Any, ErrorBody]] = [
    # the Messages protocol
    (
        {"type": "error", "error": {"type": "api_error", "message": "no"}, "request_id": "r"},
        ErrorBody("api_error", (), "", "no"),
    ),
    (
        {
            "error": {
                "type": "not_found_error",
                "message": "no",
                "details": {"error_code": "thread_not_found"},
            }
        },
        ErrorBody("not_found_error", ("thread_not_found",), "", "no"),
    ),
    # OpenAI and its likes
    (
        {"error": {"message": "no", "type": "tokens", "code": "rate_limit_exceeded", "param": "max_tokens"}},
        ErrorBody("tokens", ("rate_limit_exceeded",), "max_tokens", "no"),
    ),
    ({"error": {"message": "no", "type": "t", "code": None, "param": None}}, ErrorBody("t", (), "", "no")),
    # OpenRouter: the inner host's error is appended, as JSON or as text
    (
        {
            "error": {
                "code": 400,
                "message": "Provider returned error",
                "metadata": {"raw": '{"error":{"message":"odd"}}'},
            }
        },
        ErrorBody("", ("400",), "", "Provider returned error: odd"),
    ),
    (
        {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "slow down"}}},
        ErrorBody("", ("429",), "", "Provider returned error: slow down"),
    ),
    (
        {
            "error": {
                "code": 402,
                "message": "x",
                "metadata": {"raw": '{"error":{"code":"insufficient_quota","param":"p"}}'},
            }
        },
        ErrorBody("", ("402", "insufficient_quota"), "p", "x"),
    ),
    ({"error": {"metadata": {"raw": "only this"}}}, ErrorBody(message="only this")),
    ({"error": {"message": "m", "metadata": {"raw": 7}}}, ErrorBody(message="m")),
    (
        {"error": {"message": "m", "metadata": {"raw": '{"error":{"type":"t"}}'}}},
        ErrorBody("t", (), "", "m"),
    ),
    # Google
    (
        {"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}},
        ErrorBody("", ("503", "unavailable"), "", "no"),
    ),
    (
        [
            {
                "error": {
                    "code": 400,
                    "message": "no",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}, 7],
                }
            }
        ],
        ErrorBody("", ("400", "invalid_argument", "api_key_invalid"), "", "no"),
    ),
    # an error that is only text; Mistral; vLLM
    ({"error": "no"}, ErrorBody(message="no")),
    ({"error": "Not Found", "message": "no page", "status": 404}, ErrorBody("", ("404",), "", "no page")),
    (
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        ErrorBody("invalid_model", ("1500",), "", "Invalid model: x"),
    ),
    ({"message": "no", "type": "t"}, ErrorBody("t", (), "", "no")),
    # FastAPI
    ({"detail": "Not Found"}, ErrorBody(message="Not Found")),
    (
        {"detail": [{"loc": ["body", "tools", 0, "strict"], "msg": "Extra inputs are not permitted"}]},
        ErrorBody("", (), "tools.0.strict", "tools.0.strict: Extra inputs are not permitted"),
    ),
    ({"detail": {"message": "no"}}, ErrorBody(message="no")),
    ({"detail": [{"msg": "no"}, 7, {"loc": ["b"], "msg": "not"}]}, ErrorBody("", (), "b", "no; b: not")),
    ({"detail": 7}, ErrorBody()),
    ({"detail": []}, ErrorBody()),
    ({"errors": [{"message": "no", "code": 7003}]}, ErrorBody("", ("7003",), "", "no")),
    ({"errors": [], "message": "no"}, ErrorBody(message="no")),
    # z.ai, Spring, MiniMax
    ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, ErrorBody("", ("500",), "", "404 NOT_FOUND")),
    ({"error": {"code": "1113", "message": "no"}}, ErrorBody("", ("1113",), "", "no")),
    (
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        ErrorBody("", ("base_resp.1008",), "", "insufficient balance"),
    ),
    ({"errorMsg": "no"}, ErrorBody(message="no")),
    ({"error": {"code": 1}, "message": "no"}, ErrorBody("", ("1",), "", "no")),
    # llama.cpp
    (
        {"error": {"message": "no", "n_prompt_tokens": 9, "n_ctx": 8}},
        ErrorBody(message="no", tokens=(9, 8)),
    ),
    ({"error": {"message": "no", "n_prompt_tokens": 9, "n_ctx": "8"}}, ErrorBody(message="no")),
    # a text
    ("no", ErrorBody(message="no")),
    # nothing of the kind
    ({"error": {"type": 1, "message": None}}, ErrorBody()),
    ({"error": 7}, ErrorBody()),
    ({"errors": [7]}, ErrorBody()),
    ([], ErrorBody()),
    (["no"], ErrorBody(message="no")),
    (7, ErrorBody()),
    (None, ErrorBody()),
]


@pytest.mark.parametrize(("document", "expected"), BODIES)
def test_read_error(document: Any, expected: ErrorBody) -> None:
    assert read_error(orjson.dumps(document)) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b'{"error":'])
def test_error_body_without_json(body: bytes) -> None:
    assert read_error(body) == ErrorBody()


def test_bounds() -> None:
    assert len(read_error(orjson.dumps({"error": "x" * 10 * LONGEST})).message) == LONGEST
    error: Any = {"message": "deepest"}
    for _ in range(9):
        error = {"metadata": {"raw": orjson.dumps({"error": error}).decode()}}
    assert read_error(orjson.dumps({"error": error})) == ErrorBody()


ERRORS: list[tuple[Any, bool]] = [
    ({"type": "error", "error": {"type": "overloaded_error"}}, True),
    ({"type": "error"}, True),
    ({"error": {"message": "no"}}, True),
    ({"error": "no"}, True),
    ([{"error": {"code": 503}}], True),
    ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, True),
    ({"code": "1302", "message": "rate limit reached"}, True),
    ({"success": False, "msg": "no"}, True),
    ({"base_resp": {"status_code": 1008}}, True),
    ({"base_resp": {"status_code": 1008}, "choices": [{}]}, True),
    ({"object": "error", "message": "no"}, True),
    ({"detail": "no"}, True),
    ({"type": "message", "content": []}, False),
    ({"type": "message", "content": [{"type": "text"}]}, False),
    ({"input_tokens": 12}, False),
    ({"code": 200, "msg": "ok"}, False),
    ({"code": 0, "content": []}, False),
    ({"code": 7, "content": [{"type": "text"}]}, False),
    ({"code": {"language": "python"}}, False),
    ({"error": None, "choices": [{}]}, False),
    ({"base_resp": {"status_code": 0}, "content": [{}]}, False),
    ({}, False),
    ([], False),
    ("error", False),
]


@pytest.mark.parametrize(("document", "expected"), ERRORS)
def test_a_200_that_is_an_error(document: Any, expected: bool) -> None:
    assert is_error(document) is expected
