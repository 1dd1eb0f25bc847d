"""`make` sets everything up, or leaves nothing behind that the next `make` would take for an environment."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.spawned import ROOT

PYTHON = """#!/bin/sh
# A Python like Debian's without python3-venv: the environment that it makes is incomplete.
[ "$1" = -c ] && exit 0
mkdir -p "$3/bin" && touch "$3/bin/python"
echo "ensurepip is not available" >&2
exit 1
"""


@pytest.mark.parametrize("existing", [False, True])
def test_a_half_made_environment_is_removed(tmp_path: Path, existing: bool) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = tmp_path / "environment"
    if existing:
        environment.mkdir()
        (environment / "mine").touch()
    command = ["make", "-C", str(ROOT), "demo", f"PYTHON={python}", f"VENV={environment}"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert run.returncode == 2
    assert "ensurepip is not available\n" in run.stderr
    assert "apt install python3-venv" in run.stderr
    # An environment that existed before is kept.
    assert (environment / "mine").exists() is existing
    assert environment.exists() is existing
