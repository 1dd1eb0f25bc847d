"""The loops that users run, uvloop where it is installed and the standard one; and waiting in them."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

PATIENCE = 20.0
"""Seconds for what takes milliseconds: a busy machine may stop a process for a while at any place."""

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}

with suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


def on_each_loop(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test that runs on each of the loops, in their debug mode."""

    def test(loop_name: str, **arguments: Any) -> None:
        with asyncio.Runner(debug=True, loop_factory=LOOPS[loop_name]) as runner:
            runner.run(story(**arguments))

    name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [name, *inspect.signature(story).parameters.values()]
    vars(test).update(__doc__=story.__doc__, __signature__=inspect.Signature(parameters))
    made: Callable[..., None] = pytest.mark.parametrize("loop_name", LOOPS)(test)
    return made


async def settle(turns: int = 5) -> None:
    """Let the loop run what is due."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until it is so; fails after `within` seconds of the loop's time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        assert loop.time() < deadline, "it did not happen"
        await asyncio.sleep(0.001)
