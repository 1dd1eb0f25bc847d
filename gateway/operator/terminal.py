"""The terminal that a client owns while it runs, and its repair when the client leaves it in disorder."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RESET = (
    "\x1b[?2004l"  # bracketed paste
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"  # reports of the mouse
    "\x1b[?1004l\x1b[?2031l"  # reports of focus and colours
    "\x1b[<u\x1b[>4m"  # other encodings of keys
    "\x1b[?1047l"  # the alternate screen
    "\x1b[?25h\x1b[0m"  # show the cursor, default colours
)
"""Turns off what full-screen programs turn on; without effect where it is off."""


class Terminal:
    """The controlling terminal, with its modes from before a child used it."""

    def __init__(self, descriptor: int) -> None:
        import termios

        self._termios = termios
        self._descriptor = descriptor
        # In the background the present modes are those of the shell's line editor.
        self._modes: Any = termios.tcgetattr(descriptor) if self.in_foreground else None

    @property
    def in_foreground(self) -> bool:
        """Whether the terminal sends its signals to this process's group, which a child shares."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False

    def restore(self, *, died: bool) -> None:
        """Restore the modes; if a signal killed the child, also turn off what it may have turned on."""
        if self._modes is None or not self.in_foreground:
            return
        termios = self._termios
        with _block_stop_signal():
            try:
                if termios.tcgetattr(self._descriptor) != self._modes:
                    termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
                if died:
                    os.write(self._descriptor, RESET.encode())
            except (OSError, termios.error):
                # The terminal is gone.
                return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def controlling_terminal() -> Terminal | None:
    """Return the terminal of this process; None without one."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    return Terminal(descriptor)


@contextmanager
def _block_stop_signal() -> Iterator[None]:
    """Let a background process write to its terminal without being stopped."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
