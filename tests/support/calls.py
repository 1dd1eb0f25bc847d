"""How many functions are called: exact, so that a test may hold a hot path to a number."""

import gc
import sys
from collections.abc import Callable
from types import FrameType


def calls(function: Callable[..., object], *arguments: object) -> tuple[int, int]:
    """The functions of Python and of C that a call of `function` calls; itself is one of them."""
    counts = {"call": 0, "c_call": 0}

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event in counts:
            counts[event] += 1

    # Other tools hang functions of their own on the collector, which would be counted.
    gc.disable()
    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
        gc.enable()
    # Turning it off is one more.
    return counts["call"], counts["c_call"] - 1
