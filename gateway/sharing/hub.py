"""The hub of `--workers N`: the parent passes each worker's frames on to the others, and never blocks on one.

For workers that start later it keeps the facts that have not ended and the operators' actions since the last reload; it
also keeps the last counters of workers that have exited. A worker that stops reading loses the oldest news.
"""

import socket
import time
from collections import deque

from gateway.sharing.facts import Facts
from gateway.sharing.frames import (
    ASK,
    BROADCAST,
    EXPECT,
    KEEP,
    LIVE,
    NEWS,
    PIECE,
    REPLY,
    Inbox,
    Outbox,
    add_number,
    frame,
    split_name,
    split_number,
)
from gateway.sharing.news import decode, encode

MAX_ENDED = 64
"""Blobs of each name kept of exited workers; the oldest is dropped first. Exits are rare."""

MAX_NAMES = 16
"""Names under which blobs are kept."""

MAX_ASKS = 256
"""Open ASKs, at most."""

STILL = 1.0
"""Seconds without a reply after which a worker counts as stopped: it gets no further requests, so that others need not
wait for it, and few old ones are left when it continues."""

MAX_BROADCASTS = 4096
"""Different operators' actions kept: three for each account, and more accounts than any configuration has."""


class Peer:
    """One worker, as the hub sees it."""

    __slots__ = ("inbox", "kept", "missed", "outbox", "pid", "sock", "spoken")

    def __init__(self, sock: socket.socket, pid: int, outbox: Outbox) -> None:
        self.sock = sock
        self.pid = pid
        self.inbox = Inbox()
        self.outbox = outbox
        self.kept: dict[str, bytes] = {}
        """Blobs to keep after its end, by name."""
        self.spoken = False
        """It has sent a frame: until then it may be starting."""
        self.missed = 0
        """The number of missed frames last reported to it."""


class Ask:
    """One worker's request to all others."""

    __slots__ = ("number", "peer", "sent_at", "waiting")

    def __init__(self, peer: Peer, number: int, waiting: set[Peer]) -> None:
        self.sent_at = time.monotonic()
        self.peer = peer
        self.number = number
        self.waiting = waiting


class Hub:
    """All workers. Its owner selects on `readers` and `writers`."""

    def __init__(self) -> None:
        self._peers: dict[socket.socket, Peer] = {}
        self._facts = Facts()
        self._asks: dict[int, Ask] = {}
        self._last_number = 0
        self._ended: dict[str, deque[bytes]] = {}
        self._broadcasts: dict[bytes, None] = {}
        """Operators' actions, each once, in the order of their last occurrence."""

    def join(self, sock: socket.socket, pid: int) -> None:
        """Add a worker: the hub's end of its socket pair, its process id. News still in force are sent first."""
        sock.setblocking(False)
        snapshot = self._facts.snapshot(time.time())
        peer = self._peers[sock] = Peer(sock, pid, Outbox(frame(NEWS, encode(news)) for news in snapshot))
        for payload in self._broadcasts:
            peer.outbox.put(frame(BROADCAST, payload))
        self._send_live()

    def forget_broadcasts(self) -> None:
        """Drop the kept actions: a reload has ended their effect."""
        self._broadcasts.clear()

    def close(self) -> None:
        """Close the hub's ends, in a worker that has inherited them."""
        for sock in self._peers:
            sock.close()
        self._peers.clear()

    @property
    def readers(self) -> list[socket.socket]:
        """Return the sockets to wait for until they are readable."""
        return list(self._peers)

    @property
    def writers(self) -> list[socket.socket]:
        """Return the sockets with queued frames, to wait for until they are writable."""
        return [sock for sock, peer in self._peers.items() if peer.outbox.next()]

    def handle(self, readable: list[socket.socket]) -> None:
        """Read from `readable`, and write what can be written."""
        for sock in readable:
            peer = self._peers.get(sock)
            if peer is not None:
                self._read(peer)
        for peer in tuple(self._peers.values()):
            self._write(peer)

    def _read(self, peer: Peer) -> None:
        """Read once from a worker that has sent something, or has exited."""
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
                peer.outbox.remove_sent(peer.sock.send(data))
                if peer.missed != peer.outbox.dropped:
                    self._send_live_to(peer)
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
                self._replied(peer, number, b"")
        self._send_live()

    def _send_live(self) -> None:
        for peer in self._peers.values():
            self._send_live_to(peer)

    def _send_live_to(self, peer: Peer) -> None:
        """Send a worker the processes that live, and how many frames it missed because it did not read."""
        peer.missed = peer.outbox.dropped
        spoken = b"".join(add_number(each.pid) for each in self._peers.values() if each.spoken)
        peer.outbox.put(frame(LIVE, add_number(len(self._peers), add_number(peer.missed, spoken))))

    def _received(self, peer: Peer, kind: int, payload: bytes) -> None:
        if not peer.spoken:
            peer.spoken = True
            self._send_live()
        if kind == NEWS:
            news = decode(payload)
            if news is not None and self._facts.merge(news, time.time()) is not None:
                self._pass_on(peer, NEWS, payload)
        elif kind == BROADCAST:
            self._broadcasts.pop(payload, None)
            self._broadcasts[payload] = None
            if len(self._broadcasts) > MAX_BROADCASTS:
                del self._broadcasts[next(iter(self._broadcasts))]
            self._pass_on(peer, BROADCAST, payload)
        elif kind == KEEP:
            name, blob = split_name(payload)
            if name in peer.kept or len(peer.kept) < MAX_NAMES:
                peer.kept[name] = blob
        elif kind == ASK:
            self._ask(peer, *split_number(payload))
        elif kind == REPLY:
            self._replied(peer, *split_number(payload))

    def _pass_on(self, sender: Peer, kind: int, payload: bytes) -> None:
        passed_on = frame(kind, payload)
        for peer in self._peers.values():
            if peer is not sender:
                peer.outbox.put(passed_on)

    def _ask(self, asking: Peer, number: int, name: bytes) -> None:
        """Pass a request on to all others that have not stopped; reply at once for those that have exited."""
        late = time.monotonic() - STILL
        still = {peer for ask in self._asks.values() if ask.sent_at < late for peer in ask.waiting}
        others = {peer for peer in self._peers.values() if peer is not asking and peer not in still}
        ended = self._ended.get(name.decode(), ())
        expected = add_number(len(others) + len(ended))
        asking.outbox.put(frame(EXPECT, add_number(number, expected)))
        for blob in ended:
            asking.outbox.put(frame(REPLY, add_number(number, blob)))
        if not others:
            return
        self._last_number += 1
        own = self._last_number & 0xFFFF_FFFF
        self._asks[own] = Ask(asking, number, others)
        if len(self._asks) > MAX_ASKS:
            del self._asks[next(iter(self._asks))]
        request = frame(ASK, add_number(own, name))
        for peer in others:
            peer.outbox.put(request)

    def _replied(self, peer: Peer, number: int, blob: bytes) -> None:
        ask = self._asks.get(number)
        if ask is None or peer not in ask.waiting:
            return
        ask.waiting.discard(peer)
        ask.peer.outbox.put(frame(REPLY, add_number(ask.number, blob)))
        if not ask.waiting:
            del self._asks[number]
