"""`python -m tests.soak`: some minutes of mixed and misbehaving traffic against the gateway, and a report.

32 clients go through the table in `scenarios.py`, in both dialects: good streams and bodies, slow readers, clients
that leave, refusals, rotation, a fallback, resets, streams cut short, broken chunks. The report counts outcomes (one
that its scenario does not name is unexplained), and shows memory and descriptors after the warm-up, at the end and in
the quiet after. `--minutes`, `--requests`, `--clients` and `--seed` bound and repeat it; 100,000 requests take about
seven minutes. Loopback only; every process is gone at the end. The exit status is 1 when an outcome is unexplained,
the gateway died, or its log holds a traceback or an error.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.peers.base import ROOT
from bench.processes import Child, Processes, choose_cores, free_port, members, resident_bytes, wait_ready
from tests.soak.client import SoakClient
from tests.soak.report import Soak, Usage, markdown
from tests.soak.scenarios import SCENARIOS, config
from tests.soak.upstream import Upstream

MINUTES = 3.0
MAX_MINUTES = 60.0
MAX_REQUESTS = 1_000_000
CLIENTS = 32
"""Most of their time passes in the scenarios' waits, a tenth of a second a request: 32 of them make 240
requests a second, with which neither they nor the gateway are busy."""
SAMPLE_SECONDS = 1.0
WARM_SHARE = 0.25
"""Of the time: caches fill, allocators settle; drift is counted from here on."""
QUIET_SECONDS = 5.0
"""After the last request, before the last look: longer than the upstream's longest stream."""


async def drive(soak: Soak, child: Child, port: int, seconds: float, requests: int, clients: int) -> None:
    """Run all clients until time or requests run out, with a look at the gateway each second."""
    numbers = iter(range(requests))
    begun = time.monotonic()
    weights = [scenario.weight for scenario in SCENARIOS]

    async def client(seed: int) -> None:
        choose = random.Random(seed)
        connection = SoakClient(port)
        for number in numbers:
            if time.monotonic() - begun > seconds or not child.alive():
                break
            scenario = choose.choices(SCENARIOS, weights)[0]
            soak.note(scenario, await connection.perform(scenario, number))
        connection.close()

    def look() -> None:
        soak.usage.append(Usage(time.monotonic() - begun, resident_bytes(child.session), descriptors(child)))

    async def sample() -> None:
        while child.alive():
            look()
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    await asyncio.gather(*(client(soak.seed * 1000 + number) for number in range(clients)))
    soak.seconds = time.monotonic() - begun
    await asyncio.sleep(QUIET_SECONDS)
    look()
    sampling.cancel()


def descriptors(child: Child) -> int:
    """Return how many descriptors the child's processes have open."""
    total = 0
    for pid in members(child.session):
        with contextlib.suppress(OSError):
            total += len(os.listdir(f"/proc/{pid}/fd"))
    return total


async def run(arguments: argparse.Namespace) -> Soak:
    """Run one soak from start to end: the gateway is a separate process, upstream and clients are in this one."""
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(seed=arguments.seed, warm_share=WARM_SHARE)
    upstream = Upstream()
    try:
        with Processes(directory) as processes:
            cores = choose_cores()
            os.sched_setaffinity(0, cores.load)
            async with upstream.serving() as serving:
                port = free_port()
                file = directory / "gateway.toml"
                file.write_text(config(serving.port), encoding="utf-8")
                command = [
                    sys.executable,
                    "-m",
                    "gateway",
                    "serve",
                    "--config",
                    str(file),
                    "--port",
                    str(port),
                ]
                gateway = processes.start("gateway", command, cores.peer, directory=ROOT)
                problem = await asyncio.to_thread(wait_ready, gateway, port, "/healthz", 15.0)
                if problem:
                    raise ValueError(problem)
                bounds = (arguments.minutes * 60, arguments.requests, arguments.clients)
                await drive(soak, gateway, port, *bounds)
                soak.died = not gateway.alive()
                await asyncio.to_thread(processes.stop, gateway)
            soak.reached, soak.overstayed = upstream.played.total(), upstream.overstayed
            soak.log(gateway.log.read_text("utf-8", "replace"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return soak


def bounds(minutes: float | None, requests: int | None) -> tuple[float, int]:
    """Bounds on time and number of requests. A bound that is not given does not apply, but there is always one."""
    if minutes is None:
        minutes = MINUTES if requests is None else MAX_MINUTES
    if requests is None:
        requests = MAX_REQUESTS
    return min(max(minutes, 0.05), MAX_MINUTES), min(max(requests, 1), MAX_REQUESTS)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Soak the gateway.")
    parser.add_argument("--minutes", type=float, help=f"{MINUTES:g} if neither is given")
    parser.add_argument(
        "--requests", type=int, help="stop after this number; with --minutes, at the first of both"
    )
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the report here")
    arguments = parser.parse_args()
    arguments.minutes, arguments.requests = bounds(arguments.minutes, arguments.requests)
    try:
        soak = uvloop.run(run(arguments))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    text = markdown(soak)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")
    return 0 if soak.well else 1


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    with contextlib.suppress(KeyboardInterrupt):
        raise SystemExit(main())
    raise SystemExit(130)
