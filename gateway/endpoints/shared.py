"""What the processes that serve one configuration give each other: status, numbers, and what an operator wants."""

import asyncio
import time

import orjson

from gateway.endpoints import metrics
from gateway.proxy.runtime import Standing
from gateway.sharing.peers import Sharing
from gateway.status import actions, document


def join(standing: Standing, sharing: Sharing) -> None:
    """Provide this process's parts, and do what another process was asked for."""
    now = asyncio.get_running_loop().time

    def part() -> bytes:
        return orjson.dumps(document.part(standing.current, now(), time.time()))

    def numbers() -> bytes:
        return orjson.dumps(metrics.snapshot_of(standing.current, now()))

    def last_numbers() -> bytes:
        from gateway.telemetry.exposition import lasting

        return orjson.dumps(lasting(metrics.snapshot_of(standing.current, now())))

    sharing.provide(document.KIND, part)
    sharing.provide(metrics.KIND, numbers, last_numbers)
    sharing.on_tell(actions.KIND, lambda payload: actions.take_in(standing.current, payload))
