"""A gateway on stage: scripted upstreams, and a transcript of which accounts were tried when.

`a 0.5 b = 500` reads: account a, half a second, account b, and the client got a 500; `!` behind the status stands for
`x-should-retry: false`. Made for the clock that jumps, see `clock`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from gateway.config import Account, Stream, Upstream
from gateway.routing.policy import About
from tests.fakes.messages import (
    Received,
    Script,
    ScriptedUpstream,
    json_response,
    message,
    stream_response,
    text_events,
)
from tests.support.client import Response, ask
from tests.support.running import Running, config, running, upstream

Responder = Callable[[Received], Script]


def good(request: Received) -> Script:
    """Return a good response to any request."""
    document: Any = request.document
    if request.target.partition("?")[0].endswith("/count_tokens"):
        return json_response(200, {"input_tokens": 12})
    return stream_response(text_events()) if document.get("stream") else json_response(200, message())


def failing(script: Script, accounts: str = "abc") -> Responder:
    """These accounts get `script`, all others a good response."""
    return lambda request: script if account_of(request) in accounts else good(request)


def account_of(request: Received) -> str:
    """The letter of the account that pays: `a` of `a@x`."""
    return (request.key or "").removeprefix("Bearer ").removeprefix("key-of-")[:1]


class Stage:
    """A running gateway with its scripted upstreams."""

    def __init__(self, running: Running, requests: list[tuple[float, Received]]) -> None:
        self.running = running
        self.requests = requests
        """Every request that reached an upstream, and when."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def post(self, mode: str = "whole", text: str = "hi", **headers: str) -> Response:
        """`mode`: stream, whole or count."""
        target = "/v1/messages/count_tokens" if mode == "count" else "/v1/messages"
        return await self.running.post(ask(text, stream=mode == "stream"), target, **headers)

    async def transcript(self, mode: str = "whole", text: str = "hi", **headers: str) -> str:
        """The transcript of one request."""
        self.requests.clear()
        began = self.now
        response = await self.post(mode, text, **headers)
        return transcript(self.requests, began, self.now, response)

    def cooling(self) -> dict[str, float]:
        return cooling(self.running)


def cooling(running: Running) -> dict[str, float]:
    """Return the cool-downs and their whole lengths in seconds: `up`, `up/a` or `up/a m`."""
    found: dict[str, float] = {}
    for account in running.gateway.runtime.scheduler.snapshot(0.0):
        name = f"{account.upstream}/{account.account.partition('@')[0]}"
        names = {About.UPSTREAM: account.upstream, About.ACCOUNT: name}
        for one in account.cool_downs:
            found[names.get(one.about, f"{name} {one.wire_model}")] = round(one.until - one.since, 3)
    return found


def transcript(requests: list[tuple[float, Received]], began: float, ended: float, response: Response) -> str:
    """Return the transcript of a request. Gaps of no time are left out."""
    words = []
    last = began
    for at, what in [*((at, account_of(request)) for at, request in requests), (ended, "=")]:
        gap = round(at - last, 2)
        words += [f"{gap:g}", what] if gap else [what]
        last = at
    final = "!" if response.header("x-should-retry") == "false" else ""
    return f"{' '.join(words)} {response.status}{final}"


@asynccontextmanager
async def staged(
    respond: Responder,
    *accounts: str | Account,
    spare: bool = False,
    made: Callable[..., Upstream] = upstream,
    level: Literal["info", "debug"] = "info",
    **fields: Any,
) -> AsyncIterator[Stage]:
    """A gateway with upstream `up` and these accounts; `spare`: and a fallback with account c. All respond by
    `respond`, and are `made` of a URL and accounts. Waits have no jitter, and there are no pings."""
    fields.setdefault("stream", Stream(ping_after=10_000.0))
    requests: list[tuple[float, Received]] = []

    def record(request: Received) -> Script:
        requests.append((asyncio.get_running_loop().time(), request))
        return respond(request)

    async with ScriptedUpstream(respond=record) as up, ScriptedUpstream(respond=record) as other:
        upstreams: list[Upstream] = [made(up.url, *accounts)]
        if spare:
            upstreams.append(made(other.url, "c@x", name="spare", priority=1))
        async with running(config(*upstreams, **fields), level=level) as g:
            g.gateway.runtime.random = lambda: 0.0
            yield Stage(g, requests)
