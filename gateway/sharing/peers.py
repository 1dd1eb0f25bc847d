"""Sharing: what the gateway has of other processes: news of their state, their counters, and an operator's word to all.

Made where there are others. A transport may be missing: with no parent above it a process asks nobody, and is told
nothing by name.
"""

import asyncio
import socket
import time
from collections.abc import Callable

from gateway.sharing.frames import (
    ANSWER,
    ASK,
    EXPECT,
    KEEP,
    LIVE,
    MAX_PAYLOAD,
    NEWS,
    TELL,
    name_in,
    named,
    number_in,
    numbered,
)
from gateway.sharing.link import Link
from gateway.sharing.news import News, decode, encode
from gateway.sharing.state import SharedState

KEEP_EVERY = 5.0
"""Seconds between two such blobs, if anything has changed: a worker that is killed loses as much."""

PATIENCE = 0.5
"""Seconds that an answer is waited for."""

MAX_BLOB = MAX_PAYLOAD - 1024
"""Bytes of a blob that fits into a frame, with its name or number."""

Reply = Callable[[list[bytes]], None]
Provider = Callable[[], bytes]


class Question:
    """One `gather` that is under way."""

    __slots__ = ("answers", "count", "expected", "reply", "timer")

    def __init__(self, reply: Reply, timer: asyncio.TimerHandle) -> None:
        self.reply = reply
        self.timer = timer
        self.answers: list[bytes] = []
        self.count = 0
        self.expected = -1


class Sharing:
    """One process's way to the others. Made on its event loop; `sock` leads to the parent of workers."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.state = SharedState(self._loop.time, time.time)
        self.far = False
        """Whether some of the others are no workers of the same parent; set before the gateway is made."""
        self.workers: tuple[int, ...] = ()
        """The processes of one parent that live and have spoken, this one included; some of them may stand still."""
        self._providers: dict[str, Provider] = {}
        self._lasting: dict[str, Provider] = {}
        """Those of blobs that count on when this process has ended."""
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
        """Begin to hear, and to hand on what is to be kept."""
        if self._link is not None:
            self._link.start()
            self._timer = self._loop.call_later(KEEP_EVERY, self._keep)

    def finish(self) -> None:
        """Hand on the last counters, and close."""
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._hand_on()
            self._link.finish()
        for number in list(self._questions):
            self._end(number)

    def provide(self, kind: str, provider: Provider, lasting: Provider | None = None) -> None:
        """Have `provider` give this process's blob of a kind when another gathers; b"" for none. `lasting` gives what
        stands for it once this process has ended."""
        self._providers[kind] = provider
        if lasting is not None:
            self._lasting[kind] = lasting

    def gather(self, kind: str, reply: Reply, timeout: float = PATIENCE) -> None:
        """Ask all other workers for their blobs of a kind; `reply` gets those that came, once, and soon.

        The last ones of workers that have ended are among them, where they count on. This process's own is not.
        """
        if self._link is None or not self._link.open:
            self._loop.call_soon(reply, [])
            return
        self._asked = number = (self._asked + 1) & 0xFFFF_FFFF
        self._questions[number] = Question(reply, self._loop.call_later(timeout, self._end, number))
        self._link.send(ASK, numbered(number, kind.encode()))

    def tell(self, kind: str, payload: bytes) -> None:
        """Tell all other workers what an operator wants; the caller does here what there is to do here."""
        if self._link is not None:
            self._link.send(TELL, named(kind, payload))

    def on_tell(self, kind: str, handler: Callable[[bytes], None]) -> None:
        """Have `handler` called when another worker was told something of this kind."""
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
            self.state.workers, rest = number_in(payload)
            missed, rest = number_in(rest)
            self.state.dropped += missed - self._missed
            self._missed = missed
            workers = []
            while rest:
                pid, rest = number_in(rest)
                workers.append(pid)
            self.workers = tuple(workers)
        elif kind == ASK:
            number, name = number_in(payload)
            blob = b""
            try:
                blob = self._blob(name.decode())
            finally:
                # Who does not answer is taken for one that stands still.
                self._send(ANSWER, numbered(number, blob))
        elif kind == EXPECT:
            number, count = number_in(payload)
            if number in self._questions:
                self._questions[number].expected = number_in(count)[0]
                self._check(number)
        elif kind == ANSWER:
            self._answered(*number_in(payload))
        elif kind == TELL:
            name_, told = name_in(payload)
            if name_ in self._handlers:
                self._handlers[name_](told)

    def _send(self, kind: int, payload: bytes) -> None:
        assert self._link is not None
        self._link.send(kind, payload)

    def _blob(self, kind: str) -> bytes:
        provider = self._providers.get(kind)
        return b"" if provider is None else _fitting(provider())

    def _answered(self, number: int, blob: bytes) -> None:
        question = self._questions.get(number)
        if question is None:
            return
        question.count += 1
        if blob:
            question.answers.append(blob)
        self._check(number)

    def _check(self, number: int) -> None:
        question = self._questions[number]
        if question.count == question.expected:
            self._end(number)

    def _end(self, number: int) -> None:
        question = self._questions.pop(number)
        question.timer.cancel()
        question.reply(question.answers)

    def _keep(self) -> None:
        self._timer = self._loop.call_later(KEEP_EVERY, self._keep)
        self._hand_on()

    def _hand_on(self) -> None:
        for kind, lasting in self._lasting.items():
            blob = _fitting(lasting())
            if blob and blob != self._kept.get(kind):
                self._kept[kind] = blob
                self._send(KEEP, named(kind, blob))


def _fitting(blob: bytes) -> bytes:
    """Return a blob, nothing in place of one that is too large to send: the parent would hang up."""
    return blob if len(blob) <= MAX_BLOB else b""
