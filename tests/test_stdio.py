"""Standard streams that are closed, full, or not read."""

import os
import sys
from pathlib import Path

import pytest

from gateway import stdio


def test_a_text_is_written_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert stdio.write("hello\n") is None
    assert stdio.write("") is None
    assert capsys.readouterr() == ("hello\n", "")


class Output:
    """A stdout that takes nothing."""

    def __init__(self, error: OSError, descriptor: int) -> None:
        self.error = error
        self.descriptor = descriptor

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        raise self.error

    def fileno(self) -> int:
        return self.descriptor


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_output_stops_after_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Output(error, file.fileno()))
        assert stdio.write("hello\n") is error
        os.write(file.fileno(), b"gone")
    assert (tmp_path / "out").read_text() == ""


def test_missing_descriptors_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def fstat(descriptor: int) -> None:
        if descriptor == 1:
            raise OSError(9, "Bad file descriptor")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fstat)
        patched.setattr(os, "open", lambda path, flags: opened.append(path))
        patched.setattr(sys, "stdout", None)
        patched.setattr("builtins.open", lambda descriptor, mode, closefd: (descriptor, mode, closefd))
        stdio.open_missing()
        stdout: object = sys.stdout
    assert (opened, stdout) == ([os.devnull], (1, "w", False))
