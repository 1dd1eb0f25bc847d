"""Sharing: a process's connection to the others, for news of its state, its counters, and operators' actions.

Made only where there are others. A process without a parent of workers has no `gather` and no `broadcast`: they
reach no other process.
"""

import asyncio
import socket
import time
from collections.abc import Callable

from gateway.sharing.frames import (
    ASK,
    BROADCAST,
    EXPECT,
    KEEP,
    LIVE,
    MAX_PAYLOAD,
    NEWS,
    REPLY,
    add_name,
    add_number,
    split_name,
    split_number,
)
from gateway.sharing.link import Link
from gateway.sharing.news import News, decode, encode
from gateway.sharing.state import SharedState

KEEP_EVERY = 5.0
"""Seconds between two lasting blobs, if anything has changed: a killed worker loses so much."""

PATIENCE = 0.5
"""Seconds to wait for replies."""

MAX_BLOB = MAX_PAYLOAD - 1024
"""Bytes of a blob that fits into a frame, with its name or number."""

Reply = Callable[[list[bytes]], None]
Provider = Callable[[], bytes]


class Question:
    """One `gather` in progress."""

    __slots__ = ("count", "expected", "replies", "reply", "timer")

    def __init__(self, reply: Reply, timer: asyncio.TimerHandle) -> None:
        self.reply = reply
        self.timer = timer
        self.replies: list[bytes] = []
        self.count = 0
        self.expected = -1


class Sharing:
    """One process's connection to the others. Made on its event loop; `sock` leads to the parent of workers."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.state = SharedState(self._loop.time, time.time)
        self.far = False
        """Whether some of the others have another parent; set before the gateway is made."""
        self.workers: tuple[int, ...] = ()
        """The living processes of the parent that have sent a frame, including this one and any that have stopped
        responding."""
        self._providers: dict[str, Provider] = {}
        self._lasting: dict[str, Provider] = {}
        """Providers of the blobs that count even after this process's end."""
        self._handlers: dict[str, Callable[[bytes], None]] = {}
        self._questions: dict[int, Question] = {}
        self._asked = 0
        self._kept: dict[str, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._missed = 0
        """Frames that the parent dropped because this process did not read."""
        self._link: Link | None = None
        if sock is not None:
            self._link = Link(sock, self._received)
            self.state.publish = self._publish

    def start(self) -> None:
        """Start reading, and sending lasting blobs."""
        if self._link is not None:
            self._link.start()
            self._timer = self._loop.call_later(KEEP_EVERY, self._keep)

    def finish(self) -> None:
        """Send the last counters, and close."""
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._hand_on()
            self._link.finish()
        for number in list(self._questions):
            self._end(number)

    def provide(self, kind: str, provider: Provider, lasting: Provider | None = None) -> None:
        """Have `provider` return this process's blob of a kind when another gathers; b"" for none. `lasting` returns
        the blob that replaces it after this process's end."""
        self._providers[kind] = provider
        if lasting is not None:
            self._lasting[kind] = lasting

    def gather(self, kind: str, reply: Reply, timeout: float = PATIENCE) -> None:
        """Request all other workers' blobs of a kind; `reply` is called once, soon, with those that arrived.

        They include the last blobs of exited workers, if those are lasting, but not this process's own.
        """
        if self._link is None or not self._link.open:
            self._loop.call_soon(reply, [])
            return
        self._asked = number = (self._asked + 1) & 0xFFFF_FFFF
        self._questions[number] = Question(reply, self._loop.call_later(timeout, self._end, number))
        self._link.send(ASK, add_number(number, kind.encode()))

    def broadcast(self, kind: str, payload: bytes) -> None:
        """Pass an operator's action to all other workers; the caller carries it out here."""
        if self._link is not None:
            self._link.send(BROADCAST, add_name(kind, payload))

    def on_broadcast(self, kind: str, handler: Callable[[bytes], None]) -> None:
        """Have `handler` called for other workers' actions of this kind."""
        self._handlers[kind] = handler

    def _publish(self, news: News) -> None:
        assert self._link is not None
        frame = encode(news)
        before = self._link.dropped
        if frame:
            self._link.send(NEWS, frame)
        self.state.dropped += not frame or self._link.dropped - before

    def _received(self, kind: int, payload: bytes) -> None:
        if kind == NEWS:
            news = decode(payload)
            if news is not None:
                self.state.receive(news)
        elif kind == LIVE:
            self.state.workers, rest = split_number(payload)
            missed, rest = split_number(rest)
            self.state.dropped += missed - self._missed
            self._missed = missed
            workers = []
            while rest:
                pid, rest = split_number(rest)
                workers.append(pid)
            self.workers = tuple(workers)
        elif kind == ASK:
            number, name = split_number(payload)
            blob = b""
            try:
                blob = self._blob(name.decode())
            finally:
                # Reply in any case: a worker that does not counts as stopped.
                self._send(REPLY, add_number(number, blob))
        elif kind == EXPECT:
            number, count = split_number(payload)
            if number in self._questions:
                self._questions[number].expected = split_number(count)[0]
                self._check(number)
        elif kind == REPLY:
            self._replied(*split_number(payload))
        elif kind == BROADCAST:
            name_, body = split_name(payload)
            if name_ in self._handlers:
                self._handlers[name_](body)

    def _send(self, kind: int, payload: bytes) -> None:
        assert self._link is not None
        self._link.send(kind, payload)

    def _blob(self, kind: str) -> bytes:
        provider = self._providers.get(kind)
        return b"" if provider is None else _drop_too_large(provider())

    def _replied(self, number: int, blob: bytes) -> None:
        question = self._questions.get(number)
        if question is None:
            return
        question.count += 1
        if blob:
            question.replies.append(blob)
        self._check(number)

    def _check(self, number: int) -> None:
        question = self._questions[number]
        if question.count == question.expected:
            self._end(number)

    def _end(self, number: int) -> None:
        question = self._questions.pop(number)
        question.timer.cancel()
        question.reply(question.replies)

    def _keep(self) -> None:
        self._timer = self._loop.call_later(KEEP_EVERY, self._keep)
        self._hand_on()

    def _hand_on(self) -> None:
        for kind, lasting in self._lasting.items():
            blob = _drop_too_large(lasting())
            if blob and blob != self._kept.get(kind):
                self._kept[kind] = blob
                self._send(KEEP, add_name(kind, blob))


def _drop_too_large(blob: bytes) -> bytes:
    """Return a blob, or b"" if it is too large to send: the parent would close the connection."""
    return blob if len(blob) <= MAX_BLOB else b""
