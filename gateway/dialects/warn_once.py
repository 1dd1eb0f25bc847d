"""Warnings about what cannot be translated, each said once in the life of the process."""

from collections.abc import Callable

WARNINGS_KEPT = 1000
"""Different warnings that are said; a client could make up any number of block types."""

LONGEST = 300
"""Characters of a warning: what a client sent may be part of it."""


class WarnOnce:
    """Passes each different warning on once."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """`warn` writes a line to the log."""
        self._warn = warn
        self._said: set[str] = set()

    def __call__(self, message: str) -> None:
        """Say a warning, unless it was said before."""
        message = message if len(message) <= LONGEST else message[:LONGEST] + "…"
        if message not in self._said and len(self._said) < WARNINGS_KEPT:
            self._said.add(message)
            self._warn(message)
