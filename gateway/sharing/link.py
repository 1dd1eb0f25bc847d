"""A worker's end of the connection to its parent: sends and receives frames on the event loop, without blocking."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from gateway.sharing.frames import NEWS, PIECE, FrameError, Inbox, Outbox, frame

BATCH = 0.004
"""Seconds that news wait for more: under load one system call carries several, and no reader needs them sooner."""

FAREWELL = 0.2
"""Seconds for the last frames: a parent that reads takes far less."""


class Link:
    """Made on the loop that it runs on. `receive` gets each frame."""

    def __init__(self, sock: socket.socket, receive: Callable[[int, bytes], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._timer: asyncio.TimerHandle | None = None
        self._blocked = False
        self.open = True

    def start(self) -> None:
        """Start reading."""
        self._loop.add_reader(self._sock, self._on_readable)

    @property
    def dropped(self) -> int:
        """Return how many frames were dropped because the parent did not read."""
        return self._outbox.dropped

    def send(self, kind: int, payload: bytes) -> None:
        """Send a frame: news after BATCH seconds, everything else in this turn of the loop."""
        if not self.open:
            return
        self._outbox.put(frame(kind, payload))
        if self._timer is None and not self._blocked:
            self._timer = self._loop.call_later(BATCH if kind == NEWS else 0.0, self._flush)

    def _flush(self) -> None:
        self._timer = None
        try:
            while data := self._outbox.next():
                self._outbox.remove_sent(self._sock.send(data))
        except BlockingIOError:
            if not self._blocked:
                self._blocked = True
                self._loop.add_writer(self._sock, self._flush)
            return
        except OSError:
            self.close()
            return
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._sock)

    def _on_readable(self) -> None:
        data = b""
        with suppress(OSError):
            data = self._sock.recv(PIECE)
        try:
            for kind, payload in self._inbox.feed(data):
                self._take(kind, payload)
        except FrameError:
            data = b""
        if not data:
            self.close()

    def _take(self, kind: int, payload: bytes) -> None:
        try:
            self._receive(kind, payload)
        except Exception as error:
            # An error in one frame must not stop the others.
            self._loop.call_exception_handler(
                {"message": "what another process said has failed here", "exception": error}
            )

    def finish(self) -> None:
        """Send what is queued, for at most FAREWELL seconds, and close: the loop is about to end."""
        if self.open:
            self._sock.settimeout(FAREWELL)
            try:
                while data := self._outbox.next():
                    self._outbox.remove_sent(self._sock.send(data))
            except OSError:
                pass
            self.close()

    def close(self) -> None:
        """Close the socket."""
        self.open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        if self._timer is not None:
            self._timer.cancel()
        self._sock.close()
