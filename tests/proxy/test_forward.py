"""The attempt loop over real sockets: what is sent, answered and logged, and that nothing is left behind."""

import asyncio
import gzip
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config import Account, Auth, Config, Retry, Secret, Stream
from gateway.dialects.anthropic import AnthropicDialect
from gateway.messages.errors import RequestError
from gateway.proxy import forward as attempts
from gateway.proxy.forward import Forwarder
from gateway.proxy.responses import relay
from tests.support.client import Client, Response, ask
from tests.support.clock import run
from tests.support.running import Running, config, eventually, running, settle, upstream
from tests.support.stage import failing, good, staged
from tests.support.upstream import (
    SSE_HEAD,
    Close,
    Script,
    ScriptedUpstream,
    Sleep,
    Stall,
    Until,
    chunked,
    error_answer,
    event,
    json_answer,
    message,
    message_start,
    stream_answer,
    text_events,
)

LIMIT = error_answer(429, "rate_limit_error", "slow down", [("retry-after", "3600")])
COUNT = "/v1/messages/count_tokens"
QUICK = Stream(ping_after=1.0)


async def line_of(g: Running) -> str:
    """The one request line so far."""
    await settle()
    (line,) = [line for line in g.lines if " POST " in line]
    return line


def error_of(response: Response) -> tuple[str, str]:
    """Type and message of the error event that ends a stream; its request id is the head's."""
    last = response.events[-1]
    assert last.name == "error"
    document = orjson.loads(last.data)
    assert document["type"] == "error"
    assert document["request_id"] == response.header("request-id")
    return document["error"]["type"], document["error"]["message"]


# A good answer.


BODY = b'{ "id":"msg_1", "usage": {"input_tokens": 3, "output_tokens": 4}, "new": 1.0 }'

HEAD = [
    ("request-id", "req_theirs"),
    ("anthropic-ratelimit-requests-remaining", "9"),
    ("set-cookie", "a=b"),
    ("server", "theirs"),
    ("x-hop", "1"),
    ("connection", "keep-alive, x-hop"),
]


async def test_json_passes_byte_for_byte() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", models={"m": "glm"}))) as g:
        up.script(json_answer(200, BODY, HEAD))
        response = await g.post(ask())
        assert (response.status, response.body) == (200, BODY)
        told = {name: value for name, value in response.headers if name not in {"date", "connection"}}
        assert told == {
            "content-type": "application/json",
            "content-length": str(len(BODY)),
            "request-id": "req_theirs",
            "anthropic-ratelimit-requests-remaining": "9",
            "x-account-email": "a@x",
            "x-mapped-model": "glm",
        }
        line = await line_of(g)
        assert " - POST /v1/messages m -> glm up/a@x 200 ok in=" in line
        assert f"in={len(orjson.dumps(ask()))}B" in line
        assert " first=" in line
        assert " took=" in line
        assert line.endswith("input=3 output=4")


async def test_everything_that_a_line_tells() -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("sk-1")})
    body = ask(model="alias")
    body["messages"].append({"role": "user", "content": [{"type": "text", "text": " "}]})
    async with ScriptedUpstream(answer=failing(LIMIT, "a")) as up:
        at = upstream(up.url, "a@x", "b@x", models={"alias": "glm"})
        async with running(config(at, auth=auth), format="json") as g:
            began = time.time()
            response = await g.post(body, "/v1/messages?beta=true", authorization="bearer sk-1")
            await settle()
            line = orjson.loads(g.lines[-1])
    assert began <= line.pop("time") <= time.time()
    assert 0.0 < line.pop("first_byte") <= line.pop("duration") < 5.0
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
        "status": 200,
        "bytes_in": len(orjson.dumps(body)),
        "input_tokens": 11,
        "output_tokens": 7,
        "cache_read_tokens": 5,
        "cache_creation_tokens": None,
        "repairs": ["empty_text"],
        "outcome": "ok",
        "error": "slow down",
    }


async def test_a_stream_and_its_head() -> None:
    events = text_events()
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
        up.script(stream_answer(events))
        response = await g.post(ask(stream=True))
        assert response.body == b"".join(events)
        told = {name: value for name, value in response.headers if name not in {"date", "connection"}}
        assert told == {
            "content-type": "text/event-stream; charset=utf-8",
            "transfer-encoding": "chunked",
            "request-id": "req_upstream",
            "x-account-email": "a@x",
            "x-mapped-model": "m",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
        }
        line = await line_of(g)
        assert "200 ok" in line
        assert "input=11 output=7 cache_read=5" in line
        assert "attempts=" not in line


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_id_where_the_upstream_gives_none(stream: bool) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        head = SSE_HEAD.replace(b"request-id: req_upstream\r\n", b"")
        up.script([head + chunked(text_events())] if stream else json_answer(200, message()))
        response = await g.post(ask(stream=stream))
        assert f" {response.header('request-id')} " in await line_of(g)


async def test_json_without_a_type() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.script([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"])
        response = await g.post(ask())
        assert (response.body, response.header("content-type")) == (b"{}", "application/json")


@pytest.mark.parametrize(
    ("expose", "email", "model"), [("full", "work@x", "m"), ("masked", "w***@x", "m"), ("none", None, None)]
)
async def test_what_is_told_of_the_account(expose: Any, email: str | None, model: str | None) -> None:
    settings = config(upstream("http://127.0.0.1:9", "work@x"), server={"expose": expose})
    async with ScriptedUpstream() as up:
        settings = config(upstream(up.url, "work@x"), server={"expose": expose})
        async with running(settings) as g:
            up.script(json_answer(200, message()))
            response = await g.post(ask())
            assert response.header("x-account-email") == email
            assert response.header("x-mapped-model") == model
            assert "up/work@x" in await line_of(g)


async def test_a_stream_asked_for_internally() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, stream_internally=True))) as g:
        up.script(stream_answer(text_events("Hello there")))
        response = await g.post(ask())
        assert up.requests[0].document == {**ask(), "stream": True}
        assert (response.status, response.header("content-type")) == (200, "application/json")
        document = response.document
        assert document["content"] == [{"type": "text", "text": "Hellothere"}]
        assert document["stop_reason"] == "end_turn"
        assert response.header("cache-control") is None
        assert "input=11 output=7 cache_read=5" in await line_of(g)
        # Counting is no stream.
        up.script(json_answer(200, {"input_tokens": 2}))
        await g.post(ask(), COUNT)
        assert up.requests[1].document == ask()


async def test_a_stream_asked_for_internally_that_breaks() -> None:
    """Never half an answer with 200."""
    retry = Retry(max_attempts=1)
    async with (
        ScriptedUpstream() as up,
        running(config(upstream(up.url, stream_internally=True), retry=retry)) as g,
    ):
        up.script(stream_answer(text_events()[:-2]))
        response = await g.post(ask())
        assert (response.status, response.error_type) == (502, "api_error")
        up.script(
            stream_answer(
                [*text_events()[:4], event("error", error={"type": "overloaded_error", "message": "x"})]
            )
        )
        response = await g.post(ask())
        assert (response.status, response.error_type) == (529, "overloaded_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_compresses_anyway(stream: bool) -> None:
    payload = b"".join(text_events()) if stream else BODY
    kind = b"text/event-stream" if stream else b"application/json"
    coded = gzip.compress(payload)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.script([head % (kind, len(coded)) + coded[:20], coded[20:]])
        response = await g.post(ask(stream=stream))
        assert (response.status, response.body) == (200, payload)
        assert response.header("content-encoding") is None
        assert up.requests[0].header("accept-encoding") == "identity"


async def test_a_coding_that_nobody_knows() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url), retry=Retry(max_attempts=1))) as g:
        up.script(json_answer(200, BODY, [("content-encoding", "br")]))
        response = await g.post(ask())
        assert (response.status, response.error_type) == (502, "api_error")
        assert "compresses with 'br'" in response.message
        await eventually(lambda: up.open == 0)


# Counting.


@pytest.mark.parametrize(
    ("script", "how", "count"),
    [
        (json_answer(200, b'{ "input_tokens": 12 }'), "upstream", 12),
        (error_answer(404, "not_found_error", "no such thing"), "estimate", None),
        (error_answer(405, "invalid_request_error", "no such thing"), "estimate", None),
        (error_answer(501, "api_error", "no such thing"), "estimate", None),
    ],
)
async def test_counting(script: Script, how: str, count: int | None) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
        up.script(script)
        response = await g.post(ask(), COUNT)
        assert (response.status, response.header("x-token-count")) == (200, how)
        if count is not None:
            assert response.body == b'{ "input_tokens": 12 }'
            assert response.header("x-account-email") == "a@x"
        assert response.document["input_tokens"] == (count or response.document["input_tokens"])
        assert f"input={response.document['input_tokens']}" in await line_of(g)
        # An upstream that cannot count is not asked again at once.
        assert (await g.post(ask(), COUNT)).header("x-token-count") == how
        assert len(up.requests) == (2 if count is not None else 1)


async def test_a_count_of_another_dialect() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, kind="gemini"))) as g:
        up.script(json_answer(200, {"totalTokens": 31}))
        response = await g.post(ask(), COUNT)
        assert response.body == b'{"input_tokens":31}'
        assert response.header("x-token-count") == "upstream"
        assert up.requests[0].target.endswith("/models/m:countTokens")


async def test_an_answer_without_a_count() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", "b@x"))) as g:
        up.script(json_answer(200, {}), json_answer(200, {"input_tokens": 3}))
        response = await g.post(ask(), COUNT)
        assert response.document == {"input_tokens": 3}
        assert response.header("x-gateway-attempts") == "2"


@pytest.mark.parametrize("estimated", [False, True])
async def test_a_stream_teaches_where_something_was_estimated(estimated: bool) -> None:
    text = "hello " * 1000
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.answer = failing(error_answer(404, "not_found_error", "no such thing"), "o")
        if estimated:
            await g.post(ask(text), COUNT)
        up.answer = good
        await g.post(ask(text, stream=True))
        await settle()
        services = g.gateway.services
        taught = services.correction.apply("m", 1000)
        assert (taught < 1000) is estimated


# More than one attempt.


@pytest.mark.parametrize("stream", [False, True])
async def test_another_account_takes_over(stream: bool) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", "b@x"))) as g:
        up.answer = failing(LIMIT, "a")
        response = await g.post(ask(stream=stream))
        assert (response.status, response.header("x-account-email")) == (200, "b@x")
        assert response.header("x-gateway-attempts") == "2"
        assert [request.key for request in up.requests] == ["key-of-a@x", "key-of-b@x"]
        line = await line_of(g)
        assert "up/b@x 200 ok attempts=2" in line
        # What went wrong on the way is told, too.
        assert 'error="slow down"' in line


async def test_the_last_word_names_whose_it_is() -> None:
    """The client gets the most useful failure, and the account and the model that are told belong to it."""
    async with (
        ScriptedUpstream() as one,
        ScriptedUpstream() as two,
        running(
            config(
                upstream(one.url, "a@x", name="one", models={"m": "wire-1"}),
                upstream(two.url, "b@x", name="two", models={"m": "wire-2"}, priority=1),
            )
        ) as g,
    ):
        one.script(LIMIT)
        two.script(error_answer(404, "not_found_error", "no such model"))
        response = await g.post(ask())
        assert (response.status, response.message) == (429, "slow down")
        assert response.header("x-account-email") == "a@x"
        assert response.header("x-mapped-model") == "wire-1"
        assert response.header("x-gateway-attempts") == "2"
        assert "m -> wire-1 one/a@x 429 upstream_error attempts=2" in await line_of(g)


@pytest.mark.parametrize("quoted", ["whole", "stream", "later"])
async def test_a_key_that_an_upstream_quotes_is_not_logged(quoted: str) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", "b@x"))) as g:
        said = "invalid key key-of-a@x"
        if quoted == "stream":
            broken = [*text_events()[:4], event("error", error={"type": "api_error", "message": said})]
            up.answer = failing(stream_answer(broken), "a")
        else:
            status = 401 if quoted == "later" else 400
            up.answer = failing(error_answer(status, "authentication_error", said), "a")
        response = await g.post(ask(stream=quoted == "stream"))
        line = await line_of(g)
        assert "key-of" not in line
        assert "invalid key ***" in line
        assert (response.status == 200) == (quoted != "whole")


# Pings, on a clock that jumps.


def pinged(*scripts: Script, accounts: str = "a") -> tuple[Response, str]:
    """What a streaming client gets that is pinged after each silent second, and the request's line."""

    async def scenario() -> tuple[Response, str]:
        names = [f"{name}@x" for name in accounts]
        async with ScriptedUpstream() as up, running(config(upstream(up.url, *names), stream=QUICK)) as g:
            up.script(*scripts)
            async with await g.connect() as client:
                response = await client.request("POST", "/v1/messages", ask(stream=True))
                if response.names[-1:] == ["error"]:
                    assert await client.reader.read() == b""
            assert response.complete
            return response, await line_of(g)

    return run(scenario())


def names_of(events: Sequence[bytes]) -> list[str]:
    return [each.partition(b"\n")[0].decode().removeprefix("event: ") for each in events]


def test_a_ping_before_anything_else() -> None:
    response, line = pinged([Sleep(2.5), *stream_answer(text_events())])
    assert response.names == ["ping", "ping", *names_of(text_events())]
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert response.header("cache-control") == "no-cache"
    assert response.header("x-accel-buffering") == "no"
    # Whose answer it will be is not known yet.
    assert response.header("x-account-email") is None
    assert f" {response.header('request-id')} " in line
    assert " 200 ok" in line


def test_attempts_go_on_behind_a_ping() -> None:
    failing = [Sleep(1.5), *error_answer(500, "api_error", "oh")]
    response, line = pinged(failing, stream_answer(text_events()), accounts="ab")
    assert response.names == ["ping", *names_of(text_events())]
    assert "200 ok attempts=2" in line


@pytest.mark.parametrize(
    ("script", "type", "words"),
    [
        (error_answer(400, "invalid_request_error", "messages: no"), "invalid_request_error", "messages: no"),
        (LIMIT, "rate_limit_error", "slow down"),
        (error_answer(401, "authentication_error", "bad key"), "api_error", "must check its credential"),
        (error_answer(529, "overloaded_error", "too much"), "overloaded_error", "too much"),
        ([Close()], "api_error", "could not be reached"),
        (json_answer(200, message()), "api_error", "answered a streaming request without a stream"),
    ],
)
def test_a_failure_behind_a_ping(script: Script, type: str, words: str) -> None:
    response, line = pinged([Sleep(1.5), *script], [Sleep(0.0), *script])
    assert response.status == 200
    assert response.names == ["ping"] * (len(response.names) - 1) + ["error"]
    assert error_of(response)[0] == type
    assert words in error_of(response)[1]
    assert " 200 upstream_error" in line
    assert words in line


@pytest.mark.parametrize("target", ["/v1/messages", COUNT])
def test_only_streams_are_pinged(target: str) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url), stream=QUICK)) as g:
            up.script([Sleep(3.0), *json_answer(200, {"input_tokens": 1})])
            response = await g.post(ask(stream=target == COUNT), target)
            assert (response.status, response.document) == (200, {"input_tokens": 1})

    run(scenario())


EVENTS = text_events()
CUT = len(b"".join(EVENTS[:4])) + 20


@pytest.mark.parametrize(
    ("at", "pings"), [(CUT, 0), (len(b"".join(EVENTS[:4])), 2)], ids=["inside an event", "between two"]
)
def test_a_pause_in_the_middle(at: int, pings: int) -> None:
    whole = b"".join(EVENTS)
    pieces = chunked([whole[:at]], end=False), chunked([whole[at:]])
    response, _ = pinged([SSE_HEAD, pieces[0], Sleep(2.5), pieces[1]])
    assert response.body == whole[:at] + event("ping") * pings + whole[at:]


# What cannot be encoded.


def refusing(upstream: object, credential: object, model: str, incoming: object) -> None:
    raise RequestError(400, "tools.0: this upstream has no such tool")


async def test_a_request_that_an_upstream_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnthropicDialect, "encode", lambda self, *args: refusing(*args))
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        response = await g.post(ask(stream=True))
        assert (response.status, response.error_type) == (400, "invalid_request_error")
        assert response.message == "tools.0: this upstream has no such tool"
        assert up.connections == 0
        assert " 400 refused" in await line_of(g)


def test_the_same_behind_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = AnthropicDialect.encode
    asked: list[str] = []

    def second_refuses(*args: Any) -> Any:
        asked.append("once more")
        if len(asked) > 1:
            refusing(*args[1:])
        return encode(*args)

    monkeypatch.setattr(AnthropicDialect, "encode", second_refuses)
    response, line = pinged([Sleep(1.5), *LIMIT], accounts="ab")
    assert error_of(response) == ("invalid_request_error", "tools.0: this upstream has no such tool")
    assert " 200 refused" in line


# Clients that leave.


async def leaves(g: Running, client: Client, when: Callable[[], object], *, stream: bool = True) -> str:
    """A client leaves a little later than `when`; its line in the log."""
    client.send("POST", "/v1/messages", ask(stream=stream))
    await eventually(when)
    await asyncio.sleep(0.005)
    client.close()
    await eventually(lambda: any("499" in line for line in g.lines))
    return next(line for line in g.lines if "499" in line)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        [Stall()],
        [b"HTTP/1.1 200 OK\r\n", Stall()],
        [SSE_HEAD, Stall()],
        [SSE_HEAD, chunked(text_events()[:5], end=False), Stall()],
        [b"HTTP/1.1 429 X\r\ncontent-length: 9\r\n\r\n{", Stall()],
    ],
    ids=["no head", "half a head", "no body", "half a body", "half an error"],
)
async def test_a_client_that_leaves_ends_the_upstreams_work(script: Script, stream: bool) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x", "b@x"))) as g:
        up.script(script)
        line = await leaves(g, await g.connect(), lambda: up.requests, stream=stream)
        assert " up/a@x 499 canceled" in line
        await eventually(lambda: up.left == 1)
        # No other account is asked, and the slot is free: `running` looks.
        assert len(up.requests) == 1


async def test_a_client_that_leaves_while_it_waits_for_a_slot() -> None:
    at = Account(name="a@x", max_concurrent=1)
    async with ScriptedUpstream() as up, running(config(upstream(up.url, at))) as g:
        up.script([Stall()])
        async with await g.connect() as first:
            first.send("POST", "/v1/messages", ask())
            await eventually(lambda: up.requests)
            waiting = g.gateway.services.scheduler._waiting
            assert " 499 canceled" in await leaves(g, await g.connect(), lambda: waiting)
            assert not waiting
            assert len(up.requests) == 1


async def test_a_slot_that_gets_free_is_taken() -> None:
    at = Account(name="a@x", max_concurrent=1)
    async with ScriptedUpstream() as up, running(config(upstream(up.url, at))) as g:
        up.script([Sleep(0.01), *json_answer(200, message())], json_answer(200, message()))
        responses = await asyncio.gather(g.post(ask()), g.post(ask()), g.post(ask()))
        assert [response.status for response in responses] == [200] * 3
        assert up.connections == 1
        assert not any("attempts=" in line for line in g.lines)


def test_a_client_that_leaves_while_it_waits_for_an_account() -> None:
    async def scenario() -> None:
        async with staged(lambda _: LIMIT_12, "a@x", retry=Retry()) as stage:
            client = await stage.running.connect()
            client.send("POST", "/v1/messages", ask())
            await asyncio.sleep(5.0)
            client.close()
            await asyncio.sleep(60.0)
            assert len(stage.asked) == 1
            assert " 499 canceled" in stage.running.lines[-1]

    run(scenario())


LIMIT_12 = error_answer(429, "rate_limit_error", "wait", [("retry-after", "12")])


async def test_a_slow_client_pauses_the_upstream() -> None:
    """What it does not read yet is not gathered here."""
    text = "x" * 100_000
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    body = [message_start(), *[delta] * 200, event("message_stop")]
    async with (
        ScriptedUpstream() as up,
        running(config(upstream(up.url))) as g,
        await g.connect() as client,
    ):
        up.script([SSE_HEAD, *(chunked([each], end=False) for each in body), chunked([])])
        client.send("POST", "/v1/messages", ask(stream=True))
        await eventually(lambda: up.requests)
        await asyncio.sleep(0.05)
        (connection,) = g.gateway.server.connections
        assert connection.transport.get_write_buffer_size() < 1_000_000
        assert not connection.transport.is_closing()
        response = await client.response()
        assert response.body == b"".join(body)
        assert response.complete


async def test_a_client_that_is_slow_before_there_is_an_answer() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g, await g.connect() as client:
        up.script([Sleep(0.02), *json_answer(200, message())])
        client.send("POST", "/v1/messages", ask())
        await eventually(lambda: up.requests)
        (connection,) = g.gateway.server.connections
        connection.pause_writing()
        connection.resume_writing()
        assert (await client.response()).status == 200


# Accounts with tokens.


class Login:
    """An upstream behind tokens, and the endpoint that gives them."""

    def __init__(self, up: ScriptedUpstream, tokens: ScriptedUpstream, file: Path) -> None:
        self.up = up
        self.tokens = tokens
        uri = f"{tokens.url}/token"
        file.write_bytes(
            orjson.dumps({"client_id": "i", "client_secret": "s", "refresh_token": "r", "token_uri": uri})
        )
        self.account = Account(name="g@x", oauth_file=file)

    def config(self, *others: str) -> Config:
        return config(upstream(self.up.url, self.account, *others))

    @property
    def asked(self) -> list[str | None]:
        return [request.key for request in self.up.requests]


@pytest.fixture
async def login(tmp_path: Path) -> Any:
    async with ScriptedUpstream(answer=good) as up, ScriptedUpstream() as tokens:
        tokens.script(token("t-1"), token("t-2"))
        yield Login(up, tokens, tmp_path / "login.json")


def token(value: str) -> Script:
    return json_answer(200, {"access_token": value})


async def test_a_token_is_fetched_once_and_used(login: Login) -> None:
    async with running(login.config()) as g:
        responses = await asyncio.gather(*(g.post(ask(stream=True)) for _ in range(3)))
        responses.append(await g.post(ask()))
        assert [response.status for response in responses] == [200] * 4
        assert {response.header("x-account-email") for response in responses} == {"g@x"}
        assert login.asked == ["Bearer t-1"] * 4
        assert len(login.tokens.requests) == 1


async def test_a_token_that_is_refused_is_replaced_on_the_same_account(login: Login) -> None:
    refused = error_answer(401, "authentication_error", "no: t-1")
    login.up.answer = lambda request: refused if request.key == "Bearer t-1" else good(request)
    async with running(login.config("b@x")) as g:
        response = await g.post(ask())
        assert (response.status, response.header("x-account-email")) == (200, "g@x")
        assert login.asked == ["Bearer t-1", "Bearer t-2"]
        line = await line_of(g)
        assert "t-1" not in line
        # The old one is not asked for again.
        await g.post(ask())
        assert login.asked[2:] == ["Bearer t-2"]


@pytest.mark.parametrize("others", [(), ("b@x",)])
async def test_a_login_that_has_ended(login: Login, others: Sequence[str]) -> None:
    login.tokens.script(json_answer(400, {"error": "invalid_grant"}))
    async with running(login.config(*others)) as g:
        response = await g.post(ask())
        if others:
            assert (response.status, response.header("x-account-email")) == (200, "b@x")
            assert "up/b@x 200 ok attempts=" in await line_of(g)
        else:
            assert (response.status, response.error_type) == (503, "api_error")
            assert response.header("x-should-retry") == "false"
            assert 'refused account "g@x" (401)' in response.message
            assert response.header("x-account-email") == "g@x"
            assert " up/g@x 503 upstream_error" in await line_of(g)
        assert login.asked == ["key-of-b@x"] * len(others)
        # The account is cooling down now: nobody asks for its token.
        known = len(login.tokens.requests)
        await g.post(ask("more"))
        assert len(login.tokens.requests) == known


async def test_a_token_endpoint_in_trouble(login: Login) -> None:
    login.tokens.script(json_answer(500, {}))
    async with running(login.config("b@x")) as g:
        response = await g.post(ask())
        assert (response.status, response.header("x-account-email")) == (200, "b@x")


async def test_a_client_that_leaves_while_it_waits_for_a_token(login: Login) -> None:
    go = asyncio.Event()
    login.tokens.script([Until(go), *token("t-1")])
    async with running(login.config()) as g:
        line = await leaves(g, await g.connect(), lambda: login.tokens.requests)
        assert " up/g@x 499 canceled" in line
        assert login.asked == []
        go.set()
        # The token that comes is kept for the next one.
        assert (await g.post(ask())).status == 200
        assert len(login.tokens.requests) == 1


def test_whoever_waits_for_a_token_is_pinged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream(answer=good) as up, ScriptedUpstream() as tokens:
            tokens.script([Sleep(1.5), *token("t-1")])
            login = Login(up, tokens, tmp_path / "login.json")
            async with running(replace(login.config(), stream=QUICK)) as g:
                response = await g.post(ask(stream=True))
                assert response.names[:2] == ["ping", "message_start"]
                assert response.names[-1] == "message_stop"

    run(scenario())


# The gateway's own failures, wherever they happen: the request ends, and nothing stays behind.


def explode(*_: object, **__: object) -> Any:
    raise KeyError("secret text")


PLACES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Script]] = {
    "head": (lambda patch: patch.setattr(attempts, "content_decoder", explode), json_answer(200, message())),
    "end of a body": (
        lambda patch: patch.setattr(Forwarder, "commit_whole", explode),
        json_answer(200, message()),
    ),
    "middle of a body": (
        lambda patch: patch.setattr(Forwarder, "commit_stream", explode),
        [SSE_HEAD, chunked(text_events()[:5], end=False), Stall()],
    ),
    "end of a stream": (
        lambda patch: patch.setattr(relay, "Ending", explode),
        stream_answer(text_events()),
    ),
    "error": (lambda patch: patch.setattr(AnthropicDialect, "failure", explode), LIMIT),
    "no connection": (lambda patch: patch.setattr(AnthropicDialect, "failure", explode), [Close()]),
    "last word": (lambda patch: patch.setattr(attempts, "error_response", explode), LIMIT),
}


@pytest.mark.parametrize("place", PLACES)
async def test_an_internal_error(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, script = PLACES[place]
    stream = "stream" in place or "middle" in place
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        up.script(script)
        with monkeypatch.context() as patching:
            patch(patching)
            async with asyncio.timeout(1.0):
                response = await g.post(ask(stream=stream))
        if response.status == 500:
            assert response.document["request_id"] == response.header("request-id")
            assert response.error_type == "api_error"
            assert "500 internal_error" in await line_of(g)
        else:
            assert place == "end of a stream"
            assert not response.complete
            assert "200 internal_error" in await line_of(g)
        assert "internal error: KeyError at test_forward.py:" in g.lines[0]
        assert not any("secret" in line for line in g.lines)
        # Its slot is free again: `running` looks.
        await eventually(lambda: repr(g.gateway.services.pool).startswith("<Pool [Active: 0"))


def test_an_internal_error_after_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scripts = [LIMIT_12]
        async with staged(lambda r: scripts.pop() if scripts else good(r), "a@x", retry=Retry()) as stage:
            encode = AnthropicDialect.encode

            def later(*args: Any) -> Any:
                return explode() if stage.asked else encode(*args)

            monkeypatch.setattr(AnthropicDialect, "encode", later)
            assert await stage.tell() == "a 12 = 500"
            monkeypatch.undo()
            assert await stage.tell() == "a = 200"

    run(scenario())


async def test_an_internal_error_behind_a_token(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    login.tokens.script([Sleep(0.01), *token("t-1")])
    async with running(login.config()) as g:
        with monkeypatch.context() as patch:
            patch.setattr(AnthropicDialect, "encode", explode)
            responses = await asyncio.gather(g.post(ask()), g.post(ask()))
        assert [response.status for response in responses] == [500, 500]
        assert (await g.post(ask())).status == 200
