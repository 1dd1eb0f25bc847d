"""The door of the demo: light to import, the rest comes with the first call."""

import subprocess
import sys

import pytest

from gateway import demo
from gateway.demo import running


def test_serving_is_done_in_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "serve", lambda port: port + 1)
    assert demo.serve(1234) == 1235


def test_importing_demo_imports_no_server() -> None:
    code = "import sys, gateway.demo; sys.exit('gateway.demo.running' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
