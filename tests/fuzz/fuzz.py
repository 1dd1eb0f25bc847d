"""How a contract is fuzzed: a few fixed examples in the suite; new ones for as long as `make fuzz` runs."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock import JumpingLoop

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""For each contract; 0 in the suite."""

EXAMPLES = 1000
"""In one round of a long run. What a round finds is shrunk and shown, and kept in `.hypothesis`."""


def fuzz(contract: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Hold a contract to examples of the strategies: as many as in other tests, or as fit into SECONDS."""
    ends = time.monotonic() + SECONDS
    chosen = settings(derandomize=not SECONDS, suppress_health_check=list(HealthCheck))
    if SECONDS:
        chosen = settings(chosen, max_examples=EXAMPLES)
    once = chosen(given(*strategies)(contract))
    once()
    while time.monotonic() < ends:
        once()


def fuzz_in_loop(
    contract: Callable[..., Coroutine[Any, Any, None]], *strategies: st.SearchStrategy[Any]
) -> None:
    """The same for a contract that needs a loop: one whose clock jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:

        @wraps(contract)
        def run(**drawn: Any) -> None:
            runner.run(contract(**drawn))

        fuzz(run, *strategies)
