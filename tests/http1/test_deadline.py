"""One timer a connection: what it costs the loop, and when it goes off."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import TypeVarTuple
from weakref import ref

import pytest

from gateway.http1.deadline import Deadline
from tests.support.clock import run

Ts = TypeVarTuple("Ts")


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time stands still unless the test moves it, and that counts the timers armed."""

    now = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.armed: list[float] = []
        self.handles: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.armed.append(when)
        self.handles.append(super().call_at(when, callback, *args, context=context))
        return self.handles[-1]

    async def until(self, now: float) -> None:
        """Advance the clock and run the timers that are due."""
        self.now = now
        await asyncio.sleep(0)
        await asyncio.sleep(0)


Story = list[tuple[str, float, list[float], int]]
"""The action, its time, the timers armed since the beginning, and how often the deadline went off."""

STORIES: dict[str, Story] = {
    "it goes off once": [
        ("set 10", 100, [110], 0),
        ("", 109.9, [110], 0),
        ("", 110, [110], 1),
        ("", 500, [110], 1),
    ],
    "later costs no timer until the first is due": [
        ("set 10", 100, [110], 0),
        ("set 10", 105, [110], 0),
        ("set 10", 109, [110], 0),
        ("", 110, [110, 119], 0),
        ("", 119, [110, 119], 1),
    ],
    "nearer needs the loop": [
        ("set 75", 100, [175], 0),
        ("set 10", 101, [175, 111], 0),
        ("", 111, [175, 111], 1),
        ("", 175, [175, 111], 1),
    ],
    "a deadline that was moved counts": [
        ("set 10", 100, [110], 0),
        ("when 130", 101, [110], 0),
        ("", 110, [110, 130], 0),
        ("", 130, [110, 130], 1),
    ],
    "cleared, it finds nothing to do": [
        ("set 10", 100, [110], 0),
        ("clear", 105, [110], 0),
        ("", 110, [110], 0),
        ("", 500, [110], 0),
    ],
    "cleared and set again, it uses the armed timer": [
        ("set 10", 100, [110], 0),
        ("clear", 101, [110], 0),
        ("set 10", 102, [110], 0),
        ("", 110, [110, 112], 0),
        ("", 112, [110, 112], 1),
    ],
    "cancelled, it never goes off": [
        ("set 10", 100, [110], 0),
        ("cancel", 105, [110], 0),
        ("cancel", 106, [110], 0),
        ("", 500, [110], 0),
    ],
    "it can be set after it went off": [
        ("set 10", 100, [110], 0),
        ("", 110, [110], 1),
        ("set 10", 111, [110, 121], 1),
        ("", 121, [110, 121], 2),
    ],
    "set after a cancel, it never goes off": [
        ("set 10", 100, [110], 0),
        ("cancel", 105, [110], 0),
        ("set 20", 113, [110, 133], 0),
        ("", 133, [110, 133], 0),
    ],
    "set to the same again, it costs nothing": [
        ("set 10", 100, [110], 0),
        ("set 10", 100, [110], 0),
    ],
    "a cancel before anything was set": [("cancel", 100, [], 0)],
}


@pytest.mark.parametrize("name", STORIES)
def test_transcripts_of_deadlines(name: str) -> None:
    async def notify() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        fired: list[float] = []
        deadline = Deadline(loop, lambda: fired.append(loop.now))
        assert deadline.when == inf
        for step, now, armed, count in STORIES[name]:
            await loop.until(now)
            verb, _, number = step.partition(" ")
            if verb == "set":
                deadline.set(float(number))
            elif verb == "when":
                deadline.when = float(number)
            elif verb:
                getattr(deadline, verb)()
            assert (loop.armed, len(fired)) == (armed, count), (step, now)
            live = [handle for handle in loop.handles if not handle.cancelled() and handle.when() > now]
            assert len(live) <= 1, "one timer at a time"
            if verb in ("clear", "cancel") or (fired and not live):
                assert deadline.when == inf
            if verb == "cancel":
                assert live == []

    with asyncio.Runner(debug=True, loop_factory=Loop) as runner:
        runner.run(notify())


def test_a_cancelled_deadline_releases_its_owner() -> None:
    async def hold() -> None:
        over = asyncio.Event()
        owner = ref(over)
        deadline = Deadline(asyncio.get_running_loop(), over.set)
        deadline.set(30)
        deadline.cancel()
        deadline.set(30)
        del over
        assert owner() is None
        deadline.cancel()

    run(hold())


def test_on_a_real_loop() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        began = loop.time()
        deadline = Deadline(loop, over.set)
        deadline.set(30)
        deadline.set(60)
        await over.wait()
        return loop.time() - began

    assert run(wait()) == pytest.approx(60, abs=0.1)
