"""The cost of an idle peer: start, memory, disk."""

import importlib.metadata
import json
import subprocess
from pathlib import Path

from bench.cases import idle_streams, job_for
from bench.measure import LOAD_SLACK, Measurement, PeerFailure, Runner, Running
from bench.peers.base import ROOT, Peer
from bench.processes import resident_bytes
from bench.stats import median

ROW = "footprint"
CASE = "process"
STARTS = 5
"""Starts timed for one footprint; the median counts."""
QUICK_STARTS = 2
STREAMS = (500, 1000)
MB = 1_000_000


def footprint(runner: Runner, peer: Peer, number: int, *, quick: bool) -> Measurement:
    """Start time, memory idle and with idle streams, of fresh processes; size on disk."""
    values: dict[str, float] = {}
    problem = peer.reason(ROW)
    if not problem:
        starts, streams = (QUICK_STARTS, STREAMS[:1]) if quick else (STARTS, STREAMS)
        try:
            _measure(runner, peer, starts, streams, values)
        except PeerFailure as failure:
            problem = str(failure)
    return Measurement(row=ROW, case=CASE, peer=peer.name, round=number, values=values, problem=problem)


def _measure(
    runner: Runner, peer: Peer, starts: int, streams: tuple[int, ...], values: dict[str, float]
) -> None:
    """Fill `values` as far as the peer goes; PeerFailure has the reason for a stop."""
    times = []
    for _ in range(starts - 1):
        running, seconds = runner.launch(peer, f"{peer.name}-fresh")
        times.append(seconds)
        runner.stop(running)
    running, seconds = runner.launch(peer, f"{peer.name}-fresh")
    times.append(seconds)
    values["start_ms"] = round(median(times) * 1000, 1)
    values["disk_mb"] = round(disk_bytes(peer) / MB, 1)
    values["rss_idle_mb"] = resident_mb(running)
    try:
        for count in streams:
            values[f"rss_{count}_mb"] = _with_idle_streams(runner, running, count)
    finally:
        runner.stop(running)


def resident_mb(running: Running) -> float:
    """RSS of the peer's processes."""
    assert running.child is not None
    return round(resident_bytes(running.child.session) / MB, 1)


def _with_idle_streams(runner: Runner, running: Running, count: int) -> float:
    child = runner.start_own_load(job_for(idle_streams(count), running.peer, running.site, LOAD_SLACK))
    stdout = child.process.stdout
    assert stdout is not None
    try:
        report = json.loads(stdout.readline() or b'{"requests": 0}')
        if report["requests"] < count:
            why = ", ".join(f"{number} x {text}" for text, number in report.get("errors", {}).items())
            raise PeerFailure(f"only {report['requests']} of {count} idle streams opened: {why}")
        return resident_mb(running)
    finally:
        runner.stop_load(child)


def disk_bytes(peer: Peer) -> int:
    """Bytes of the files that installing the peer adds; an interpreter it needs is not counted."""
    if peer.install.kind == "debian":
        return sum(_debian_bytes(package) for package in peer.disk)
    if peer.install.kind == "ours":
        own = folder_bytes(ROOT / peer.install.program) if peer.install.program else 0
        return own + sum(_distribution_bytes(name) for name in peer.disk)
    return folder_bytes(peer.folder)


def folder_bytes(folder: Path) -> int:
    """Bytes of all regular files below a folder, compiled Python left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc")


def _debian_bytes(package: str) -> int:
    listed = subprocess.run(["/usr/bin/dpkg", "-L", package], capture_output=True, text=True, check=False)
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink())


def _distribution_bytes(name: str) -> int:
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return 0
    paths = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())
