"""`gateway demo` as a process: an embedded upstream on a loopback port, and a gateway in front of it that reaches it
like any other."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from gateway import stdio
from gateway.app import Gateway
from gateway.config import Account, Config, Secret, Server, Upstream
from gateway.config.client import client_environment, export_lines
from gateway.demo.upstream import ACCOUNTS, DemoUpstream
from gateway.http1.exchange import Application
from gateway.http1.limits import Limits
from gateway.http1.server import Server as Listener
from gateway.listening import StartError
from gateway.process import BAD_START, log_loop_errors, open_log, run, wait_until_stopped
from gateway.telemetry.access_log import AccessLog

HOST = "127.0.0.1"


def serve(port: int) -> int:
    """Serve until a signal stops it; return the exit code."""
    log, writer = open_log("info", "text")
    try:
        return run(partial(_serve, port, log))
    finally:
        writer.close()


async def _serve(port: int, log: AccessLog) -> int:
    log_loop_errors(log)
    upstream = DemoUpstream()
    async with listening(upstream) as upstream_port:
        gateway = Gateway(configuration(port, upstream_port), log)
        try:
            await gateway.start()
        except StartError as error:
            print(f"gateway: {error}", file=sys.stderr)
            return BAD_START
        # Printed once signals are handled: a parent that reads it may send one at once.
        asyncio.get_running_loop().call_soon(
            partial(stdio.write, greeting(gateway.runtime.base_url, os.environ) + "\n")
        )
        await wait_until_stopped(gateway, None)
    log.info(f"requests that reached the embedded upstream: {upstream.posts}")
    return 0


@asynccontextmanager
async def listening(application: Application) -> AsyncIterator[int]:
    """Run an application on a free loopback port, which is yielded, until the block ends."""
    server = Listener(application, Limits())
    port = await server.listen(HOST, 0)
    try:
        yield port
    finally:
        server.close()
        server.abort()
        await server.wait_closed(1.0)


def configuration(port: int, upstream_port: int) -> Config:
    """Return the configuration of a gateway on `port` in front of the embedded upstream."""
    upstream = Upstream(
        name="demo",
        kind="anthropic",
        base_url=f"http://{HOST}:{upstream_port}",
        accounts=tuple(Account(name=name, api_key=Secret(key)) for name, key in ACCOUNTS.items()),
    )
    return Config(server=Server(host=HOST, port=port), upstreams=(upstream,))


def greeting(base_url: str, environ: Mapping[str, str]) -> str:
    """Return the text printed at the start: commands to paste, and what to expect."""
    first, second = ACCOUNTS
    variables = {**client_environment(Config(), base_url, environ), "ANTHROPIC_AUTH_TOKEN": "demo"}
    exports = "\n".join(f"  {line}" for line in export_lines(variables))
    body = (
        '{"model":"claude-sonnet-5-5","max_tokens":1024,"stream":true,'
        '"messages":[{"role":"user","content":"Hello!"}]}'
    )
    return f"""\
gateway demo: listening on {base_url}, with an upstream of its own behind it: no key, no network.

Paste this, then start Claude Code or any other client:

{exports}

or ask with curl:

  curl -N {base_url}/v1/messages -H 'content-type: application/json' -d '{body}'

"run echo hi" and "read README.md" make it call your client's tools. Each request becomes a line below; now
and then {first} is rate-limited and {second} takes over. Ctrl-C ends it."""
