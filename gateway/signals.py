"""Signals that arrive before a process has handlers for them."""

import signal


def hold() -> None:
    """Keep a SIGHUP until `release`, and ignore SIGUSR1 and SIGUSR2: by default each ends the process."""
    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def release() -> None:
    """Let a SIGHUP arrive that `hold` kept: its handler is there."""
    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
