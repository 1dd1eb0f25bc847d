"""The other processes that share news; the clock is passed in."""

MOST_PROCESSES = 1024
"""Processes counted, at most: their names come from anyone who can write to the store."""


class Members:
    """Processes by their last sign of life. Times are seconds of any clock."""

    __slots__ = ("_patience", "_seen")

    def __init__(self, patience: float) -> None:
        """`patience`: seconds of silence after which a process counts as gone."""
        self._seen: dict[bytes, float] = {}
        self._patience = patience

    def __len__(self) -> int:
        """Return the number of other processes."""
        return len(self._seen)

    def note_alive(self, process: bytes, now: float) -> None:
        """Note a sign of life."""
        if process in self._seen or len(self._seen) < MOST_PROCESSES:
            self._seen[process] = now

    def forget(self, process: bytes) -> None:
        """Forget a process that said it stops."""
        self._seen.pop(process, None)

    def drop_silent(self, now: float) -> None:
        """Forget processes that were silent for too long."""
        self._seen = {name: heard for name, heard in self._seen.items() if now - heard < self._patience}

    def restart(self, now: float) -> None:
        """Restart the time of all: none could be heard until now."""
        self._seen = dict.fromkeys(self._seen, now)
