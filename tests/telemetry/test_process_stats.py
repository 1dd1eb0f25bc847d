"""Process statistics, and what is left out where the system does not report them."""

import os
import sys
import time
from pathlib import Path

import pytest

from gateway.telemetry.process_stats import process_stats


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_all_statistics_on_linux() -> None:
    stats = process_stats()
    page = os.sysconf("SC_PAGE_SIZE")
    assert 0.0 < stats.pop("process_cpu_seconds_total") < time.time()
    assert 1_000_000 < stats["process_resident_memory_bytes"] < stats.pop("process_virtual_memory_bytes")
    assert stats.pop("process_resident_memory_bytes") % page == 0
    assert 0 < stats.pop("process_open_fds") < stats.pop("process_max_fds", float("inf"))
    assert time.time() - 86_400 < stats.pop("process_start_time_seconds") <= time.time() + 1.0
    assert not stats


def test_unknown_statistics_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(process_stats(tmp_path)) <= {"process_cpu_seconds_total", "process_max_fds"}
    (tmp_path / "self").mkdir()
    for name in ("self/statm", "self/stat", "stat"):
        (tmp_path / name).write_text("x")
    assert set(process_stats(tmp_path)) <= {"process_cpu_seconds_total", "process_max_fds"}
    # A sandbox may leave out when the system was started.
    (tmp_path / "self/stat").write_text("1 (x) " + "1 " * 50)
    (tmp_path / "stat").write_text("cpu 1 2\n")
    assert set(process_stats(tmp_path)) <= {"process_cpu_seconds_total", "process_max_fds"}
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, 0))
    assert set(process_stats(tmp_path)) == {"process_cpu_seconds_total"}
