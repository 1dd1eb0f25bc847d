"""The load generator, its own process: `python -m bench.load < job.json`.

Reads one job, sends its requests over loopback, and writes JSON lines: `{"mark": ...}` when the part
that counts begins and ends (the runner then reads the peer's CPU time), and at last `{"result": ...}`.
Every job ends by its own deadline, whatever happens in the peer.
"""

import asyncio
import base64
import contextlib
import gc
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

import uvloop

from bench.exchange import Exchange, Sample
from bench.programs import STAMP
from bench.stats import summary

Kind = Literal["complete", "first", "burst", "paced", "hold"]

WARM_SECONDS = 0.3
"""Of a closed loop, before anything counts: connections, caches, branch predictors."""
OPENING_SECONDS = 15.0
"""Longest wait for every stream's first event."""
SETTLE_SECONDS = 0.5
"""Paced streams count from here on, so that the opening is not in the steady numbers."""
GRACE_SECONDS = 10.0
"""Seconds added to a job's expected time; then it is cut off, with a problem as its result."""
MAX_ERRORS = 200
"""A job with more errors than this ends: the peer cannot do it."""
LATE_SECONDS = 0.1
"""A paced event later than this counts as late: one period of the slowest program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The requests, their destination and number.

    `requests` are whole requests; connection i sends number i modulo their count. `events` is how many
    deltas each stream must have, 0 when the response is not a stream. `seconds` is the part that counts.
    """

    kind: Kind
    port: int
    requests: list[bytes]
    connections: int
    seconds: float
    events: int = 0

    def dump(self) -> str:
        """As JSON, for the load process's stdin."""
        fields = asdict(self)
        fields["requests"] = [base64.b64encode(request).decode() for request in self.requests]
        return json.dumps(fields)

    @classmethod
    def read(cls, text: str) -> "Job":
        """The inverse of dump."""
        fields = json.loads(text)
        fields["requests"] = [base64.b64decode(request) for request in fields["requests"]]
        return cls(**fields)


class Run:
    """The state of one job: counters, samples, and when it is over. Exchanges report to it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.loops = job.kind in ("complete", "first", "burst")
        self.recording = False
        self.over = False
        self.requests = 0
        self.events = 0
        self.whole_events = 0
        self.opened = 0
        self.ended = 0
        self.errors: Counter[str] = Counter()
        self.totals: list[float] = []
        self.firsts: list[float] = []
        self.delays: list[float] = []
        self.opening_delay = 0.0
        self.lost = 0
        self.idle = asyncio.Event()
        self.all_opened = asyncio.Event()
        self.first_ended = asyncio.Event()

    # Called by exchanges

    def first_event(self, seconds: float) -> None:
        """The first event of a stream came `seconds` after its request was written."""
        self.opened += 1
        if self.recording or not self.loops:
            self.firsts.append(seconds)
        if self.opened >= self.job.connections:
            self.all_opened.set()

    def deltas(self, count: int) -> None:
        """`count` more events came on some stream."""
        self.events += count

    def stamps(self, data: bytes) -> tuple[int, int]:
        """Read the send times in `data`: how many, and how far it was read."""
        now = time.monotonic_ns() // 1000
        end = count = 0
        for found in STAMP.finditer(data):
            delay = (now - int(found[1])) / 1e6
            count += 1
            if self.recording:
                self.events += 1
                self.delays.append(delay)
            elif delay > self.opening_delay:
                self.opening_delay = delay
            end = found.end()
        self.whole_events += count
        return count, end

    def unread(self, count: int) -> None:
        """`count` stamped events came in pieces that hid their times: not lost, not measured."""
        self.whole_events += count

    def finished(self, sample: Sample) -> bool:
        """A response ended. True: send the next request on this connection."""
        if sample.problem:
            self.errors[sample.problem] += 1
            if self.errors.total() > MAX_ERRORS:
                self.over = True
                self.idle.set()
        elif self.recording:
            self.requests += 1
            self.totals.append(sample.seconds)
        self.ended += 1
        if not self.loops and self.recording:
            self.first_ended.set()
        if not self.loops and self.ended >= self.job.connections:
            self.idle.set()
        return self.loops and not self.over

    def reset(self) -> None:
        """Forget what the warm-up counted, and record from now on."""
        self.requests = self.events = 0
        for samples in (self.totals, self.firsts) if self.loops else (self.totals,):
            samples.clear()
        self.recording = True

    def result(self, seconds: float) -> dict[str, object]:
        """Return the job's measurements; times in microseconds."""
        late = sum(delay > LATE_SECONDS for delay in self.delays)
        return {
            "seconds": round(seconds, 4),
            "requests": self.requests,
            "events": self.events,
            "whole_events": self.whole_events,
            "opened": self.opened,
            "total": summary(self.totals, 1e6),
            "first": summary(self.firsts, 1e6),
            "delay": summary(self.delays, 1e6),
            "opening_delay": round(self.opening_delay * 1e6),
            "late": late,
            "lost": self.lost,
            "errors": dict(self.errors.most_common(8)),
        }


def _report(**line: object) -> None:
    print(json.dumps(line), flush=True)


def _take_precedence() -> None:
    """Run before the upstream when both could: else an event's delay is mostly its turn on a shared core.

    Needs a privilege; without it the delays of all peers are longer by the same noise.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _closed_loop(run: Run) -> float:
    """Every connection sends its next request when the last response is whole."""
    await _wait(run.idle, WARM_SECONDS)
    run.reset()
    started = time.perf_counter()
    _report(mark="begin")
    await _wait(run.idle, run.job.seconds)
    seconds = time.perf_counter() - started
    run.recording = False
    run.over = True
    _report(mark="end", requests=run.requests, events=run.events)
    return seconds


async def _paced(run: Run) -> float:
    """All streams at once; what counts begins when every one of them has had an event."""
    begun = time.perf_counter()
    if not await _wait(run.all_opened, OPENING_SECONDS):
        run.errors["streams without a first event"] = run.job.connections - run.opened
    await asyncio.sleep(max(0.0, SETTLE_SECONDS - (time.perf_counter() - begun)))
    _take_precedence()
    run.reset()
    started = time.perf_counter()
    _report(mark="begin")
    await _wait(run.first_ended, run.job.seconds)
    seconds = time.perf_counter() - started
    run.recording = False
    _report(mark="end", requests=run.requests, events=run.events)
    await _wait(run.idle, GRACE_SECONDS)
    run.lost = run.job.connections * run.job.events - run.whole_events
    if run.lost:
        run.errors["events lost"] += run.lost
    return seconds


async def _hold(run: Run) -> float:
    """Open the streams, report it, and keep them until the runner closes stdin."""
    if not await _wait(run.all_opened, OPENING_SECONDS):
        run.errors["streams without a first event"] = run.job.connections - run.opened
    _report(mark="begin", requests=run.opened, errors=dict(run.errors.most_common(2)))
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), closed.set)
    await _wait(closed, run.job.seconds)
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    _report(mark="end", requests=run.opened, events=run.opened)
    return run.job.seconds


async def perform(job: Job) -> dict[str, object]:
    """Connect, run the job, close. Never longer than its own parts allow."""
    loop = asyncio.get_running_loop()
    run = Run(job)
    requests = job.requests
    paced = job.kind == "paced"
    exchanges = [
        Exchange(run, requests[i % len(requests)], job.events, paced=paced) for i in range(job.connections)
    ]
    for exchange in exchanges:
        await loop.create_connection(exchange.itself, "127.0.0.1", job.port)
    for exchange in exchanges:
        exchange.begin()
    ways = {"paced": _paced, "hold": _hold}
    seconds = await ways.get(job.kind, _closed_loop)(run)
    run.over = True
    for exchange in exchanges:
        exchange.close()
    await asyncio.sleep(0)
    return run.result(seconds)


def main() -> None:
    """Read the job from the first line of stdin; leave nothing running."""
    job = Job.read(sys.stdin.readline())
    gc.disable()
    _report(result=uvloop.run(perform(job)))


if __name__ == "__main__":
    main()
