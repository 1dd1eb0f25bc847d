"""The error that a client gets when attempts end: its message, its status, and its Retry-After."""

import asyncio
from typing import Any

import pytest

from gateway.config import Retry, Server
from tests.fakes.messages import (
    Close,
    Received,
    Script,
    ScriptedUpstream,
    error_response,
    json_response,
    message,
    message_start,
    stream_response,
    text_events,
)
from tests.support.client import ask
from tests.support.clock import run
from tests.support.running import config, running, upstream
from tests.support.spawned import unused_port
from tests.support.stage import account_of, failing, good, staged

RETRY = Retry()
MODES = ["whole", "stream"]
"""A count that fails is always estimated: see test_failure_table."""

WORDS = b'{ "type":"error", "error": {"type": "%b", "message": "caf\\u00e9 / \xc3\xa9"},\n "extra": [1.0] }\n'
"""Nothing that writes JSON writes it like this."""

FIELDS = [
    ("request-id", "req_upstream"),
    ("anthropic-ratelimit-requests-remaining", "7"),
    ("anthropic-organization-id", "org"),
    ("set-cookie", "a=b"),
    ("server", "theirs"),
    ("connection", "keep-alive, x-hop"),
    ("x-hop", "1"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("status", "type"),
    [
        (400, b"invalid_request_error"),
        (413, b"request_too_large"),
        (422, b"invalid_request_error"),
        (429, b"rate_limit_error"),
        (500, b"api_error"),
        (529, b"overloaded_error"),
    ],
)
def test_error_message_and_headers_of_the_upstream(status: int, type: bytes, mode: str) -> None:
    body = WORDS % type

    async def scenario() -> None:
        async with staged(failing(json_response(status, body, FIELDS)), "a@x", retry=RETRY) as stage:
            response = await stage.post(mode)
            assert (response.status, response.body) == (status, body)
            assert response.header("content-type") == "application/json"
            assert response.header("request-id") == "req_upstream"
            assert response.header("anthropic-ratelimit-requests-remaining") == "7"
            assert response.header("anthropic-organization-id") == "org"
            assert response.header("x-account-email") == "a@x"
            assert response.header("x-mapped-model") == "m"
            for name in ("set-cookie", "server", "x-hop", "x-should-retry"):
                assert response.header(name) is None
            again = status in {429, 500, 529}
            assert response.header("x-gateway-attempts") == ("3" if again else None)
            assert (response.header("retry-after") is not None) == (status == 429)

    run(scenario(), debug=False)


@pytest.mark.parametrize(
    ("a", "b", "seconds"),
    [
        ([("retry-after", "30")], [("retry-after", "45")], "30"),
        ([("retry-after", "45")], [("retry-after-ms", "30500")], "31"),
        ([("retry-after", "7200")], [("retry-after", "3600")], "3600"),
        ([("retry-after", "7200")], [("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT")], "7200"),
    ],
)
def test_retry_after_is_the_earliest_of_all_accounts(
    a: list[tuple[str, str]], b: list[tuple[str, str]], seconds: str
) -> None:
    def respond(request: Received) -> Script:
        return error_response(429, "rate_limit_error", "wait", a if account_of(request) == "a" else b)

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x", retry=RETRY) as stage:
            response = await stage.post()
            assert (response.status, response.message) == (429, "wait")
            assert [v for n, v in response.headers if n.startswith("retry-after")] == [seconds]

    run(scenario())


USEFUL = {
    # the accounts' failures, in order: the client gets
    (404, 500): "500",
    (500, 404): "500",
    (529, 429): "429",
    (429, 500): "429",
    (429, 401): "429",
    (500, 403): "500",
    (404, 401): "503!",
    (402, 404): "503!",
    (401, 403): "503!",
}


@pytest.mark.parametrize(("failures", "result"), USEFUL.items(), ids=str)
def test_the_most_useful_failure(failures: tuple[int, int], result: str) -> None:
    def respond(request: Received) -> Script:
        status = failures["ab".index(account_of(request))]
        hint = [("retry-after", "40")] if status == 429 else []
        return error_response(status, "x", f"model: words of {status}", hint)

    async def scenario() -> None:
        # Two upstreams, because a 529 concerns all accounts of its upstream.
        async with ScriptedUpstream(respond=respond) as one, ScriptedUpstream(respond=respond) as two:
            upstreams = [upstream(one.url, "a@x", name="one"), upstream(two.url, "b@x", name="two")]
            async with running(config(*upstreams, retry=Retry(max_attempts=2))) as g:
                response = await g.post(ask())
                final = "!" * (response.header("x-should-retry") == "false")
                assert f"{response.status}{final}" == result
                if not final:
                    assert response.message == f"model: words of {result}"

    run(scenario())


@pytest.mark.parametrize(("expose", "shown"), [("full", "a@x"), ("masked", "a***@x"), ("none", None)])
@pytest.mark.parametrize("status", [401, 402, 403])
def test_account_errors_are_hidden_from_clients(status: int, expose: Any, shown: str | None) -> None:
    async def scenario() -> None:
        bad = error_response(
            status, "authentication_error", "your key sk-secret-1 is bad", [("retry-after", "5")]
        )
        async with ScriptedUpstream(respond=failing(bad)) as up:
            settings = config(upstream(up.url, "a@x"), server={"expose": expose})
            assert isinstance(settings.server, Server)
            async with running(settings) as g:
                for _ in range(2):  # the second one without an attempt: the account is cooling down
                    response = await g.post(ask())
                    assert (response.status, response.error_type) == (503, "api_error")
                    assert response.header("x-should-retry") == "false"
                    assert response.header("retry-after") is None
                    assert (shown or "this upstream") in response.message
                    assert b"sk-secret" not in response.body
                    assert ("a@x" in response.message) == (expose == "full")
                    assert f"({status})" in response.message
                assert response.header("x-account-email") is None
                assert len(up.requests) == 1

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("script", "status", "type", "words"),
    [
        ([Close()], 502, "api_error", "the upstream closed the connection before it responded"),
        (json_response(200, b""), 502, "api_error", "ended its response before any content"),
        (json_response(307, b"", [("location", "/elsewhere")]), 502, "api_error", "redirects (307)"),
    ],
)
def test_error_messages_of_the_gateway(script: Script, status: int, type: str, words: str, mode: str) -> None:
    async def scenario() -> None:
        async with staged(failing(script), "a@x", retry=RETRY) as stage:
            response = await stage.post(mode)
            assert (response.status, response.error_type) == (status, type)
            assert words in response.message
            assert response.document["request_id"] == response.header("request-id")
            assert response.header("content-type") == "application/json"
            line = stage.running.lines[-1]
            assert f" {status} upstream_error attempts=" in line
            assert words in line.replace("\\", "")

    run(scenario())


def test_connection_refused() -> None:
    async def scenario() -> None:
        with unused_port() as port:
            await at_nobodys(f"http://127.0.0.1:{port}")

    async def at_nobodys(url: str) -> None:
        async with ScriptedUpstream(respond=good) as spare:
            alone = config(upstream(url, "a@x"), retry=RETRY)
            async with running(alone) as g:
                response = await g.post(ask())
                assert (response.status, response.header("x-gateway-attempts")) == (502, "3")
                assert "no connection to http://127.0.0.1" in response.message
            both = config(upstream(url, "a@x"), upstream(spare.url, "c@x", name="spare", priority=1))
            async with running(both) as g:
                response = await g.post(ask(stream=True))
                assert (response.status, response.header("x-gateway-attempts")) == (200, "2")
                # The upstream is cooling down, so the next request loses no time there.
                response = await g.post(ask("another"))
                assert (response.status, response.header("x-gateway-attempts")) == (200, None)

    run(scenario())


COOLING = {
    # what both accounts responded: what a request gets then, without an attempt, and its retry-after
    (429, "30"): ("= 429", "30"),
    (429, "7200"): ("= 429", "7200"),
    (401, None): ("= 503!", None),
    (402, None): ("= 503!", None),
    (403, None): ("= 503!", None),
    (404, None): ("= 404", None),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("met", "expected"), COOLING.items(), ids=str)
def test_all_cooling_down_from_the_start(
    met: tuple[int, str | None], expected: tuple[str, str | None], mode: str
) -> None:
    status, hint = met

    async def scenario() -> None:
        script = error_response(status, "x", "model: first words", [("retry-after", hint)] if hint else [])
        async with staged(failing(script), "a@x", "b@x", retry=RETRY) as stage:
            assert (await stage.transcript(mode)).startswith("a b = ")
            assert await stage.transcript(mode, "another") == expected[0]
            response = await stage.post(mode, "a third")
            assert response.header("retry-after") == expected[1]
            assert response.header("x-account-email") is None
            assert "first words" in response.message or response.status == 503
            assert (await stage.running.get("/readyz")).status == 503
            assert not stage.requests
            line = stage.running.lines[-2]
            assert f" {response.status} upstream_error in=" in line

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_a_cool_down_within_the_wait_budget_is_waited_for(mode: str) -> None:
    async def scenario() -> None:
        limit = error_response(429, "rate_limit_error", "wait", [("retry-after", "12")])
        scripts = [limit]
        async with staged(lambda r: scripts.pop() if scripts else good(r), "a@x", retry=Retry()) as stage:
            assert await stage.transcript(mode) == "a 12 a = 200"
            scripts.append(error_response(429, "rate_limit_error", "wait", [("retry-after", "25")]))
            assert await stage.transcript(mode, "another") == "a = 429"
            await asyncio.sleep(10)
            assert await stage.transcript(mode, "a third") == "15 a = 200"

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_a_limit_whose_body_is_cut_is_still_a_limit(mode: str) -> None:
    head = (
        b"HTTP/1.1 429 X\r\ncontent-type: application/json\r\nretry-after: 3600\r\ncontent-length: 99\r\n\r\n"
    )

    async def scenario() -> None:
        async with staged(failing([head + b'{"type":', Close()], "a"), "a@x", "b@x", retry=RETRY) as stage:
            assert await stage.transcript(mode) == "a b = 200"
            assert stage.cooling() == {"up/a m": 3600.0}

    run(scenario())


@pytest.mark.parametrize("mode", [*MODES, "count"])
def test_a_stale_connection_is_replaced_without_an_error(mode: str) -> None:
    async def scenario() -> None:
        served: set[int] = set()
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:

            def respond(request: Received) -> Script:
                """Each connection serves one request and dies at the next."""
                known = up.connections in served
                served.add(up.connections)
                return [Close()] if known else good(request)

            up.respond = respond
            target = "/v1/messages/count_tokens" if mode == "count" else "/v1/messages"
            for _ in range(3):
                response = await g.post(ask(stream=mode == "stream"), target)
                assert (response.status, response.header("x-gateway-attempts")) == (200, None)
            assert (up.connections, len(up.requests)) == (3, 5)
            assert " attempts=" not in "".join(g.lines)

    run(scenario())


def test_count_tokens_falls_back_to_the_estimate() -> None:
    async def scenario() -> None:
        for status in (404, 405, 501):
            script = error_response(status, "not_found_error", "no such thing")
            async with staged(failing(script), "a@x", "b@x", retry=RETRY) as stage:
                expected = [await stage.transcript("count"), await stage.transcript("count")]
                assert expected == ["a = 200", "= 200"]  # and no retry at once
                response = await stage.post("count")
                assert response.header("x-token-count") == "estimate"
                assert response.document["input_tokens"] > 0
                assert stage.cooling() == {}
                await asyncio.sleep(601)
                assert await stage.transcript("count") == "b = 200"
            async with staged(good, "a@x") as stage:
                response = await stage.post("count")
                assert response.header("x-token-count") == "upstream"
                assert response.document == {"input_tokens": 12}

    run(scenario())


def test_json_for_a_streaming_request_and_a_stream_for_json() -> None:
    async def scenario() -> None:
        async with staged(lambda _: json_response(200, message()), "a@x") as stage:
            events = (await stage.post("stream")).events
            assert [name for name, _ in events] == [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
        async with staged(lambda _: stream_response(text_events()), "a@x") as stage:
            response = await stage.post("whole")
            assert (response.status, response.document["content"][0]["type"]) == (200, "text")
        async with staged(lambda _: stream_response([message_start()]), "a@x") as stage:
            response = await stage.post("whole")
            assert (response.status, response.error_type) == (502, "api_error")

    run(scenario())
