"""`/status.json` for one process and for several, with names as `expose` allows."""

import asyncio
import random
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import __version__
from gateway.routing.cures import Cure
from gateway.sharing.peers import Sharing
from gateway.status.document import KIND, ShownNames, collect, merge, part
from gateway.telemetry.access_log import Record
from gateway.telemetry.recent import CONVERSATIONS, REQUESTS
from tests.fakes.messages import ScriptedUpstream, error_response, json_response, message
from tests.support.client import ask
from tests.support.running import Running, config, running, upstream

LIMIT = error_response(
    429, "rate_limit_error", "a@x.org is out of tokens, sk-abcdef123456", [("retry-after", "60")]
)


def document(g: Running, now: float | None = None, wall: float = 1_800_000_000.0) -> dict[str, Any]:
    loop_time = asyncio.get_running_loop().time() if now is None else now
    return merge([orjson.loads(orjson.dumps(part(g.gateway.runtime, loop_time, wall)))])


def only(document: dict[str, Any]) -> dict[str, Any]:
    """The only account's part."""
    account: dict[str, Any] = document["upstreams"][0]["accounts"][0]
    return account


async def test_a_gateway_that_has_just_started() -> None:
    settings = config(upstream("http://127.0.0.1:1", "a@x.org", max_concurrent=3, priority=2))
    async with running(settings) as g:
        found = document(g)
        assert found.pop("started") == pytest.approx(g.gateway.runtime.process_state.started, abs=0.01)
        assert found.pop("uptime") == pytest.approx(
            1_800_000_000.0 - g.gateway.runtime.process_state.started, abs=0.01
        )
        nothing = {"requests": 0, "failures": 0, "input_tokens": 0, "output_tokens": 0}
        nothing |= {"cache_read_tokens": 0, "cache_creation_tokens": 0}
        assert found == {
            "version": __version__,
            "time": 1_800_000_000.0,
            "processes": 1,
            "silent": [],
            "sharing": None,
            "draining": False,
            "ready": True,
            "upstreams": [
                {
                    "name": "up",
                    "kind": "anthropic",
                    "url": "http://127.0.0.1:1",
                    "priority": 2,
                    "pool": {"active": 0, "idle": 0, "dialling": 0},
                    "accounts": [
                        {
                            "account": "a@x.org",
                            "state": "free",
                            "disabled": False,
                            "about": None,
                            "until": None,
                            "cause": None,
                            "why": "",
                            "in_flight": 0,
                            "limit": None,
                            "cool_downs": [],
                            "hour": nothing,
                            "total": nothing,
                        }
                    ],
                    "cures": [],
                }
            ],
            "hour": {**nothing, "first_byte_p50": None, "first_byte_p95": None},
            "minutes": [],
            "requests": [],
            "conversations": [],
        }


@pytest.mark.parametrize(
    ("expose", "shown", "words"),
    [
        ("full", "a@x.org", "a@x.org is out of tokens, ***"),
        ("masked", "a***@x.org", "a***@x.org is out of tokens, ***"),
        ("none", "#1", "#1 is out of tokens, ***"),
    ],
)
async def test_an_account_that_cools_down_has_reason_and_end(expose: str, shown: str, words: str) -> None:
    async with ScriptedUpstream() as up:
        up.script(LIMIT)
        settings = config(upstream(up.url, "a@x.org", models={"m": "m"}), server={"expose": expose})
        async with running(settings) as g:
            assert (await g.post(ask())).status == 429
            found = document(g)
            account = only(found)
            assert (account["account"], account["state"], account["cause"]) == (shown, "cooling", "limit")
            assert account["why"] == words
            assert (account["hour"]["requests"], account["hour"]["failures"]) in ((0, 0), (1, 1))
            assert account["total"]["failures"] == 1
            assert 1_800_000_058 < account["until"] <= 1_800_000_060.1
            (cool_down,) = account["cool_downs"]
            assert (cool_down["about"], cool_down["model"], cool_down["why"]) == ("model", "m", words)
            assert cool_down["until"] == account["until"]
            assert not found["ready"]
            (request,) = found["requests"]
            assert request["account"] == shown
            assert request["tried"] == [f"{shown}@up:429"]
            assert words in request["error"]
            (talk,) = found["conversations"] or [{"account": shown}]
            assert talk["account"] == shown
            if expose != "full":
                assert "a@x.org" not in orjson.dumps(found).decode()


async def test_cures_and_a_feature_that_is_shut() -> None:
    refusal = error_response(400, "invalid_request_error", "invalid beta flag")
    async with ScriptedUpstream() as up:
        up.script(refusal, json_response(200, message()))
        settings = config(upstream(up.url, "a@x.org", drop_betas=("fast-*",)))
        async with running(settings) as g:
            assert (await g.post(ask(), anthropic_beta="odd-1")).status == 200
            always, learnt = document(g)["upstreams"][0]["cures"]
            assert always == {"model": "", "cure": "betas", "detail": "fast-*", "until": None}
            assert (learnt["model"], learnt["cure"], learnt["detail"]) == ("m", "betas", "odd-1")
            assert 1_800_003_500 < learnt["until"] <= 1_800_003_600.1


async def test_removed_upstreams_are_not_in_the_document() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org", name="old"))) as g:
        g.gateway.runtime.scheduler.cures.learn(
            "old", "m", [Cure("betas")], asyncio.get_running_loop().time()
        )
        recent = g.gateway.runtime.process_state.recent
        recent.take(
            [Record(time.time(), method="POST", path="/v1/messages", upstream="old", account="a@x.org")]
        )
        assert document(g)["upstreams"][0]["cures"]
        g.gateway.reload(config(upstream("http://127.0.0.1:1", "b@x.org")))
        found = document(g)
        assert [(each["name"], each["cures"]) for each in found["upstreams"]] == [("up", [])]
        assert [request["upstream"] for request in found["requests"]] == ["old"]


async def test_a_short_name_does_not_spoil_words() -> None:
    async with running(
        config(upstream("http://127.0.0.1:1", "e", "me@x.org"), server={"expose": "none"})
    ) as g:
        names = ShownNames(g.gateway.runtime)
        assert names.hide_names("we see me@x.org here") == "we see #2 here"


async def test_names_that_would_be_confused_get_a_number() -> None:
    names = ("work@x.org", "wife@x.org", "me@x.org")
    async with running(config(upstream("http://127.0.0.1:1", *names), server={"expose": "masked"})) as g:
        known = ShownNames(g.gateway.runtime)
        labels = [account["account"] for account in document(g)["upstreams"][0]["accounts"]]
        assert labels == ["w***@x.org#1", "w***@x.org#2", "m***@x.org"]
        assert [known.find("up", label) for label in labels] == list(names)
        assert known.find("up", "wife@x.org") == "wife@x.org"
        assert known.find("up", "w***@x.org") is None
        assert known.find("other", "wife@x.org") is None
        assert known.of("up", "gone@x.org") == "g***@x.org"
        assert known.of("", "") == ""


async def test_hostile_text_can_be_serialized() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g:
        evil = "\ud800\x00<script>\u202e"
        recent = g.gateway.runtime.process_state.recent
        recent.take(
            [Record(1.0, "req_1", evil, "POST", evil, evil, evil, "gone", evil, tried=(evil,), error=evil)]
        )
        (request,) = document(g)["requests"]
        assert request["error"] == "\\ud800\x00<script>\u202e"


def test_of_many_processes_one_document() -> None:
    def process(started: float, **account: Any) -> dict[str, Any]:
        sums = {"requests": 2, "failures": 1, "input_tokens": 10, "output_tokens": 1}
        sums |= {"cache_read_tokens": 90, "cache_creation_tokens": 0}
        shut = {"about": "account", "model": "", "feature": "", "cause": "login", "why": "", "probing": False}
        until = account.get("until")
        talk = {"id": "c", "since": started, "last": 7190.0 + started, "model": f"m{started}"}
        one = {"time": started, "duration": 1.0, "request_id": f"r{started}"}
        return {
            "version": "1",
            "time": 7200.0,
            "started": started,
            "processes": 1,
            "pid": int(started),
            "workers": [1, 2, 3, 4, 4 + int(started)],
            "sharing": {"published": 1, "received": 2, "dropped": 3} if started > 1 else None,
            "draining": False,
            "upstreams": [
                {
                    "name": "up",
                    "pool": {"active": 1, "idle": 2},
                    "cures": [{"model": "m", "cure": "betas", "detail": "", "until": 10.0 + started}],
                    "accounts": [
                        {
                            "account": "a",
                            "state": "free",
                            "until": None,
                            "disabled": False,
                            "in_flight": 1,
                            "limit": 4,
                            "cool_downs": [{**shut, "until": until, "probe_at": 1}] if until else [],
                            "hour": sums,
                            "total": sums,
                            **account,
                        }
                    ],
                }
            ],
            "minutes": [
                {"time": 7140, **sums, "first_bytes": {"3": 1, "20": 1}},
                {"time": 60, **sums, "first_bytes": {}},
            ],
            "requests": [one],
            "conversations": [{**talk, **sums}, {**talk, "id": "old", "last": 60.0, **sums}],
        }

    parts = [
        process(1.0),
        process(2.0, state="closed", until=99.0),
        process(3.0, state="cooling", until=50.0),
    ]
    found = merge(parts)
    account = only(found)
    assert (account["state"], account["until"], account["in_flight"], account["limit"]) == (
        "closed",
        99.0,
        3,
        12,
    )
    assert account["hour"]["requests"] == 6
    assert [one["until"] for one in account["cool_downs"]] == [99.0]
    assert found["upstreams"][0]["pool"] == {"active": 3, "idle": 6}
    assert [cure["until"] for cure in found["upstreams"][0]["cures"]] == [13.0]
    assert (found["started"], found["uptime"], found["processes"]) == (1.0, 7199.0, 3)
    assert found["silent"] == [4], "a process that just started or ended is not known to all"
    assert found["sharing"] == {"published": 2, "received": 4, "dropped": 6}
    assert not found["ready"]
    (minute,) = found["minutes"]
    assert minute == {"time": 7140, **found["hour"]}
    assert (minute["requests"], minute["first_byte_p50"], minute["first_byte_p95"]) == (6, 0.02, 0.87)
    assert [request["request_id"] for request in found["requests"]] == ["r3.0", "r2.0", "r1.0"]
    (talk,) = found["conversations"]
    assert (talk["requests"], talk["since"], talk["model"]) == (6, 1.0, "m3.0")

    for _ in range(5):
        random.Random(1).shuffle(parts)
        assert merge(parts) == found


@given(st.lists(st.integers(0, 10_000), max_size=300), st.integers(1, 4))
def test_latest_requests_of_all_processes(times: list[int], processes: int) -> None:
    def one(at: int, number: int) -> dict[str, Any]:
        return {"time": float(at), "duration": 1.0, "request_id": f"{number}"}

    requests = [one(at, number) for number, at in enumerate(times)]
    empty = {"version": "1", "time": 1e4, "started": 0.0, "processes": 1, "draining": False}
    empty |= {"pid": 1, "workers": [], "sharing": None}
    empty |= {"upstreams": [], "minutes": [], "conversations": []}
    found = merge([{**empty, "requests": requests[n::processes]} for n in range(processes)])
    latest = sorted(((one["time"], one["request_id"]) for one in requests), reverse=True)[:REQUESTS]
    assert [(one["time"], one["request_id"]) for one in found["requests"]] == latest


class Together(Sharing):
    """Stands for sharing between processes; the others have these parts."""

    def __init__(self, *others: dict[str, Any]) -> None:
        super().__init__()
        self.others = others
        self.broadcasts: list[tuple[str, bytes]] = []
        self.providers: dict[str, Any] = {}
        self.handlers: dict[str, Any] = {}

    def provide(self, kind: str, provider: Any, lasting: Any = None) -> None:
        self.providers[kind] = provider

    def gather(self, kind: str, reply: Any, timeout: float = 0.0) -> None:
        parts = [orjson.dumps(each) if each else b"" for each in self.others]
        asyncio.get_running_loop().call_soon(reply, parts)

    def broadcast(self, kind: str, payload: bytes) -> None:
        self.broadcasts.append((kind, payload))

    def on_broadcast(self, kind: str, handler: Any) -> None:
        self.handlers[kind] = handler


async def test_each_process_reports_all_processes() -> None:
    sharing = Together()
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org")), sharing=sharing) as g:
        runtime = g.gateway.runtime
        now = asyncio.get_running_loop().time()
        # One has no data.
        sharing.others = (part(runtime, now, 1_800_000_000.0), {})
        assert orjson.loads(sharing.providers[KIND]())["processes"] == 1
        assert (await g.get("/status.json")).document["processes"] == 2
        g.gateway.reload(runtime.config)
        runtime = g.gateway.runtime
        assert (await g.get("/status.json")).document["processes"] == 2
        # A part that cannot be read is this request's trouble alone.
        sharing.others = ({"version": "?"},)
        assert (await g.get("/status.json")).status == 500
        runtime.sharing = None
        assert (await g.get("/status.json")).document["processes"] == 1


async def test_conversations_are_bounded() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g:
        found: list[Any] = []
        recent = g.gateway.runtime.process_state.recent
        for at in range(3 * CONVERSATIONS):
            recent.take([Record(time.time(), method="POST", path="/v1/messages", conversation=str(at))])
        collect(g.gateway.runtime, asyncio.get_running_loop().time(), found.append)
        (whole,) = map(merge, found)
        assert len(whole["conversations"]) == CONVERSATIONS
        assert len(whole["requests"]) == REQUESTS
