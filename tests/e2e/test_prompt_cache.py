"""Hits and losses of a conversation's prompt cache, in the log and the metrics, for real requests."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.config import Cache, Config
from gateway.messages import prompt_prefix
from gateway.proxy import cache_watch
from gateway.proxy import request as client_request
from gateway.proxy.cache_watch import CacheWatch
from tests.fakes.messages import (
    Script,
    ScriptedUpstream,
    error_response,
    event,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import ask
from tests.support.explode import explode
from tests.support.loops import settle
from tests.support.running import Running, config, running, upstream
from tests.support.scrape import samples, value

MARK = {"type": "ephemeral"}
TOOLS = [{"name": "Read", "input_schema": {"type": "object"}}]
SYSTEM = [{"type": "text", "text": "You are an agent.", "cache_control": MARK}]
SESSION = {"x_claude_code_session_id": "1234"}


def counts(read: int, written: int | None) -> dict[str, int]:
    input = 10 if read or written else 9_600
    usage = {"input_tokens": input, "output_tokens": 7, "cache_read_input_tokens": read}
    return usage if written is None else {**usage, "cache_creation_input_tokens": written}


def respond(stream: bool, read: int, written: int | None, *, late: bool = False) -> Script:
    """Return a good response with this usage; `late`: only at the end."""
    usage = counts(read, written)
    if not stream:
        return json_response(200, {**message(), "usage": usage})
    _, *rest, _, stop = text_events()
    start = {**message(), "content": [], "usage": counts(0, 0) if late else usage}
    delta = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    return stream_response([event("message_start", message=start), *rest, delta, stop])


def turn(rounds: int, *, stream: bool = True, **changes: Any) -> dict[str, Any]:
    """Return an agent's request after `rounds` rounds."""
    document = ask("do it", stream=stream, tools=TOOLS, system=SYSTEM)
    for number in range(rounds):
        document["messages"] += [
            {"role": "assistant", "content": [{"type": "text", "text": f"step {number}"}]},
            {"role": "user", "content": f"go on {number}"},
        ]
    return {**document, **changes}


class Day:
    """A gateway before an upstream that reports scripted usage."""

    def __init__(self, up: ScriptedUpstream, running: Running) -> None:
        self.up = up
        self.running = running

    async def send(
        self, document: dict[str, Any], read: int, written: int | None, *before: Script, late: bool = False
    ) -> str:
        """Send a request that gets this usage, after `before`; return the log line's cache field."""
        self.up.script(*before, respond(document.get("stream", False), read, written, late=late))
        assert (await self.running.post(document, **SESSION)).status == 200
        await settle()
        line = orjson.loads(self.running.lines[-1])
        found = (line["cache"], line["cache_lost_tokens"], line["cache_changed_at"])
        return " ".join(str(each) for each in found if each not in (None, ""))

    async def broken(self, cause: str) -> tuple[float, float]:
        """Return how often caches were lost so, and how many tokens, as the metrics have it."""
        found = samples((await self.running.get("/metrics")).body)
        name = "gateway_prompt_cache"
        return (
            value(found, f"{name}_broken_total", cause=cause),
            value(found, f"{name}_lost_tokens_total", cause=cause),
        )


@asynccontextmanager
async def day(settings: Config | None = None, *accounts: str) -> AsyncIterator[Day]:
    async with ScriptedUpstream() as up:
        settings = settings or config(upstream(up.url, *accounts))
        async with running(settings, format="json") as g:
            yield Day(up, g)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_changes_its_prompt(stream: bool) -> None:
    async with day() as d:
        assert await d.send(turn(0, stream=stream), 0, 9_000) == "new"
        assert await d.send(turn(1, stream=stream), 9_000, 300) == "hit"
        changed = turn(2, stream=stream, system=[*SYSTEM, {"type": "text", "text": "It is 9:31."}])
        assert await d.send(changed, 0, 9_600) == "lost:changed 9300 system.1"
        assert await d.send({**changed, "tools": []}, 0, 9_500) == "lost:changed 9510 tools.0"
        assert await d.broken("changed") == (2, 9_300 + 9_510)


async def test_a_conversation_that_moves() -> None:
    async with day(None, "a@x", "b@x") as d:
        assert await d.send(turn(0), 0, 9_000) == "new"
        limited = error_response(429, "rate_limit_error", "wait", [("retry-after", "60")])
        assert await d.send(turn(1), 0, 9_300, limited) == "lost:moved 9000"
        assert await d.send(turn(2), 9_300, 300) == "hit"
        assert await d.broken("moved") == (1, 9_000)


async def test_another_model() -> None:
    async with day() as d:
        assert await d.send(turn(0), 0, 9_000) == "new"
        assert await d.send(turn(1, model="other"), 0, 9_300) == "lost:model 9000"


async def test_a_change_of_the_gateways_own() -> None:
    async with day() as d:
        metadata = {"user_id": "somebody"}
        assert await d.send(turn(0, metadata=metadata), 0, 9_000) == "new"
        d.running.gateway.reload(config(upstream(d.up.url, cures=("user_id",))))
        assert await d.send(turn(1, metadata=metadata), 0, 9_300) == "lost:repair 9000"


async def test_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async with day() as d:
        assert await d.send(turn(0), 0, 9_000) == "new"
        assert await d.send(turn(1), 0, 9_300) == "lost:evicted 9000"
        monkeypatch.setattr(client_request, "time", SimpleNamespace(time=lambda: time.time() + 301.0))
        assert await d.send(turn(2), 0, 9_600) == "lost:expired 9300"
        assert await d.broken("expired") == (1, 9_300)


async def test_a_client_without_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning of its messages identifies the conversation."""
    monkeypatch.setitem(SESSION, "x_claude_code_session_id", "")
    async with day() as d:
        assert await d.send(turn(0), 0, 9_000) == "new"
        assert await d.send(turn(1, system="another"), 0, 9_000) == "lost:changed 9000 system"


@pytest.mark.parametrize("stream", [True, False])
async def test_requests_without_cache_are_not_followed(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.setattr(prompt_prefix, "prefix_of", explode)
    async with day() as d:
        assert await d.send(turn(0, stream=stream), 0, 0) == ""
        # Token counts and parts of a thread are not whole prompts.
        assert await d.send(turn(1, stream=stream, thread={"type": "start"}), 5_000, 0) == ""
        d.up.script(json_response(200, {"input_tokens": 5, "usage": counts(5, 5)}))
        assert (await d.running.post(turn(0), "/v1/messages/count_tokens")).status == 200


async def test_a_trace_that_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_prefix, "prefix_of", explode)
    async with ScriptedUpstream() as up, day(config(upstream(up.url), cache=Cache(trace=False))) as d:
        d.up = up
        for stream in (True, False):
            assert await d.send(turn(0, stream=stream), 0, 9_000) == ""
        d.running.gateway.reload(config(upstream(up.url)))
        monkeypatch.undo()
        assert await d.send(turn(0), 0, 9_000) == "new"
        d.running.gateway.reload(config(upstream(up.url)))
        assert await d.send(turn(1), 9_000, 0) == "hit"


async def test_a_host_that_caches_automatically() -> None:
    """It reports reads only, and nothing without a read; its requests are followed all the same."""
    async with day() as d:
        assert await d.send(turn(0, stream=False), 0, None) == ""
        assert await d.send(turn(1), 9_000, None) == "new"
        assert await d.send(turn(2), 0, None) == "lost:evicted 9000"
        assert await d.send(turn(3), 9_300, None) == "hit"


async def test_a_host_that_reports_cache_usage_at_the_end() -> None:
    async with day() as d:
        assert await d.send(turn(0), 0, 9_000, late=True) == ""
        # From the second request on it is known.
        assert await d.send(turn(1), 9_000, 300, late=True) == "new"
        assert await d.send(turn(2, tools=[]), 0, 9_500, late=True) == "lost:changed 9300 tools.0"


async def test_a_host_of_another_protocol() -> None:
    def response_of(cached: int) -> Script:
        details = {"cached_tokens": cached}
        usage = {"prompt_tokens": 9_600, "completion_tokens": 7, "prompt_tokens_details": details}
        choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}
        chunk = orjson.dumps({"id": "1", "choices": [choice], "usage": usage})
        return stream_response([b"data: %b\n\n" % chunk, b"data: [DONE]\n\n"])

    async with ScriptedUpstream() as up, running(config(upstream(up.url, kind="openai")), format="json") as g:
        caches = []
        for rounds, cached in enumerate((9_000, 9_000, 0)):
            up.script(response_of(cached))
            assert (await g.post(turn(rounds), **SESSION)).status == 200
            await settle()
            caches.append(orjson.loads(g.lines[-1])["cache"])
    assert caches == ["", "new", "lost:evicted"]


async def test_hashes_are_made_after_the_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    made = CacheWatch.prompt_of

    def watched(self: CacheWatch, request: Any, parsed: Any) -> Any:
        sent.append(request.exchange.bytes_sent)
        return made(self, request, parsed)

    monkeypatch.setattr(CacheWatch, "prompt_of", watched)
    async with day() as d:
        for stream in (True, False):
            assert await d.send(turn(0, stream=stream), 0, 9_000)
    assert len(sent) == 2
    assert all(sent)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_is_too_large_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    for module in (cache_watch, client_request):
        monkeypatch.setattr(module, "LARGEST", 1_000)
    async with day() as d:
        assert await d.send(turn(0, stream=stream, system="x" * 1_000), 0, 9_000) == ""
        assert await d.send(turn(0, stream=stream), 0, 9_000) == "new"


async def test_text_log_line() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as g:
        for document, read in ((turn(0), 0), (turn(1, tools=[]), 0)):
            up.script(respond(True, read, 9_000 - read))
            assert (await g.post(document, **SESSION)).status == 200
        await settle()
        assert " cache_creation=9000 cache=new" in g.lines[0]
        assert " cache_creation=9000 cache=lost:changed lost=9000 at=tools.0" in g.lines[1]


async def test_zero_cache_counts_with_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros with blanks before them are looked at once more, and still cost no hash."""
    monkeypatch.setattr(prompt_prefix, "prefix_of", explode)
    start = event("message_start", message={**message(), "content": [], "usage": counts(0, 0)})
    events = [start.replace(b":0", b": 0"), *text_events()[1:]]
    async with day() as d:
        d.up.script(stream_response(events))
        assert (await d.running.post(turn(0), **SESSION)).status == 200
        await settle()
        assert orjson.loads(d.running.lines[-1])["cache"] == ""
