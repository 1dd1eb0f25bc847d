"""A run: which rows on which peers in which order, written down line by line."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import calls, footprint
from bench.cases import CASES, Case
from bench.chart import svg
from bench.measure import Measurement, Runner
from bench.peers import gateway
from bench.peers.base import ROOT, Peer
from bench.processes import Processes, choose_cores
from bench.report import markdown
from bench.results import Results

SHOWN = (
    *("p50_us", "p99_us", "rate", "cpu_us", "first_p50_us", "start_ms", "rss_idle_mb", "rss_1000_mb"),
    *("python_calls", "c_calls"),
)
"""Return the line of progress for a measurement."""
VERSION_OPTIONS = {"nginx": "-v", "haproxy": "-v"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The selection of measurements. `out` None: nothing is saved."""

    rows: tuple[str, ...]
    peers: tuple[Peer, ...]
    rounds: int
    seconds: float
    quick: bool
    out: Path | None


def order(peers: tuple[Peer, ...], number: int) -> tuple[Peer, ...]:
    """A B C in even rounds, C B A in odd ones: what drifts in time meets all alike."""
    return peers if number % 2 == 0 else peers[::-1]


def perform(plan: Plan) -> Results:
    """Measure, print a line for each measurement, save. Every process is gone when it returns or raises."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    results = Results(environment=environment(plan))
    lines = [json.dumps({"type": "run", **results.environment})]
    try:
        with Processes(directory) as processes:
            cores = choose_cores()
            os.sched_setaffinity(0, cores.load)
            runner = Runner(processes, cores, seconds=plan.seconds)
            for measurement in _measurements(plan, runner):
                results.measurements.append(measurement)
                lines.append(measurement.dump())
                _progress(measurement)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if plan.out is not None:
        save(plan.out, results, lines)
    return results


def _measurements(plan: Plan, runner: Runner) -> Iterator[Measurement]:
    for row in plan.rows:
        for number in range(plan.rounds):
            for case in _cases(row, plan):
                for peer in order(plan.peers, number):
                    yield runner.measure(case, peer, number)
        if row == calls.ROW and any(peer is gateway.PEER for peer in plan.peers):
            yield from _counted()
        if row == footprint.ROW:
            for number in range(plan.rounds):
                for peer in order(plan.peers, number):
                    yield footprint.footprint(runner, peer, number, quick=plan.quick)


def _counted() -> Iterator[Measurement]:
    """Count calls once: more rounds would give the same."""
    for case in calls.CASES:
        trace = calls.count(case)
        values = {"python_calls": float(trace.python), "c_calls": float(trace.c)}
        yield Measurement(row=calls.ROW, case=case.name, peer=gateway.PEER.name, round=0, values=values)


def _cases(row: str, plan: Plan) -> list[Case]:
    return [case for case in CASES if case.row == row and (case.quick or not plan.quick)]


def _progress(measurement: Measurement) -> None:
    numbers = " ".join(f"{name}={measurement.values[name]:g}" for name in SHOWN if name in measurement.values)
    where = f"{measurement.row:9} {measurement.case:12} {measurement.peer:10} {measurement.round}"
    print(where, numbers, measurement.problem, file=sys.stderr, flush=True)


def save(out: Path, results: Results, lines: list[str]) -> None:
    """The JSON lines, the report and the chart, named by the time of the run."""
    out.mkdir(parents=True, exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S")
    (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(f"{markdown(results)}\n![chart]({name}.svg)\n", encoding="utf-8")
    (out / f"{name}.svg").write_text(svg(results), encoding="utf-8")
    print(f"saved {out / name}.jsonl, .md, .svg", file=sys.stderr)


def environment(plan: Plan) -> dict[str, Any]:
    """Return facts about the machine and the run that a reader needs."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": f"{_cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "versions": ", ".join(_versions(plan)),
        "commit": _first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]) or "unknown",
        "rounds x seconds": f"{plan.rounds} x {plan.seconds:g}",
    }


def _versions(plan: Plan) -> Iterator[str]:
    for peer in plan.peers:
        if peer.install.kind in ("pip", "npm"):
            yield ", ".join(peer.install.packages)
        elif peer.name in VERSION_OPTIONS and peer.program():
            yield _first_line([peer.program(), VERSION_OPTIONS[peer.name]])


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    text = (done.stdout + done.stderr).strip() if done.returncode == 0 else ""
    return text.splitlines()[0] if text else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
