"""Objects of a gateway that are still in the loop when they should be gone: tasks, timers, connections.

Looks into the standard loop's own tables; of another loop it sees only the tasks.
"""

import asyncio
from functools import partial
from typing import Any


def leftovers() -> list[str]:
    """Return one line for each, without those of the test itself, and connections and timers of libraries."""
    loop: Any = asyncio.get_running_loop()
    tasks = [task for task in asyncio.all_tasks() if not _of_the_test(task)]
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if _of_the_gateway(timer._callback)]
    protocols = map(_protocol, list(getattr(loop, "_transports", {}).values()))
    connections = [protocol for protocol in protocols if _of_the_gateway(type(protocol))]
    return [f"is left: {thing!r}" for thing in (*tasks, *timers, *connections)]


def _of_the_test(task: asyncio.Task[Any]) -> bool:
    """The test itself, or a coroutine that is written in a test."""
    code = getattr(task.get_coro(), "cr_code", None)
    return task is asyncio.current_task() or "/tests/" in getattr(code, "co_filename", "")


def _of_the_gateway(thing: Any) -> bool:
    """Return a class of the gateway, or a callback that calls it; a cancelled timer's is None."""
    while isinstance(thing, partial):
        thing = thing.func
    owner = type(getattr(thing, "__self__", None))
    return any(part.__module__.startswith("gateway.") for part in (thing, owner) if thing is not None)


def _protocol(transport: Any) -> object:
    """Return the protocol of a transport that has not been closed yet; behind TLS, too."""
    protocol = transport.get_protocol() if transport._sock is not None else None
    return getattr(protocol, "_app_protocol", protocol)
