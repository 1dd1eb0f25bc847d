"""A connection that the test controls. No test in here.

`Wire` is a transport whose other end is the test. Nothing happens unless the test does it, and it is as strict as the
stricter of the two loops: what one of them forgives and the other raises for, it raises for.
"""

import asyncio
import re

_DATE = re.compile(rb"date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n")


class Wire(asyncio.Transport):
    """A connection's transport; the peer is the test."""

    def __init__(self, *, half_close: bool = True, peer: object = ("192.0.2.1", 1234)) -> None:
        super().__init__({"peername": peer})
        self.state = "OPEN"
        """OPEN, CLOSING (what waits still goes out), ABORTED, LOST."""
        self.ended = False
        """No more will be written: the peer got the end."""
        self.reading = True
        self.waiting = 0
        """Bytes that the peer has not taken."""
        self.takes = True
        """The peer takes written bytes at once."""
        self.written_at = 0.0
        """Loop time of the last write."""
        self.gone = asyncio.Event()
        """The protocol knows that the connection is lost."""
        self._half_close = half_close
        self._written: list[bytes] = []
        self._arrived: list[bytes] = []
        self._high = 64 * 1024
        self._pressed = False
        self._losing = False

    def __repr__(self) -> str:
        return f"<Wire [{self.state}, {self.waiting} waiting]>"

    # The test's side.

    def join(self, protocol: asyncio.Protocol) -> bytes:
        """Connect; return what the protocol writes at once."""
        self.protocol = protocol
        protocol.connection_made(self)
        return self.written()

    def feed(self, data: bytes) -> bytes:
        """Deliver bytes of the peer; return what is written in the same call."""
        if self.state == "OPEN":
            self._arrived.append(data)
            self._deliver()
        return self.written()

    def written(self) -> bytes:
        """Return what was written since the last call, without Date."""
        written = b"".join(self._written)
        self._written.clear()
        return _DATE.sub(b"", written)

    @property
    def unread(self) -> int:
        """Bytes that arrived and that the protocol does not read yet."""
        return sum(map(len, self._arrived))

    def take(self, count: int) -> None:
        """The peer takes some of what waits for it."""
        self.waiting -= count
        if self._pressed and self.waiting <= self._high // 4:
            self._pressed = False
            self.protocol.resume_writing()
        if self.state == "CLOSING":
            self._lose()

    async def leave(self) -> None:
        """The peer closes its side."""
        if not self.protocol.eof_received():
            self.close()
        await asyncio.sleep(0)

    async def reset(self) -> None:
        """The peer resets the connection."""
        self.abort(ConnectionResetError())
        await asyncio.sleep(0)

    def _deliver(self) -> None:
        while self._arrived and self.reading and self.state == "OPEN":
            self.protocol.data_received(self._arrived.pop(0))

    def _lose(self, why: Exception | None = None) -> None:
        if not (self.waiting or self._losing):
            self._losing = True
            asyncio.get_running_loop().call_soon(self._lost, why)

    # The protocol's side.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.state == "LOST" or self.ended:
            raise RuntimeError(f"write() on {self!r}")
        if self.state == "ABORTED":
            return
        self._written.append(bytes(data))
        self.written_at = asyncio.get_running_loop().time()
        if self.takes:
            return
        self.waiting += len(data)
        if self.waiting > self._high and not self._pressed:
            self._pressed = True
            self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        if not self._half_close or self.state == "LOST":
            raise RuntimeError(f"write_eof() on {self!r}")
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        assert self.state != "LOST"
        self.reading = True
        asyncio.get_running_loop().call_soon(self._deliver)

    def is_closing(self) -> bool:
        return self.state != "OPEN"

    def close(self) -> None:
        if self.state == "OPEN":
            self.state = "CLOSING"
            self._lose()

    def abort(self, why: Exception | None = None) -> None:
        if self.state in ("OPEN", "CLOSING"):
            self.state = "ABORTED"
            self.waiting = 0
            self._lose(why)

    def _lost(self, why: Exception | None) -> None:
        self.protocol.connection_lost(why)
        self.state = "LOST"
        self.gone.set()
