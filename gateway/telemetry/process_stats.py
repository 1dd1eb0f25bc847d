"""Statistics of this process from the operating system: processor time, memory, descriptors, start time.

What a system does not provide is left out.
"""

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
"""Linux's procfs; proc(5) describes its files."""

START_FIELD = 22
"""The position of `starttime` in /proc/self/stat, from 1 on."""


def process_stats(proc: Path = PROC) -> dict[str, float]:
    """Return the available statistics, by the names of Prometheus' own clients."""
    spent = os.times()
    found: dict[str, float] = {"process_cpu_seconds_total": spent.user + spent.system}
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY:
            found["process_max_fds"] = limit
    with suppress(OSError, ValueError, IndexError):
        size, resident = (proc / "self/statm").read_text().split()[:2]
        page = os.sysconf("SC_PAGE_SIZE")
        found["process_virtual_memory_bytes"] = int(size) * page
        found["process_resident_memory_bytes"] = int(resident) * page
    with suppress(OSError):
        # Without the one that lists them.
        found["process_open_fds"] = len(os.listdir(proc / "self/fd")) - 1
    with suppress(OSError, ValueError, IndexError, StopIteration):
        # The name in parentheses may contain spaces and parentheses.
        fields = (proc / "self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[START_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
        lines = (proc / "stat").read_text().splitlines()
        booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        found["process_start_time_seconds"] = booted + ticks
    return found
