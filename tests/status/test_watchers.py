"""Clients that watch: a stream of events each, and no work without watchers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from gateway.config import Auth, Secret, Status
from gateway.messages.sse import Event, EventDecoder
from gateway.status import watchers
from gateway.status.changes import apply_change
from tests.fakes.messages import ScriptedUpstream, error_response, json_response, message
from tests.support.client import Client, ask
from tests.support.leftovers import leftovers
from tests.support.loops import PATIENCE, eventually, settle
from tests.support.running import Running, config, running, upstream


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "EVERY", 0.02)


def only_watcher(g: Running) -> Any:
    """The one client that watches."""
    found: Any = g.gateway.runtime.process_state.watchers
    (watcher,) = found._watchers
    return watcher


class Watching:
    """A client that watches."""

    def __init__(self, client: Client, head: bytes) -> None:
        self.client = client
        self.head = head
        self.raw = b""
        self.events: list[Event] = []
        self._decoder = EventDecoder()

    async def read(self) -> None:
        """Take in what comes next."""
        size = await self.client.reader.readline()
        data = await self.client.reader.readexactly(int(size, 16) + 2)
        self.raw += data[:-2]
        self.events += self._decoder.feed(data[:-2])

    async def until(self, count: int) -> Event:
        while len(self.events) < count:
            await asyncio.wait_for(self.read(), PATIENCE)
        return self.events[count - 1]

    @property
    def document(self) -> dict[str, Any]:
        """The document that the events add up to."""
        found: dict[str, Any] = {}
        for event in self.events:
            new = orjson.loads(event.data)
            found = new if event.name == "status" else apply_change(found, new)
        return found


@asynccontextmanager
async def watching(g: Running) -> AsyncIterator[Watching]:
    async with await g.connect() as client:
        client.send("GET", "/status/events")
        yield Watching(client, await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE))


async def test_watchers_get_changes() -> None:
    limited = error_response(429, "rate_limit_error", "wait", [("retry-after", "3600")])
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x.org"))) as g:
        up.script(json_response(200, message()), limited)
        async with watching(g) as one:
            # No proxy on the way may keep or gather it.
            for line in (b"text/event-stream", b"x-accel-buffering: no", b"cache-control: no-cache"):
                assert line in one.head
            assert (await one.until(1)).name == "status"
            assert one.document["requests"] == []
            assert (await g.post(ask())).status == 200
            assert (await one.until(2)).name == "change"
            assert (await g.post(ask())).status == 429
            async with watching(g) as two:
                await two.until(1)
                while one.document.get("requests") != two.document["requests"]:
                    await one.read()
                states = [one.document["upstreams"][0]["accounts"][0]["state"] for one in (one, two)]
                assert states == ["cooling", "cooling"]
                assert [request["status"] for request in two.document["requests"]] == [429, 200]
                # The second event had only the changes.
                assert len(one.events[1].data) < len(two.events[0].data)


async def test_pings_without_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "PING_AFTER", 0.05)
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g, watching(g) as one:
        await one.until(1)
        before = len(one.raw)
        while one.raw.count(watchers.PING) < 4:
            await one.read()
        assert len(one.events) == 1
        assert one.raw[before:].replace(watchers.PING, b"") == b""


async def test_no_timer_without_watchers() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g:
        async with watching(g) as one:
            await one.until(1)
        await eventually(lambda: not g.gateway.server.connections)
        assert not leftovers_of_watchers()
        # And it can begin again.
        async with watching(g) as one:
            await one.until(1)
    assert "GET /status/events 200 ok" in g.lines[-1]


def leftovers_of_watchers() -> list[str]:
    return [line for line in leftovers() if "Watchers" in line]


async def test_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "MOST", 1)
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g, watching(g):
        response = await g.get("/status/events")
        assert (response.status, response.header("retry-after")) == (503, "10")


async def test_a_slow_watcher_gets_the_whole_document_later() -> None:
    async with (
        ScriptedUpstream() as up,
        running(config(upstream(up.url, "a@x.org"))) as g,
        watching(g) as one,
    ):
        await one.until(1)
        watcher = only_watcher(g)
        watcher.request.writable(False)
        up.script(json_response(200, message()))
        await g.post(ask())
        await asyncio.sleep(0.1)
        watcher.request.writable(True)
        assert (await one.until(2)).name == "status"
        assert [request["status"] for request in one.document["requests"]] == [200]


async def test_shutdown_ends_watchers_at_once() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g, watching(g) as one:
        await one.until(1)
        assert await g.gateway.stop(PATIENCE)
        assert (await asyncio.wait_for(one.client.reader.read(), PATIENCE)).endswith(b"0\r\n\r\n")


async def test_a_reload_is_seen() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g, watching(g) as one:
        await one.until(1)
        g.gateway.reload(config(upstream("http://127.0.0.1:1", "b@x.org")))
        await one.until(2)
        assert one.document["upstreams"][0]["accounts"][0]["account"] == "b@x.org"


@pytest.mark.parametrize(
    "change",
    [{"auth": Auth(keys={"k": Secret("other")})}, {"status": Status(enabled=False)}],
    ids=["another key", "turned off"],
)
async def test_a_reload_that_changes_access_ends_the_stream(change: dict[str, Any]) -> None:
    settings = config(upstream("http://127.0.0.1:1", "a@x.org"), auth=Auth(keys={"k": Secret("one")}))
    async with running(settings) as g, watching(g) as one:
        await one.until(1)
        g.gateway.reload(settings._replace(**change))
        await asyncio.wait_for(one.client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        assert not leftovers_of_watchers()


async def test_a_failure_ends_the_one_it_belongs_to() -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g, watching(g) as one:
        await one.until(1)
        watcher = only_watcher(g)
        watcher.request.crashed(ValueError("x"))
        await settle()
        assert not leftovers_of_watchers()
        assert (await one.client.reader.read()) is not None
