"""The gateway itself: built in this process from the configuration's own settings, before a scripted upstream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from secrets import token_urlsafe

from gateway.app import Gateway
from gateway.config import Account, Auth, Config, Secret, Stream, Upstream
from gateway.demo.running import HOST, listening
from gateway.operator.doctor.behind import BEHIND
from gateway.operator.doctor.client import Target
from gateway.operator.doctor.contract import OUTSIDE, Stage, StageCheck
from gateway.operator.doctor.findings import Row, carry_out, skip
from gateway.operator.doctor.scripted import KEY, SCRIPTS, ScriptedUpstream
from gateway.telemetry.access_log import AccessLog

PING_AFTER = 0.3
"""Seconds of silence that are waited for, instead of the configured ones: a doctor's visit is short."""

PATIENCE = 5.0
"""Seconds for a check; the slowest, with bodies of 32 MB, takes half of one, and more on a small machine."""

CONNECTIONS = 64
"""Let in at least: the checks are made at the same time."""

FEW = 4
"""Checks at a time: each has its connections, and what is timed should not wait for a crowd."""


async def examine(config: Config) -> list[Row]:
    """Check a gateway with the settings of a configuration, but for its upstreams, address and keys."""
    async with staged(config) as stage:
        return await carry_out_all(stage, (*OUTSIDE, *BEHIND))


async def examine_from_outside(target: Target, key: str) -> list[Row]:
    """Check a gateway that runs somewhere, as far as it can be seen, and without spending tokens."""
    rows = await carry_out_all(Stage(target, key), OUTSIDE)
    why = skip("needs an upstream that does as it is told: run gateway doctor where its configuration is")
    return rows + [Row("gateway", check.name, why) for check in BEHIND]


async def carry_out_all(stage: Stage, checks: Sequence[StageCheck]) -> list[Row]:
    """Make checks, the light ones a few at a time; return their rows in order."""
    few = asyncio.Semaphore(FEW)

    async def one(check: StageCheck) -> Row:
        async with few:
            return await carry_out("gateway", check.name, partial(check.run, stage), PATIENCE)

    made = await asyncio.gather(*(one(check) for check in checks if not check.heavy))
    made += [await one(check) for check in checks if check.heavy]
    rows = {row.name: row for row in made}
    return [rows[check.name] for check in checks]


@asynccontextmanager
async def staged(config: Config) -> AsyncIterator[Stage]:
    """Start a gateway like that of a configuration before a scripted upstream; leave nothing of both."""
    upstream = ScriptedUpstream()
    key = token_urlsafe(16)
    async with listening(upstream) as port:
        gateway = Gateway(_settings(config, port, key), AccessLog(lambda line: None), environ={})
        try:
            await gateway.start(listing=False)
            yield Stage(Target("http", HOST, gateway.port), key, upstream, PING_AFTER)
        finally:
            await gateway.stop(0.0)


def _settings(config: Config, upstream_port: int, key: str) -> Config:
    upstream = Upstream(
        name="scripted",
        kind="anthropic",
        base_url=f"http://{HOST}:{upstream_port}",
        # Named, so that the list of models has them from the start.
        models={**{name: name for name in SCRIPTS}, "*": "claude-doctor-text"},
        accounts=(Account(name="doctor", api_key=Secret(KEY)),),
    )
    limits = config.server.limits
    limits = replace(limits, max_connections=max(limits.max_connections, CONNECTIONS))
    return Config(
        server=replace(
            config.server, limits=limits, host=HOST, port=0, tls=None, workers=1, allowed_hosts=()
        ),
        auth=Auth(mode="all_except_health", keys={"doctor": Secret(key)}),
        retry=config.retry,
        stream=Stream(ping_after=PING_AFTER),
        intercept=config.intercept,
        count_tokens=config.count_tokens,
        upstreams=(upstream,),
    )
