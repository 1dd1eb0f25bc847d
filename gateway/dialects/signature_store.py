"""Stores signatures that the Messages protocol has no field for, until a later turn needs them.

Bounded in number and in bytes; the oldest are dropped first. Losing one costs quality, never a request, so they are
only kept in the memory of the processes that share them.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b

REMEMBERED = 10_000
"""Signatures kept: a long day of several agents, at a few hundred calls an hour."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes kept in one store; signatures have 0.1 to 4 KB each."""

ENTRY = 250
"""Bytes that an entry takes in addition to its texts: two string objects and a place in the dictionary."""


class SignatureStore:
    """Signatures by key: an id, or a `text_key`."""

    def __init__(self, capacity: int = REMEMBERED, max_bytes: int = MAX_BYTES) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._known: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0
        self.publish: Callable[[str, str], None] | None = None
        """Publishes each stored signature to other processes; None if there are none."""

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<SignatureStore {len(self._known)} signatures, {self._bytes} bytes>"

    def remember(self, key: str, signature: str) -> None:
        """Store a signature and publish it; one that is too large is dropped at once."""
        self.store(key, signature)
        if self.publish is not None:
            self.publish(key, signature)

    def store(self, key: str, signature: str) -> None:
        """Store a signature that another process has published."""
        self.forget((key,))
        size = ENTRY + len(key) + len(signature)
        if size > self._max_bytes // 4:
            return
        self._known[key] = signature
        self._bytes += size
        while len(self._known) > self._capacity or self._bytes > self._max_bytes:
            oldest, value = self._known.popitem(last=False)
            self._bytes -= ENTRY + len(oldest) + len(value)

    def get(self, key: str) -> str:
        """Return the signature, or "" if it is unknown."""
        return self._known.get(key, "")

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the signatures of these keys."""
        for key in keys:
            value = self._known.pop(key, None)
            if value is not None:
                self._bytes -= ENTRY + len(key) + len(value)


def text_key(text: str) -> str:
    """Return the key of a text. Blanks around it are ignored, since clients may trim a text."""
    raw = text.strip().encode("utf-8", "surrogatepass")
    return blake2b(raw, digest_size=16).hexdigest()
