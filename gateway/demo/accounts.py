"""The accounts of an embedded upstream, and how often the first of them is refused."""

ACCOUNTS = {"first@demo.example": "demo-1", "second@demo.example": "demo-2"}
"""Name -> key."""

LIMITED = "demo-1"
"""The key that is rate-limited now and then; the other one never is, so that every request is served."""

EVERY = 3
"""Every third request: seen by whoever tries the demo for a minute, and most requests pass at once."""

PAUSE = 5
"""Seconds of a refusal. Above the 2 s that would be worth waiting for, so that another account takes over."""


class RateLimit:
    """Counts the requests of the limited account."""

    __slots__ = ("_served",)

    def __init__(self) -> None:
        self._served = 0

    def refuses(self, key: str) -> bool:
        """One more request with this key: whether it must wait for PAUSE seconds."""
        if key != LIMITED:
            return False
        self._served += 1
        return self._served % EVERY == 0
