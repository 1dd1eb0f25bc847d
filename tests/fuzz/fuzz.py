"""How a contract is fuzzed: a few examples, always the same, in the suite; new ones for as long as `make fuzz` says."""

import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""For each contract; 0 in the suite."""

EXAMPLES = 1000
"""In one round of a long run. What a round finds is shrunk and shown, and kept in `.hypothesis`."""


def fuzz(contract: Callable[..., None], *strategies: st.SearchStrategy[Any], examples: int) -> None:
    """Hold a contract to examples of the strategies: `examples` of them, or as many as fit into SECONDS."""
    ends = time.monotonic() + SECONDS
    chosen = settings(
        max_examples=EXAMPLES if SECONDS else examples,
        derandomize=not SECONDS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    once = chosen(given(*strategies)(contract))
    once()
    while time.monotonic() < ends:
        once()


CUTS = st.lists(st.integers(0, 600), max_size=5)
"""Where bytes are cut into reads."""


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The reads; none of them is empty."""
    ends = [0, *sorted(at for at in set(cuts) if 0 < at < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if start < end]


def edited(data: st.SearchStrategy[bytes], junk: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of the strategy in which some are replaced, by junk of the kind that matters, or by any."""
    edit = st.tuples(st.integers(0, 600), st.integers(0, 8), st.sampled_from(junk) | st.binary(max_size=3))
    return st.builds(_apply, data, st.lists(edit, max_size=4))


def _apply(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, drop, junk in edits:
        data = data[:at] + junk + data[at + drop :]
    return data
