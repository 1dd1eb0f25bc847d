"""wrk as the load generator for complete answers: C, one thread, costs less than any Python."""

import json
import shutil
from pathlib import Path

from bench.load import Job

SCRIPT = """\
local bytes = io.open("{request}", "rb"):read("*a")
function request() return bytes end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"requests":%d,"microseconds":%d,"p50":%.3f,"p90":%.3f,"p99":%.3f,"max":%.3f,' ..
    '"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90),
    latency:percentile(99), latency.max,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
"""


def program() -> str:
    """wrk's path, "" when it is not installed."""
    return shutil.which("wrk") or ""


def serves(job: Job) -> bool:
    """Can wrk do this job? It knows complete answers and whole seconds."""
    return job.kind == "complete" and job.seconds >= 1 and bool(program())


def command(job: Job, directory: Path) -> list[str]:
    """Write wrk's script and the request into `directory`; the command that runs the job."""
    request = directory / "wrk.request"
    request.write_bytes(job.requests[0])
    script = directory / "wrk.lua"
    script.write_text(SCRIPT.format(request=request))
    return [
        program(),
        "--threads=1",
        f"--connections={job.connections}",
        f"--duration={round(job.seconds)}s",
        "--timeout=10s",
        f"--script={script}",
        f"http://127.0.0.1:{job.port}/",
    ]


def read(output: bytes) -> dict[str, object]:
    """The script's line in wrk's output, in the shape of the load generator's result.

    ValueError when there is none: wrk could not run.
    """
    for line in reversed(output.splitlines()):
        if line.startswith(b"{"):
            break
    else:
        raise ValueError(f"wrk: {output.decode('utf-8', 'replace').strip()[-200:]}")
    said = json.loads(line)
    kinds = ("status", "connect", "read", "write", "timeout")
    return {
        "seconds": said["microseconds"] / 1e6,
        "requests": said["requests"],
        "total": {name: said[name] for name in ("p50", "p90", "p99", "max")},
        "errors": {f"wrk: {kind}": said[kind] for kind in kinds if said[kind]},
    }
