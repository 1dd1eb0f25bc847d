"""Warnings about what cannot be translated, each logged once in the life of the process."""

from collections.abc import Callable

WARNINGS_KEPT = 1000
"""Different warnings that are logged, at most; a client could invent any number of block types."""

LONGEST = 300
"""Characters of a warning, which may contain what a client sent."""


class WarnOnce:
    """Passes each different warning on once."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """`warn` writes a line to the log."""
        self._warn = warn
        self._said: set[str] = set()

    def __call__(self, message: str) -> None:
        """Log a warning, unless it was logged before."""
        message = message if len(message) <= LONGEST else message[:LONGEST] + "…"
        if message not in self._said and len(self._said) < WARNINGS_KEPT:
            self._said.add(message)
            self._warn(message)
