"""The terminal that a client owns while it runs, and what is put right when it leaves it in disorder."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RESET = (
    "\x1b[?2004l"  # bracketed paste
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"  # reports of the mouse
    "\x1b[?1004l\x1b[?2031l"  # reports of focus and colours
    "\x1b[<u\x1b[>4m"  # keys in other codings
    "\x1b[?1047l"  # the other screen
    "\x1b[?25h\x1b[0m"  # no cursor, colours
)
"""Ends what full-screen programs turn on, and does nothing where it is off."""


class Terminal:
    """The controlling terminal, as it was before a child had it."""

    def __init__(self, descriptor: int) -> None:
        import termios

        self._termios = termios
        self._descriptor = descriptor
        # In the background the modes are those of a shell that is being typed into.
        self._modes: Any = termios.tcgetattr(descriptor) if self.in_foreground else None

    @property
    def in_foreground(self) -> bool:
        """Whether this process's group, which a child shares, is the one that the terminal sends its signals to."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False

    def restore(self, *, died: bool) -> None:
        """Put the modes back as they were; if the child was ended by a signal, also what it may have turned on."""
        if self._modes is None or not self.in_foreground:
            return
        termios = self._termios
        with _unstoppable():
            try:
                if termios.tcgetattr(self._descriptor) != self._modes:
                    termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
                if died:
                    os.write(self._descriptor, RESET.encode())
            except (OSError, termios.error):
                # It is gone.
                return

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def controlling_terminal() -> Terminal | None:
    """Return the terminal that this process belongs to; None without one."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    return Terminal(descriptor)


@contextmanager
def _unstoppable() -> Iterator[None]:
    """Let a process that has been put into the background meanwhile finish its writing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
