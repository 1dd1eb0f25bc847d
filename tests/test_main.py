"""`python -m gateway` is the command, exit code and all."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), ([], 2)])
def test_the_module_is_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
    with pytest.raises(SystemExit) as raised:
        runpy.run_module("gateway", run_name="__main__")
    assert raised.value.code == code
    assert ("gateway " + __version__ in capsys.readouterr().out) is (code == 0)


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "gateway", "check", "--config", "none.toml"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == f"gateway: {ROOT}/none.toml: cannot be read: No such file or directory\n"
