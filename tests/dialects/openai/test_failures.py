"""Errors of every host in the words and with the status of the Messages protocol."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config.openai_traits import Traits
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.dialects.openai.failures import translate_failure
from gateway.routing.failures import Failure, FailureKind

URL = "https://h/v1/chat/completions"
SENT = EncodedRequest(traits=Traits(), host="h", model="m-1", url=URL, max_tokens=32000)
FIXTURES = Path(__file__).parents[3] / "fixtures"


def translate(status: int, body: Any) -> Failure:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return translate_failure(Failure(kind=FailureKind.STATUS, status=status, body=raw), SENT)


SHAPES: list[tuple[str, Any, str]] = [
    ("an object", {"error": {"message": "no", "type": "t"}}, "no"),
    ("a text", {"error": "no"}, "no"),
    ("a text and a message", {"error": "Bad Request", "message": "no"}, "no"),
    ("object: error", {"object": "error", "message": "no", "code": 400}, "no"),
    ("detail, a text", {"detail": "no"}, "no"),
    ("detail, an object", {"detail": {"message": "no"}}, "no"),
    ("detail, a list", {"detail": [{"loc": ["body", "store"], "msg": "Extra inputs"}, 7, {"msg": "also"}]}, "store: Extra inputs; also"),
    ("code and message", {"code": 400, "message": "no"}, "no"),
    ("code and msg", {"code": 400, "msg": "no", "success": False}, "no"),
    ("MiniMax", {"base_resp": {"status_code": 2013, "status_msg": "no"}}, "no"),
    ("a list of one", [{"error": {"message": "no"}}], "no"),
    ("JSON text", "no", "no"),
    ("a page", b"<html>busy</html>", "<html>busy</html>"),
    ("message beside an error without", {"error": {"code": 1}, "message": "no"}, "no"),
    ("nothing", b"", "the upstream responded with status 400"),
    ("an empty list", [], "[]"),
    ("OpenRouter's raw", {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"inner"}}'}}}, "Provider returned error: inner"),
    ("raw as an object", {"error": {"message": "", "metadata": {"raw": {"message": "inner"}}}}, "inner"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), [pytest.param(*row[1:], id=row[0]) for row in SHAPES])
def test_bodies_of_all_shapes(body: Any, message: str) -> None:
    found = translate(400, body)
    assert (found.message, found.status, found.type) == (message, 400, "invalid_request_error")


def error(message: str = "no", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


MEANINGS: list[tuple[str, int, Any, int]] = [
    ("a key", 401, error(code="invalid_api_key"), 401),
    ("a key under 400", 400, error(code="invalid_api_key"), 401),
    ("GLM, a token", 401, error(code="1002"), 401),
    ("a purse", 402, error(), 402),
    ("langchainjs#1929", 429, error(code="insufficient_quota", type="insufficient_quota"), 402),
    ("kimi-code#1857", 429, error(type="exceeded_current_quota_error"), 402),
    ("modelscope#1691, MiniMax", 429, error(type="insufficient_balance_error"), 402),
    ("MiniMax-M2#62", 500, error("insufficient balance (1008)", type="api_error"), 402),
    ("spring-ai-alibaba#1146", 400, error(code="Arrearage"), 402),
    ("CowAgent#2910, GLM", 429, error("余额不足", code="1113"), 402),
    ("a missing model", 404, error("The model `x` does not exist", code="model_not_found"), 404),
    ("addi#13, DeepSeek", 400, error("Model Not Exist", type="invalid_request_error"), 404),
    ("continue#10758, OpenRouter", 400, error("x is not a valid model ID", code=400), 404),
    ("GLM, a model", 400, error(code="1211"), 404),
    ("mistral-vibe#617", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}, 404),
    ("fast-agent#122", 404, error("No endpoints found that support tool use.", code=404), 400),
    ("Kimi, overloaded", 429, error(type="engine_overloaded_error"), 529),
    ("pawwork#740, a plan's rate", 429, error("engine is overloaded", type="rate_limit_reached_error"), 429),
    ("Groq's flex", 498, error(), 529),
    ("GLM, a rate", 429, error(code="1302"), 429),
    ("llama-swap#146", 503, error("Loading model", type="unavailable_error", code=503), 503),
    ("lmstudio#1492", 400, {"error": "Model is unloaded."}, 503),
    ("lmstudio#1347", 400, {"error": "The model has crashed without additional information."}, 503),
    ("a filter", 400, error(code="content_filter"), 400),
    ("Qwen#938", 400, error(code="data_inspection_failed"), 400),
    ("GLM, a filter", 500, error(code="1301"), 400),
    ("Mistral's", 422, {"detail": [{"loc": ["body", "x"], "msg": "no", "type": "extra_forbidden"}]}, 400),
    ("in a stream, by code", 0, error(code=503), 503),
    ("in a stream, by type", 0, error(type="invalid_request_error"), 400),
    ("in a stream, by neither", 0, error(type="novel"), 500),
    ("a rate", 429, error(type="tokens", code="rate_limit_exceeded"), 429),
    ("a server's trouble", 502, b"<html>", 502),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "becomes"), [pytest.param(*row[1:], id=row[0]) for row in MEANINGS]
)
def test_status_of_an_error_body(status: int, body: Any, becomes: int) -> None:
    found = translate(status, body)
    assert found.status == becomes
    assert found.body


def test_a_404_that_names_no_model_shows_the_url() -> None:
    assert URL in translate(404, b"404 page not found").message
    assert URL not in translate(404, error("The model `x` does not exist")).message
    assert URL not in translate(404, error("m-1: no such thing")).message
    assert URL not in translate(404, error("DeploymentNotFound: the API deployment does not exist")).message


def test_a_failure_without_status_stays_as_it_is() -> None:
    failure = Failure(kind=FailureKind.CONNECT, message="no route")
    assert translate_failure(failure, SENT) is failure


@pytest.mark.parametrize(
    ("name", "status", "becomes", "words"),
    [
        ("overflow", 400, 400, "prompt is too long: 3024 tokens > 1024 maximum"),
        ("image", 500, 500, "image input is not supported"),
        ("unauthorized", 401, 401, "Invalid API Key"),
    ],
)
def test_errors_of_a_real_server(name: str, status: int, becomes: int, words: str) -> None:
    body = (FIXTURES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")[2]
    found = translate(status, body)
    assert found.status == becomes
    assert found.message.startswith(words)
