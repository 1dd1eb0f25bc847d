"""The processes that share news, as one of them hears of the others; the clock is passed in."""

MOST_PROCESSES = 1024
"""Processes told apart: names come from whoever can write to the store."""


class Members:
    """Who was heard of, and when. Times are seconds of any clock."""

    __slots__ = ("_heard", "_patience")

    def __init__(self, patience: float) -> None:
        """`patience`: seconds without a word after which a process is gone."""
        self._heard: dict[bytes, float] = {}
        self._patience = patience

    def __len__(self) -> int:
        """Return how many others there are."""
        return len(self._heard)

    def heard(self, process: bytes, now: float) -> None:
        """Note that a process lives."""
        if process in self._heard or len(self._heard) < MOST_PROCESSES:
            self._heard[process] = now

    def gone(self, process: bytes) -> None:
        """Forget a process that said goodbye."""
        self._heard.pop(process, None)

    def look(self, now: float) -> None:
        """Forget those that were silent for too long."""
        self._heard = {name: heard for name, heard in self._heard.items() if now - heard < self._patience}

    def excuse(self, now: float) -> None:
        """Give all their whole time again: nobody could be heard until now."""
        self._heard = dict.fromkeys(self._heard, now)
