"""The other processes that share news; the clock is passed in."""

MOST_PROCESSES = 1024
"""Processes counted, at most: their names come from anyone who can write to the store."""


class Members:
    """Processes by their last sign of life. Times are seconds of any clock."""

    __slots__ = ("_heard", "_patience")

    def __init__(self, patience: float) -> None:
        """`patience`: seconds of silence after which a process counts as gone."""
        self._heard: dict[bytes, float] = {}
        self._patience = patience

    def __len__(self) -> int:
        """Return the number of other processes."""
        return len(self._heard)

    def heard(self, process: bytes, now: float) -> None:
        """Note a sign of life."""
        if process in self._heard or len(self._heard) < MOST_PROCESSES:
            self._heard[process] = now

    def gone(self, process: bytes) -> None:
        """Forget a process that said it stops."""
        self._heard.pop(process, None)

    def look(self, now: float) -> None:
        """Forget processes that were silent for too long."""
        self._heard = {name: heard for name, heard in self._heard.items() if now - heard < self._patience}

    def excuse(self, now: float) -> None:
        """Restart the time of all: none could be heard until now."""
        self._heard = dict.fromkeys(self._heard, now)
