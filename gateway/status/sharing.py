"""The exchange of status and actions between the processes that serve one configuration."""

import asyncio
import time
from functools import partial

import orjson

from gateway.proxy.runtime import Standing
from gateway.sharing.peers import Sharing
from gateway.status import actions, document


def join(standing: Standing, sharing: Sharing) -> None:
    """Provide this process's part to others, and carry out others' actions."""
    sharing.provide(document.KIND, partial(_part, standing))
    sharing.on_broadcast(actions.KIND, lambda payload: actions.carry_out_received(standing.current, payload))


def _part(standing: Standing) -> bytes:
    return orjson.dumps(document.part(standing.current, asyncio.get_running_loop().time(), time.time()))
