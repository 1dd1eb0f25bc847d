"""Standard streams that are closed, full, or not read."""

import os
import sys


def open_missing() -> None:
    """Open /dev/null in place of a standard descriptor that is closed.

    Otherwise a socket or the loop's own descriptor gets its number, and prints go there.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def write(text: str) -> OSError | None:
    """Write a text and flush stdout; return the error, if any.

    After an error stdout is discarded, so that the interpreter's exit does not fail on it again.
    """
    try:
        # An empty write would still block on a stopped terminal.
        if text:
            print(text, end="")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
