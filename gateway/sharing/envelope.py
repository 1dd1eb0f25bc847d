"""Messages in the store: a sender and encoded news, sealed or plain.

A message on the channel holds many news, the value of a key holds one. It begins with a mark, so that another program's
data is never read as news. A process with a secret accepts sealed messages only, one without accepts plain ones only.
"""

from collections.abc import Iterable, Iterator, Sequence

from gateway.sharing.seal import Seal

PLAIN = b"gateway-1 "
SEALED = b"gateway-sealed-1 "

PROCESS = 16
"""Bytes of the random name of a process."""

LENGTH = 4
"""Bytes of a length, most significant first."""

MAX_MESSAGE = 2**20
"""Bytes. Longer messages are ignored: a batch of news has some kilobytes, one with a signature a few dozen."""

MESSAGE_SIZE = 2**18
"""Bytes of news after which a further message begins."""


class Envelopes:
    """Wraps and unwraps a process's messages."""

    __slots__ = ("_seal", "process")

    def __init__(self, process: bytes, seal: Seal | None) -> None:
        self.process = process
        self._seal = seal

    def wrap(self, frames: Sequence[bytes]) -> bytes:
        """Return a message from this process that holds encoded news."""
        content = b"".join([self.process, *(len(frame).to_bytes(LENGTH, "big") + frame for frame in frames)])
        return PLAIN + content if self._seal is None else SEALED + self._seal.close(content)

    def messages(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """Yield at least one message; together they hold all these encoded news, each about MESSAGE_SIZE or less."""
        together: list[bytes] = []
        size = 0
        for frame in frames:
            if together and size + len(frame) > MESSAGE_SIZE:
                yield self.wrap(together)
                together, size = [], 0
            together.append(frame)
            size += len(frame)
        yield self.wrap(together)

    def unwrap(self, message: bytes) -> tuple[bytes, list[bytes]] | None:
        """Return a message's sender and its encoded news; None if it is malformed or not sealed as required."""
        if len(message) > MAX_MESSAGE:
            return None
        if self._seal is None:
            content = message.removeprefix(PLAIN) if message.startswith(PLAIN) else None
        else:
            content = self._seal.open(message.removeprefix(SEALED)) if message.startswith(SEALED) else None
        if content is None or len(content) < PROCESS:
            return None
        frames = list(_frames(content))
        return None if b"" in frames else (content[:PROCESS], frames)

    def name(self, kind: str, key: str) -> str:
        """Return the store's key for news about something; hashed if messages are sealed."""
        name = f"{kind}:{key}"
        return name if self._seal is None else self._seal.name(name)


def _frames(content: bytes) -> Iterator[bytes]:
    """Yield the frames behind the process's name; an empty one if a length exceeds the rest."""
    position = PROCESS
    while position < len(content):
        start = position + LENGTH
        position = start + int.from_bytes(content[position:start], "big")
        yield content[start:position] if position <= len(content) else b""
