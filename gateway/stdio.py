"""Standard streams that are closed, full, or read by nobody."""

import os
import sys


def open_missing() -> None:
    """Open /dev/null in place of a standard descriptor that is closed.

    Else a socket or the loop's own descriptor gets its number, and is written to as if it were stdout.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def write(text: str) -> OSError | None:
    """Write a text and what was printed before to stdout; return what prevented it.

    After that nothing more reaches stdout, and the end of the process does not try again.
    """
    try:
        # Not even nothing is written without need: on a terminal that is stopped that would wait.
        if text:
            print(text, end="")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
