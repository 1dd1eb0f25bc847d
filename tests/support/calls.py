"""How many functions are called: exact, so that a test may hold a hot path to a number."""

import sys
from collections.abc import Callable
from types import FrameType


def calls(function: Callable[..., object], *arguments: object) -> tuple[int, int]:
    """The functions of Python and of C that a call of `function` calls; itself is one of them."""
    counts = {"call": 0, "c_call": 0}

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event in counts:
            counts[event] += 1

    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    # Turning it off is one more.
    return counts["call"], counts["c_call"] - 1
