"""Checks of a gateway with a scripted upstream behind it: what reaches the upstream, and what its responses become."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.messages.sse import Event, EventDecoder
from gateway.operator.doctor.client import open_response
from gateway.operator.doctor.contract import LARGE, LARGE_REMEDY, Stage, StageCheck, ask
from gateway.operator.doctor.findings import Fault
from gateway.operator.doctor.scripted import (
    INPUT,
    OVERFLOW_BODY,
    SIGNATURE,
    TOOLS,
    ScriptedUpstream,
    Seen,
)

HELD_PATIENCE = 2.0
"""Seconds within which text that the upstream has sent must reach the client."""

PING_SLACK = 1.0
"""Seconds that a ping may be late."""

LEFT_PATIENCE = 2.0
"""Seconds within which the upstream must notice that the client left."""

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8).decode()

TOOL = {
    "name": "Bash",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"command": {"type": "string"}, "count": {"type": "integer", "exclusiveMinimum": 0}},
    },
}


def document(name: str, content: Any = "Say something.", **more: Any) -> dict[str, Any]:
    """Return a request that runs the upstream's script of this name."""
    messages = [{"role": "user", "content": content}]
    return {"model": f"claude-doctor-{name}", "max_tokens": 64, "stream": True, "messages": messages, **more}


async def send_streamed(stage: Stage, request: dict[str, Any]) -> tuple[Seen, list[Event]]:
    """Send a request that must get a sound stream; return what reached the upstream, and the events without pings.

    Raises Fault.
    """
    response, payload = await ask(stage, "POST", "/v1/messages", orjson.dumps(request))
    if response.status != 200:
        raise Fault(f"a good request gets {response.status}", "the log of the gateway says why")
    events = _without_pings(payload)
    if not response.complete or [event.name for event in events[-1:]] != ["message_stop"]:
        raise Fault("the stream does not end with message_stop")
    return _upstream(stage).seen[request["model"]][-1], events


def _without_pings(payload: bytes) -> list[Event]:
    return [event for event in EventDecoder().feed(payload) if event.name != "ping"]


def _upstream(stage: Stage) -> ScriptedUpstream:
    assert stage.upstream is not None
    return stage.upstream


def _same(seen: Seen, request: dict[str, Any], what: str) -> None:
    if seen.body != orjson.dumps(request):
        raise Fault(
            f"{what} does not reach the upstream as it was sent", "every change costs the prompt cache"
        )


async def query_kept(stage: Stage) -> str:
    """Check that Claude Code's `?beta=true` is accepted, and passed on with its headers."""
    headers = {**stage.headers(), "anthropic-beta": "doctor-beta-2026"}
    response, _ = await ask(stage, "POST", "/v1/messages?beta=true", orjson.dumps(document("query")), headers)
    if response.status != 200:
        raise Fault(f"/v1/messages?beta=true gets {response.status}", "Claude Code asks for nothing else")
    seen = _upstream(stage).seen["claude-doctor-query"][-1]
    if not seen.target.endswith("?beta=true"):
        raise Fault(f"the upstream is asked for {seen.target}", "pass the query on")
    if seen.headers.get(b"anthropic-beta") != b"doctor-beta-2026":
        raise Fault("anthropic-beta does not reach the upstream", "features of the client fail without it")
    if stage.key and stage.key.encode() in seen.headers.values():
        raise Fault("the client's key reaches the upstream", "it is this gateway's secret: replace it")
    return "query and betas are passed on"


async def streamed(stage: Stage) -> str:
    """Check that a stream reaches the client unchanged."""
    request = document("text")
    _, events = await send_streamed(stage, request)
    if events != _without_pings(_upstream(stage).sent[request["model"]]):
        raise Fault(
            "the events are not those that the upstream sent", "signatures and caches live on the same bytes"
        )
    return f"{len(events)} events, each as it was sent"


async def complete(stage: Stage) -> str:
    """Check that a request without `stream` gets a whole message: clients fall back to that."""
    request = document("json", stream=False)
    response, body = await ask(stage, "POST", "/v1/messages", orjson.dumps(request))
    if response.status != 200 or body != _upstream(stage).sent[request["model"]]:
        raise Fault(
            f"a request without stream gets {response.status}, and other bytes than the upstream sent"
        )
    return "as it was sent"


async def not_held_back(stage: Stage) -> str:
    """Check that text reaches the client while the upstream still writes."""
    request = document("held")
    release = _upstream(stage).go_on[request["model"]]
    began = time.monotonic()
    try:
        async with asyncio.timeout(HELD_PATIENCE):
            await _until(stage, request, "content_block_delta")
        return f"there after {(time.monotonic() - began) * 1000:.0f} ms"
    except TimeoutError:
        raise Fault(
            f"words that the upstream had sent were not there after {HELD_PATIENCE:g} s",
            "something collects the response: turn off buffering (nginx: proxy_buffering off)",
        ) from None
    finally:
        release.set()


async def ping(stage: Stage) -> str:
    """Check that a silent stream gets a ping."""
    request = document("silent")
    release = _upstream(stage).go_on[request["model"]]
    began = time.monotonic()
    try:
        async with asyncio.timeout(stage.ping_after + PING_SLACK):
            await _until(stage, request, "ping")
        return f"there after {time.monotonic() - began:.2f} s, promised after {stage.ping_after:g} s"
    except TimeoutError:
        raise Fault(
            f"no ping within {stage.ping_after + PING_SLACK:g} s of silence",
            "clients take the stream for dead: pass pings on, and check stream.ping_after",
        ) from None
    finally:
        release.set()


async def _until(stage: Stage, request: dict[str, Any], name: str) -> None:
    """Send a request, wait for an event, and leave. Raises Fault at the end of the stream."""
    body = orjson.dumps(request)
    async with open_response(stage.target, "POST", "/v1/messages", body, stage.headers()) as response:
        async for event in response.events():
            if event.name == name:
                return
        raise Fault(f"the stream ended without {name} (status {response.status})")


async def overflow(stage: Stage) -> str:
    """Check that an overflow error keeps the text by which clients know that they must compact."""
    response, body = await ask(stage, "POST", "/v1/messages", orjson.dumps(document("overflow")))
    if response.status != 400:
        raise Fault(f"an overflow gets {response.status} instead of 400", "clients do not compact then")
    if body != OVERFLOW_BODY:
        raise Fault(
            "the upstream's words are not kept", "Claude Code compacts by them: pass the body on as it is"
        )
    if response.headers.get("request-id") != "req_doctor":
        raise Fault("the upstream's request-id is not kept", "its support asks for it")
    return "400 in the upstream's own words"


async def leaving(stage: Stage) -> str:
    """Check that the upstream's request is cancelled when the client leaves."""
    request = document("leaving")
    upstream = _upstream(stage)
    try:
        async with asyncio.timeout(HELD_PATIENCE):
            await _until(stage, request, "content_block_delta")
    except TimeoutError:
        upstream.go_on[request["model"]].set()
        raise Fault("no words came while the upstream wrote", "see the check of first words") from None
    began = time.monotonic()
    try:
        async with asyncio.timeout(LEFT_PATIENCE):
            await upstream.left[request["model"]].wait()
    except TimeoutError:
        raise Fault(
            f"the upstream went on for {LEFT_PATIENCE:g} s after the client left",
            "nobody reads it, and it is paid for",
        ) from None
    finally:
        upstream.go_on[request["model"]].set()
    return f"the upstream noticed it after {(time.monotonic() - began) * 1000:.0f} ms"


async def tool_round(stage: Stage) -> str:
    """Check that a tool call arrives, and that its result reaches the upstream."""
    await _round(stage, "tools", 1)
    return "call and result arrive"


async def parallel_tools(stage: Stage) -> str:
    """Check that two calls in one turn stay two."""
    await _round(stage, "parallel", 2)
    return "two calls, two results"


async def thinking(stage: Stage) -> str:
    """Check that thinking and its signature arrive, and go back unchanged."""
    thought = {"type": "thinking", "thinking": "Let me see.", "signature": SIGNATURE}
    await _round(stage, "thinking", 1, thought, thinking={"type": "enabled", "budget_tokens": 1024})
    return "signature unchanged, both ways"


async def _round(stage: Stage, name: str, count: int, *before: dict[str, Any], **more: Any) -> None:
    """Receive tool calls and send their results. `before`: the blocks in front of the calls. Raises Fault."""
    request = document(name, tools=[TOOL], **more)
    seen, events = await send_streamed(stage, request)
    _same(seen, request, "a request with tools")
    blocks = blocks_of(events)
    if blocks[: len(before)] != [*before]:
        raise Fault("thinking or its signature is changed", "the upstream refuses the next turn then")
    calls = blocks[len(before) :]
    wanted = [{"type": "tool_use", "id": id, "name": "Bash", "input": INPUT} for id in TOOLS[:count]]
    if calls != wanted:
        raise Fault(
            f"the calls that arrive are not the {count} that were sent",
            "clients run them: none may be lost or changed",
        )
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "hi\n"} for call in calls]
    further = [{"role": "assistant", "content": blocks}, {"role": "user", "content": results}]
    request = {**request, "messages": [*request["messages"], *further]}
    seen, _ = await send_streamed(stage, request)
    _same(seen, request, "a history with tools")


def blocks_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the content blocks of a stream, assembled as a client does it. Raises Fault."""
    blocks: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    keys = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
    try:
        for event in events:
            data = orjson.loads(event.data)
            if event.name == "content_block_start":
                blocks.append(dict(data["content_block"]))
            elif event.name == "content_block_delta":
                delta, block = data["delta"], blocks[data["index"]]
                if delta["type"] == "input_json_delta":
                    inputs[data["index"]] = inputs.get(data["index"], "") + delta["partial_json"]
                elif delta["type"] in keys:
                    key = keys[delta["type"]]
                    block[key] = block.get(key, "") + delta[key]
        for index, text in inputs.items():
            blocks[index]["input"] = orjson.loads(text or "{}")
    except (ValueError, KeyError, IndexError, TypeError):
        raise Fault("the events do not fit together") from None
    return blocks


async def image(stage: Stage) -> str:
    """Check that a picture arrives whole."""
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    request = document(
        "image", [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    )
    seen, _ = await send_streamed(stage, request)
    _same(seen, request, "a picture")
    return "whole"


async def large(stage: Stage) -> str:
    """Check that the largest request of the API goes through."""
    request = orjson.dumps(document("large", "x" * LARGE))
    response, _ = await ask(stage, "POST", "/v1/messages", request)
    seen = _upstream(stage).seen["claude-doctor-large"]
    if response.status != 200:
        raise Fault(f"a request of 32 MB gets {response.status}", LARGE_REMEDY)
    if seen[-1].body != request:
        raise Fault("a request of 32 MB does not arrive as it was sent")
    return f"{len(request) / 1e6:.0f} MB arrive"


async def broken(stage: Stage) -> str:
    """Check that a stream that breaks off ends with an error, and that nothing is made up."""
    response, payload = await ask(stage, "POST", "/v1/messages", orjson.dumps(document("broken")))
    names = [event.name for event in EventDecoder().feed(payload)]
    if "message_stop" in names or "message_delta" in names:
        raise Fault(
            "an end is made up for a stream that broke off", "clients take half a response for a whole one"
        )
    if names.count("content_block_stop") > 1:
        raise Fault("a tool's call is closed that the upstream did not finish", "clients run it")
    if names[-1:] != ["error"]:
        raise Fault(
            f"a stream that broke off ends with {names[-1] if names else 'nothing'} (status {response.status})",
            "end it with event: error: clients then ask again at once",
        )
    return "ends with event: error"


BEHIND = (
    StageCheck("?beta=true", query_kept),
    StageCheck("a stream", streamed),
    StageCheck("without a stream", complete),
    StageCheck("first words not held back", not_held_back),
    StageCheck("a ping in silence", ping),
    StageCheck("overflow keeps its wording", overflow),
    StageCheck("a client that leaves", leaving),
    StageCheck("a tool round", tool_round),
    StageCheck("parallel tools", parallel_tools),
    StageCheck("thinking round trip", thinking),
    StageCheck("an image", image),
    StageCheck("32 MB to the upstream", large, heavy=True),
    StageCheck("a broken stream", broken),
)
"""Checks that need the scripted upstream."""
