"""The embedded upstream itself, over a socket."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.demo.accounts import EVERY, PAUSE
from gateway.demo.anthropic import MODELS, AnthropicUpstream
from gateway.demo.signatures import sign
from gateway.http1.limits import Limits
from gateway.http1.server import Server
from gateway.messages.collect import Collector
from tests.support.client import Client, Response, ask, fetch

KEY = ("x-api-key", "demo-2")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Answers without pauses."""
    server = Server(AnthropicUpstream(pause=0.0), Limits())
    yield server
    server.close()
    server.abort()
    await server.wait_closed(1.0)


@pytest.fixture
async def port(server: Server) -> int:
    return await server.listen("127.0.0.1", 0)


def words(response: Response) -> str:
    return str(response.document["content"][0]["text"])


@pytest.mark.parametrize(
    "header", [KEY, ("authorization", "Bearer demo-2"), ("authorization", "bearer demo-1")]
)
async def test_an_answer(port: int, header: tuple[str, str]) -> None:
    response = await fetch(port, "POST", "/v1/messages?beta=true", ask("Hello", model="any"), [header])

    assert response.status == 200
    assert response.header("content-type") == "application/json"
    assert (response.header("request-id") or "").startswith("req_")
    assert response.document["model"] == "any"
    assert response.document["usage"]["input_tokens"] > 0
    assert 'You said: "Hello"' in words(response)


async def test_the_same_answer_as_a_stream(port: int) -> None:
    whole = await fetch(port, "POST", "/v1/messages", ask("Hello"), [KEY])
    response = await fetch(port, "POST", "/v1/messages", ask("Hello", stream=True), [KEY])

    collector = Collector()
    for event in response.events:
        collector.feed(event)
    assert response.complete
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert collector.message == {**whole.document, "id": (collector.message or {})["id"]}


async def test_the_first_account_is_limited_now_and_then(port: int) -> None:
    async def status(key: str) -> Response:
        return await fetch(port, "POST", "/v1/messages", ask(), [("x-api-key", key)])

    first = [await status("demo-1") for _ in range(EVERY)]
    second = [await status("demo-2") for _ in range(EVERY)]

    assert [response.status for response in first] == [200] * (EVERY - 1) + [429]
    assert (first[-1].header("retry-after"), first[-1].error_type) == (str(PAUSE), "rate_limit_error")
    assert [response.status for response in second] == [200] * EVERY


async def test_counting_needs_no_limit_and_is_never_refused(port: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello there"}]}
    for _ in range(EVERY):
        counted = await fetch(port, "POST", "/v1/messages/count_tokens", body, [("x-api-key", "demo-1")])
        assert counted.status == 200

    answered = await fetch(port, "POST", "/v1/messages", {**body, "max_tokens": 9}, [KEY])
    assert counted.document == {"input_tokens": answered.document["usage"]["input_tokens"]}


async def test_models(port: int) -> None:
    listed = await fetch(port, "GET", "/v1/models?limit=1000", headers=[KEY])
    document = listed.document
    one = await fetch(port, "GET", f"/v1/models/{document['last_id']}", headers=[KEY])

    assert [model["id"] for model in document["data"]] == list(MODELS)
    assert (document["has_more"], document["first_id"]) == (False, next(iter(MODELS)))
    assert one.document == document["data"][-1]
    assert one.document["display_name"] == MODELS[one.document["id"]]


SIGNED_ELSEWHERE = {"type": "thinking", "thinking": "hm", "signature": sign("oh")}


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "type"),
    [
        ("GET", "/", b"", 404, "not_found_error"),
        ("POST", "/v1/complete", ask(), 404, "not_found_error"),
        ("GET", "/v1/models/none", b"", 404, "not_found_error"),
        ("POST", f"/v1/models/{next(iter(MODELS))}", b"{}", 404, "not_found_error"),
        ("GET", "/v1/messages", b"", 405, "invalid_request_error"),
        ("DELETE", "/v1/models", b"", 405, "invalid_request_error"),
        ("GET", "/v1/messages/count_tokens", b"", 405, "invalid_request_error"),
        ("POST", "/v1/messages", b"{", 400, "invalid_request_error"),
        ("POST", "/v1/messages", {"model": "m", "messages": []}, 400, "invalid_request_error"),
        ("POST", "/v1/messages/count_tokens", b"[]", 400, "invalid_request_error"),
        ("POST", "/v1/messages/count_tokens", {"model": "m", "messages": []}, 400, "invalid_request_error"),
        (
            "POST",
            "/v1/messages",
            ask(messages=[{"role": "assistant", "content": [SIGNED_ELSEWHERE]}]),
            400,
            "invalid_request_error",
        ),
    ],
)
async def test_errors(
    port: int, method: str, target: str, body: bytes | dict[str, Any], status: int, type: str
) -> None:
    response = await fetch(port, method, target, body, [KEY])

    assert (response.status, response.error_type) == (status, type)
    assert response.document["request_id"] == response.header("request-id")
    assert response.message
    assert (response.header("allow") is None) == (status != 405)


@pytest.mark.parametrize("headers", [[], [("x-api-key", "wrong")], [("authorization", "Bearer")]])
async def test_a_wrong_key(port: int, headers: list[tuple[str, str]]) -> None:
    response = await fetch(port, "POST", "/v1/messages", ask(), headers)

    assert (response.status, response.error_type) == (401, "authentication_error")


async def test_an_error_of_http_has_the_protocols_shape(port: int) -> None:
    async with await Client.connect(port) as client:
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        response = await client.response()

    assert (response.status, response.error_type) == (400, "invalid_request_error")
    assert response.document["request_id"] == response.header("request-id")
