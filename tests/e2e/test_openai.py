"""The whole way to OpenAI-compatible upstreams: from gateway.toml to a strict host on a real socket, and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from anthropic import AsyncAnthropic

from gateway.config import Config
from gateway.config.loader import parse
from tests.dialects.openai.support import check_grammar, message, read_events, tool, tool_result, user
from tests.fakes.messages import SSE_HEAD, Script, ScriptedUpstream, Stall, Until, chunked
from tests.fakes.openai.host import Host, traits_of
from tests.fakes.openai.manners import Reply
from tests.fakes.openai.rules import Refusal
from tests.fakes.openai.server import serving
from tests.support.client import Response, ask
from tests.support.loops import PATIENCE, eventually
from tests.support.running import FAST, Running, running

TOML = """
[server]
port = 0
[upstreams.up]
preset = "{preset}"
base_url = "{url}"
models = {{ "*" = "m-1" }}
{more}
[[upstreams.up.accounts]]
name = "one"
api_key = "{key}"
"""


def config(url: str, preset: str, more: str = "", key: str = "sk-1") -> Config:
    """A configuration as an operator writes it."""
    read = parse(TOML.format(url=url, preset=preset, more=more, key=key), {})
    return read._replace(server=read.server._replace(port=0, limits=FAST._replace(idle_timeout=3 * PATIENCE)))


@asynccontextmanager
async def before(
    host: Host, preset: str = "deepseek-openai", more: str = "", **how: Any
) -> AsyncIterator[Running]:
    async with serving(host) as url, running(config(url, preset, more, **how)) as gateway:
        yield gateway


def message_of(response: Response) -> dict[str, Any]:
    """The message of a good response, whole or streamed."""
    assert (response.status, response.complete) == (200, True), response.body
    if not (response.header("content-type") or "").startswith("text/event-stream"):
        return dict(response.document)
    events = read_events(response.body)
    check_grammar(events)
    return message(events)


PRESETS = ["openai", "deepseek-openai", "openrouter-openai", "mistral", "moonshot-openai", "ollama-openai"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_round(preset: str, stream: bool) -> None:
    host = Host(preset)
    request: dict[str, Any] = {
        **ask(stream=stream),
        "tools": [tool("Read"), tool("Run")],
        "thinking": {"type": "adaptive"},
    }
    async with before(host, preset) as gateway:
        first = message_of(await gateway.post(request))
        assert first["stop_reason"] == "tool_use"
        assert first["model"] == request["model"]
        calls = [block for block in first["content"] if block["type"] == "tool_use"]
        assert [call["input"]["n"] for call in calls] == [0, 1]
        request["messages"] += [
            {"role": "assistant", "content": first["content"]},
            user([tool_result(call["id"]) for call in calls]),
        ]
        again = message_of(await gateway.post(request))
        assert again["content"][-1]["input"]["path"] == "file 1"
    assert host.refusals == []


async def test_the_sdk_streams_from_it() -> None:
    async with before(Host("deepseek-openai")) as gateway:
        client = AsyncAnthropic(base_url=gateway.url, api_key="k", max_retries=0)
        async with (
            client,
            client.messages.stream(
                model="claude-x", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
            ) as stream,
        ):
            first = await stream.get_final_message()
        last = first.content[-1]
        assert last.type == "text"
        assert last.text == "All done."
        assert first.usage.output_tokens == 20


async def test_only_needed_fields_are_forwarded() -> None:
    host = Host("deepseek-openai")
    async with before(host, more='headers = { "X-Title" = "me" }') as gateway:
        await gateway.post(ask(), x_claude_code_session_id="secret-session", anthropic_beta="b")
    (request,) = host.requests
    assert request.target == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["x-title"] == "me"
    assert "secret-session" not in str(request)
    assert "anthropic" not in str(request.headers)


async def test_models_and_counting_need_no_request_of_a_client() -> None:
    host = Host("deepseek-openai")
    async with serving(host) as url, running(config(url, "deepseek-openai"), listing=True) as gateway:
        counted = await gateway.post(ask("word " * 100), "/v1/messages/count_tokens")
        assert (counted.status, counted.header("x-token-count")) == (200, "estimate")
        assert 90 < counted.document["input_tokens"] < 200
    assert {request.method for request in host.requests} == {"GET"}


SCRIPTED: list[tuple[str, Any, int, str]] = [
    (
        "an overflow",
        Refusal(
            400,
            {"error": {"message": "request (3024 tokens) exceeds the available context size (1024 tokens)"}},
        ),
        400,
        "prompt is too long: 3024 tokens > 1024 maximum",
    ),
    (
        "an overflow inside a 200",
        b'event: error\ndata: {"error":{"message":"The number of tokens to keep from the initial prompt is greater '
        b'than the context length (n_keep: 13055>= n_ctx: 4096)"}}\n\n',
        400,
        "prompt is too long: 13055 tokens > 4096 maximum",
    ),
    ("a missing model", Refusal(400, {"error": {"message": "Model Not Exist"}}), 404, "Model Not Exist"),
]


@pytest.mark.parametrize(
    ("script", "status", "words"), [pytest.param(*row[1:], id=row[0]) for row in SCRIPTED]
)
async def test_refusals(script: Any, status: int, words: str) -> None:
    host = Host("deepseek-openai")
    host.scripted.extend([script] * 9)
    async with before(host) as gateway:
        response = await gateway.post(ask())
    assert words in response.document["error"]["message"]
    assert response.status == status


async def test_a_wrong_key_is_an_error_for_the_operator() -> None:
    async with before(Host("deepseek-openai"), key="wrong") as gateway:
        response = await gateway.post(ask())
    assert response.status == 503
    assert "wrong" not in response.document["error"]["message"].lower().replace("incorrect", "")


FORMS: list[tuple[str, bytes]] = [
    ("JSON for a stream", b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'),
    (
        "a stream without [DONE]",
        b'data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n',
    ),
    (
        "CRLF and comments",
        b': x\r\n\r\ndata:{"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\r\n\r\n',
    ),
]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in FORMS])
@pytest.mark.parametrize("stream", [True, False])
async def test_content_type_is_ignored_for_event_streams(data: bytes, stream: bool) -> None:
    host = Host("deepseek-openai")
    host.scripted.append(data)
    async with before(host) as gateway:
        first = message_of(await gateway.post(ask(stream=stream)))
    assert first["content"] == [{"type": "text", "text": "Hello"}]
    assert first["usage"]["input_tokens"] > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_an_operator_sees_which_counts_are_estimates(stream: bool) -> None:
    host = Host("deepseek-openai")
    async with before(host) as gateway:
        message_of(await gateway.post(ask(stream=stream)))
        host.scripted.append(FORMS[1][1])
        first = message_of(await gateway.post(ask(stream=stream)))
        estimated, reported = (await gateway.get("/status.json")).document["requests"]
        assert [line.count("usage=estimated") for line in gateway.lines if " POST " in line] == [0, 1]
    assert (reported["estimated"], estimated["estimated"]) == (False, True)
    assert estimated["input_tokens"] == first["usage"]["input_tokens"] > 0
    assert estimated["cache_read_tokens"] is None


async def test_a_call_that_breaks_off_never_reaches_a_client_as_one() -> None:
    host = Host("deepseek-openai")
    call = {"index": 0, "id": "c", "function": {"name": "rm", "arguments": '{"a'}}
    host.scripted.extend(
        [b"data: " + orjson.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}) + b"\n\n"] * 9
    )
    async with before(host) as gateway:
        response = await gateway.post(ask(stream=True))
    assert b"content_block_stop" not in response.body
    assert b"message_stop" not in response.body
    assert b"error" in response.body


async def test_a_response_at_its_limit() -> None:
    host = Host("deepseek-openai")
    host.scripted.append(Reply(text="Hello", finish="length"))
    async with before(host) as gateway:
        assert message_of(await gateway.post(ask()))["stop_reason"] == "max_tokens"


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}

WAYS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("no pictures", {"images": "note"}, {"messages": [user([IMAGE])]}, "images"),
    ("the other limit", {"max_tokens_field": "max_completion_tokens"}, {}, "max_tokens_field"),
    ("no stream", {"stream": False}, {}, "stream"),
    ("an optional field", {"sampling": False}, {"temperature": 0.5}, "without"),
]


@pytest.mark.parametrize(("traits", "fields", "name"), [pytest.param(*row[1:], id=row[0]) for row in WAYS])
async def test_refused_fields_are_cured_and_remembered(
    traits: dict[str, Any], fields: dict[str, Any], name: str
) -> None:
    host = Host("", traits_of("deepseek-openai", **{"images": "send", **traits}), "deepseek-openai")
    async with before(host, more='images = "send"') as gateway:
        for number in range(3):
            response = await gateway.post({**ask(stream=number == 1), **fields})
            assert response.status == 200, response.body
            assert len(host.refusals) == 1
        assert f"cure:{name}" in "\n".join(gateway.lines)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("late", [b"0\r\n\r\n", b""], ids=["ends late", "never ends"])
async def test_a_body_left_open_after_the_last_event_delays_no_client(stream: bool, late: bytes) -> None:
    delta = {"choices": [{"index": 0, "delta": {"content": "Good."}, "finish_reason": None}]}
    stop = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [b"data: %b\n\n" % orjson.dumps(one) for one in (delta, stop)] + [b"data: [DONE]\n\n"]
    ended = asyncio.Event()
    script: Script = [SSE_HEAD + chunked(events, end=False), *([Until(ended), late] if late else [Stall()])]
    async with (
        ScriptedUpstream(respond=lambda _: script) as up,
        running(config(f"{up.url}/v1", "deepseek-openai")) as g,
    ):
        async with asyncio.timeout(PATIENCE):
            assert message_of(await g.post(ask(stream=stream)))["content"][0]["text"] == "Good."
        assert g.lines[-1].count(" 200 ok ") == 1
        ended.set()
        if late:
            await g.post(ask(stream=stream))
            assert up.connections == 1
        else:
            await eventually(lambda: up.open == 0)
