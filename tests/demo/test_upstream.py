"""The demo's upstream, over a socket."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.demo import upstream
from gateway.demo.reply import SIGNATURE
from gateway.demo.running import listening
from gateway.demo.upstream import EVERY, MODELS, PAUSE, DemoUpstream
from gateway.messages.collect import Collector
from gateway.messages.thinking import mentions_signature
from tests.support.client import Client, Response, ask, fetch
from tests.support.explode import explode
from tests.support.leftovers import leftovers
from tests.support.loops import eventually

KEY = ("x-api-key", "demo-2")
USER = {"role": "user", "content": "hi"}
BASH = {"name": "Bash", "input_schema": {"properties": {"command": {"type": "string"}}}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": SIGNATURE}


def turn(*blocks: object) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with listening(DemoUpstream(pause=0.0)) as port:
        yield port


async def post(port: int, body: bytes | dict[str, Any], target: str = "/v1/messages") -> Response:
    return await fetch(port, "POST", target, body, [KEY])


@pytest.mark.parametrize(
    "header", [KEY, ("authorization", "Bearer demo-2"), ("authorization", "bearer demo-1")]
)
async def test_a_message(port: int, header: tuple[str, str]) -> None:
    response = await fetch(port, "POST", "/v1/messages?beta=true", ask("Hello", model="any"), [header])
    assert (response.status, response.header("content-type")) == (200, "application/json")
    assert (response.header("request-id") or "").startswith("req_")
    assert response.document["model"] == "any"
    assert response.document["usage"]["input_tokens"] > 0
    assert 'You said: "Hello"' in response.document["content"][0]["text"]


@pytest.mark.parametrize(
    "fields", [{}, {"thinking": {"type": "adaptive"}}, {"tools": [BASH], "thinking": {"type": "adaptive"}}]
)
async def test_a_stream_holds_the_same_message(port: int, fields: dict[str, Any]) -> None:
    whole = (await post(port, ask("run echo hi", **fields))).document
    response = await post(port, ask("run echo hi", stream=True, **fields))
    collector = Collector()
    for event in response.events:
        collector.feed(event)
    message = collector.message or {}
    for block in (*message["content"], *whole["content"]):
        block.pop("id", None)
    assert response.complete
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert message == {**whole, "id": message["id"]}


async def test_a_client_that_leaves_ends_its_stream() -> None:
    def streams() -> list[str]:
        return [line for line in leftovers() if "DemoRequest._step" in line]

    async with listening(DemoUpstream(pause=1000.0)) as port:
        async with await Client.connect(port) as client:
            client.send("POST", "/v1/messages", ask("Hello", stream=True), [KEY])
            await client.reader.readuntil(b"message_start")
            assert streams()
        await eventually(lambda: not streams())


async def test_an_internal_error_closes_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "reply_to", explode)
    with pytest.raises(ConnectionError):
        await post(port, ask())


async def test_the_first_account_is_sometimes_rate_limited(port: int) -> None:
    async def post_with(key: str) -> Response:
        return await fetch(port, "POST", "/v1/messages", ask(), [("x-api-key", key)])

    first = [await post_with("demo-1") for _ in range(EVERY)]
    second = [await post_with("demo-2") for _ in range(EVERY)]
    assert [response.status for response in first] == [200] * (EVERY - 1) + [429]
    assert (first[-1].header("retry-after"), first[-1].error_type) == (str(PAUSE), "rate_limit_error")
    assert [response.status for response in second] == [200] * EVERY


async def test_count_tokens_is_never_limited_and_needs_no_max_tokens(port: int) -> None:
    body = {"model": "m", "messages": [USER], "thread": {"type": "create"}}
    for _ in range(EVERY):
        counted = await fetch(port, "POST", "/v1/messages/count_tokens", body, [("x-api-key", "demo-1")])
        assert counted.status == 200
    whole = await post(port, {"model": "m", "messages": [USER], "max_tokens": 9})
    assert counted.document == {"input_tokens": whole.document["usage"]["input_tokens"]}


async def test_models(port: int) -> None:
    document = (await fetch(port, "GET", "/v1/models?limit=1000", headers=[KEY])).document
    assert {model["id"]: model["display_name"] for model in document["data"]} == MODELS
    assert document["has_more"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER, {"role": "system", "content": "x"}]},
        {"messages": [USER, turn(THOUGHT, {"type": "text", "text": "x"}), USER]},
        {
            "thinking": {"type": "enabled", "budget_tokens": 99},
            "temperature": 1,
            "system": [],
            "metadata": None,
        },
        {"stop_sequences": ["x"], "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ],
)
async def test_requests_that_pass(port: int, fields: dict[str, Any]) -> None:
    assert (await post(port, ask(**fields))).status == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "messages: at least one message is required"),
        (
            {"messages": [USER, {"role": "tool"}]},
            "messages.1.role: Input should be 'user', 'assistant' or 'system'",
        ),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Input should be a valid string or list"),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages.0.content: Input should be a valid string or list",
        ),
        ({"messages": [USER, turn("no block")]}, "messages.1.content.0.type: Field required"),
        ({"messages": [USER, turn({"no": "type"})]}, "messages.1.content.0.type: Field required"),
        (
            {"messages": [USER, turn(THOUGHT, {**THOUGHT, "signature": "other"})]},
            "messages.1.content.1: Invalid `signature` in `thinking` block",
        ),
        (
            {"messages": [USER, turn({"type": "redacted_thinking", "data": "x"})]},
            "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        ),
        ({"max_tokens": "10"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"stream": 1}, "stream: Input should be a valid boolean"),
        ({"system": {}}, "system: Input should be a valid string or list"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
        ({"thinking": "on"}, "thinking: Input should be a valid dictionary"),
        ({"tool_choice": "any"}, "tool_choice: Input should be a valid dictionary"),
        ({"tools": {}}, "tools: Input should be a valid list"),
        ({"tools": [5]}, "tools.0.name: Field required"),
        ({"tools": [BASH, {"name": 7}]}, "tools.1.name: Field required"),
        ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
        ({"metadata": []}, "metadata: Input should be a valid dictionary"),
        ({"output_config": "x"}, "output_config: Input should be a valid dictionary"),
    ],
)
async def test_a_value_of_a_wrong_kind_is_400_and_names_the_field(
    port: int, fields: dict[str, Any], message: str
) -> None:
    response = await post(port, {**ask(), **fields})
    assert (response.status, response.error_type, response.message) == (400, "invalid_request_error", message)
    assert mentions_signature(message) == ("block" in message)


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
async def test_a_thread_is_refused_so_that_clients_send_the_history(
    port: int, thread: dict[str, str]
) -> None:
    response = await post(port, ask(thread=thread))
    assert (response.status, response.error_type) == (400, "invalid_request_error")
    assert response.document["error"]["details"] == {"error_code": "thread_unsupported_request"}


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("POST", "/v1/complete", ask(), 404),
        ("GET", "/v1/messages", b"", 404),
        ("POST", "/v1/messages", b"{", 400),
        ("POST", "/v1/messages/count_tokens", b"[]", 400),
        ("POST", "/v1/messages/count_tokens", {"model": "m", "messages": []}, 400),
    ],
)
async def test_errors_have_the_protocols_shape(
    port: int, method: str, target: str, body: bytes | dict[str, Any], status: int
) -> None:
    response = await fetch(port, method, target, body, [KEY])
    assert response.status == status
    assert response.document["request_id"] == response.header("request-id")
    assert response.message


@pytest.mark.parametrize("headers", [[], [("x-api-key", "wrong")], [("authorization", "Bearer")]])
async def test_a_wrong_key_is_401(port: int, headers: list[tuple[str, str]]) -> None:
    response = await fetch(port, "POST", "/v1/messages", ask(), headers)
    assert (response.status, response.error_type) == (401, "authentication_error")


async def test_an_error_of_http_has_the_protocols_shape(port: int) -> None:
    async with await Client.connect(port) as client:
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        response = await client.response()
    assert (response.status, response.error_type) == (400, "invalid_request_error")
    assert response.document["request_id"] == response.header("request-id")
