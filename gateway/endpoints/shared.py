"""What the processes of one configuration exchange: status, metrics and operator actions."""

import asyncio
import time

import orjson

from gateway.endpoints import metrics
from gateway.proxy.runtime import ProcessState
from gateway.sharing.peers import Sharing
from gateway.status import actions, document


def join(process_state: ProcessState, sharing: Sharing) -> None:
    """Offer this process's status and metrics to the others; carry out actions that another process received."""
    now = asyncio.get_running_loop().time

    def part() -> bytes:
        return orjson.dumps(document.part(process_state.current, now(), time.time()))

    def numbers() -> bytes:
        return orjson.dumps(metrics.snapshot_of(process_state.current, now()))

    def last_numbers() -> bytes:
        from gateway.telemetry.exposition import keep_counters

        return orjson.dumps(keep_counters(metrics.snapshot_of(process_state.current, now())))

    sharing.provide(document.KIND, part)
    sharing.provide(metrics.KIND, numbers, last_numbers)
    sharing.on_broadcast(
        actions.KIND, lambda payload: actions.carry_out_received(process_state.current, payload)
    )
