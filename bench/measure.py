"""How a case is measured on a peer.

Everything that moves is a separate process: upstream and load on one core, the peer on another. The
runner only starts them, reads /proc when the load reports that the part that counts begins or ends, and
writes down what came out.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.cases import WARM_UP, Case, job_for
from bench.load import Job, Kind
from bench.peers.base import ROOT, Peer, Site
from bench.processes import Child, Cores, Processes, cpu_seconds, free_port, lines, wait_ready

LOAD_SLACK = 60.0
"""The load ends by itself; after this many more seconds the runner stops waiting for it."""
WARM_SECONDS = (0.5, 2.0, 5.0)
"""So that nothing is measured while it compiles itself; longer for one that takes longer for its first responses."""
REFUSED_SHARE = 0.01
"""Of the requests. When more got an error, the numbers are those of refusing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One JSON line of the results: a case on a peer in a round. No values: `problem` has the reason."""

    row: str
    case: str
    peer: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    problem: str = ""

    def dump(self) -> str:
        """As a JSON line."""
        return json.dumps({"type": "measurement", **asdict(self)})


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer. `child` is None for the upstream itself."""

    peer: Peer
    site: Site
    child: Child | None


class PeerFailure(Exception):
    """A peer did not start, or a load against it did not run."""


class Runner:
    """Owns the upstream and the peers of one run."""

    def __init__(self, processes: Processes, cores: Cores, *, seconds: float) -> None:
        self._processes = processes
        self._cores = cores
        self._seconds = seconds
        self._running: dict[str, Running] = {}
        self._failed: dict[str, str] = {}
        self._upstream = processes.start(
            "upstream", [sys.executable, "-m", "bench.upstream"], cores.load, directory=ROOT, piped=True
        )
        self._upstream_port = int(next(lines(self._upstream, 10.0)))

    # Peers

    def launch(self, peer: Peer, label: str = "") -> tuple[Running, float]:
        """Start a peer; return it with the seconds until its first 200. Raises PeerFailure."""
        directory = self._processes.directory / (label or peer.name)
        directory.mkdir(exist_ok=True)
        if peer.command is None:
            return Running(peer, Site(self._upstream_port, self._upstream_port, directory), None), 0.0
        program = peer.program()
        if not program:
            raise PeerFailure(f"not installed: {peer.how_to_install()}")
        site = Site(free_port(), self._upstream_port, directory)
        for name, text in peer.files(site).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        environ = clean_environ(peer, site)
        begun = time.monotonic()
        child = self._processes.start(
            label or peer.name,
            peer.command(program, site),
            self._cores.peer,
            environ=environ,
            directory=directory,
        )
        problem = wait_ready(child, site.port, peer.ready, peer.start_seconds)
        took = time.monotonic() - begun
        if problem:
            self._processes.stop(child)
            raise PeerFailure(problem)
        return Running(peer, site, child), took

    def stop(self, running: Running) -> None:
        """End a peer that was launched."""
        if running.child is not None:
            self._processes.stop(running.child)

    def running(self, peer: Peer) -> Running:
        """The peer of this run, started and warmed at its first use."""
        if peer.name in self._failed:
            raise PeerFailure(self._failed[peer.name])
        if peer.name not in self._running:
            try:
                self._running[peer.name], _ = self.launch(peer)
                self._warm(self._running[peer.name])
            except PeerFailure as failure:
                self._failed[peer.name] = str(failure)
                raise
        return self._running[peer.name]

    def _warm(self, running: Running) -> None:
        problem = ""
        for seconds in WARM_SECONDS:
            _, problem = self._own(running, job_for(WARM_UP, running.peer, running.site, seconds))
            if not problem:
                return
        raise PeerFailure(f"a plain request fails: {problem}")

    # Cases

    def measure(self, case: Case, peer: Peer, number: int) -> Measurement:
        """One case on one peer. Never raises for a peer's faults; the measurement has them."""
        values: dict[str, float] = {}
        problem = peer.reason(case.row)
        if not problem:
            try:
                values, problem = self._load(peer, case)
            except PeerFailure as failure:
                problem = str(failure)
        return Measurement(
            row=case.row, case=case.name, peer=peer.name, round=number, values=values, problem=problem
        )

    def _load(self, peer: Peer, case: Case) -> tuple[dict[str, float], str]:
        running = self.running(peer)
        job = job_for(case, peer, running.site, self._seconds)
        return self._own(running, job)

    def _own(self, running: Running, job: Job) -> tuple[dict[str, float], str]:
        child = self.start_own_load(job)
        marks: dict[str, dict[str, float]] = {}
        try:
            for line in lines(child, job.seconds + LOAD_SLACK):
                report = json.loads(line)
                if "result" in report:
                    return outcome(job.kind, report["result"], marks["begin"], marks["end"])
                marks[report["mark"]] = self._cpu(running)
        except TimeoutError as failure:
            raise PeerFailure(str(failure)) from failure
        finally:
            self._processes.stop(child)
        raise PeerFailure(f"the load ended early: {child.last_words()}")

    def start_load(self, command: list[str]) -> Child:
        """A load process beside the upstream, its stdout to be read."""
        return self._processes.start("load", command, self._cores.load, directory=ROOT, piped=True)

    def start_own_load(self, job: Job) -> Child:
        """The load generator of this bench with a job in its hands; its stdin stays open."""
        child = self.start_load([sys.executable, "-m", "bench.load"])
        stdin = child.process.stdin
        assert stdin is not None
        try:
            stdin.write(job.dump().encode() + b"\n")
            stdin.flush()
        except BrokenPipeError as failure:
            self._processes.stop(child)
            raise PeerFailure(f"the load did not start: {child.last_words()}") from failure
        return child

    def stop_load(self, child: Child) -> None:
        """End a load process."""
        self._processes.stop(child)

    def _cpu(self, running: Running) -> dict[str, float]:
        used = {"upstream": cpu_seconds(self._upstream.session)}
        if running.child is not None:
            used["peer"] = cpu_seconds(running.child.session)
        return used


def clean_environ(peer: Peer, site: Site) -> dict[str, str]:
    """A peer gets nothing of the caller's environment but a PATH."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "HOME": str(site.directory),
        "LANG": "C.UTF-8",
        **peer.environ(site),
    }


def outcome(
    kind: Kind, result: dict[str, Any], before: dict[str, float], after: dict[str, float]
) -> tuple[dict[str, float], str]:
    """The numbers of a load's result and what went wrong; no numbers where the peer refused the work."""
    spent = {name: after[name] - before[name] for name in before}
    problem = ", ".join(f"{count} x {text}" for text, count in result["errors"].items())
    values = values_of(kind, result, spent)
    if kind == "complete" and sum(result["errors"].values()) > REFUSED_SHARE * result["requests"]:
        values = {}
    return values, problem or ("" if values else f"nothing came within {result['seconds']:.1f} s")


def values_of(kind: Kind, result: dict[str, Any], spent: dict[str, float]) -> dict[str, float]:
    """The numbers of a measurement: rates a second, times in microseconds. Nothing done: none."""
    count = result["events"] if kind in ("burst", "paced") else result["requests"]
    if not count:
        return {}
    seconds = result["seconds"]
    values = {
        "rate": round(count / seconds, 1),
        "upstream_busy": round(spent["upstream"] / seconds, 3),
    }
    if "peer" in spent:
        values["cpu_us"] = round(spent["peer"] / count * 1e6, 2)
        values["peer_busy"] = round(spent["peer"] / seconds, 3)
    samples = {"complete": "total", "first": "first", "paced": "delay"}.get(kind)
    if samples:
        values |= {f"{name}_us": value for name, value in result[samples].items()}
    if kind == "paced":
        values |= {"late": result["late"], "lost": result["lost"]}
        values |= {f"first_{name}_us": value for name, value in result["first"].items()}
        values["opening_delay_us"] = result["opening_delay"]
    return values
