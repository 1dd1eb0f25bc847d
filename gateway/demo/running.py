"""`gateway demo` as a process: an embedded upstream on a loopback port of its own, and a gateway before it
that reaches it as it would any other."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from gateway.app import Gateway, StartError
from gateway.config import Account, Config, Secret, Server, Upstream
from gateway.config.values import REPAIRS_OF_KIND, Kind
from gateway.demo.accounts import ACCOUNTS
from gateway.demo.anthropic import AnthropicUpstream
from gateway.demo.gemini_http import GeminiUpstream
from gateway.http1.exchange import Exchange
from gateway.http1.limits import Limits
from gateway.http1.server import Server as Listener
from gateway.http1.server_connection import Application
from gateway.process import BAD_START, run, until_stopped, write_line
from gateway.telemetry.access_log import AccessLog

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Embedded:
    """One kind of embedded upstream."""

    application: Callable[[], Application]
    models: Mapping[str, str] = field(default_factory=dict)
    """The upstream's `models` table in the gateway's configuration."""


UPSTREAMS: Mapping[Kind, Embedded] = {
    "anthropic": Embedded(AnthropicUpstream),
    "gemini": Embedded(GeminiUpstream, {"*": "gemini-3-pro-preview"}),
}


def serve(port: int, upstream: Kind) -> int:
    """Serve until a signal says stop; returns the exit code."""
    log = AccessLog(write_line, "text", "info")
    return run(partial(_serve, port, upstream, UPSTREAMS[upstream], log))


async def _serve(port: int, kind: Kind, embedded: Embedded, log: AccessLog) -> int:
    upstream = Counted(embedded.application())
    async with listening(upstream) as upstream_port:
        gateway = Gateway(configuration(port, kind, embedded.models, upstream_port), log)
        try:
            await gateway.start()
        except StartError as error:
            print(f"gateway: {error}", file=sys.stderr)
            return BAD_START
        # Said once the signals are heard: whoever waits for it may send one at once.
        asyncio.get_running_loop().call_soon(partial(print, greeting(gateway.services.base_url), flush=True))
        await until_stopped(gateway, None)
    log.info(f"requests that reached the embedded upstream: {upstream.posts}")
    return 0


class Counted:
    """An application, and how often it was asked: what the gateway answers by itself is not among it."""

    __slots__ = ("_application", "posts")

    def __init__(self, application: Application) -> None:
        self._application = application
        self.posts = 0
        """Requests with a body: messages and counts, not the list of models."""

    def admit(self, exchange: Exchange) -> None:
        self.posts += exchange.head.method == "POST"
        self._application.admit(exchange)

    def protocol_error(
        self, status: int, message: str, exchange: Exchange | None
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        return self._application.protocol_error(status, message, exchange)


@asynccontextmanager
async def listening(application: Application) -> AsyncIterator[int]:
    """An application behind a free loopback port, which is given; nothing of it is left afterwards."""
    server = Listener(application, Limits())
    port = await server.listen(HOST, 0)
    try:
        yield port
    finally:
        server.close()
        server.abort()
        await server.wait_closed(1.0)


def configuration(port: int, kind: Kind, models: Mapping[str, str], upstream_port: int) -> Config:
    """A gateway on `port` before an embedded upstream, with its accounts."""
    accounts = tuple(Account(name=name, api_key=Secret(key)) for name, key in ACCOUNTS.items())
    upstream = Upstream(
        name="demo",
        kind=kind,
        base_url=f"http://{HOST}:{upstream_port}",
        models=models,
        accounts=accounts,
        repairs=REPAIRS_OF_KIND[kind],
    )
    return Config(server=Server(host=HOST, port=port), upstreams=(upstream,))


def greeting(base_url: str) -> str:
    """What to paste, and what will be seen."""
    first, second = ACCOUNTS
    body = (
        '{"model":"claude-sonnet-5-5","max_tokens":1024,"stream":true,'
        '"messages":[{"role":"user","content":"Hello!"}]}'
    )
    return f"""\
gateway demo: listening on {base_url}, with an upstream of its own behind it: no key, no network.

Paste this, then start Claude Code or any other client:

  export ANTHROPIC_BASE_URL={base_url}
  export ANTHROPIC_API_KEY=demo

or ask with curl:

  curl -N {base_url}/v1/messages -H 'content-type: application/json' -d '{body}'

"run echo hi" and "read README.md" make it call your client's tools. Each request becomes a line below; now
and then {first} is rate-limited and {second} takes over. Ctrl-C ends it."""
