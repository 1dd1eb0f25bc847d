"""The hub of `--workers N`: the parent passes on what each worker tells to the others, and never waits for one.

It keeps what still holds, and what operators wanted since the last reload, for a worker that comes later, and the last
counters of workers that have ended. A worker that has stopped reading loses the oldest news; nobody else notices.
"""

import socket
import time
from collections import deque

from gateway.sharing.facts import Facts
from gateway.sharing.frames import (
    ANSWER,
    ASK,
    EXPECT,
    KEEP,
    LIVE,
    NEWS,
    PIECE,
    TELL,
    Inbox,
    Outbox,
    frame,
    name_in,
    number_in,
    numbered,
)
from gateway.sharing.news import decode, encode

MAX_ENDED = 64
"""Blobs of each name that are kept of workers that have ended; the oldest goes first. Deaths are rare."""

MAX_NAMES = 16
"""Names under which blobs are kept."""

MAX_ASKS = 256
"""Questions that may be open at once."""

STILL = 1.0
"""Seconds without an answer after which a worker stands still: nobody waits for one that long, and when it goes on it
need not answer hours of questions."""

MAX_TOLD = 4096
"""Different words of operators that are kept: three for each account, and more accounts than anybody has."""


class Peer:
    """One worker, seen from the hub."""

    __slots__ = ("inbox", "kept", "missed", "outbox", "pid", "sock", "spoken")

    def __init__(self, sock: socket.socket, pid: int, outbox: Outbox) -> None:
        self.sock = sock
        self.pid = pid
        self.inbox = Inbox()
        self.outbox = outbox
        self.kept: dict[str, bytes] = {}
        """What is to be kept when it is gone, by name."""
        self.spoken = False
        """It has said something: until then it may be starting."""
        self.missed = 0
        """How many frames it was told that it has missed."""


class Ask:
    """A question of one worker to all others."""

    __slots__ = ("asked", "number", "peer", "waiting")

    def __init__(self, peer: Peer, number: int, waiting: set[Peer]) -> None:
        self.asked = time.monotonic()
        self.peer = peer
        self.number = number
        self.waiting = waiting


class Hub:
    """All workers. Its owner selects on `readers` and `writers`."""

    def __init__(self) -> None:
        self._peers: dict[socket.socket, Peer] = {}
        self._facts = Facts()
        self._asks: dict[int, Ask] = {}
        self._asked = 0
        self._ended: dict[str, deque[bytes]] = {}
        self._told: dict[bytes, None] = {}
        """What operators wanted, each once, in the order in which it was said last."""

    def join(self, sock: socket.socket, pid: int) -> None:
        """Take in a worker by the hub's end of its pair, and its process: what still holds goes to it first."""
        sock.setblocking(False)
        snapshot = self._facts.snapshot(time.time())
        peer = self._peers[sock] = Peer(sock, pid, Outbox(frame(NEWS, encode(news)) for news in snapshot))
        for told in self._told:
            peer.outbox.put(frame(TELL, told))
        self._tell_live()

    def forget_told(self) -> None:
        """Tell those that come later nothing of what operators wanted so far: a reload has ended it."""
        self._told.clear()

    def close(self) -> None:
        """Close the hub's ends: in a worker, which inherits them."""
        for sock in self._peers:
            sock.close()
        self._peers.clear()

    @property
    def readers(self) -> list[socket.socket]:
        """Return what to wait for until it is readable."""
        return list(self._peers)

    @property
    def writers(self) -> list[socket.socket]:
        """Return what to wait for until it is writable: who has not taken all that waits for it."""
        return [sock for sock, peer in self._peers.items() if peer.outbox.next()]

    def handle(self, readable: list[socket.socket]) -> None:
        """Read what has come, and write what can be written."""
        for sock in readable:
            peer = self._peers.get(sock)
            if peer is not None:
                self._read(peer)
        for peer in tuple(self._peers.values()):
            self._write(peer)

    def _read(self, peer: Peer) -> None:
        """Read once from a worker that has said something, or has ended."""
        try:
            data = peer.sock.recv(PIECE)
            for kind, payload in peer.inbox.feed(data):
                self._received(peer, kind, payload)
        except (OSError, ValueError):
            data = b""
        if not data:
            self._remove(peer)

    def _write(self, peer: Peer) -> None:
        try:
            while data := peer.outbox.next():
                peer.outbox.sent(peer.sock.send(data))
                if peer.missed != peer.outbox.dropped:
                    self._tell_of(peer)
        except BlockingIOError:
            pass
        except OSError:
            self._remove(peer)

    def _remove(self, peer: Peer) -> None:
        del self._peers[peer.sock]
        peer.sock.close()
        for name, blob in peer.kept.items():
            if name in self._ended or len(self._ended) < MAX_NAMES:
                self._ended.setdefault(name, deque(maxlen=MAX_ENDED)).append(blob)
        for number, ask in list(self._asks.items()):
            if ask.peer is peer:
                del self._asks[number]
            elif peer in ask.waiting:
                self._answered(peer, number, b"")
        self._tell_live()

    def _tell_live(self) -> None:
        for peer in self._peers.values():
            self._tell_of(peer)

    def _tell_of(self, peer: Peer) -> None:
        """Tell a worker who lives, and what it has missed because it did not read."""
        peer.missed = peer.outbox.dropped
        spoken = b"".join(numbered(each.pid) for each in self._peers.values() if each.spoken)
        peer.outbox.put(frame(LIVE, numbered(len(self._peers), numbered(peer.missed, spoken))))

    def _received(self, peer: Peer, kind: int, payload: bytes) -> None:
        if not peer.spoken:
            peer.spoken = True
            self._tell_live()
        if kind == NEWS:
            news = decode(payload)
            if news is not None and self._facts.merge(news, time.time()) is not None:
                self._pass_on(peer, NEWS, payload)
        elif kind == TELL:
            self._told.pop(payload, None)
            self._told[payload] = None
            if len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]
            self._pass_on(peer, TELL, payload)
        elif kind == KEEP:
            name, blob = name_in(payload)
            if name in peer.kept or len(peer.kept) < MAX_NAMES:
                peer.kept[name] = blob
        elif kind == ASK:
            self._ask(peer, *number_in(payload))
        elif kind == ANSWER:
            self._answered(peer, *number_in(payload))

    def _pass_on(self, sender: Peer, kind: int, payload: bytes) -> None:
        told = frame(kind, payload)
        for peer in self._peers.values():
            if peer is not sender:
                peer.outbox.put(told)

    def _ask(self, asking: Peer, number: int, name: bytes) -> None:
        """Ask all others that do not stand still, and answer at once for those that have ended."""
        late = time.monotonic() - STILL
        still = {peer for ask in self._asks.values() if ask.asked < late for peer in ask.waiting}
        others = {peer for peer in self._peers.values() if peer is not asking and peer not in still}
        ended = self._ended.get(name.decode(), ())
        expected = numbered(len(others) + len(ended))
        asking.outbox.put(frame(EXPECT, numbered(number, expected)))
        for blob in ended:
            asking.outbox.put(frame(ANSWER, numbered(number, blob)))
        if not others:
            return
        self._asked += 1
        own = self._asked & 0xFFFF_FFFF
        self._asks[own] = Ask(asking, number, others)
        if len(self._asks) > MAX_ASKS:
            del self._asks[next(iter(self._asks))]
        asked = frame(ASK, numbered(own, name))
        for peer in others:
            peer.outbox.put(asked)

    def _answered(self, peer: Peer, number: int, blob: bytes) -> None:
        ask = self._asks.get(number)
        if ask is None or peer not in ask.waiting:
            return
        ask.waiting.discard(peer)
        ask.peer.outbox.put(frame(ANSWER, numbered(ask.number, blob)))
        if not ask.waiting:
            del self._asks[number]
