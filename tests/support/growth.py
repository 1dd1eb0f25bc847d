"""How the work of a function grows with its input: counted, not timed, so that it is the same on every machine.

A `Row` names a function, and makes an input of any size for it. Three things are counted:

- `steps`: the lines of Python that ran, and for each call of a method in C that may look through all of its object
  (`find`, `index`, `insert`, ...) the length of that object in units of 64 elements. Loops, recursion and searches
  show here; so do comparisons, where the input's strings are `Counted`.
- `bytes`: the memory allocated over the run, from each call and each turn of a loop to the next: copies that are
  made again and again show here, also where they are thrown away at once.
- `peak`: the most that was allocated at one time.

Work inside one call of a regular expression or of a parser written in C shows in none of them. A row whose function
does its work there says so (`in_c`): then the processor's time is compared as well, between sizes so far apart that
linear and quadratic growth cannot be confused.

A package registers its rows in a list `ROWS` in its folder of tests, in a module `growth.py`; tests/test_growth.py
finds them.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

LIMIT = 2.3
"""Times the work that twice the input may take: more than two, since lists and dictionaries grow in steps."""

SLACK = 500
"""Steps, and bytes times 4, that do not count: what any call costs, however small its input. Of the peak four times
that, since a dictionary that grows is for a moment there twice."""

LITTLE = 128
"""Bytes between two readings that do not count: there are at most as many of those as there are steps."""

FAR = 8
"""How much larger the input is where time is compared, and three times that is the most that it may take."""

RUNS = 3
"""Of which the fastest counts."""

_SEARCHES = frozenset(
    {"find", "rfind", "index", "rindex", "count", "insert", "remove", "replace", "split", "partition"}
    | {"rpartition", "translate", "strip", "lstrip", "rstrip", "isspace", "lower", "copy", "decode", "encode"}
    | {"isascii"}
)
"""Methods in C that take time with the length of their object."""


@dataclass(frozen=True, slots=True)
class Row:
    """One function and one kind of input for it."""

    name: str
    function: Callable[[Any], object]
    make: Callable[[int], Any]
    """Makes the input of a size: of which, is its own choice. Nothing that it does is counted."""
    size: int = 25
    """Of the smaller input: so large that a copy of all of it is more than LITTLE."""
    in_c: int = 0
    """The size from which on time is compared; 0 where nothing is left to a loop in C."""


class Counted(str):
    """A string that is compared by a function of Python, which a profile sees."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def grows(row: Row) -> list[str]:
    """Return complaints about a row: what takes more than LIMIT times as much for twice the input.

    They are confirmed by a second count: another thread, or the collector, may have allocated something in the first.
    """
    return _complaints(row) and _complaints(row)


def _complaints(row: Row) -> list[str]:
    once, twice = (_steps(row.function, row.make(times * row.size)) for times in (1, 2))
    counts = [("steps", SLACK, once, twice)]
    much = _memory(row.function, row.make(2 * row.size))
    if max(much) > 4 * SLACK:  # below, the growth is negligible
        half = _memory(row.function, row.make(row.size))
        counts += [("bytes", 4 * SLACK, half[0], much[0]), ("peak", 16 * SLACK, half[1], much[1])]
    found = [
        f"{row.name}: {what} {once} -> {twice}"
        for what, slack, once, twice in counts
        if twice > LIMIT * once + slack
    ]
    if row.in_c:
        near = min(_seconds(row.function, row.make(row.in_c)) for _ in range(RUNS))
        for _ in range(RUNS):
            far = _seconds(row.function, row.make(FAR * row.in_c))
            if far <= 3 * FAR * near:
                break
        else:
            found.append(f"{row.name}: {near * 1000:.1f} -> {far * 1000:.1f} ms for {FAR} times the input")
    return found


def _steps(function: Callable[[Any], object], value: object) -> int:
    """Count lines of Python, and what methods in C look through."""
    steps = 0

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        return line

    def call(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal steps
        if event == "c_call" and argument.__name__ in _SEARCHES:
            looked_at = argument.__self__
            steps += len(looked_at) // 64 if isinstance(looked_at, (str, bytes, bytearray, list)) else 0

    # Coverage measurement may trace as well.
    before = sys.gettrace()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        function(value)
    finally:
        sys.setprofile(None)
        sys.settrace(before)
    return steps


def _memory(function: Callable[[Any], object], value: object) -> tuple[int, int]:
    """Count the bytes that are allocated, and find their peak. It is read at each call, and at each line that is no
    later than the one before: so a loop in Python is read in each of its turns."""
    total = last = highest = before = 0

    def call(frame: FrameType, event: str, argument: object) -> Any:
        read()
        return line

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal before
        if frame.f_lineno <= before:
            read()
        before = frame.f_lineno
        return line

    def read(traced: Any = tracemalloc.get_traced_memory, reset: Any = tracemalloc.reset_peak) -> None:
        nonlocal total, last, highest
        current, peak = traced()
        if peak - last > LITTLE:
            total += peak - last
            highest = max(highest, peak)
        last = current
        if peak != current:
            reset()

    trace = sys.gettrace()
    tracemalloc.start()
    sys.settrace(call)
    try:
        function(value)
    finally:
        sys.settrace(trace)
        read()
        tracemalloc.stop()
    return total, highest


def _seconds(function: Callable[[Any], object], value: object) -> float:
    """Return the processor time of a run."""
    began = time.thread_time()
    function(value)
    return time.thread_time() - began
