"""The exchange of status and actions between the processes that serve one configuration."""

import asyncio
import time
from functools import partial

import orjson

from gateway.proxy.runtime import ProcessState
from gateway.sharing.peers import Sharing
from gateway.status import actions, document


def join(process_state: ProcessState, sharing: Sharing) -> None:
    """Provide this process's part to others, and carry out others' actions."""
    sharing.provide(document.KIND, partial(_part, process_state))
    sharing.on_broadcast(
        actions.KIND, lambda payload: actions.carry_out_received(process_state.current, payload)
    )


def _part(process_state: ProcessState) -> bytes:
    return orjson.dumps(document.part(process_state.current, asyncio.get_running_loop().time(), time.time()))
