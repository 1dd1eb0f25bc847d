"""The list of models in memory, and requests for upstreams' lists: a failed one changes nothing."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.config import GeminiOptions, Upstream
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, ListedModel
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.http1.dial import origin_of
from gateway.http1.pool import Pool
from gateway.proxy.model_list import LIST_EVERY, MAX_LIST, ListKeeper, Model, ModelList
from gateway.proxy.upstream import CredentialSource, Key, UpstreamClient
from gateway.routing.credentials import credential_of
from tests.fakes.messages import Close, Received, Reset, Script, ScriptedUpstream, Stall, json_response
from tests.support.clock import run
from tests.support.explode import explode
from tests.support.leftovers import leftovers
from tests.support.loops import eventually, settle
from tests.support.running import FAST, upstream
from tests.support.tokens import Tokens


def anything(name: str) -> bool:
    return True


def ids(model_list: ModelList) -> list[str]:
    return list(model_list.models)


def test_names_are_sorted_and_each_is_there_once() -> None:
    model_list = ModelList(["b", "a", "b", "C"], anything)
    assert ids(model_list) == ["C", "a", "b"]
    assert {model.owned_by for model in model_list.models.values()} == {"gateway"}


def test_when_a_model_was_created() -> None:
    now = int(time.time())
    (model,) = ModelList(["a"], anything).models.values()
    assert now <= model.created <= time.time()
    assert Model("a", "A", "up", 0, {}).document["created_at"] == "1970-01-01T00:00:00Z"
    assert Model("a", "A", "up", 1790000000, {}).document["created_at"] == "2026-09-21T14:13:20Z"


def test_model_details_of_an_upstream_are_kept() -> None:
    model_list = ModelList([], anything)
    more = {"created_at": "2025-01-01T00:00:00Z", "max_tokens": 64000, "lifecycle": "deprecated"}
    model_list.store_list("up", [ListedModel("a", "A", more)])
    assert model_list.models["a"].document == {
        "id": "a",
        "object": "model",
        "type": "model",
        "display_name": "A",
        "created": model_list.models["a"].created,
        "owned_by": "up",
        **more,
    }


def test_a_model_that_only_a_pattern_serves() -> None:
    model_list = ModelList(["a"], lambda name: name != "hidden")
    found = model_list.find("b")
    assert found is not None
    assert (found.id, found.display_name, found.owned_by) == ("b", "b", "gateway")
    assert found.document["lifecycle"] == "active"
    assert model_list.find("a") is model_list.models["a"]
    assert model_list.find("hidden") is None


def test_a_listed_model_is_shown_if_it_is_served() -> None:
    model_list = ModelList(["a"], lambda name: name != "hidden")
    model_list.store_list(
        "up", [ListedModel("b", "B"), ListedModel("hidden", "H"), ListedModel("a", "Theirs")]
    )
    assert [(model.id, model.display_name, model.owned_by) for model in model_list.models.values()] == [
        ("a", "Theirs", "up"),
        ("b", "B", "up"),
    ]
    # A new list replaces only that upstream's old one.
    model_list.store_list("other", [ListedModel("c", "C")])
    model_list.store_list("up", [ListedModel("d", "D")])
    assert ids(model_list) == ["a", "c", "d"]


def test_a_reload_keeps_the_lists_of_upstreams_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.model_list.time.time", lambda: 1000.0)
    old = ModelList(["a"], anything)
    old.store_list("stays", [ListedModel("b", "B")])
    old.store_list("goes", [ListedModel("c", "C")])
    monkeypatch.undo()
    new = ModelList(["x"], anything)
    new.adopt(old, ["stays", "comes"])
    assert ids(new) == ["b", "x"]
    assert {model.created for model in new.models.values()} == {1000}


# Requests for lists.


def client_of(
    at: Upstream, sources: dict[str, CredentialSource] | None = None, dialect: Dialect | None = None
) -> UpstreamClient:
    pool = Pool(origin_of(at.base_url, proxy=None, ca_file=None), FAST)
    known = {account.name: credential_of(account) for account in at.accounts}
    keys: dict[str, CredentialSource] = {name: Key(each) for name, each in known.items() if each is not None}
    return UpstreamClient(at, pool, dialect or AnthropicDialect(), sources or keys)


class Refreshing:
    """A running refresher of model lists, and its warnings."""

    def __init__(self, model_list: ModelList, client: UpstreamClient) -> None:
        self.client = client
        self.warnings: list[str] = []
        self.keeper = ListKeeper(model_list, client, self.warnings.append)
        self.keeper.start()


@asynccontextmanager
async def refreshing(model_list: ModelList, client: UpstreamClient) -> AsyncIterator[Refreshing]:
    made = Refreshing(model_list, client)
    yield made
    made.keeper.stop()
    await settle()
    assert "Active: 0," in repr(client.pool)
    client.pool.close()
    await settle()
    left = leftovers()
    assert left == [], left


LIST = {"data": [{"id": "b", "display_name": "B"}]}


async def test_request_for_the_model_list() -> None:
    model_list = ModelList(["a"], anything)
    async with ScriptedUpstream() as up:
        up.script(json_response(200, LIST))
        async with refreshing(model_list, client_of(upstream(up.url + "/api", "a@x", "b@x"))) as made:
            await eventually(lambda: len(model_list.models) == 2)
            assert made.warnings == []
        (request,) = up.requests
        assert (request.method, request.target, request.body) == ("GET", "/api/v1/models?limit=1000", b"")
        assert request.header("host") == f"127.0.0.1:{up.port}"
        assert request.key == "key-of-a@x"


async def test_a_list_in_pieces_and_compressed() -> None:
    model_list = ModelList([], anything)
    body = gzip.compress(orjson.dumps(LIST))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with ScriptedUpstream() as up:
        up.script([head, body[:9], body[9:]])
        async with refreshing(model_list, client_of(upstream(up.url))):
            await eventually(lambda: model_list.models)
    assert ids(model_list) == ["b"]


BOMB = gzip.compress(b'{"data":[{"id":"bomb"}]}' + b" " * (MAX_LIST + 1))
NO_LIST: list[Script] = [
    json_response(404, {"error": "no list"}),
    json_response(204, b""),
    json_response(301, LIST, [("location", "/elsewhere")]),
    json_response(200, {"data": []}),
    json_response(200, b"<html>"),
    json_response(200, LIST, [("content-encoding", "br")]),
    json_response(200, LIST, [("content-encoding", "gzip")]),
    json_response(200, gzip.compress(orjson.dumps(LIST))[:-3], [("content-encoding", "gzip")]),
    json_response(200, BOMB, [("content-encoding", "gzip")]),
    [b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + orjson.dumps(LIST), Close()],
    [b"nonsense\r\n\r\n"],
    [Close()],
    [Reset()],
]


@pytest.mark.parametrize("script", NO_LIST, ids=range(len(NO_LIST)))
async def test_the_next_account_is_tried_for_the_model_list(script: Script) -> None:
    model_list = ModelList([], anything)
    async with ScriptedUpstream() as up:
        up.script(script, json_response(200, LIST))
        async with refreshing(model_list, client_of(upstream(up.url, "a@x", "b@x"))) as made:
            await eventually(lambda: model_list.models)
            assert made.warnings == []
        assert [request.key for request in up.requests] == ["key-of-a@x", "key-of-b@x"]


@pytest.mark.parametrize("script", NO_LIST, ids=range(len(NO_LIST)))
def test_a_failed_model_list_is_retried_with_backoff(script: Script) -> None:
    async def scenario() -> None:
        model_list, began = ModelList(["a"], anything), asyncio.get_running_loop().time()
        model_list.store_list("up", [ListedModel("old", "Old")])
        times: list[float] = []

        def respond(request: Received) -> Script:
            times.append(round(asyncio.get_running_loop().time() - began))
            return script

        async with (
            ScriptedUpstream(respond=respond) as up,
            refreshing(model_list, client_of(upstream(up.url))) as made,
        ):
            await asyncio.sleep(1500.0)
            # Its earlier list stays, and there is one warning.
            assert ids(model_list) == ["a", "old"]
            assert made.warnings == ['upstream "up" does not list its models; it is asked again']
        assert times[:9] == [0, 2, 6, 14, 30, 62, 126, 254, 510]
        assert times[9:] == [1022]

    run(scenario())


def test_model_list_is_refreshed_every_ten_minutes() -> None:
    async def scenario() -> None:
        model_list = ModelList([], anything)
        async with ScriptedUpstream() as up:
            up.respond = lambda _: json_response(200, {"data": [{"id": f"list-{len(up.requests)}"}]})
            async with refreshing(model_list, client_of(upstream(up.url))):
                await asyncio.sleep(1.0)
                for number in (1, 2, 3):
                    assert ids(model_list) == [f"list-{number}"]
                    await asyncio.sleep(LIST_EVERY)

    run(scenario())


async def test_model_list_is_retried_after_a_served_request() -> None:
    model_list = ModelList([], anything)
    async with ScriptedUpstream() as up:
        up.script(json_response(503, {}), json_response(200, LIST))
        client = client_of(upstream(up.url))
        async with refreshing(model_list, client):
            await eventually(lambda: client.on_success)
            assert client.on_success is not None
            client.on_success()
            await eventually(lambda: model_list.models)
            assert client.on_success is None


async def test_model_list_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.model_list.MAX_LIST", 50)
    async with ScriptedUpstream() as up:
        up.script([b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + b" " * 51, Stall()])
        async with refreshing(ModelList([], anything), client_of(upstream(up.url))) as made:
            await eventually(lambda: up.left)
            assert repr(made.client.pool).endswith("Active: 0, Idle: 0, Dialling: 0]>")


async def test_stop_while_a_list_is_requested() -> None:
    async with ScriptedUpstream() as up:
        up.script([Stall()])
        async with refreshing(ModelList([], anything), client_of(upstream(up.url))):
            await eventually(lambda: up.requests)
        await eventually(lambda: up.left == 1)


async def test_an_upstream_without_a_model_list_gets_no_request() -> None:
    async with ScriptedUpstream() as up:
        options = GeminiOptions(path="/{model}:streamGenerateContent")
        dialect = GeminiDialect(lambda: 0.5, print)
        client = client_of(upstream(up.url, kind="gemini", options=options), dialect=dialect)
        async with refreshing(ModelList([], anything), client) as made:
            await settle()
            assert made.warnings == []
        assert not up.connections


# Accounts whose token must be fetched first.


async def test_model_list_waits_for_a_token() -> None:
    model_list, tokens, others = ModelList([], anything), Tokens(), Tokens()
    async with ScriptedUpstream() as up:
        up.script(json_response(200, LIST))
        client = client_of(upstream(up.url, "a@x", "b@x"), {"a@x": tokens, "b@x": others})
        async with refreshing(model_list, client):
            # One is enough.
            assert (tokens.waiting, others.waiting) == (1, 0)
            tokens.issue("t-1")
            await eventually(lambda: model_list.models)
            assert up.requests[0].key == "Bearer t-1"


async def test_model_list_without_a_token() -> None:
    model_list, tokens = ModelList(["a"], anything), Tokens()
    async with ScriptedUpstream() as up:
        async with refreshing(model_list, client_of(upstream(up.url), {"a@x": tokens})) as made:
            tokens.refuse(401, "the login has ended")
            await settle()
            assert len(made.warnings) == 1
        assert not up.requests


async def test_stop_while_a_token_is_waited_for() -> None:
    """After stopping, no list is requested."""
    tokens = Tokens()
    async with ScriptedUpstream() as up:
        async with refreshing(ModelList([], anything), client_of(upstream(up.url), {"a@x": tokens})) as made:
            made.keeper.stop()
            tokens.issue("t-1")
            await settle()
        assert not up.connections


async def test_an_internal_error_is_a_failed_model_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnthropicDialect, "models", explode)
    async with ScriptedUpstream() as up:
        up.script(json_response(200, LIST))
        async with refreshing(ModelList([], anything), client_of(upstream(up.url))) as made:
            await eventually(lambda: made.warnings)
