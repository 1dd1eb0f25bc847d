"""GET /metrics: the numbers of a day equal its script, in both formats, with the same access rules as the status."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.app import Gateway
from gateway.config import Auth, Retry, Secret
from gateway.endpoints.router import ROUTES
from gateway.sharing.peers import Sharing
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.exposition import FAMILIES, OPENMETRICS, TEXT
from tests.fakes.messages import (
    SSE_HEAD,
    Received,
    Script,
    ScriptedUpstream,
    Stall,
    chunked,
    error_response,
    event,
    json_response,
    message,
    message_start,
    stream_response,
    text_events,
)
from tests.support.client import ask
from tests.support.loops import eventually, settle
from tests.support.running import Running, config, running, upstream
from tests.support.scrape import Samples, labels_of, samples, value

DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})


async def scrape(g: Running, **headers: str) -> Samples:
    response = await g.get("/metrics", **headers)
    assert response.status == 200
    return samples(response.body, openmetrics="accept" in headers)


async def test_a_day_in_numbers() -> None:
    """Served, streamed, rotated, refused, broken off, left, counted, and responded to here."""
    stall: Script = [SSE_HEAD, chunked([message_start(), DELTA], end=False), Stall()]
    async with (
        ScriptedUpstream() as up,
        running(config(upstream(up.url, "a@x", "b@x"), retry=Retry(max_attempts=2, max_wait=0.0))) as g,
    ):
        up.script(json_response(200, message()))
        assert (await g.post(ask())).status == 200
        up.script(stream_response(text_events()))
        assert (await g.post(ask(stream=True))).status == 200
        up.script(error_response(400, "invalid_request_error", "no"))
        assert (await g.post(ask())).status == 400
        up.script(stream_response([message_start(), DELTA], end=True))
        await g.post(ask(stream=True))
        up.script(stall)
        async with await g.connect() as client:
            client.send("POST", "/v1/messages", ask(stream=True))
            await client.receive()
        await eventually(lambda: up.left)
        up.script(json_response(200, {"input_tokens": 100}))
        assert (await g.post(ask(), "/v1/messages/count_tokens")).status == 200
        up.script(error_response(404, "not_found_error", "no"))
        assert (await g.post(ask(), "/v1/messages/count_tokens")).status == 200
        assert (await g.post(ask("Warmup"))).status == 200
        assert (await g.get("/v1/models/some")).status == 200
        # The last of all: the account of the first attempt is then limited.
        up.script(
            error_response(429, "rate_limit_error", "wait", [("retry-after", "60")]),
            json_response(200, message()),
        )
        assert (await g.post(ask())).status == 200
        await settle()
        found = await scrape(g)

    def requests(route: str, status: int, outcome: str) -> float:
        return value(found, "gateway_requests_total", route=route, status=str(status), outcome=outcome)

    def attempts(result: str) -> float:
        return sum(
            number
            for (name, labels), number in found.items()
            if name == "gateway_attempts_total" and ("result", result) in labels
        )

    one = "/v1/messages"
    assert (requests(one, 200, "ok"), requests(one, 400, "upstream_error")) == (3, 1)
    assert (requests(one, 200, "upstream_error"), requests(one, 499, "canceled")) == (1, 1)
    assert (requests(one, 200, "warmup"), requests(f"{one}/count_tokens", 200, "ok")) == (1, 2)
    assert requests("/v1/models/{id}", 200, "ok") == 1
    assert (attempts("ok"), attempts("400"), attempts("404"), attempts("429")) == (4, 1, 1, 1)
    assert (attempts("failed"), attempts("canceled")) == (1, 1)
    place = {"upstream": "up", "model": "m"}
    assert value(found, "gateway_request_duration_seconds_count", **place) == 8
    assert value(found, "gateway_time_to_first_byte_seconds_count", **place) == 6
    # Three whole messages, and a stream's beginning twice.
    assert value(found, "gateway_tokens_total", **place, kind="input") == 5 * 11
    assert value(found, "gateway_tokens_total", **place, kind="output") == 3 * 7 + 2 * 1
    assert value(found, "gateway_tokens_total", **place, kind="cache_read") == 5 * 5
    limited = {
        account: value(found, "gateway_account_cooldown_seconds", upstream="up", account=account)
        for account in ("a@x", "b@x")
    }
    assert 0 <= min(limited.values()) < max(limited.values()) <= 60
    assert value(found, "gateway_in_flight") == 0
    assert value(found, "gateway_connections", side="client", state="active") == 1


async def test_accept_chooses_the_format() -> None:
    async with running(config()) as g, await g.connect() as client:
        head = await client.request("HEAD", "/metrics")
        plain = await g.get("/metrics")
        open = await g.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert plain.header("content-type") == TEXT.decode()
    assert open.header("content-type") == OPENMETRICS.decode()
    assert (head.status, head.body, head.header("content-type")) == (200, b"", TEXT.decode())
    names = {name for name, _ in samples(plain.body)}
    assert names == {name for name, _ in samples(open.body, openmetrics=True)}
    assert {"gateway_build_info", "process_cpu_seconds_total", "gateway_connections"} <= names


async def test_metrics_need_a_key() -> None:
    auth = Auth(mode="all_except_health", keys={"prometheus": Secret("sk-1")})
    async with running(config(auth=auth)) as g:
        assert (await g.get("/metrics")).status == 401
        assert (await g.get("/metrics", authorization="Bearer sk-1")).status == 200


async def test_labels_are_bounded() -> None:
    def respond(request: Received) -> Script:
        return error_response(404, "not_found_error", "no such model")

    async with ScriptedUpstream(respond=respond) as up, running(config(upstream(up.url))) as g:
        for number in range(20):
            hostile = f'm{number}"}}\n# EOF\\'
            assert (await g.post(ask(model=hostile))).status == 404
            assert (await g.get(f"/x{number}/%22")).status == 404
            assert (await g.get(f"/v1/models/{number}")).status == 200
        found = await scrape(g)
    assert labels_of(found, "model") == {"other"}
    assert labels_of(found, "route") <= {*ROUTES, "other"}


@pytest.mark.parametrize(
    ("expose", "shown"), [("full", {"ann@x", "art@x"}), ("masked", {"a***@x"}), ("none", {""})]
)
async def test_accounts_are_shown_as_to_clients(expose: str, shown: set[str]) -> None:
    async with ScriptedUpstream() as up:
        up.script(json_response(200, message()))
        settings = config(upstream(up.url, "ann@x", "art@x"), server={"expose": expose})
        async with running(settings) as g:
            assert (await g.post(ask())).status == 200
            found = await scrape(g)
    assert labels_of(found, "account") == shown
    available = [number for (name, _), number in found.items() if name == "gateway_account_available"]
    assert sum(available) == 2


async def test_counts_stay_over_a_reload() -> None:
    async with ScriptedUpstream() as up:
        up.script(json_response(200, message()))
        settings = config(upstream(up.url))
        async with running(settings) as g:
            assert (await g.post(ask())).status == 200
            g.gateway.reload(config(upstream(up.url, models={"m": "n"})))
            assert (await g.post(ask())).status == 200
            found = await scrape(g)
    counts = [value(found, "gateway_attempts_total", upstream="up", account="one@example.com", result="ok")]
    assert counts == [2]
    assert labels_of(found, "model") == {"m", "n"}


class Others(Sharing):
    """Stands for sharing between processes: two others, one of which sends junk."""

    def __init__(self) -> None:
        super().__init__()
        self.provided: dict[str, Callable[[], bytes]] = {}
        self.lasting: dict[str, Callable[[], bytes]] = {}
        self.crash = False

    def provide(
        self, kind: str, provider: Callable[[], bytes], lasting: Callable[[], bytes] | None = None
    ) -> None:
        self.provided[kind] = provider
        if lasting is not None:
            self.lasting[kind] = lasting

    def gather(self, kind: str, reply: Callable[[list[bytes]], None], timeout: float = 0.0) -> None:
        own = self.provided[kind]()
        other: Any = orjson.loads(own)
        other["process"] += " too"
        # The process's own part may be among them.
        parts: Any = 7 if self.crash else [orjson.dumps(other), b"junk", own]
        reply(parts)


async def test_one_scrape_covers_all_processes() -> None:
    others = Others()
    async with ScriptedUpstream() as up:
        up.script(json_response(200, message()))
        settings = config(upstream(up.url))
        gateway = Gateway(settings, AccessLog(lambda line: None), environ={}, sharing=others)
        await gateway.start(listing=False)
        g = Running(gateway, [])
        assert (await g.post(ask())).status == 200
        gateway.reload(settings)
        found = await scrape(g)
        assert value(found, "gateway_tokens_total", upstream="up", model="m", kind="output") == 14
        assert value(found, "gateway_account_available", upstream="up", account="one@example.com") == 1
        # The process that serves the scrape counts it; the others only provide.
        assert value(found, "gateway_in_flight") == 1
        # Only counters and histograms outlive a process, not gauges of accounts, memory or connections.
        lasting = orjson.loads(others.lasting["metrics"]())["families"]
        kinds = {name: FAMILIES[name].type for name in lasting}
        assert set(kinds.values()) == {"counter", "histogram"}
        assert {"gateway_tokens_total", "process_cpu_seconds_total"} <= kinds.keys()
        others.crash = True
        assert (await g.get("/metrics")).status == 500
        await gateway.stop()


async def test_news_that_were_lost_are_counted_where_something_is_shared() -> None:
    name = "gateway_sharing_dropped_total"
    settings = config(upstream("http://127.0.0.1:1", "a@x"))
    async with running(settings) as g:
        assert name not in (await g.get("/metrics")).body.decode()
    async with running(settings, sharing=(sharing := Sharing())) as g:
        assert value(await scrape(g), name) == 0
        sharing.state.dropped = 3
        assert value(await scrape(g), name) == 3
        assert (await g.get("/status.json")).document["sharing"] == {
            "published": 0,
            "received": 0,
            "dropped": 3,
        }
