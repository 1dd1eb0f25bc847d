"""The embedded Gemini upstream itself, over a socket."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.demo.accounts import EVERY, PAUSE
from gateway.demo.gemini import answer
from gateway.demo.gemini_http import GeminiUpstream
from gateway.demo.running import listening
from tests.support.client import Client, Response, fetch

KEY = ("x-goog-api-key", "demo-2")
GENERATE = "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse"
COUNT = "/v1beta/models/gemini-3-pro-preview:countTokens"
CODE_ASSIST = "/v1internal:streamGenerateContent?alt=sse"
HELLO: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Answers without pauses."""
    async with listening(GeminiUpstream(pause=0.0)) as port:
        yield port


def error_of(response: Response) -> dict[str, Any]:
    assert response.header("content-type") == "application/json"
    error = response.document["error"]
    assert error["code"] == response.status
    return dict(error)


@pytest.mark.parametrize("header", [KEY, ("authorization", "Bearer demo-2")])
async def test_a_stream(port: int, header: tuple[str, str]) -> None:
    response = await fetch(port, "POST", GENERATE, HELLO, [header])

    assert (response.status, response.complete) == (200, True)
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    sent = [orjson.loads(event.data) for event in response.events]
    assert tuple(sent) == answer("POST", GENERATE, orjson.dumps(HELLO)).events
    assert len(sent) > 20


async def test_a_document(port: int) -> None:
    counted = await fetch(port, "POST", COUNT, {"generateContentRequest": HELLO}, [KEY])
    listed = await fetch(port, "GET", "/v1beta/models", headers=[KEY])

    assert counted.header("content-type") == "application/json"
    assert counted.document["totalTokens"] > 0
    assert listed.document["models"]


async def test_a_refusal(port: int) -> None:
    response = await fetch(port, "POST", GENERATE, {"contents": []}, [KEY])

    assert (response.status, error_of(response)["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("headers", [[], [("x-goog-api-key", "wrong")], [("x-api-key", "demo-2")]])
async def test_a_wrong_key(port: int, headers: list[tuple[str, str]]) -> None:
    response = await fetch(port, "POST", GENERATE, HELLO, headers)

    assert (response.status, error_of(response)["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [(GENERATE, HELLO, "RetryInfo"), (CODE_ASSIST, {"request": HELLO}, "ErrorInfo")],
)
async def test_the_first_account_is_limited_now_and_then(
    port: int, target: str, body: dict[str, Any], kind: str
) -> None:
    async def ask(key: str, target: str = target) -> Response:
        return await fetch(port, "POST", target, body, [("x-goog-api-key", key)])

    for _ in range(EVERY):
        assert (await ask("demo-1", COUNT)).status == 200, "counting needs no limit"
    first = [await ask("demo-1") for _ in range(EVERY)]
    second = [await ask("demo-2") for _ in range(EVERY)]

    assert [response.status for response in first] == [200] * (EVERY - 1) + [429]
    assert [response.status for response in second] == [200] * EVERY
    (detail,) = error_of(first[-1])["details"]
    assert detail["@type"].endswith(f".{kind}")
    assert f"{PAUSE}s" in (detail.get("retryDelay"), detail.get("metadata", {}).get("quotaResetDelay"))


async def test_an_error_of_http_has_googles_shape(port: int) -> None:
    async with await Client.connect(port) as client:
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        response = await client.response()

    assert (response.status, error_of(response)["status"]) == (400, "INVALID_ARGUMENT")
