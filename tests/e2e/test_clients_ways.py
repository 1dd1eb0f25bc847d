"""Habits of clients that no specification requires: other paths, codings, threads, and leaving early."""

import asyncio
import gzip
import zlib
from typing import Any

import orjson
import pytest

from gateway.config import Account, Auth, Secret
from tests.fakes.messages import (
    SSE_HEAD,
    Received,
    Script,
    ScriptedUpstream,
    Until,
    event,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import Client, ask
from tests.support.clock import run
from tests.support.loops import eventually
from tests.support.running import config, running, upstream
from tests.support.stage import account_of, good, staged


@pytest.mark.parametrize(
    "path",
    ["/messages", "/v1/messages/", "//v1/messages", "//messages", "/v1/v1/messages", "/messages/"],
)
def test_a_base_url_in_another_form(path: str) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x") as stage:
            assert (await stage.running.post(ask(), path)).status == 200
            assert [request.target for _, request in stage.requests] == ["/v1/messages"]

    run(scenario())


@pytest.mark.parametrize("path", ["/models", "/models/m", "/v1/models/", "/messages/count_tokens"])
def test_aliases_of_routes(path: str) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x") as stage:
            counted = path.endswith("count_tokens")
            response = await (stage.running.post(ask(), path) if counted else stage.running.get(path))
            assert response.status == 200, response.body

    run(scenario())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/messages/batches", "message batches are not served here"),
        ("/v1/files", "files are not served here"),
        ("/v1/files/file_1/content", "files are not served here"),
        ("/v1/complete", "text completions are not served here"),
        ("/v1/chat/completions", "speaks the Messages API"),
        ("/chat/completions", "speaks the Messages API"),
        ("/v1/responses", "speaks the Messages API"),
        ("/anthropic/v1/messages", "set the client's base URL to"),
        ("/nothing", "nothing is served at /nothing"),
    ],
)
def test_unknown_paths_are_404_with_advice(path: str, words: str) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x") as stage:
            response = await stage.running.post(ask(), path)
            assert response.status == 404
            assert words in response.message
            assert ("set the client's base URL" in response.message) == ("base URL" in words)

    run(scenario())


CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda body: zlib.compress(body)[2:-4],
}


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_request_body(coding: str) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x") as stage:
            plain = orjson.dumps(ask("compressed"))
            response = await stage.running.post(CODINGS[coding](plain), content_encoding=coding)
            assert response.status == 200
            ((_, request),) = stage.requests
            assert request.body == plain
            assert request.header("content-encoding") is None

    run(scenario())


@pytest.mark.parametrize(
    ("coding", "body", "status", "words"),
    [
        ("zstd", b"x", 400, "zstd is not supported"),
        ("br", b"x", 400, "br is not supported"),
        ("gzip", b"{}", 400, "is not gzip"),
        ("gzip", gzip.compress(orjson.dumps(ask()), mtime=0)[:-5], 400, "is not gzip"),
        ("gzip", gzip.compress(b" " * 2_000_000, mtime=0), 413, "more than 1000000 bytes"),
    ],
)
def test_a_request_body_that_cannot_be_read(coding: str, body: bytes, status: int, words: str) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x", limits={"max_body": 1_000_000}) as stage:
            response = await stage.running.post(body, content_encoding=coding)
            assert response.status == status
            assert words in response.message
            details = response.document["error"].get("details", {})
            unsupported = "not supported" in words
            assert (details.get("error_code") == "request_body_encoding_unsupported") == unsupported

    run(scenario())


THREAD_OF = {"type": "continue", "previous_message_id": "msg_0001"}


def in_thread(request: Received) -> Script:
    """Return a response whose id names the account that gave it."""
    document: Any = request.document
    id = f"msg_{account_of(request)}"
    if document.get("stream"):
        start = event("message_start", message={**message(), "id": id, "content": []})
        return stream_response([start, *text_events()[1:]])
    return json_response(200, {**message(), "id": id})


@pytest.mark.parametrize("mode", ["whole", "stream"])
def test_a_thread_stays_with_the_account_that_gave_the_response_before(mode: str) -> None:
    async def scenario() -> None:
        async with staged(in_thread, "a@x", "b@x") as stage:
            for turn in range(6):
                start = ask(f"turn {turn}", stream=mode == "stream", thread={"type": "create"})
                stage.requests.clear()
                assert (await stage.running.post(start)).status == 200
                first = account_of(stage.requests[0][1])
                result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
                more = ask(
                    stream=mode == "stream",
                    thread={"type": "continue", "previous_message_id": f"msg_{first}"},
                )
                more["messages"] = [{"role": "user", "content": [result]}]
                body = orjson.dumps(more)
                assert (await stage.running.post(body)).status == 200
                assert account_of(stage.requests[1][1]) == first
                # Earlier turns are not known here, so that nothing is repaired.
                assert stage.requests[1][1].body == body

    run(scenario())


@pytest.mark.parametrize("thread", [{"type": "create"}, THREAD_OF])
def test_an_unsupported_thread_is_refused_so_that_the_history_is_sent(thread: dict[str, str]) -> None:
    async def scenario() -> None:
        async with staged(
            good, "a@x", made=lambda *args, **more: upstream(*args, threads=False, **more)
        ) as stage:
            response = await stage.running.post(ask(thread=thread))
            assert response.status == 400
            assert response.document["error"]["details"] == {"error_code": "thread_unsupported_request"}
            assert stage.requests == []
            assert (await stage.running.post(ask())).status == 200

    run(scenario())


@pytest.mark.parametrize("close", ["at message_stop", "before"])
def test_a_client_that_leaves_when_it_has_everything(close: str) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        events = text_events()
        shown = events if close == "at message_stop" else events[:-2]
        chunks = [b"%x\r\n%b\r\n" % (len(one), one) for one in shown]
        script: Script = [SSE_HEAD, *chunks, Until(gate), b"0\r\n\r\n"]
        async with (
            ScriptedUpstream(respond=lambda request: script) as up,
            running(config(upstream(up.url))) as g,
        ):
            async with await g.connect() as client:
                client.send("POST", "/v1/messages", ask(stream=True))
                seen = b""
                while shown[-1] not in seen:
                    seen += await client.receive()
                    assert seen
            await eventually(lambda: any(" /v1/messages " in line for line in g.lines))
            line = next(line for line in g.lines if " /v1/messages " in line)
            if close == "at message_stop":
                assert " 200 ok " in line
                assert " output=" in line
                gate.set()
                await eventually(lambda: g.pool_state() == "Active: 0, Idle: 1, Dialling: 0")
            else:
                assert " 499 canceled " in line
                await eventually(lambda: g.pool_state() == "Active: 0, Idle: 0, Dialling: 0")

    run(scenario())


def test_readyz_names_accounts_only_to_those_with_a_key() -> None:
    async def scenario() -> None:
        auth = Auth(mode="all_except_health", keys={"me": Secret("letmein-please")})

        def refused(request: Received) -> Script:
            return json_response(
                401, {"type": "error", "error": {"type": "authentication_error", "message": "no"}}
            )

        async with staged(refused, "a@x", auth=auth) as stage:
            key = {"x_api_key": "letmein-please"}
            assert (await stage.running.post(ask(), **key)).status == 503
            blind = await stage.running.get("/readyz")
            seeing = await stage.running.get("/readyz", **key)
            assert (blind.status, seeing.status) == (503, 503)
            assert "a@x" not in blind.message
            assert "a@x" in seeing.message

    run(scenario())


@pytest.mark.parametrize(
    ("origins", "status"),
    [
        (["http://127.0.0.1:{port}"], 200),
        (["https://127.0.0.1:{port}"], 403),
        (["http://127.0.0.1:{port}", "http://127.0.0.1:{port}"], 403),
        (["http://127.0.0.1:{port}", "http://evil.example"], 403),
        (["http://evil.example"], 403),
    ],
)
def test_origins(origins: list[str], status: int) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x") as stage:
            port = stage.running.port
            headers = [("Origin", origin.format(port=port)) for origin in origins]
            async with await Client.connect(port) as client:
                client.writer.write(
                    "\r\n".join(
                        [
                            "GET /v1/models HTTP/1.1",
                            f"Host: 127.0.0.1:{port}",
                            *(f"{name}: {value}" for name, value in headers),
                            "",
                            "",
                        ]
                    ).encode()
                )
                assert (await client.response()).status == status

    run(scenario())


def test_an_error_that_quotes_the_accounts_key_is_masked() -> None:
    async def scenario() -> None:
        def quoting(request: Received) -> Script:
            words = f"bad head: x-api-key: {request.key} é"
            return json_response(
                400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
            )

        account = Account(name="a@x", api_key=Secret("sk-very-secret-key"))
        async with staged(quoting, account) as stage:
            response = await stage.post()
            assert response.status == 400
            assert response.message == "bad head: x-api-key: *** é"
            assert "sk-very-secret-key" not in "".join(stage.running.lines)

    run(scenario())


def test_fields_named_in_connection_are_not_forwarded() -> None:
    async def scenario() -> None:
        def naming(request: Received) -> Script:
            body = orjson.dumps(message())
            head = b"\r\n".join(
                [
                    b"HTTP/1.1 200 OK",
                    b"Content-Type: application/json",
                    b"Connection: keep-alive, anthropic-hop",
                    b"anthropic-hop: 1",
                    b"anthropic-kept: 1",
                    b"Content-Length: %d" % len(body),
                    b"",
                    b"",
                ]
            )
            return [head + body]

        async with staged(naming, "a@x") as stage:
            response = await stage.post()
            assert response.header("anthropic-hop") is None
            assert response.header("anthropic-kept") == "1"

    run(scenario())


def test_model_details_of_an_upstream_are_kept() -> None:
    async def scenario() -> None:
        listed = {
            "data": [
                {
                    "id": "new",
                    "type": "model",
                    "display_name": "New",
                    "max_input_tokens": 1000,
                    "max_tokens": 64,
                },
                {"id": "old", "type": "model", "lifecycle": "deprecated", "capabilities": {"images": True}},
            ]
        }
        async with (
            ScriptedUpstream(respond=lambda request: json_response(200, listed)) as up,
            running(config(upstream(up.url)), listing=True) as g,
        ):
            await eventually(lambda: "new" in g.gateway.runtime.model_list.models)
            models = {model["id"]: model for model in (await g.get("/v1/models")).document["data"]}
            assert (models["new"]["max_input_tokens"], models["new"]["max_tokens"]) == (1000, 64)
            assert models["new"]["lifecycle"] == "active"
            assert models["old"]["capabilities"] == {"images": True}
            for query in ("lifecycle[]=active", "lifecycle%5B%5D=active"):
                found = (await g.get(f"/v1/models?{query}")).document["data"]
                assert [model["id"] for model in found] == ["new"]
            assert (await g.get("/v1/models/old")).document["lifecycle"] == "deprecated"
            # Without a table every name is served.
            assert (await g.get("/v1/models/other")).document["id"] == "other"

    run(scenario())


def test_model_list_from_the_next_account_and_after_a_success() -> None:
    async def scenario() -> None:
        open_ = False

        def listing(request: Received) -> Script:
            if request.target.startswith("/v1/messages"):
                return good(request)
            if account_of(request) == "a" or not open_:
                return json_response(
                    401, {"type": "error", "error": {"type": "authentication_error", "message": ""}}
                )
            return json_response(200, {"data": [{"id": "listed"}]})

        async with (
            ScriptedUpstream(respond=listing) as up,
            running(config(upstream(up.url, "a@x", "b@x")), listing=True) as g,
        ):
            await eventually(lambda: len(up.requests) == 2)
            assert "listed" not in g.gateway.runtime.model_list.models
            open_ = True
            assert (await g.post(ask())).status == 200
            await eventually(lambda: "listed" in g.gateway.runtime.model_list.models)
            assert sum("does not list its models" in line for line in g.lines) == 1

    run(scenario())
