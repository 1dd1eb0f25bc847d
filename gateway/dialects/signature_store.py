"""Signatures that the Messages protocol has no place for, remembered for the turns that must bring them back.

Bounded in number and in bytes: the newest win. Forgetting one costs quality, never a request, so nothing
here is kept beyond the processes that share it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b

REMEMBERED = 10_000
"""Signatures kept: a long day of several agents, at a few hundred calls an hour."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes kept in one store; signatures have 0.1 to 4 KB each."""

ENTRY = 250
"""Bytes that an entry takes beside its texts: two strings' heads and a place in the dictionary."""


class SignatureStore:
    """Signatures by the key under which they are asked for again: an id, or `text_key`."""

    def __init__(self, capacity: int = REMEMBERED, max_bytes: int = MAX_BYTES) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._known: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0
        self.tell: Callable[[str, str], None] | None = None
        """Hears of each signature that was remembered, for other processes; None where there are none."""

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<SignatureStore {len(self._known)} signatures, {self._bytes} bytes>"

    def remember(self, key: str, signature: str) -> None:
        """Keep a signature; one that is too large to keep beside others is forgotten at once."""
        self.told(key, signature)
        if self.tell is not None:
            self.tell(key, signature)

    def told(self, key: str, signature: str) -> None:
        """Keep a signature that another process was given."""
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
        """Return the signature, or "" if it is not known."""
        return self._known.get(key, "")

    def forget(self, keys: Iterable[str]) -> None:
        """Forget the signatures of these keys, as far as they are known."""
        for key in keys:
            value = self._known.pop(key, None)
            if value is not None:
                self._bytes -= ENTRY + len(key) + len(value)


def text_key(text: str) -> str:
    """Return the key for the signature of a text. Clients may trim a text, so blanks around it do not count."""
    raw = text.strip().encode("utf-8", "surrogatepass")
    return blake2b(raw, digest_size=16).hexdigest()
