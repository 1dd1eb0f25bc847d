"""POST /status/explain: its report is what the same request does, and explaining changes nothing."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config import Auth, Config, Intercept, Secret, parse
from gateway.config.presets import PRESETS
from gateway.proxy.upstream import Key
from gateway.routing.credentials import Credential
from gateway.routing.cures import Cure
from tests.fakes.messages import error_response, json_response, message
from tests.support.client import Response, ask
from tests.support.in_memory import InMemory, UpstreamRequest, in_memory
from tests.support.running import account, config, upstream

ACTION = ("x-gateway-action", "explain")

FIXTURES = Path(__file__).parents[2] / "fixtures"

OWN = {"host", "content-length", "content-type", "connection", "accept-encoding"}
"""Fields that the test's client writes itself."""

ACCOUNTS = """
[[upstreams.up.accounts]]
name = "a@x"
api_key = "key-of-a@x"
[[upstreams.up.accounts]]
name = "b@x"
api_key = "key-of-b@x"
"""

HOST = '[upstreams.up]\nkind = "anthropic"\nbase_url = "https://up.example/sub"\n'
GEMINI = '[upstreams.up]\nkind = "gemini"\nmodels = { "*" = "gemini-3.1-pro-preview" }\n'
OPENAI = '[upstreams.up]\nkind = "openai"\nbase_url = "https://up.example/v1"\nmodels = { "*" = "m-1" }\n'
VERTEX = 'path = "/v1/projects/p/locations/l/publishers/google/models/{model}:streamGenerateContent"\n'

PLACES = {
    "plain": HOST,
    "a mapped model": '[models]\n"claude-*" = "up/glm"\n' + HOST + 'models = { "*" = "glm" }\n',
    "every repair": HOST
    + 'system_role = "fold"\nstrip_cache_control = true\nrepair = ["deferred_tools", "attribution"]\n',
    "configured cures": HOST
    + 'auth_header = "authorization"\ncures = ["user_id", "tool_ids", "adaptive_thinking", "images"]\n'
    + 'drop_betas = ["interleaved-*"]\ndrop_fields = ["context_management", "tools.*.description"]\n',
    "always a stream": HOST + "stream_internally = true\n",
    "gemini": GEMINI + 'base_url = "https://up.example"\n',
    "vertex": GEMINI + 'base_url = "https://up.example"\n' + VERTEX,
    "code assist": GEMINI + 'base_url = "https://up.example"\nenvelope = "code_assist"\nproject = "p"\n',
    "openai": OPENAI,
    "responses": OPENAI + 'wire = "responses"\ncache_key = "header:x-session"\nheaders = { x-team = "t" }\n',
}

LEARNT = {
    "plain": [Cure("fields", "metadata"), Cure("betas", "claude-code-20250219"), Cure("documents")],
    "gemini": [Cure("thinking_config"), Cure("max_tokens", "100")],
    "openai": [Cure("wire", "responses"), Cure("tool_choice", "auto"), Cure("images", "note")],
}
"""Cures that a place is known to need."""


def settings(text: str) -> Config:
    return parse(text + ACCOUNTS, {}, path=Path("gateway.toml"))


def recorded(name: str) -> list[tuple[str, list[tuple[str, str]], bytes]]:
    """Target, head and body of each request of a fixture that goes to an upstream."""
    found = []
    for one in json.loads((FIXTURES / f"{name}.json").read_bytes()):
        path, _, query = one["path"].partition("?")
        if path.endswith("/messages"):
            pairs = [(key, value) for key, value in one["headers"] if key.lower() not in OWN]
            body = json.dumps(one["body"], ensure_ascii=False, separators=(",", ":")).encode()
            found.append((f"?{query}" if query else "", pairs, body))
    return found


async def built(g: InMemory, query: str, headers: list[tuple[str, str]], body: bytes) -> Any:
    client = g.connect()
    before = repr(g.gateway.runtime.scheduler), g.gateway.runtime.scheduler.snapshot(0.0)
    client.send("POST", f"/status/explain{query}", body, [*headers, ACTION])
    response = await client.response()
    await client.leave()
    assert response.status == 200
    assert (repr(g.gateway.runtime.scheduler), g.gateway.runtime.scheduler.snapshot(0.0)) == before
    return response.document


async def sent(
    g: InMemory, query: str, headers: list[tuple[str, str]], body: bytes
) -> UpstreamRequest | None:
    """Send the request in earnest. What reached an upstream."""
    known = len(g.requests)
    client = g.connect()
    client.send("POST", f"/v1/messages{query}", body, headers)
    await g.turn()
    if len(g.requests) == known:
        assert (await client.response()).header("x-warmup-intercepted") == "true"
    await client.leave()
    return g.requests[-1] if len(g.requests) > known else None


def check(report: Any, request: UpstreamRequest | None, line: Any) -> None:
    """Assert that the report equals what was done: the request at the upstream, and the log line."""
    assert report["request"]["model"] == line["model"]
    assert report["warmup"]["intercepted"] is (request is None)
    if request is None:
        assert line["outcome"] == "warmup"
        return
    built = report["upstream_request"]
    (chosen,) = [one for one in report["accounts"] if one["asked"]]
    for key in ("upstream", "account", "wire_model"):
        assert built[key] == chosen[key] == line.get(key, line["model"])
    names = [one["name"] for one in built["repairs"]] + [f"cure:{one['name']}" for one in built["cures"]]
    assert sorted(names) == sorted(line.get("repairs", []))
    assert all(one["at"] for one in built["repairs"]), built["repairs"]
    head, _, body = request.raw.partition(b"\r\n\r\n")
    assert built["body"]["sha256"] == sha256(body).hexdigest()
    assert built["body"]["bytes"] == len(body)
    start, *lines = head.decode("latin-1").replace(f"key-of-{built['account']}", "***").split("\r\n")
    assert built["head"] == lines
    assert start == f"{built['method']} /{built['url'].split('/', 3)[3]} HTTP/1.1"
    assert request.origin.authority.decode() == built["url"].split("/")[2]
    assert f"key-of-{built['account']}"[:8] not in json.dumps(report)


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*.json")))
@pytest.mark.parametrize("place", PLACES)
async def test_explanation_equals_the_request(place: str, name: str) -> None:
    credentials = {}
    if place == "vertex":
        credentials = {who: Key(Credential("bearer", Secret(f"key-of-{who}"))) for who in ("a@x", "b@x")}
    async with in_memory(settings(PLACES[place]), credentials, format="json") as g:
        scheduler = g.gateway.runtime.scheduler
        for query, headers, body in recorded(name):
            for wire_model in {
                one.wire_model for one in g.gateway.runtime.targets(orjson.loads(body)["model"])
            }:
                scheduler.cures.learn(
                    "up", wire_model, LEARNT.get(place, []), asyncio.get_running_loop().time()
                )
            report = await built(g, query, headers, body)
            request = await sent(g, query, headers, body)
            check(report, request, orjson.loads(g.lines[-1]))


@pytest.mark.parametrize("preset", PRESETS)
async def test_explanation_for_every_preset(preset: str) -> None:
    text = f'[upstreams.up]\npreset = "{preset}"\n'
    text += "" if PRESETS[preset].get("base_url") else 'base_url = "https://up.example"\n'
    text += 'models = { "*" = "gemini-3.1-pro-preview" }\n'
    request = recorded("claude_code_parallel_tools")[-1]
    async with in_memory(settings(text), format="json") as g:
        report = await built(g, *request)
        check(report, await sent(g, *request), orjson.loads(g.lines[-1]))


# Requests whose accounts are partly closed.


async def explain(g: InMemory, **fields: Any) -> Any:
    return await built(g, "", [], orjson.dumps(ask(**fields)))


@pytest.mark.parametrize("kind", ["limited", "refused"])
async def test_an_account_that_cools_down(kind: str) -> None:
    trouble = {
        "limited": error_response(429, "rate_limit_error", "slow down", [("retry-after", "90")]),
        "refused": error_response(401, "authentication_error", "no such key"),
    }
    async with in_memory(config(upstream("http://up.example", "a@x", "b@x"))) as g:
        await g.post(ask(), trouble[kind], json_response(200, message()))
        report = await explain(g)
        first, second = report["accounts"]
        assert (first["account"], first["asked"], second["account"], second["asked"]) == (
            "b@x",
            True,
            "a@x",
            False,
        )
        assert second["reason"].startswith(
            f"cooling down: {'limit' if kind == 'limited' else 'login'}, priority 0"
        )
        assert 80 < second["opens_in"] <= (90 if kind == "limited" else 600)
        assert report["conversation"]["home"] == {"upstream": "up", "account": "b@x"}
        assert report["next"] == {"step": "ask", "alone": False}


async def test_a_disabled_account_has_no_opening_time() -> None:
    async with in_memory(config(upstream("http://up.example", "a@x", "b@x"))) as g:
        g.gateway.runtime.scheduler.disable("up", "a@x")
        first, second = (await explain(g))["accounts"]
        assert (first["account"], first["asked"]) == ("b@x", True)
        assert second["reason"] == "disabled, priority 0, 0 in flight"
        assert "opens_in" not in second


async def test_error_when_all_accounts_cool_down_for_long() -> None:
    async with in_memory(config(upstream("http://up.example", "a@x"))) as g:
        limit = error_response(429, "rate_limit_error", "slow down", [("retry-after", "90")])
        await g.post(ask(), limit)
        report = await explain(g)
        response = await g.post(ask())
        assert report["next"] == {"step": "give up"}
        assert (report["refused"]["status"], report["refused"]["type"]) == (
            response.status,
            response.error_type,
        )
        assert report["refused"]["message"] == response.message
        assert not report["accounts"][0]["asked"]
        assert report["upstream_request"]["account"] == "a@x"


async def test_short_cool_downs_are_waited_for_or_ignored_for_the_only_account() -> None:
    async with in_memory(config(upstream("http://up.example", "a@x"))) as g:
        limit = error_response(429, "rate_limit_error", "slow down", [("retry-after-ms", "2100")])
        await g.post(ask(), limit)
        report = await explain(g)
        assert report["next"]["step"] == "give up"
        g.gateway.runtime.scheduler.reopen()
        client = g.connect()
        client.send("POST", "/v1/messages", ask())
        brief = error_response(429, "rate_limit_error", "slow down", [("retry-after-ms", "1900")])
        await g.play(brief)
        assert (await explain(g))["next"] == {"step": "wait", "seconds": pytest.approx(1.9, abs=0.2)}
        await client.leave()


async def test_full_accounts_are_waited_for() -> None:
    async with in_memory(config(upstream("http://up.example", account("a@x", max_concurrent=1)))) as g:
        client = g.connect()
        client.send("POST", "/v1/messages", ask())
        await g.turn()
        report = await explain(g)
        assert report["next"]["step"] == "wait"
        assert report["accounts"][0]["reason"].startswith("full: 1 of 1 requests in flight")
        await client.leave()


# Requests that are refused.


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"messages": []}, 400, "model: is required"),
        (ask(model="unknown"), 404, "is not served here"),
        (ask(thread={"type": "start"}), 400, "keeps message threads"),
        (ask(stop_sequences=["1", "2", "3", "4", "5", "6"]), 400, "stop_sequences"),
    ],
)
async def test_refused_requests(document: dict[str, Any], status: int, words: str) -> None:
    async with in_memory(settings(GEMINI.replace('"*"', '"m"') + 'base_url = "https://up.example"\n')) as g:
        report = await built(g, "", [], orjson.dumps(document))
        response = await g.post(document)
        assert report["refused"] == {
            "status": response.status,
            "type": response.error_type,
            "message": response.message,
        }
        assert response.status == status
        assert words in response.message
        assert "upstream_request" not in report
        assert not g.requests


FAILED_CALLS = [
    {"role": "user", "content": "Warmup"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "t", "input": {}}]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": True, "content": "Warmup"}],
    },
]


@pytest.mark.parametrize(
    ("document", "intercept", "intercepted", "why"),
    [
        (ask("Warmup"), Intercept(), True, "its only message is a warm-up's prompt"),
        (
            ask(messages=FAILED_CALLS),
            Intercept(),
            True,
            "it began as a warm-up, and the calls of its last message failed with that",
        ),
        (ask("Warmup"), Intercept(warmup=False), False, "it is one, but intercept.warmup is off"),
        (ask("quota", max_tokens=1), Intercept(quota_probe=True), True, "a quota probe"),
        (ask("quota", max_tokens=1), Intercept(), False, "it is no warm-up"),
    ],
)
async def test_warmups_with_reasons(document: Any, intercept: Intercept, intercepted: bool, why: str) -> None:
    async with in_memory(config(upstream("http://up.example"), intercept=intercept), format="json") as g:
        report = await built(g, "", [], orjson.dumps(document))
        assert report["warmup"] == {"intercepted": intercepted, "why": why}
        assert ("route" in report) is not intercepted
        request = await sent(g, "", [], orjson.dumps(document))
        assert (request is None) is intercepted


# The conversation of a request.


@pytest.mark.parametrize(
    ("headers", "fields", "id", "source"),
    [
        ([("x-claude-code-session-id", "0123456789")], {}, "01234567…", "x-claude-code-session-id"),
        ([], {"metadata": {"user_id": "user_1_session_2"}}, "2", "metadata.user_id"),
        ([], {}, None, "how it begins: system and first user message"),
        (
            [],
            {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
            "msg_1",
            "thread.previous_message_id",
        ),
        ([], {"thread": {"type": "start"}}, None, "how it begins: system and first user message"),
    ],
)
async def test_conversation_with_its_source(
    headers: list[tuple[str, str]], fields: dict[str, Any], id: str | None, source: str
) -> None:
    auth = Auth(mode="strict", keys={"lap/top": Secret("k")})
    async with in_memory(config(upstream("http://up.example", threads=True), auth=auth)) as g:
        body = orjson.dumps(ask(**fields))
        talk = (await built(g, "", [*headers, ("x-api-key", "k")], body))["conversation"]
        assert (talk["key"], talk["source"], talk["home"]) == ("lap/top", source, None)
        assert talk["id"] == id or (id is None and len(talk["id"]) == 9)


# Access, and what is not shown.


async def explain_without(g: InMemory, *headers: tuple[str, str]) -> Response:
    client = g.connect()
    client.send("POST", "/status/explain", ask(), headers)
    response = await client.response()
    await client.leave()
    return response


async def test_key_and_action_header_are_needed() -> None:
    auth = Auth(mode="all_except_health", keys={"me": Secret("k")})
    async with in_memory(config(upstream("http://up.example"), auth=auth)) as g:
        assert (await explain_without(g, ACTION)).status == 401
        refused = await explain_without(g, ("x-api-key", "k"))
        assert (refused.status, "x-gateway-action" in refused.message) == (403, True)
        assert (await explain_without(g, ("x-api-key", "k"), ACTION)).status == 200
        page = await explain_without(g, ("x-api-key", "k"), ACTION, ("origin", "https://evil.example"))
        assert page.status == 403


async def test_body_size_limit() -> None:
    async with in_memory(config(upstream("http://up.example"), limits={"max_body": 50})) as g:
        assert (await explain_without(g, ACTION)).status == 413


@pytest.mark.parametrize(
    ("expose", "shown"), [("full", "one@example.com"), ("masked", "o***@example.com"), ("none", "")]
)
async def test_accounts_are_shown_as_they_are_to_clients(expose: str, shown: str) -> None:
    async with in_memory(config(upstream("http://up.example"), server={"expose": expose})) as g:
        report = await explain(g)
        assert report["accounts"][0]["account"] == report["upstream_request"]["account"] == shown
        assert ("one@example.com" in json.dumps(report)) is (expose == "full")


async def test_no_secret_is_shown() -> None:
    text = OPENAI + 'headers = { x-team-token = "canary-h" }\npath = "/v1/x?code=canary-p&v=1"\n'
    text = (
        text
        + ACCOUNTS.replace("key-of", "canary-key-of")
        + '[auth]\napi_key = "canary-client"\nmode = "strict"\n'
    )
    async with in_memory(parse(text, {}, path=Path("gateway.toml"))) as g:
        report = await built(
            g, "?key=canary-q", [("x-api-key", "canary-client")], orjson.dumps(ask("canary"))
        )
        assert "canary" not in json.dumps(report)
        assert report["upstream_request"]["url"] == "https://up.example/v1/x?code=***&v=1"
        assert "authorization: Bearer ***" in report["upstream_request"]["head"]
        assert "x-team-token: ***" in report["upstream_request"]["head"]
        assert "canary" not in "".join(g.lines)


async def test_no_token_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "user.json").write_text('{"client_id":"c","client_secret":"s","refresh_token":"r"}')
    text = (
        GEMINI
        + f'base_url = "https://up.example"\naccounts = [{{ name = "o", oauth_file = "{tmp_path}/user.json" }}]\n'
    )
    async with in_memory(parse(text, {}, path=Path("gateway.toml"))) as g:
        report = await explain(g)
        assert "authorization: Bearer ***" in report["upstream_request"]["head"]
        await g.turn()
        assert not g.wires


async def test_paths_of_cures_for_another_protocol() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    async with in_memory(settings(OPENAI)) as g:
        scheduler = g.gateway.runtime.scheduler
        learnt = [Cure("images", "note"), Cure("tool_choice", "auto"), Cure("path", "/v2")]
        scheduler.cures.learn("up", "m-1", learnt, asyncio.get_running_loop().time())
        built = (await explain(g, messages=[{"role": "user", "content": [image]}]))["upstream_request"]
        assert built["cures"] == [
            {"name": "images", "at": "sent: messages.0.content", "detail": "note"},
            {"name": "tool_choice", "at": "", "detail": "auto"},
            {"name": "path", "at": "sent: target", "detail": "/v2"},
        ]


async def test_long_names_are_cut_and_cures_that_find_nothing_are_left_out() -> None:
    name = "x" * 300
    async with in_memory(config(upstream("http://up.example"))) as g:
        learnt = [Cure("betas", "none"), Cure("documents"), Cure("fields", name)]
        g.gateway.runtime.scheduler.cures.learn("up", "m", learnt, asyncio.get_running_loop().time())
        built = (await explain(g, **{name: 1}))["upstream_request"]
        assert built["cures"] == [{"name": "fields", "at": "x" * 200 + "…", "detail": "x" * 200 + "…"}]
        assert built["body"]["is"] == "rewritten"
