"""Runs checks against a gateway: one built in this process in front of a scripted upstream, or one elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_urlsafe

from gateway.app import Gateway
from gateway.config import Account, Auth, Config, Secret, Stream, Upstream
from gateway.demo.running import HOST, listening
from gateway.operator.doctor.behind import BEHIND
from gateway.operator.doctor.contract import OUTSIDE, Stage, StageCheck
from gateway.operator.doctor.findings import Row, carry_out, skip
from gateway.operator.doctor.scripted import KEY, SCRIPTS, ScriptedUpstream
from gateway.operator.peer import GatewayAddress
from gateway.telemetry.access_log import AccessLog

PING_AFTER = 0.3
"""Seconds of silence before a ping, in place of the configured ones: the doctor should be quick."""

PATIENCE = 5.0
"""Seconds for a check; the slowest, with bodies of 32 MB, takes half a second, and more on a small machine."""

CONNECTIONS = 64
"""Connections allowed at least, since several checks run at the same time."""

FEW = 4
"""Checks at a time: each has its connections, and many at once would distort the times."""


async def examine(config: Config) -> list[Row]:
    """Check a gateway with a configuration's settings, except for its upstreams, address and keys."""
    async with run_stage(config) as stage:
        return await carry_out_all(stage, (*OUTSIDE, *BEHIND))


async def examine_from_outside(target: GatewayAddress, key: str) -> list[Row]:
    """Check a running gateway, as far as that is possible from outside and without spending tokens."""
    rows = await carry_out_all(Stage(target, key), OUTSIDE)
    why = skip("needs the scripted upstream: run gateway doctor where its configuration is")
    return rows + [Row("gateway", check.name, why) for check in BEHIND]


async def carry_out_all(stage: Stage, checks: Sequence[StageCheck]) -> list[Row]:
    """Carry out checks, the light ones a few at a time; return their rows in order."""
    few = asyncio.Semaphore(FEW)

    async def one(check: StageCheck) -> Row:
        async with few:
            return await carry_out("gateway", check.name, partial(check.run, stage), PATIENCE)

    made = await asyncio.gather(*(one(check) for check in checks if not check.heavy))
    made += [await one(check) for check in checks if check.heavy]
    rows = {row.name: row for row in made}
    return [rows[check.name] for check in checks]


@asynccontextmanager
async def run_stage(config: Config) -> AsyncIterator[Stage]:
    """Start a gateway with a configuration's settings in front of a scripted upstream; stop both at the end."""
    upstream = ScriptedUpstream()
    key = token_urlsafe(16)
    async with listening(upstream) as port:
        gateway = Gateway(_settings(config, port, key), AccessLog(lambda line: None), environ={})
        try:
            await gateway.start(listing=False)
            yield Stage(GatewayAddress("http", HOST, gateway.port), key, upstream, PING_AFTER)
        finally:
            await gateway.stop(0.0)


def _settings(config: Config, upstream_port: int, key: str) -> Config:
    upstream = Upstream(
        name="scripted",
        kind="anthropic",
        base_url=f"http://{HOST}:{upstream_port}",
        # Each by name, so that the list of models has them from the start.
        models={**{name: name for name in SCRIPTS}, "*": "claude-doctor-text"},
        accounts=(Account(name="doctor", api_key=Secret(KEY)),),
    )
    limits = config.server.limits
    limits = limits._replace(max_connections=max(limits.max_connections, CONNECTIONS))
    return Config(
        server=config.server._replace(
            limits=limits, host=HOST, port=0, tls=None, workers=1, allowed_hosts=()
        ),
        auth=Auth(mode="all_except_health", keys={"doctor": Secret(key)}),
        retry=config.retry,
        stream=Stream(ping_after=PING_AFTER),
        intercept=config.intercept,
        count_tokens=config.count_tokens,
        upstreams=(upstream,),
    )
