"""Where requests go, with which headers; keys, lists of models."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import __version__
from gateway.config import Secret
from gateway.dialects.base import Dialect, Headers
from gateway.dialects.openai.dialect import new_dialect
from gateway.messages.errors import RequestError
from gateway.routing.credentials import NO_CREDENTIAL, Credential
from gateway.routing.failures import Failure, FailureKind
from tests.dialects.openai.support import (
    KEY,
    MODEL,
    assistant,
    body,
    dialect,
    encoded,
    incoming,
    text,
    upstream,
    user,
)

HI = {"messages": [user("hi")]}
AZURE = "/openai/deployments/{model}/chat/completions?api-version=2025-04-01-preview"
CLIENT: Headers = [
    (b"x-claude-code-session-id", b"11111111-2222-4333-8444-555555555555"),
    (b"x-stainless-os", b"Linux"),
    (b"anthropic-beta", b"b"),
    (b"user-agent", b"claude-cli"),
    (b"authorization", b"Bearer client"),
]


def test_it_is_a_dialect() -> None:
    made: Dialect = new_dialect(lambda: 0.5, print)
    assert made.relays is False


TARGETS: list[tuple[str, dict[str, Any], str, str]] = [
    ("as the SDKs name it", {"base_url": "https://api.openai.com/v1"}, "m", "/v1/chat/completions"),
    ("another version", {"base_url": "https://api.z.ai/api/paas/v4"}, "m", "/api/paas/v4/chat/completions"),
    ("no path", {"base_url": "http://127.0.0.1:8080"}, "m", "/v1/chat/completions"),
    ("its own path", {"base_url": "https://x.openai.azure.com", "path": AZURE}, "gpt 4/o",
        "/openai/deployments/gpt%204%2Fo/chat/completions?api-version=2025-04-01-preview"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "model", "target"), [pytest.param(*row[1:], id=row[0]) for row in TARGETS])
def test_targets(where: dict[str, Any], model: str, target: str) -> None:
    sent = encoded(HI, upstream(**where), model=model)
    assert sent.target == target
    assert orjson.loads(sent.body)["model"] == model


@pytest.mark.parametrize(
    ("field", "credential", "expected"),
    [
        ("authorization", KEY, (b"authorization", b"Bearer sk-1")),
        ("api-key", KEY, (b"api-key", b"sk-1")),
        ("x-api-key", KEY, (b"x-api-key", b"sk-1")),
        ("api-key", Credential("bearer", Secret("t")), (b"authorization", b"Bearer t")),
        ("authorization", NO_CREDENTIAL, None),
    ],
)
def test_credentials(field: Any, credential: Credential, expected: tuple[bytes, bytes] | None) -> None:
    to = replace(upstream(headers={"http-referer": "https://me"}), auth_header=field)
    found = list(dialect().fields(to, credential))
    assert found == [
        (b"user-agent", f"messages-gateway/{__version__}".encode()),
        *([expected] if expected else []),
        (b"http-referer", b"https://me"),
    ]


def test_headers_of_a_request() -> None:
    assert encoded(HI).headers == [(b"content-type", b"application/json"), (b"accept", b"text/event-stream")]
    unstreamed = encoded(HI, upstream(stream=False)).headers
    assert unstreamed is not None
    assert unstreamed[1] == (b"accept", b"application/json")
    assert dialect().forwarded(CLIENT) == ()


def test_no_client_header_is_forwarded() -> None:
    user_id = (
        '{"device_id":"dev-1","account_uuid":"acc-1","session_id":"11111111-2222-4333-8444-555555555555"}'
    )
    document = {**HI, "metadata": {"user_id": user_id}}
    assert encoded(HI, upstream("openai")).target == "/v1/responses"
    for preset in ("openai", "openrouter-openai", "qwen"):
        sent = encoded(document, upstream(preset), headers=CLIENT)
        everything = sent.body + str(sent.headers).encode() + sent.target.encode()
        for secret in (b"dev-1", b"acc-1", b"11111111-2222", b"claude-cli", b"stainless", b"anthropic"):
            assert secret not in everything


def key_of(document: dict[str, Any], headers: Headers = ()) -> str:
    found: str = body(document, upstream(cache_key="prompt_cache_key"), headers=headers)["prompt_cache_key"]
    return found


def test_cache_keys_are_of_the_conversation() -> None:
    first = {"system": "S", **HI}
    later = {"system": "S", "messages": [user("hi"), assistant(text("yes")), user("go on")]}
    assert key_of(first) == key_of(later)
    assert key_of(first) != key_of({"messages": [user("other")]})
    assert key_of(first, CLIENT) == key_of({"messages": [user("other")]}, CLIENT)
    assert len(key_of(first)) == 32
    by_user = {"metadata": {"user_id": "user_1_session_abc"}}
    assert key_of({**first, **by_user}) == key_of({**HI, **by_user}) != key_of(first)
    assert key_of(first) == "b3b05dda7b3ba5bd26d83ff8d6e4ec1e" or len(set(key_of(first))) > 4


def test_a_cache_key_in_a_header() -> None:
    sent = encoded(HI, upstream(cache_key="header:x-session"))
    assert sent.headers is not None
    assert sent.headers[-1] == (b"x-session", key_of(HI).encode())
    assert "x-session" not in orjson.loads(sent.body)


def test_tokens_cannot_be_counted() -> None:
    made = dialect()
    with pytest.raises(RequestError) as caught:
        made.encode(upstream(), MODEL, incoming(HI, purpose="count_tokens"), stream=False)
    assert caught.value.status == 501
    assert made.counts is False
    assert made.count(b'{"input_tokens": 1}') is None


def test_failures_are_translated() -> None:
    failure = Failure(kind=FailureKind.STATUS, status=429, body=b'{"error":{"code":"insufficient_quota"}}')
    assert dialect().failure(failure, upstream(), MODEL, encoded(HI)).status == 402


FIXTURES = Path(__file__).parents[3] / "fixtures"

LISTS: list[tuple[str, bytes, list[tuple[str, str]]]] = [
    ("a real one", (FIXTURES / "models.http").read_bytes().partition(b"\r\n\r\n")[2], [("gemma-3-270m", "gemma-3-270m")]),
    ("names", b'{"data":[{"id":"a","name":"A"},{"id":"b"},{"id":""},{"id":7},7]}', [("a", "A"), ("b", "b")]),
    ("a bare list", b'[{"id":"a"}]', [("a", "a")]),
    ("those that take tools", b'{"data":[{"id":"a","supported_parameters":["tools"]},{"id":"b","supported_parameters":[]}]}', [("a", "a")]),
    ("an unloaded one", b'{"data":[{"id":"a","status":"unloaded"}]}', [("a", "a")]),
    ("none", b"{}", []),
    ("no JSON", b"<html>", []),
    ("a number", b"7", []),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), [pytest.param(*row[1:], id=row[0]) for row in LISTS])
def test_lists_of_models(data: bytes, expected: list[tuple[str, str]]) -> None:
    assert [model[:2] for model in dialect().models(data)] == expected


def test_model_lists_with_context_windows() -> None:
    (model,) = dialect().models(b'{"data":[{"id":"a","max_model_len":8192,"context_length":null}]}')
    assert model.fields == {"max_input_tokens": 8192}


def test_where_lists_are() -> None:
    request = dialect().models_request(upstream("zai-openai"))
    assert request is not None
    assert (request.method, request.target) == ("GET", "/api/paas/v4/models")
    assert dialect().models_request(upstream(path=AZURE)) is None
