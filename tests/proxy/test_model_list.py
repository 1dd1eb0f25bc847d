"""The list of models in memory, and how upstreams are asked for theirs: whatever goes wrong changes nothing."""

import gzip
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.config import Upstream
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.http1.dial import origin_of
from gateway.http1.pool import Pool
from gateway.proxy.model_list import MAX_LIST, Model, ModelList, refresh
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import Credential, OAuthToken, credential_of
from tests.support.gemini import VERTEX, gemini
from tests.support.running import FAST, account, eventually, settle, upstream
from tests.support.upstream import Close, Reset, Script, ScriptedUpstream, Stall, chunked, json_answer


def anything(name: str) -> bool:
    return True


def ids(catalogue: ModelList) -> list[str]:
    return [model.id for model in catalogue.models]


def test_names_are_sorted_and_each_is_there_once() -> None:
    catalogue = ModelList(["b", "a", "b", "C"], anything)
    assert ids(catalogue) == ["C", "a", "b"]
    assert {model.owned_by for model in catalogue.models} == {"gateway"}


def test_when_a_model_was_created() -> None:
    now = int(time.time())
    (model,) = ModelList(["a"], anything).models
    assert now <= model.created <= now + 2
    assert Model("a", "A", "up", 0).created_at == "1970-01-01T00:00:00Z"
    assert Model("a", "A", "up", 1790000000).created_at == "2026-09-21T14:13:20Z"


def test_what_an_upstream_lists_is_shown_if_it_is_served() -> None:
    catalogue = ModelList(["a"], lambda name: name != "hidden")
    catalogue.listed("up", [("b", "B"), ("hidden", "H"), ("a", "Theirs")])
    assert [(model.id, model.display_name, model.owned_by) for model in catalogue.models] == [
        ("a", "Theirs", "up"),
        ("b", "B", "up"),
    ]
    # A new list replaces that upstream's old one, and nobody else's.
    catalogue.listed("other", [("c", "C")])
    catalogue.listed("up", [("d", "D")])
    assert ids(catalogue) == ["a", "c", "d"]


def test_a_reload_keeps_the_lists_of_upstreams_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.model_list.time.time", lambda: 1000.0)
    old = ModelList(["a"], anything)
    old.listed("stays", [("b", "B")])
    old.listed("goes", [("c", "C")])
    monkeypatch.undo()
    new = ModelList(["x"], anything)
    new.adopt(old, ["stays", "comes"])
    assert ids(new) == ["b", "x"]
    assert {model.created for model in new.models} == {1000}


# Asking.


def link_to(
    at: Upstream, credentials: dict[str, Credential | TokenRefresher] | None = None
) -> UpstreamClient:
    known = {account.name: credential_of(account) for account in at.accounts}
    return UpstreamClient(
        upstream=at,
        origin=origin_of(at.base_url, proxy=None, ca_file=None),
        dialect=AnthropicDialect(),
        credentials=credentials or {name: credential for name, credential in known.items() if credential},
    )


@asynccontextmanager
async def asking(catalogue: ModelList, links: Iterable[UpstreamClient]) -> AsyncIterator[Pool]:
    pool = Pool(FAST)
    refresh(catalogue, links, pool)
    yield pool
    pool.close()
    await settle()


LIST = {"data": [{"id": "b", "display_name": "B"}]}


async def test_every_upstream_is_asked() -> None:
    catalogue = ModelList(["a"], anything)
    async with ScriptedUpstream() as one, ScriptedUpstream() as two:
        one.script(json_answer(200, LIST))
        two.script(json_answer(200, {"data": [{"id": "c"}]}))
        links = [
            link_to(upstream(one.url + "/api", "a@x", "b@x", name="one")),
            link_to(upstream(two.url, name="two", auth_header="authorization")),
        ]
        async with asking(catalogue, links):
            await eventually(lambda: len(catalogue.models) == 3)
        assert [(model.id, model.owned_by) for model in catalogue.models] == [
            ("a", "gateway"),
            ("b", "one"),
            ("c", "two"),
        ]
        (asked,) = one.requests
        assert (asked.method, asked.target, asked.body) == ("GET", "/api/v1/models?limit=1000", b"")
        assert asked.header("host") == f"127.0.0.1:{one.port}"
        assert asked.key == "key-of-a@x"
        assert two.requests[0].key == "Bearer key-of-one@example.com"


async def test_a_list_in_pieces_and_compressed() -> None:
    catalogue = ModelList([], anything)
    body = gzip.compress(orjson.dumps(LIST))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with ScriptedUpstream() as up:
        up.script([head, body[:9], body[9:]])
        async with asking(catalogue, [link_to(upstream(up.url))]):
            await eventually(lambda: catalogue.models)
    assert ids(catalogue) == ["b"]


async def test_a_list_in_chunks() -> None:
    catalogue = ModelList([], anything)
    body = orjson.dumps(LIST)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with ScriptedUpstream() as up:
        up.script([head + chunked([body[:9], body[9:]])])
        async with asking(catalogue, [link_to(upstream(up.url))]):
            await eventually(lambda: catalogue.models)
    assert ids(catalogue) == ["b"]


async def test_a_list_without_an_end_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.model_list.MAX_LIST", 50)
    async with ScriptedUpstream() as up:
        up.script([b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + b" " * 51, Stall()])
        async with asking(ModelList([], anything), [link_to(upstream(up.url))]) as pool:
            await eventually(lambda: up.left)
            assert repr(pool) == "<Pool [Active: 0, Idle: 0, Dialling: 0]>"


BOMB = gzip.compress(b'{"data":[{"id":"bomb"}]}' + b" " * (MAX_LIST + 1))


@pytest.mark.parametrize(
    "script",
    [
        json_answer(404, {"error": "no list"}),
        json_answer(204, b""),
        json_answer(301, LIST, [("location", "/elsewhere")]),
        json_answer(200, {"data": []}),
        json_answer(200, b"<html>"),
        json_answer(200, LIST, [("content-encoding", "br")]),
        json_answer(200, LIST, [("content-encoding", "gzip")]),
        json_answer(200, gzip.compress(orjson.dumps(LIST))[:-3], [("content-encoding", "gzip")]),
        json_answer(200, BOMB, [("content-encoding", "gzip")]),
        [b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + orjson.dumps(LIST), Close()],
        [b"nonsense\r\n\r\n"],
        [Close()],
        [Reset()],
    ],
    ids=range(13),
)
async def test_what_is_no_list_changes_nothing(script: Script) -> None:
    catalogue = ModelList(["a"], anything)
    catalogue.listed("up", [("old", "Old")])
    async with ScriptedUpstream() as up:
        up.script(script)
        async with asking(catalogue, [link_to(upstream(up.url))]):
            await eventually(lambda: up.requests)
            for _ in range(20):
                await settle()
        assert ids(catalogue) == ["a", "old"]


@pytest.mark.parametrize(("over", "names"), [(0, ["a", "b"]), (1, ["a"])])
async def test_how_long_a_list_may_be(over: int, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.model_list.MAX_LIST", len(orjson.dumps(LIST)) - over)
    catalogue = ModelList(["a"], anything)
    async with ScriptedUpstream() as up:
        up.script(json_answer(200, LIST))
        async with asking(catalogue, [link_to(upstream(up.url))]):
            await eventually(lambda: up.requests)
            for _ in range(20):
                await settle()
        assert ids(catalogue) == names


async def test_the_end_of_the_pool_ends_the_asking() -> None:
    catalogue = ModelList([], anything)
    async with ScriptedUpstream() as up:
        up.script([Stall()])
        async with asking(catalogue, [link_to(upstream(up.url))]) as pool:
            await eventually(lambda: up.requests)
            assert repr(pool) == "<Pool [Active: 1, Idle: 0, Dialling: 0]>"
        await eventually(lambda: up.left == 1)
        assert not catalogue.models


async def test_who_has_no_list_is_not_asked() -> None:
    catalogue = ModelList(["a"], anything)
    async with ScriptedUpstream() as up:
        link = link_to(gemini(up.url, options={"path": VERTEX}))
        link.dialect = GeminiDialect(lambda: 0.5, print)
        async with asking(catalogue, [link]) as pool:
            assert repr(pool) == "<Pool [Active: 0, Idle: 0, Dialling: 0]>"
        assert not up.requests
    assert ids(catalogue) == ["a"]


# Accounts whose token must be fetched first.


def token_from(url: str) -> OAuthToken:
    return OAuthToken(
        orjson.dumps(
            {"client_id": "i", "client_secret": "s", "refresh_token": "r", "token_uri": f"{url}/token"}
        )
    )


async def test_a_token_is_waited_for() -> None:
    catalogue = ModelList([], anything)
    async with ScriptedUpstream() as up, ScriptedUpstream() as login:
        login.script(json_answer(200, {"access_token": "t-1"}))
        up.script(json_answer(200, LIST))
        pool = Pool(FAST)
        keeper = TokenRefresher(token_from(login.url), pool, None)
        refresh(catalogue, [link_to(upstream(up.url, "a@x"), {"a@x": keeper})], pool)
        assert not catalogue.models
        await eventually(lambda: catalogue.models)
        assert up.requests[0].key == "Bearer t-1"
        # The next time it is there.
        refresh(catalogue, [link_to(upstream(up.url, "a@x"), {"a@x": keeper})], pool)
        await eventually(lambda: len(up.requests) == 2)
        assert len(login.requests) == 1
        pool.close()
        await settle()


async def test_a_token_that_does_not_come_changes_nothing() -> None:
    catalogue = ModelList(["a"], anything)
    async with ScriptedUpstream() as up, ScriptedUpstream() as login:
        login.script(json_answer(400, {"error": "invalid_grant"}))
        pool = Pool(FAST)
        keeper = TokenRefresher(token_from(login.url), pool, None)
        refresh(catalogue, [link_to(upstream(up.url, "a@x"), {"a@x": keeper})], pool)
        await eventually(lambda: "IDLE" in repr(keeper))
        await settle()
        assert not up.requests
        assert ids(catalogue) == ["a"]
        pool.close()
        await settle()


async def test_one_token_is_enough() -> None:
    catalogue = ModelList([], anything)
    async with ScriptedUpstream() as up, ScriptedUpstream() as login:
        login.script(json_answer(200, {"access_token": "t-1"}))
        up.script(json_answer(200, LIST))
        pool = Pool(FAST)
        keepers = {name: TokenRefresher(token_from(login.url), pool, None) for name in ("a@x", "b@x")}
        refresh(catalogue, [link_to(upstream(up.url, *keepers), {**keepers})], pool)
        await eventually(lambda: catalogue.models)
        await settle()
        assert len(up.requests) == 1
        pool.close()
        await settle()


async def test_whoever_can_pay_at_once_is_asked_first() -> None:
    catalogue = ModelList([], anything)
    async with ScriptedUpstream() as up:
        up.script(json_answer(200, LIST))
        pool = Pool(FAST)
        keeper = TokenRefresher(token_from("http://127.0.0.1:9"), pool, None)
        paying = credential_of(account("b@x"))
        assert paying is not None
        refresh(catalogue, [link_to(upstream(up.url, "a@x", "b@x"), {"a@x": keeper, "b@x": paying})], pool)
        await eventually(lambda: catalogue.models)
        assert up.requests[0].key == "key-of-b@x"
        pool.close()
        await settle()
