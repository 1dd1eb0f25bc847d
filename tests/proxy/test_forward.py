"""The loop of attempts, in memory: accounts tried, response, log line, and that nothing is left over."""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from gateway.config import Account, Auth, Config, Retry, Secret, Stream
from gateway.dialects.anthropic import AnthropicDialect
from gateway.messages.errors import RequestError
from gateway.proxy import forward
from gateway.proxy.attempt import Attempt
from gateway.proxy.request import ClientRequest
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Reset,
    Script,
    Sleep,
    chunked,
    error_response,
    event,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.explode import explode
from tests.support.in_memory import InMemory, WireClient, in_memory
from tests.support.loops import settle
from tests.support.running import config, upstream
from tests.support.tokens import Tokens

URL = "http://up.example"
COUNT = "/v1/messages/count_tokens"
GOOD = json_response(200, message())
GOOD_STREAM = stream_response(text_events())
LIMIT = error_response(429, "rate_limit_error", "slow down", [("retry-after", "3600")])
LIMIT_12 = error_response(429, "rate_limit_error", "wait", [("retry-after", "12")])
BODY = b'{ "id":"msg_1", "usage": {"input_tokens": 3, "output_tokens": 4}, "new": 1.0 }'


def one(*accounts: str | Account, **fields: Any) -> Config:
    """One upstream with these accounts."""
    made = {key: fields.pop(key) for key in ("models", "stream_internally", "kind") if key in fields}
    return config(upstream(URL, *(accounts or ("a@x",)), **made), **fields)


def accounts_of(stage: InMemory) -> str:
    """Return the accounts that got a request, by their letters."""
    return "".join(request.account for request in stage.requests)


def error_event(response: Response) -> tuple[str, str]:
    """Type and message of the error event that ends a stream; its request id is the head's."""
    last = response.events[-1]
    document = orjson.loads(last.data)
    assert (last.name, document["request_id"]) == ("error", response.header("request-id"))
    return document["error"]["type"], document["error"]["message"]


# A good response.

HEAD = [
    ("request-id", "req_theirs"),
    ("anthropic-ratelimit-requests-remaining", "9"),
    ("set-cookie", "a=b"),
    ("server", "theirs"),
    ("connection", "keep-alive, x-hop"),
]
ROUTED = {"x-account-email": "a@x", "x-mapped-model": "glm"}


def fields_of(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers if name not in {"date", "connection"}}


async def test_a_json_response_passes_byte_for_byte() -> None:
    async with in_memory(one("a@x", models={"m": "glm"})) as stage:
        response = await stage.post(ask(), json_response(200, BODY, HEAD))
        assert (response.status, response.body) == (200, BODY)
        assert fields_of(response) == {
            "content-type": "application/json",
            "content-length": str(len(BODY)),
            "request-id": "req_theirs",
            "anthropic-ratelimit-requests-remaining": "9",
            **ROUTED,
        }
        assert " - POST /v1/messages m -> glm up/a@x 200 ok in=" in stage.line
        assert stage.line.endswith("input=3 output=4")


async def test_a_streamed_response_passes_byte_for_byte() -> None:
    async with in_memory(one("a@x", models={"m": "glm"})) as stage:
        response = await stage.post(ask(stream=True), GOOD_STREAM)
        assert response.body == b"".join(text_events())
        assert fields_of(response) == {
            "content-type": "text/event-stream; charset=utf-8",
            "transfer-encoding": "chunked",
            "request-id": "req_upstream",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **ROUTED,
        }
        assert "200 ok" in stage.line
        assert "attempts=" not in stage.line
        assert "input=11 output=7 cache_read=5" in stage.line


async def test_every_field_of_the_log_line() -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("sk-1")})
    body = ask(model="alias")
    body["messages"].append({"role": "user", "content": [{"type": "text", "text": " "}]})
    settings = one("a@x", "b@x", models={"alias": "glm"}, auth=auth)
    async with in_memory(settings, format="json") as stage:
        began = time.time()
        response = await stage.post(
            body, LIMIT, GOOD, target="/v1/messages?beta=true", authorization="bearer sk-1"
        )
        line = orjson.loads(stage.lines[-1])
    # Times have three decimals.
    assert began - 0.001 <= line.pop("time") <= time.time() + 0.001
    assert 0.0 <= line.pop("first_byte") <= line.pop("duration") < 60.0
    assert line.pop("bytes_out") > len(response.body)
    assert line == {
        "request_id": response.header("request-id"),
        "key": "laptop",
        "method": "POST",
        "path": "/v1/messages",
        "model": "alias",
        "wire_model": "glm",
        "upstream": "up",
        "account": "b@x",
        "attempts": 2,
        "tried": ["a@x@up:429"],
        "status": 200,
        "bytes_in": len(orjson.dumps(body)),
        "input_tokens": 11,
        "output_tokens": 7,
        "cache_read_tokens": 5,
        "cache_creation_tokens": None,
        "estimated": False,
        "cache": "new",
        "cache_lost_tokens": None,
        "cache_changed_at": "",
        "repairs": ["empty_text"],
        "outcome": "ok",
        "error": "",
    }


# More than one attempt.


@pytest.mark.parametrize(
    "failure",
    [
        LIMIT,
        error_response(500, "api_error", "slow down"),
        error_response(401, "authentication_error", "slow down"),
        json_response(200, b""),
        [SSE_HEAD + chunked(text_events()[:3])],
        [SSE_HEAD + chunked([event("error", error={"type": "rate_limit_error", "message": "x"})])],
        [Close()],
        [Reset()],
        [b"nonsense\r\n\r\n"],
        json_response(200, BODY, [("content-encoding", "br")]),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("stream", [False, True])
async def test_another_account_takes_over(stream: bool, failure: Script) -> None:
    async with in_memory(one("a@x", "b@x")) as stage:
        response = await stage.post(ask(stream=stream), failure, GOOD_STREAM if stream else GOOD)
        assert (response.status, response.header("x-account-email")) == (200, "b@x")
        assert response.header("x-gateway-attempts") == "2"
        assert accounts_of(stage) == "ab"
        assert "up/b@x 200 ok attempts=2" in stage.line
        assert stage.requests[0].body == stage.requests[1].body


async def test_an_upstream_that_cannot_be_reached() -> None:
    settings = config(
        upstream("http://one", "a@x", name="one"), upstream("http://two", "b@x", name="two", priority=1)
    )
    async with in_memory(settings) as stage:
        stage.refuse = lambda origin: origin.host == "one"
        response = await stage.post(ask(), GOOD)
        assert (response.status, response.header("x-account-email")) == (200, "b@x")
        assert "tried=a@x@one:" in stage.line


async def test_the_most_useful_failure_names_its_account() -> None:
    settings = config(
        upstream("http://one", "a@x", name="one", models={"m": "wire-1"}),
        upstream("http://two", "b@x", name="two", models={"m": "wire-2"}, priority=1),
    )
    async with in_memory(settings) as stage:
        response = await stage.post(ask(), LIMIT, error_response(404, "not_found_error", "no such model"))
        assert (response.status, response.message) == (429, "slow down")
        assert response.header("x-account-email") == "a@x"
        assert response.header("x-mapped-model") == "wire-1"
        assert response.header("x-gateway-attempts") == "2"
        assert "m -> wire-1 one/a@x 429 upstream_error attempts=2" in stage.line
        # All are cooling down: no attempt, and no account's lines.
        again = await stage.post(ask(stream=True))
        assert (again.status, again.header("x-gateway-attempts"), len(stage.requests)) == (429, None, 2)


@pytest.mark.parametrize("quoted", ["whole", "stream", "first of two"])
async def test_a_key_that_an_upstream_quotes_is_not_logged(quoted: str) -> None:
    message = "invalid key key-of-a@x"
    scripts: dict[str, list[Script]] = {
        "whole": [error_response(400, "authentication_error", message)],
        "first of two": [error_response(401, "authentication_error", message), GOOD],
        "stream": [
            stream_response(
                [*text_events()[:4], event("error", error={"type": "api_error", "message": message})]
            )
        ],
    }
    async with in_memory(one("a@x", "b@x")) as stage:
        await stage.post(ask(stream=quoted == "stream"), *scripts[quoted])
        assert not any("key-of" in line for line in stage.lines)
        assert any("invalid key ***" in line for line in stage.lines)


def test_a_wait_for_the_only_account() -> None:
    async def scenario() -> None:
        async with in_memory(one(retry=Retry())) as stage:
            client = stage.connect()
            client.send("POST", "/v1/messages", ask())
            await stage.play(LIMIT_12)
            await asyncio.sleep(11.9)
            await stage.turn()
            assert len(stage.requests) == 1
            await asyncio.sleep(0.2)
            await stage.play(GOOD)
            response = await client.response()
            assert (response.status, response.header("x-gateway-attempts")) == (200, "2")
            await client.leave()

    run(scenario())


async def test_a_request_takes_a_slot_that_becomes_free() -> None:
    async with in_memory(one(Account(name="a@x", max_concurrent=1))) as stage:
        clients = [stage.connect() for _ in range(3)]
        for client in clients:
            client.send("POST", "/v1/messages", ask())
        await stage.turn()
        for number, client in enumerate(clients, 1):
            assert len(stage.requests) == number
            await stage.play(GOOD)
            assert (await client.response()).status == 200
            await client.leave()
        assert len(stage.wires) == 1
        assert not any("attempts=" in line for line in stage.lines)


# Counting tokens.


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_upstream_without_count_tokens_is_not_retried_at_once(status: int) -> None:
    async with in_memory(one()) as stage:
        for _ in range(2):
            response = await stage.post(
                ask(), *[error_response(status, "x", "no such thing")][len(stage.requests) :], target=COUNT
            )
            assert (response.status, response.header("x-token-count")) == (200, "estimate")
        assert len(stage.requests) == 1
        # It was never held against the account.
        assert (await stage.post(ask(), GOOD)).status == 200


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (error_response(429, "rate_limit_error", "wait", [("retry-after", "30")]), 30.0),
        (error_response(429, "rate_limit_error", "wait"), 600.0),
        (error_response(500, "api_error", "oh"), 600.0),
        (json_response(200, {}), 600.0),
        ([Close()], 600.0),
    ],
    ids=["limit with a hint", "limit", "error", "no count", "closed"],
)
def test_a_failed_token_count_is_estimated_without_a_cool_down(failure: Script, seconds: float) -> None:
    async def scenario() -> None:
        async with in_memory(one()) as stage:
            response = await stage.post(ask(), failure, target=COUNT)
            assert (response.status, response.header("x-token-count")) == (200, "estimate")
            assert (await stage.post(ask(), GOOD)).status == 200
            await asyncio.sleep(seconds - 1.0)
            assert (await stage.post(ask(), target=COUNT)).header("x-token-count") == "estimate"
            await asyncio.sleep(1.1)
            count = json_response(200, {"input_tokens": 3})
            assert (await stage.post(ask(), count, target=COUNT)).document == {"input_tokens": 3}
            assert len(stage.requests) == 3

    run(scenario())


async def test_token_count_of_an_invalid_request() -> None:
    async with in_memory(one("a@x", "b@x")) as stage:
        wrong = error_response(400, "invalid_request_error", "messages: wrong")
        response = await stage.post(ask(), wrong, target=COUNT)
        assert (response.status, response.message) == (400, "messages: wrong")
        assert accounts_of(stage) == "a"


async def test_token_count_is_estimated_without_a_free_account() -> None:
    settings = one(Account(name="a@x", max_concurrent=1), retry=Retry(max_wait=0.0))
    async with in_memory(settings) as stage:
        client = stage.connect()
        client.send("POST", "/v1/messages", ask())
        await stage.turn()
        response = await stage.post(ask(), target=COUNT)
        assert (response.status, response.header("x-token-count")) == (200, "estimate")
        await stage.play(GOOD)
        await client.leave()


# Pings, on a clock that jumps.


def pinged(*scripts: Script, accounts: str = "a", target: str = "/v1/messages") -> tuple[Response, str]:
    """Return the bytes that a streaming client gets, pinged after each silent second, and the request's log line."""

    async def scenario() -> tuple[Response, str]:
        settings = one(*(f"{name}@x" for name in accounts), stream=Stream(ping_after=1.0))
        async with in_memory(settings) as stage:
            client = stage.connect()
            client.send("POST", target, ask(stream=True))
            await stage.play(*scripts)
            response = await client.response()
            assert response.complete
            if response.names[-1:] == ["error"]:
                assert client.wire.is_closing()
            await client.leave()
            return response, stage.line

    return run(scenario())


def names_of(events: Sequence[bytes]) -> list[str]:
    return [each.partition(b"\n")[0].decode().removeprefix("event: ") for each in events]


def test_ping_before_the_first_event() -> None:
    response, line = pinged([Sleep(2.5), *GOOD_STREAM])
    assert response.names == ["ping", "ping", *names_of(text_events())]
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert response.header("cache-control") == "no-cache"
    assert response.header("x-accel-buffering") == "no"
    # Which upstream will respond is not known yet.
    assert response.header("x-account-email") is None
    assert f" {response.header('request-id')} " in line
    assert " 200 ok" in line


def test_retries_continue_after_a_ping() -> None:
    failing = [Sleep(1.5), *error_response(500, "api_error", "oh")]
    response, line = pinged(failing, GOOD_STREAM, accounts="ab")
    assert response.names == ["ping", *names_of(text_events())]
    assert "200 ok attempts=2" in line


@pytest.mark.parametrize(
    ("script", "type", "words"),
    [
        (
            error_response(400, "invalid_request_error", "messages: no"),
            "invalid_request_error",
            "messages: no",
        ),
        (LIMIT, "rate_limit_error", "slow down"),
        (error_response(401, "authentication_error", "bad key"), "api_error", "must check its credential"),
    ],
)
def test_a_failure_after_a_ping(script: Script, type: str, words: str) -> None:
    response, line = pinged([Sleep(1.5), *script])
    assert response.status == 200
    assert response.names == ["ping", "error"]
    assert error_event(response)[0] == type
    assert words in error_event(response)[1]
    assert " 200 upstream_error" in line
    assert words in line


def test_a_json_response_after_a_ping_becomes_a_stream() -> None:
    response, line = pinged([Sleep(1.5), *GOOD])
    assert response.names[:2] == ["ping", "message_start"]
    assert response.names[-1] == "message_stop"
    assert " 200 ok" in line


EVENTS = text_events()
WHOLE = b"".join(EVENTS)
CUT = len(b"".join(EVENTS[:4]))


@pytest.mark.parametrize(("at", "pings"), [(CUT + 20, 0), (CUT, 2)], ids=["inside an event", "between two"])
def test_pings_in_the_middle_of_a_stream(at: int, pings: int) -> None:
    pieces = chunked([WHOLE[:at]], end=False), chunked([WHOLE[at:]])
    response, _ = pinged([SSE_HEAD, pieces[0], Sleep(2.5), pieces[1]])
    assert response.body == WHOLE[:at] + event("ping") * pings + WHOLE[at:]


def test_a_count_is_not_pinged() -> None:
    response, _ = pinged([Sleep(3.0), *json_response(200, {"input_tokens": 1})], target=COUNT)
    assert (response.status, response.document) == (200, {"input_tokens": 1})


# Requests that cannot be encoded.


def refuse(*_: object, **__: object) -> Any:
    raise RequestError(400, "tools.0: this upstream has no such tool")


async def test_a_request_that_cannot_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnthropicDialect, "encode", refuse)
    async with in_memory(one()) as stage:
        response = await stage.post(ask(stream=True))
        assert (response.status, response.error_type) == (400, "invalid_request_error")
        assert response.message == "tools.0: this upstream has no such tool"
        assert stage.wires == []
        assert " 400 refused" in stage.line


def second(function: Callable[..., Any]) -> Callable[..., Any]:
    """`encode` that is this function for the second attempt."""
    encode, attempts = AnthropicDialect.encode, list[None]()

    def encode_or(*args: Any, **named: Any) -> Any:
        attempts.append(None)
        return function() if len(attempts) > 1 else encode(*args, **named)

    return encode_or


def test_a_refusal_after_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnthropicDialect, "encode", second(refuse))
    response, line = pinged([Sleep(1.5), *LIMIT], accounts="ab")
    assert error_event(response) == ("invalid_request_error", "tools.0: this upstream has no such tool")
    assert " 200 refused" in line


# Clients that leave, and slow ones.


async def post_body(stage: InMemory, body: dict[str, Any], *scripts: Script) -> WireClient:
    """A client whose request is under way."""
    client = stage.connect()
    client.send("POST", "/v1/messages", body)
    await stage.play(*scripts) if scripts else await stage.turn()
    return client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        [],
        [b"HTTP/1.1 200 OK\r\n"],
        [SSE_HEAD],
        [SSE_HEAD, chunked(text_events()[:5], end=False)],
        [b"HTTP/1.1 429 X\r\ncontent-length: 9\r\n\r\n{"],
    ],
    ids=["no head", "half a head", "no body", "half a body", "half an error"],
)
async def test_a_client_that_disconnects_cancels_the_upstream_request(script: Script, stream: bool) -> None:
    async with in_memory(one("a@x", "b@x")) as stage:
        client = await post_body(stage, ask(stream=stream), script)
        await client.leave()
        assert " up/a@x 499 canceled" in stage.line
        assert stage.requests[0].wire.state == "LOST"
        assert accounts_of(stage) == "a"


@pytest.mark.parametrize(
    ("script", "line", "sent"),
    [
        ([], "503 shutdown", b'"overloaded_error"'),
        ([SSE_HEAD], "503 shutdown", b'"overloaded_error"'),
        ([SSE_HEAD, chunked(text_events()[:5], end=False)], "200 shutdown", b"event: error\n"),
    ],
)
async def test_a_gateway_that_stops_sent_so(script: Script, line: str, sent: bytes) -> None:
    async with in_memory(one()) as stage:
        client = await post_body(stage, ask(stream=True), script)
        await stage.gateway.stop(0.0)
        assert sent in (await client.response()).body
        await client.leave()
        assert f" up/a@x {line} " in stage.line
        assert stage.requests[0].wire.state == "LOST"


async def test_a_client_that_leaves_after_the_last_event_has_had_everything() -> None:
    async with in_memory(one()) as stage:
        client = await post_body(stage, ask(stream=True), [SSE_HEAD + chunked(text_events(), end=False)])
        await client.leave()
        assert " 200 ok" in stage.line
        assert "output=7" in stage.line
        # The upstream may end its response, so that its connection is kept.
        stage.requests[0].wire.feed(b"0\r\n\r\n")
        assert stage.requests[0].wire.state == "OPEN"
        assert (await stage.post(ask(), GOOD)).status == 200
        assert len(stage.wires) == 1


def test_a_slow_client_that_leaves_behind_the_last_event_lets_the_upstream_end() -> None:
    """The upstream was paused for it; its rest is read for a moment, even if it never comes."""
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 100_000})
    script = [SSE_HEAD, chunked([*text_events()[:4], delta, *text_events()[4:]], end=False)]

    async def scenario() -> None:
        async with in_memory(one()) as stage:
            for _ in range(2):
                client = stage.connect()
                client.wire.takes = False
                client.send("POST", "/v1/messages", ask(stream=True))
                await stage.play(script)
                assert not stage.requests[0].wire.reading
                await client.wire.reset()
                await stage.play([b"0\r\n\r\n"] if len(stage.requests) == 1 else [])
            assert len(stage.wires) == 1
            await asyncio.sleep(1.1)
            assert stage.wires[0][1].state == "LOST"
            assert all(" 200 ok" in line for line in stage.lines)

    run(scenario())


@pytest.mark.parametrize("ends", [[], [Reset()]])
def test_an_upstream_that_talks_on_behind_the_last_event_is_closed(ends: list[Reset]) -> None:
    async def scenario() -> None:
        async with in_memory(one()) as stage:
            client = await post_body(stage, ask(stream=True), [SSE_HEAD + chunked(text_events(), end=False)])
            await client.leave()
            pings = [step for _ in range(3) for step in (Sleep(0.4), b"8\r\n: ping\n\n\r\n")]
            await stage.play([*ends, *pings])
            assert stage.requests[0].wire.state == "LOST"
            assert len(stage.lines) == 1
            metrics = stage.gateway.runtime.metrics
            assert [one.outcome for one in metrics.records[: metrics.waiting] if one is not None] == ["ok"]

    run(scenario())


async def test_a_client_that_leaves_while_it_waits_for_a_slot() -> None:
    async with in_memory(one(Account(name="a@x", max_concurrent=1))) as stage:
        first = await post_body(stage, ask())
        second = await post_body(stage, ask())
        await second.leave()
        assert " 499 canceled" in stage.line
        await stage.play(GOOD)
        assert (await first.response()).status == 200
        await first.leave()
        assert len(stage.requests) == 1


def test_a_client_that_leaves_while_it_waits_for_an_account() -> None:
    async def scenario() -> None:
        async with in_memory(one(retry=Retry())) as stage:
            client = await post_body(stage, ask(), LIMIT_12)
            await asyncio.sleep(5.0)
            await client.leave()
            await asyncio.sleep(60.0)
            await stage.turn()
            assert len(stage.requests) == 1
            assert " 499 canceled" in stage.line

    run(scenario())


async def test_a_slow_client_pauses_the_upstream() -> None:
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 100_000})
    async with in_memory(one()) as stage:
        client = stage.connect()
        client.wire.takes = False
        client.send("POST", "/v1/messages", ask(stream=True))
        await stage.play([SSE_HEAD, chunked([*text_events()[:4], delta, delta, delta], end=False)])
        there = stage.requests[0].wire
        assert not there.reading
        client.wire.take(client.wire.waiting)
        assert there.reading
        there.feed(chunked([*text_events()[4:]]))
        assert (await client.response()).names[-1] == "message_stop"
        client.wire.take(client.wire.waiting)
        await client.leave()


async def test_a_client_that_is_slow_before_there_is_a_connection_or_an_attempt() -> None:
    async with in_memory(one(Account(name="a@x", max_concurrent=1))) as stage:
        clients = [stage.connect(), stage.connect()]
        for client in clients:
            client.send("POST", "/v1/messages", ask())
            client.wire.protocol.pause_writing()
            client.wire.protocol.resume_writing()
        for client in clients:
            await stage.play(GOOD)
            assert (await client.response()).status == 200
            await client.leave()


async def test_a_request_whose_connection_was_closed_is_not_kept() -> None:
    """Its body may be large, and the upstream may not serve another for long."""
    async with in_memory(one(retry=Retry(max_attempts=1))) as stage:
        assert (await stage.post(ask(), [Close()])).status == 502
        gc.collect()
        assert [each for each in gc.get_objects() if isinstance(each, ClientRequest)] == []


def of_openai(delta: dict[str, str], finish: str | None = None) -> bytes:
    """An event of a chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % orjson.dumps({"choices": [choice]})


@pytest.mark.parametrize(
    ("rest", "last", "line"),
    [
        (b'data: {"usage":{"pro', "message_stop", "200 ok"),
        (b'data: {"error":{"message":"no"}}', "error", "200 upstream_error"),
    ],
)
async def test_a_break_behind_a_finish_reason_is_no_reason_to_ask_again(
    rest: bytes, last: str, line: str
) -> None:
    events = [of_openai({"content": "Hello"}), of_openai({}, "stop"), rest]
    async with in_memory(one("a@x", "b@x", kind="openai")) as stage:
        response = await stage.post(ask(stream=True), [SSE_HEAD + chunked(events, end=False), Reset()])
        assert (response.names.count("message_start"), response.names[-1]) == (1, last)
        assert f" up/a@x {line} " in stage.line
        assert accounts_of(stage) == "a"


# Accounts with tokens.


async def test_a_request_waits_for_a_token() -> None:
    tokens = Tokens()
    async with in_memory(one("g@x"), {"g@x": tokens}) as stage:
        client = await post_body(stage, ask())
        assert stage.requests == []
        tokens.issue("t-1")
        await stage.play(GOOD)
        assert (await client.response()).status == 200
        assert stage.requests[0].key == "Bearer t-1"
        await client.leave()


@pytest.mark.parametrize("others", [(), ("b@x",)])
async def test_a_token_refresh_that_fails(others: Sequence[str]) -> None:
    tokens = Tokens()
    async with in_memory(one("g@x", *others), {"g@x": tokens}) as stage:
        client = await post_body(stage, ask())
        tokens.refuse(401, "the login has ended")
        await stage.play(GOOD) if others else await stage.turn()
        response = await client.response()
        await client.leave()
        if others:
            assert (response.status, response.header("x-account-email")) == (200, "b@x")
        else:
            assert (response.status, response.error_type) == (503, "api_error")
            assert response.header("x-should-retry") == "false"
            assert 'refused account "g@x" (401)' in response.message
            assert " up/g@x 503 upstream_error" in stage.line
        assert tokens.refused_values == []


async def test_a_client_that_leaves_while_it_waits_for_a_token() -> None:
    tokens = Tokens()
    async with in_memory(one("g@x"), {"g@x": tokens}) as stage:
        client = await post_body(stage, ask())
        await client.leave()
        assert tokens.waiting == 0
        assert " up/g@x 499 canceled" in stage.line


async def test_a_refused_token_is_refreshed() -> None:
    tokens = Tokens("t-1")
    async with in_memory(one("g@x", "b@x"), {"g@x": tokens}) as stage:
        refused = error_response(401, "authentication_error", "no: t-1")
        response = await stage.post(ask(), refused, GOOD)
        assert response.header("x-account-email") == "b@x"
        assert tokens.refused_values == ["t-1"]
        assert "t-1" not in stage.line


# The gateway's own failures, wherever they happen: the request ends, and nothing stays behind.

PLACES: dict[str, tuple[object, str, Script]] = {
    "first attempt": (AnthropicDialect, "encode", ()),
    "head": (Attempt, "commit", GOOD),
    "failure": (AnthropicDialect, "failure", LIMIT),
    "no connection": (AnthropicDialect, "failure", [Close()]),
    "last word": (forward, "error_response", LIMIT),
}


@pytest.mark.parametrize("place", PLACES)
async def test_an_internal_error(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, script = PLACES[place]
    monkeypatch.setattr(owner, name, explode)
    async with in_memory(one()) as stage:
        response = await stage.post(ask(), *[script] * bool(script))
        assert (response.status, response.error_type) == (500, "api_error")
        assert response.document["request_id"] == response.header("request-id")
        assert "500 internal_error" in stage.line
        assert any("internal error: KeyError at explode.py:" in line for line in stage.lines)
        assert not any("secret" in line for line in stage.lines)
        # That the slot is free again, `in_memory` looks.


def test_an_internal_error_after_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with in_memory(one(retry=Retry())) as stage:
            monkeypatch.setattr(AnthropicDialect, "encode", second(explode))
            client = await post_body(stage, ask(), LIMIT_12)
            await asyncio.sleep(12.1)
            await stage.turn()
            assert (await client.response()).status == 500
            await client.leave()

    run(scenario())


async def test_an_internal_error_after_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens()
    async with in_memory(one("g@x"), {"g@x": tokens}) as stage:
        clients = [await post_body(stage, ask()) for _ in range(2)]
        monkeypatch.setattr(AnthropicDialect, "encode", explode)
        tokens.issue("t-1")
        for client in clients:
            assert (await client.response()).status == 500
            await client.leave()
        monkeypatch.undo()
        assert (await stage.post(ask(), GOOD)).status == 200


def test_an_internal_error_of_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with in_memory(one(stream=Stream(ping_after=1.0))) as stage:
            monkeypatch.setattr(forward, "STREAM_LINES", None)
            client = await post_body(stage, ask(stream=True))
            await asyncio.sleep(1.5)
            monkeypatch.undo()
            await settle()
            assert (await client.response()).status == 500
            await client.leave()

    run(scenario())
