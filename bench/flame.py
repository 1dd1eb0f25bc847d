"""A flame graph of the gateway under one case: py-spy looks at the running process from outside."""

import shutil
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

from bench.cases import CASES, Case
from bench.measure import Runner
from bench.peers import gateway
from bench.processes import Processes, choose_cores

RATE = 500
"""Samples a second: a case of five seconds gives 2,500 stacks."""
LEAD_SECONDS = 1.0
"""py-spy samples a little less than the load lasts, so that no idle time is drawn."""


def find_case(row: str, name: str) -> Case:
    """The row's case of that name, or its first. ValueError lists the names."""
    cases = [case for case in CASES if case.row == row]
    for case in cases:
        if case.name == name or not name:
            return case
    raise ValueError(f"row {row} has no case {name!r}; it has {', '.join(case.name for case in cases)}")


def program() -> str:
    """py-spy's path: beside this interpreter, or on PATH; "" when it is missing."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy") or ""


def spy_command(target: Path, pid: int, seconds: float) -> list[str]:
    """What samples process `pid` into an SVG; never stopping it, so that the load sees no pauses."""
    options = {
        "--output": str(target),
        "--pid": str(pid),
        "--rate": str(RATE),
        "--duration": f"{seconds:.0f}",
    }
    return [program(), "record", "--subprocesses", "--nonblocking", *chain.from_iterable(options.items())]


def record(row: str, name: str, seconds: float, out: Path) -> int:
    """Run the case on the gateway under py-spy; the graph is `out`/profile-ROW-CASE.svg."""
    case = find_case(row, name)
    if not program():
        print("py-spy is missing: pip install py-spy", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"profile-{row}-{case.name.replace('/', '-').replace(' ', '-')}.svg"
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with Processes(directory) as processes:
            cores = choose_cores()
            runner = Runner(processes, cores, seconds=seconds + LEAD_SECONDS, use_wrk=False)
            running = runner.running(gateway.PEER)
            assert running.child is not None
            spy = subprocess.Popen(
                spy_command(target, running.child.process.pid, seconds), stdout=subprocess.DEVNULL
            )
            try:
                measurement = runner.measure(case, gateway.PEER, 0)
                spy.wait(timeout=seconds + 30)
            finally:
                spy.kill()
                spy.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(measurement.dump())
    print(target)
    return 0
