"""A hub and its workers in one process: over real socket pairs, with the hub turned by hand."""

import asyncio
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.sharing.hub import Hub
from gateway.sharing.peers import Sharing
from tests.support.loops import PATIENCE


class Office:
    """A hub with workers that a test adds and ends."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.workers: list[Sharing] = []

    def add(self) -> Sharing:
        ours, theirs = socket.socketpair()
        self.hub.join(ours, len(self.workers) + 1)
        sharing = Sharing(theirs)
        sharing.start()
        self.workers.append(sharing)
        return sharing

    async def turn(self, until: Callable[[], object], patience: float = PATIENCE) -> None:
        """Have hub and workers do what they have to, until something is so."""
        deadline = time.monotonic() + patience
        while not until():
            assert time.monotonic() < deadline
            self.pass_on()
            await asyncio.sleep(0.001)

    def pass_on(self) -> None:
        """Do what the hub has to do now."""
        readable, _, _ = select.select(self.hub.readers, self.hub.writers, [], 0)
        self.hub.handle(readable)

    async def go_on(self) -> None:
        """Turn the hub until this is cancelled."""
        while True:
            self.pass_on()
            await asyncio.sleep(0.001)

    async def gathered(self, sharing: Sharing, kind: str, within: float = PATIENCE) -> list[bytes]:
        replies: list[list[bytes]] = []
        sharing.gather(kind, replies.append, within)
        await self.turn(lambda: replies)
        (responses,) = replies
        return sorted(responses)


@asynccontextmanager
async def office(count: int = 3) -> AsyncIterator[Office]:
    made = Office()
    try:
        for _ in range(count):
            made.add()
        await made.turn(lambda: all(each.state.workers == count for each in made.workers))
        yield made
    finally:
        made.hub.close()
        for sharing in made.workers:
            sharing.finish()
