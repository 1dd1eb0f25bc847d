"""What hosts of the Messages protocol were seen to do, from the upstream's response to what the client and the next
request get: statuses that lie, labels that lie, refusals that can be cured."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

import asyncio
import gzip
import json
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.config import Retry
from tests.fakes.messages import (
    SSE_HEAD,
    Received,
    Reset,
    Script,
    ScriptedUpstream,
    Stall,
    Step,
    chunked,
    error_response,
    json_response,
    message,
    text_events,
)
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.running import config, running, upstream
from tests.support.spawned import unused_port
from tests.support.stage import Stage, account_of, failing, good, staged

# Cures: refused once, right the second time, applied from the start for an hour.

TOOL: dict[str, Any] = {"name": "Bash", "input_schema": {"type": "object", "properties": {"strict": {}}}}
CALL = {"type": "tool_use", "id": "toolu_0123456789", "name": "Bash", "input": {}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_0123456789", "content": "ok"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
MARKED = [{"type": "text", "text": str(n), "cache_control": {"type": "ephemeral"}} for n in range(5)]
BETAS = "context-1m-2025-08-07,fast-mode-2026-02-01"


def request(*blocks: Any, **fields: Any) -> dict[str, Any]:
    content: Any = list(blocks) or "hi"
    return {"model": "m", "max_tokens": 8000, "messages": [{"role": "user", "content": content}], **fields}


def turn(*blocks: Any, result: Any = RESULT, **fields: Any) -> dict[str, Any]:
    """A tool's round."""
    talk = [{"role": "user", "content": "go"}, {"role": "assistant", "content": list(blocks)}]
    return request(**fields) | {"messages": [*talk, {"role": "user", "content": [result]}]}


def holds(*parts: str) -> Callable[[Received], bool]:
    return lambda received: all(part.encode() in received.body for part in parts)


def sends_beta(beta: str) -> Callable[[Received], bool]:
    return lambda received: beta in (received.header("anthropic-beta") or "")


def odd_user_id(received: Received) -> bool:
    document: Any = received.document
    return not re.fullmatch("[a-zA-Z0-9_-]+", document["metadata"]["user_id"])


def long_ids(received: Received) -> bool:
    return any(len(id) != 9 for id in re.findall(rb'"(?:id|tool_use_id)":"([^"]*)"', received.body))


CURED: list[tuple[str, dict[str, Any], Callable[[Received], bool], int, str]] = [
    (
        "fields",
        request(tools=[{**TOOL, "strict": True}]),
        holds('"strict":true'),
        400,
        "tools.0.custom.strict: Extra inputs are not permitted",
    ),
    (
        "fields",
        request(context_management={"edits": []}),
        holds("context_management"),
        422,
        "Unknown field `context_management`",
    ),
    (
        "fields",
        request(output_config={"effort": "low", "x": 1}),
        holds('"x":1'),
        400,
        "output_config.x: Extra inputs are not permitted",
    ),
    (
        "betas",
        request(),
        sends_beta("context-1m"),
        400,
        "Unexpected value(s) `context-1m-2025-08-07` for the `anthropic-beta` header.",
    ),
    ("betas", request(), sends_beta("-"), 400, "invalid beta flag"),
    (
        "user_id",
        request(metadata={"user_id": '{"device_id":"x"}'}),
        odd_user_id,
        400,
        "metadata.user_id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    (
        "cache_marks",
        request(*MARKED),
        lambda received: received.body.count(b"cache_control") > 4,
        400,
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        "tool_ids",
        turn(CALL),
        long_ids,
        400,
        "Tool call id was toolu_0123456789 but must be a-z, A-Z, 0-9, with a length of 9.",
    ),
    (
        "system_role",
        {**request(), "messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "S"}]},
        holds('"role":"system"'),
        400,
        'messages: Unexpected role "system". Allowed roles are "user" or "assistant".',
    ),
    (
        "deferred_tools",
        turn(CALL, result={**RESULT, "content": [{"type": "tool_reference", "tool_name": "Read"}]}),
        holds('"type":"tool_reference"'),
        400,
        "messages.2.content.0.tool_result.content.0: Input tag 'tool_reference' found using 'type' does not match any of the expected tags",
    ),
    (
        "adaptive_thinking",
        request(thinking={"type": "adaptive"}),
        holds('"adaptive"'),
        400,
        "thinking.type: Input tag 'adaptive' found using 'type' does not match any of the expected tags: 'disabled', 'enabled'",
    ),
    (
        "enabled_thinking",
        request(thinking={"type": "enabled", "budget_tokens": 2000}),
        holds('"enabled"'),
        400,
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort"',
    ),
    (
        "effort",
        request(output_config={"effort": "max"}),
        holds('"max"'),
        400,
        "This model does not support effort level 'max'. Supported levels: high, low, medium.",
    ),
    (
        "prefill",
        {
            **request(),
            "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "He"}],
        },
        lambda received: received.body.rstrip(b"]}").endswith(b'"He"'),
        400,
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    ),
    (
        "tool_inputs",
        turn({**CALL, "input": None}),
        holds('"input":null'),
        400,
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    ("images", request(PNG), holds('"type":"image"'), 404, "No endpoints found that support image input"),
    ("images", request(PNG), holds('"type":"image"'), 400, "This model does not support images"),
    (
        "documents",
        request(PDF),
        holds('"type":"document"'),
        415,
        "document input is not supported by this model",
    ),
    (
        "without_thinking",
        turn(THINKING, CALL),
        holds('"signature"'),
        400,
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
]


@pytest.mark.parametrize(("name", "body", "refuses", "status", "words"), CURED)
def test_a_refusal_is_cured_and_the_cure_remembered_for_an_hour(
    name: str, body: dict[str, Any], refuses: Callable[[Received], bool], status: int, words: str
) -> None:
    def respond(received: Received) -> Script:
        return error_response(status, "invalid_request_error", words) if refuses(received) else good(received)

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x") as stage:
            requests = []
            for pause in (0.0, 0.0, 3601.0):
                await asyncio.sleep(pause)
                stage.requests.clear()
                response = await stage.running.post(orjson.dumps(body), anthropic_beta=BETAS)
                assert response.status == 200, response.body
                assert f"cure:{name}" in stage.running.lines[-1]
                assert stage.cooling() == {}
                requests.append(len(stage.requests))
                assert len({account_of(received) for _, received in stage.requests}) == 1
            assert requests == ([2, 2, 2] if name == "without_thinking" else [2, 1, 2])

    run(scenario())


@pytest.mark.parametrize(("name", "body", "refuses", "status", "words"), CURED)
def test_a_refusal_that_a_cure_does_not_end_is_returned(
    name: str, body: dict[str, Any], refuses: Callable[[Received], bool], status: int, words: str
) -> None:
    async def scenario() -> None:
        async with staged(failing(error_response(status, "invalid_request_error", words)), "a@x") as stage:
            response = await stage.running.post(body, anthropic_beta=BETAS)
            assert (response.status, len(stage.requests)) == (status, 2)
            assert words in response.message
            # And it is not learnt.
            assert len(stage.running.gateway.runtime.scheduler.cures.remembered(0.0)) == 0

    run(scenario())


# Failures: which account or upstream cools down, and which is tried next.

CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
EXTRA = "Extra usage is required for long context requests."
SPENT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
ZAI_WINDOW = "Usage limit reached for 5 hour. Your limit will reset at 2026-12-31 21:31:39"


def labelled(body: bytes, label: str = "application/json") -> list[Step]:
    lines = [
        "HTTP/1.1 200 OK",
        f"content-length: {len(body)}",
        *([f"content-type: {label}"] if label else []),
    ]
    return [("\r\n".join(lines) + "\r\n\r\n").encode() + body]


def json_body(document: object) -> list[Step]:
    return labelled(orjson.dumps(document))


def streamed(*lines: str) -> list[Step]:
    return [SSE_HEAD + chunked([line.encode() for line in lines])]


def error(type: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message, **more}}


RATE = {"type": "error", "error": {"code": "1302", "message": "rate limit reached"}}
WHOLE, STREAM = ("whole",), ("stream",)
BOTH = WHOLE + STREAM

FAILURES: list[tuple[str, Script, tuple[str, ...], str, dict[str, float]]] = [
    ("a dead file", error_response(404, "not_found_error", "File not found: file_gone"), BOTH, "a 404", {}),
    (
        "no money, as 400",
        error_response(400, "invalid_request_error", CREDIT),
        BOTH,
        "a b 200",
        {"up/a": 60.0},
    ),
    (
        "organisation off, as 400",
        error_response(400, "invalid_request_error", "This organization has been disabled."),
        BOTH,
        "a b 200",
        {"up/a": 60.0},
    ),
    (
        "usage limit, as 400",
        error_response(400, "invalid_request_error", SPENT),
        BOTH,
        "a b 200",
        {"up/a": 60.0},
    ),
    ("a 200 that is an error", json_body(error("api_error", "oops")), BOTH, "a b 200", {}),
    ("a 200 that is a limit", json_body(error("rate_limit_error", "slow")), BOTH, "a b 200", {"up/a m": 5.0}),
    (
        "a 200 with code 500",
        json_body({"code": 500, "msg": "404 NOT_FOUND", "success": False}),
        BOTH,
        "a b 200",
        {},
    ),
    (
        "a 200 with another code",
        json_body({"code": 1113, "msg": "no balance", "success": False}),
        BOTH,
        "a b 200",
        {"up/a": 60.0},
    ),
    (
        "z.ai: no balance",
        json_response(429, {"error": {"code": "1113", "message": "Insufficient balance"}}),
        BOTH,
        "a b 200",
        {"up/a": 60.0},
    ),
    (
        "z.ai: window used up",
        json_response(429, {"error": {"code": "1308", "message": ZAI_WINDOW}}),
        BOTH,
        "a b 200",
        {"up/a m": 3600.0},
    ),
    ("z.ai: rate", json_response(429, RATE), BOTH, "a b 200", {"up/a m": 5.0}),
    (
        "a stream that is an error",
        streamed(f"data: {json.dumps(RATE)}\n\n"),
        STREAM,
        "a b 200",
        {"up/a m": 5.0},
    ),
    (
        "a stream that is an error, unnamed",
        streamed('data: {"error":{"code":"1302","message":"rate limit reached"}}\n\n'),
        STREAM,
        "a b 200",
        {"up/a m": 5.0},
    ),
    ("a stream that is only done", streamed("data: [DONE]\n\n"), STREAM, "a b 200", {}),
    (
        "a stream of comments and pings",
        streamed(": hi\n\n", 'event: ping\ndata: {"type":"ping"}\n\n'),
        STREAM,
        "a b 200",
        {},
    ),
    ("a stream that is only done, collected", streamed("data: [DONE]\n\n"), WHOLE, "a b 200", {}),
    (
        "plan without the model",
        error_response(403, "permission_error", "Your plan does not include claude-opus-4-8."),
        BOTH,
        "a b 200",
        {"up/a m": 60.0},
    ),
    (
        "can only afford",
        error_response(
            402,
            "invalid_request_error",
            "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 3000.",
        ),
        BOTH,
        "a 402",
        {},
    ),
    (
        "500 not to be repeated there",
        error_response(500, "api_error", "no", [("x-should-retry", "false")]),
        BOTH,
        "a b 200",
        {},
    ),
    ("500", error_response(500, "api_error", "no"), BOTH, "a b 200", {}),
]


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize(
    ("name", "script", "modes", "expected", "cooling"),
    FAILURES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_next_account_and_cool_downs_after_a_failure(
    name: str, script: Script, modes: tuple[str, ...], expected: str, cooling: dict[str, float], mode: str
) -> None:
    if mode not in modes:
        return

    async def scenario() -> None:
        async with staged(failing(script, "a"), "a@x", "b@x", retry=Retry()) as stage:
            shown = await stage.transcript(mode)
            assert (shown.replace("= ", ""), stage.cooling()) == (expected, cooling)
            assert stage.running.lines[-1].count(" 200 ok ") == ("200" in expected)

    run(scenario())


# Trouble of the upstream itself, with and without a fallback.

OVERLOADED = json_body(error("overloaded_error", "Overloaded"))
PAGE = labelled(b"<html><body>down for maintenance</body></html>", "text/html")
EMPTY = labelled(b"")


def busy(status: int, after: int) -> list[Step]:
    return error_response(status, "overloaded_error", "Overloaded", [("retry-after", str(after))])


UPSTREAMS: list[tuple[str, Script, bool, str]] = [
    ("a 200 that is overloaded", OVERLOADED, True, "a c 200"),
    ("a 200 that is overloaded", OVERLOADED, False, "a b 1 a 529"),
    ("a page", PAGE, True, "a c 200"),
    ("a page", PAGE, False, "a b 1 a 502"),
    ("nothing", EMPTY, True, "a b c 200"),
    ("529 with a hint", busy(529, 8), True, "a c 200"),
    ("529 with a hint", busy(529, 8), False, "a 8 a 8 a 529"),
    ("529 with a long hint", busy(529, 3600), False, "a 529"),
    ("503 with a hint", busy(503, 8), False, "a b 8 a 503"),
    ("503 with a long hint", busy(503, 3600), True, "a b c 200"),
]


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize(("name", "script", "spare", "expected"), UPSTREAMS)
def test_cool_down_of_an_upstream(name: str, script: Script, spare: bool, expected: str, mode: str) -> None:
    async def scenario() -> None:
        async with staged(failing(script, "ab"), "a@x", "b@x", spare=spare, retry=Retry()) as stage:
            assert (await stage.transcript(mode)).replace("= ", "") == expected

    run(scenario())


@pytest.mark.parametrize("after", [8, 3600])
def test_retry_after_is_at_least_the_hint_of_a_529(after: int) -> None:
    async def scenario() -> None:
        async with staged(failing(busy(529, after)), "a@x", retry=Retry(max_wait=5.0)) as stage:
            response = await stage.post()
            assert response.status == 529
            assert int(response.header("retry-after") or 0) >= after

    run(scenario())


# Bytes decide, not labels.

EVENTS = b"".join(text_events())


@pytest.mark.parametrize("label", ["text/plain", "", "application/json", "Text/Event-Stream", "text/html"])
@pytest.mark.parametrize("before", [b"", b"\n\n", b"\xef\xbb\xbf", b": hello\n\n"])
def test_a_stream_under_any_content_type(label: str, before: bytes) -> None:
    async def scenario() -> None:
        async with staged(lambda _: labelled(before + EVENTS, label), "a@x") as stage:
            response = await stage.post("stream")
            assert (response.status, response.names[-1]) == (200, "message_stop")
            assert (response.header("content-type") or "").lower().startswith("text/event-stream")
            whole = await stage.post("whole")
            assert whole.document["content"] == [{"type": "text", "text": "Hellothere"}]
            assert whole.header("content-type") == "application/json"

    run(scenario())


@pytest.mark.parametrize("label", ["application/json", "text/event-stream", ""])
def test_a_json_response_to_a_streaming_request(label: str) -> None:
    async def scenario() -> None:
        async with staged(lambda _: labelled(orjson.dumps(message("Hello")), label), "a@x") as stage:
            response = await stage.post("stream")
            assert (response.names[0], response.names[-1]) == ("message_start", "message_stop")
            assert b"Hello" in response.body

    run(scenario())


def test_a_stream_is_relayed_at_once_under_any_content_type() -> None:
    def respond(_: Received) -> Script:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        return [head + chunked([EVENTS[:600]], end=False), Stall()]

    async def scenario() -> None:
        async with staged(respond, "a@x") as stage, await stage.running.connect() as client:
            client.send("POST", "/v1/messages", ask(stream=True))
            received = b""
            while b"content_block_delta" not in received:
                received += await client.receive()
            assert b"content-type: text/event-stream" in received

    run(scenario())


# Features: only who uses them is held back.

FEATURES: list[tuple[dict[str, Any], str, Script]] = [
    ({}, "context-1m-2025-08-07", error_response(429, "rate_limit_error", EXTRA)),
    (
        {"speed": "fast"},
        "",
        error_response(429, "rate_limit_error", "fast mode is not available", [("retry-after", "60")]),
    ),
]


@pytest.mark.parametrize(("fields", "beta", "script"), FEATURES)
def test_a_feature_that_an_account_lacks_does_not_cool_it_down(
    fields: dict[str, Any], beta: str, script: Script
) -> None:
    def respond(received: Received) -> Script:
        used = (beta and beta in (received.header("anthropic-beta") or "")) or b'"speed"' in received.body
        return script if used and account_of(received) == "a" else good(received)

    async def post(stage: Stage, **headers: str) -> Response:
        stage.requests.clear()
        return await stage.running.post({**request(), **fields}, **headers)

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x") as stage:
            headers = {"anthropic_beta": beta} if beta else {}
            assert (await post(stage, **headers)).status == 200
            assert [account_of(received) for _, received in stage.requests] == ["a", "b"]
            assert await stage.transcript(text="plain") == "a = 200"
            stage.requests.clear()
            # The same feature goes to the other account at once.
            assert (await post(stage, **headers)).status == 200
            assert [account_of(received) for _, received in stage.requests] == ["b"]

    run(scenario())


def test_a_feature_that_no_account_has_keeps_the_hosts_error() -> None:
    async def scenario() -> None:
        script = error_response(429, "rate_limit_error", EXTRA)
        async with staged(failing(script), "a@x", "b@x") as stage:
            response = await stage.running.post(request(), anthropic_beta="context-1m-2025-08-07")
            assert (response.status, response.message) == (429, EXTRA)
            assert response.header("x-should-retry") == "false"

    run(scenario())


# Token counts do not change cool-downs.


@pytest.mark.parametrize(
    "script",
    [
        labelled(b"<html>", "text/html"),
        error_response(403, "permission_error", "no"),
        error_response(401, "authentication_error", "invalid x-api-key"),
        error_response(429, "rate_limit_error", "slow down", [("retry-after", "120")]),
        error_response(529, "overloaded_error", "Overloaded"),
        [Reset()],
    ],
)
def test_a_failed_token_count_does_not_affect_messages(script: Script) -> None:
    def respond(received: Received) -> Script:
        return script if received.target.startswith("/v1/messages/count_tokens") else good(received)

    async def scenario() -> None:
        async with staged(respond, "a@x") as stage:
            for requests in (1, 0):
                stage.requests.clear()
                response = await stage.post("count")
                assert (response.status, response.header("x-token-count")) == (200, "estimate")
                assert len(stage.requests) == requests
            assert stage.cooling() == {}
            assert await stage.transcript() == "a = 200"
            await asyncio.sleep(601.0)
            stage.requests.clear()
            await stage.post("count")
            assert len(stage.requests) == 1

    run(scenario())


# Coming back: hints, silence, upstreams that are away.


def test_a_bucket_that_is_not_exhausted_gives_no_hint() -> None:
    """The overage bucket has a reset in 20 days, the exhausted one in 2 hours."""
    now = 1_800_000_000
    buckets = {
        "status": "rejected",
        "5h-status": "rejected",
        "5h-reset": str(now + 7200),
        "7d-status": "allowed",
        "7d-reset": str(now + 500_000),
        "overage-status": "rejected",
        "overage-reset": str(now + 20 * 86_400),
    }
    headers = [(f"anthropic-ratelimit-unified-{name}", value) for name, value in buckets.items()]

    async def scenario(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.time", lambda: float(now))
        async with staged(
            failing(error_response(429, "rate_limit_error", "limited", headers)), "a@x"
        ) as stage:
            response = await stage.post()
            assert (response.status, stage.cooling()) == (429, {"up/a m": 7200.0})

    with pytest.MonkeyPatch.context() as monkeypatch:
        run(scenario(monkeypatch))


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize(("spare", "expected"), [(False, "a 5 504"), (True, "a 5 c 200")])
def test_a_silent_upstream_is_not_retried(mode: str, spare: bool, expected: str) -> None:
    async def scenario() -> None:
        async with staged(failing([Stall()], "ab"), "a@x", "b@x", spare=spare, retry=Retry()) as stage:
            assert (await stage.transcript(mode)).replace("= ", "") == expected

    run(scenario())


def test_a_local_server_that_starts_is_tried_within_two_seconds() -> None:
    async def scenario() -> None:
        with unused_port() as port:
            up = ScriptedUpstream(respond=good, port=port)
            async with running(config(upstream(up.url, "a@x"), retry=Retry())) as g:
                loop = asyncio.get_running_loop()
                for _ in range(5):
                    response = await g.post(ask())
                    assert response.status in (502, 503)
                    assert response.header("retry-after") in ("1", "2")
                began = loop.time()
                asking = asyncio.create_task(g.post(ask()))
                await asyncio.sleep(0.1)
                await up.start()
                assert (await asking).status == 200
                assert loop.time() - began <= 3.0
                await up.stop()

    run(scenario())


def test_error_names_the_current_cool_down() -> None:
    """Not an older limit, which has passed."""
    scripts: list[Script] = [
        error_response(429, "rate_limit_error", "slow down", [("retry-after", "30")]),
        *[[Reset()]] * 9,
    ]

    async def scenario() -> None:
        async with staged(lambda _: scripts.pop(0), "a@x", retry=Retry(max_attempts=1)) as stage:
            assert (await stage.post()).status == 429
            await asyncio.sleep(31.0)
            for _ in range(3):
                response = await stage.post()
                assert response.status in (502, 503)
                assert "slow down" not in response.message

    run(scenario())


# Bindings.


def test_a_conversation_moves_when_its_account_fails_and_stays_there() -> None:
    session = '{"session_id":"s-1"}'
    body = request(metadata={"user_id": session})
    ill = {"a"}

    def respond(received: Received) -> Script:
        if account_of(received) in ill:
            return error_response(401, "authentication_error", "invalid x-api-key")
        return good(received)

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x") as stage:

            async def served() -> str:
                stage.requests.clear()
                assert (await stage.running.post(body)).status == 200
                return "".join(account_of(received) for _, received in stage.requests)

            assert await served() == "ab"
            ill.clear()
            await asyncio.sleep(700.0)
            assert [await served() for _ in range(3)] == ["b", "b", "b"]

    run(scenario())


# Bodies that are repaired or decoded before they are forwarded, and others.

DIRECTIVE = {"role": "system", "content": [], "output_config": {"effort": "low"}}
REPAIRED: list[tuple[str, dict[str, Any], str]] = [
    (
        "a directive without text",
        {
            **request(),
            "messages": [{"role": "user", "content": "a"}, DIRECTIVE, {"role": "user", "content": "b"}],
        },
        "",
    ),
    (
        "a failed tool in the middle of work",
        turn(
            CALL,
            result={**RESULT, "is_error": True, "content": "Warmup iteration 1 failed: connection refused"},
        ),
        "",
    ),
    (
        "odd ids of tools",
        turn({**CALL, "id": "Bash:0"}, result={**RESULT, "tool_use_id": "Bash:0"}),
        "tool_ids",
    ),
    ("an empty id", turn({**CALL, "id": ""}, result={**RESULT, "tool_use_id": ""}), "tool_ids"),
    ("an id used twice in one turn", turn(CALL, CALL, result=RESULT), "tool_ids"),
    (
        "an error without a word",
        turn(CALL, result={**RESULT, "is_error": True, "content": ""}),
        "empty_results",
    ),
    (
        "an error with blank text",
        turn(CALL, result={**RESULT, "is_error": True, "content": [{"type": "text", "text": " "}]}),
        "empty_results",
    ),
    (
        "an error with a picture",
        turn(CALL, result={**RESULT, "is_error": True, "content": [PNG]}),
        "failed_results",
    ),
    (
        "a server's tool without its result",
        {
            **request(),
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                        {"type": "text", "text": "x"},
                    ],
                },
                {"role": "user", "content": "b"},
            ],
        },
        "server_tools",
    ),
    (
        "an empty compaction",
        {
            **request(),
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [{"type": "compaction", "content": ""}, {"type": "text", "text": "x"}],
                },
                {"role": "user", "content": "b"},
            ],
        },
        "empty_text",
    ),
]


@pytest.mark.parametrize(("name", "body", "repair"), REPAIRED)
def test_repaired_bodies(name: str, body: dict[str, Any], repair: str) -> None:
    async def scenario() -> None:
        sent = orjson.dumps(body)
        async with staged(good, "a@x") as stage:
            assert (await stage.running.post(sent)).status == 200
            ((_, received),) = stage.requests
            line = stage.running.lines[-1]
            assert line.partition("repairs=")[2].split(",")[0] == repair
            assert (received.body == sent) == (not repair)
            ids = re.findall(rb'"(?:id|tool_use_id)":"([^"]*)"', received.body)
            assert all(re.fullmatch(rb"[a-zA-Z0-9_-]+", id) for id in ids)

    run(scenario())


def test_a_body_that_came_compressed_leaves_decoded() -> None:
    body = orjson.dumps(request())

    async def scenario() -> None:
        async with staged(good, "a@x", limits={"max_body": 10_000}) as stage:
            response = await stage.running.post(gzip.compress(body), content_encoding="gzip")
            assert response.status == 200
            ((_, received),) = stage.requests
            assert (received.body, received.header("content-encoding")) == (body, None)
            bomb = gzip.compress(b" " * 1_000_000 + body)
            assert (await stage.running.post(bomb, content_encoding="gzip")).status == 413
            refused = await stage.running.post(body, content_encoding="zstd")
            assert (refused.status, len(stage.requests)) == (415, 1) or refused.status == 400
            assert "request_body_encoding_unsupported" in refused.body.decode()

    run(scenario())


HEALING: list[tuple[int, object, str]] = [
    (
        402,
        error("billing_error", "You requested up to 32000 tokens, but can only afford 3000."),
        "max_tokens: 32000 > 3000, which is the maximum allowed number of output tokens. You requested",
    ),
    (
        400,
        error(
            "invalid_request_error", "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"
        ),
        "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens. Invalid",
    ),
    (
        400,
        {
            "error": {
                "message": "request (9000 tokens) exceeds the available context size (4096 tokens)",
                "code": 400,
            }
        },
        "prompt is too long: 9000 tokens > 4096 maximum. request",
    ),
    (
        400,
        error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        "prompt is too long: 210000 tokens > 200000 maximum",
    ),
    (
        400,
        error("invalid_request_error", "messages: at least one message is required"),
        "messages: at least one message is required",
    ),
    (
        429,
        error("rate_limit_error", "maximum context length is 8192 tokens per minute, you requested 9000"),
        "maximum context length is 8192",
    ),
]


@pytest.mark.parametrize(("status", "document", "begins"), HEALING)
def test_context_limit_messages_become_the_apis(status: int, document: object, begins: str) -> None:
    async def scenario() -> None:
        async with staged(failing(json_response(status, document)), "a@x") as stage:
            response = await stage.running.post(request(max_tokens=32_000))
            assert (response.status, response.message[: len(begins)]) == (status, begins)
            json_body: Any = document
            theirs = json_body["error"]["message"]
            assert response.message.endswith(theirs)
            if response.message == theirs:
                assert response.body == orjson.dumps(document)

    run(scenario())


def test_an_empty_response_is_retried_once_and_then_passed_on() -> None:
    empty = message() | {"content": [], "usage": {"input_tokens": 1, "output_tokens": 0}}

    async def scenario() -> None:
        async with staged(lambda _: json_response(200, empty), "a@x", "b@x") as stage:
            assert await stage.transcript() == "a a = 200"
            assert stage.cooling() == {}

    run(scenario())
