"""Signals that arrive before a process has handlers for them."""

import signal


def hold() -> None:
    """Block SIGHUP until `release`, and ignore SIGUSR1 and SIGUSR2: by default each ends the process."""
    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def release() -> None:
    """Unblock SIGHUP, now that it has a handler."""
    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
