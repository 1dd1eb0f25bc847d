"""A process's connection to Valkey or Redis, through which gateways on several machines share news.

News are published on one channel, and stored as keys that expire when the news end: a process that joins later, or
reconnects, reads the keys. Both are idempotent, so repetition does no harm, and a loss costs one attempt.

No request waits for this: `publish` only appends to a bounded queue. One task sends, one receives; each operation has a
deadline; after any failure both connections are closed and opened again (after a timeout a late reply would be taken
for the next one, and a subscription that the library renews by itself has a gap). Silence is a failure, too: a
process receives its own signs of life over the channel.

Imported only where a store is configured: it needs the `redis` package.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import random
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from gateway.config import Sharing
from gateway.config.store import place_of
from gateway.sharing.envelope import MAX_MESSAGE, PROCESS, Envelopes
from gateway.sharing.members import Members
from gateway.sharing.news import News, decode, encode
from gateway.sharing.peers import Sharing as Peers
from gateway.sharing.seal import Seal
from gateway.sharing.state import SharedState
from gateway.telemetry.access_log import AccessLog

TIMEOUT = 2.0
"""Seconds for one operation: a store in the same network takes a millisecond."""

BEAT = 5.0
"""Seconds between signs of life."""

SILENCE = 3 * BEAT
"""Seconds of silence after which another process counts as gone, and after which a channel that does not return this
process's own signs of life counts as dead."""

PACE = 0.02
"""Seconds between two batches: after a pause news are sent at once, and many are sent together, at a tenth of the cost.
Less than half of the 50 ms within which others should know."""

BATCH = 100
"""News in a batch; reading them blocks the receiver's loop for about a millisecond."""

QUEUE = 10_000
"""News queued while the store is away. Most are sent again anyway once it is back."""

PAGE = 100
"""Keys read at once; that blocks the loop for some milliseconds."""

LONGEST_KEPT = 86_400.0
"""Seconds after which the store drops any key."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds before connecting again, doubled each time; half of it is random, so that not all connect at once."""

GOODBYE = 0.1
"""Seconds to send the last news of a process that stops."""

BYE = b"bye"
"""Sent in place of news: this process stops."""

LONGEST_REASON = 200
"""Characters of an error that are shown."""


class Store:
    """One process's connection, renewed after each failure from `start` until `stop`."""

    def __init__(
        self,
        sharing: Sharing,
        state: SharedState,
        log: AccessLog,
        entropy: Callable[[int], bytes] = os.urandom,
        chance: Callable[[], float] = random,
    ) -> None:
        assert sharing.url is not None
        seal = Seal(sharing.secret.reveal(), entropy) if sharing.secret else None
        self._sharing = sharing
        self.where = place_of(sharing.url.reveal())
        """Its address for messages, without user and password."""
        self._state = state
        self._chance = chance
        self._log = log
        self._envelopes = Envelopes(entropy(PROCESS), seal)
        self._channel = f"{sharing.prefix}news"
        self._kept = f"{sharing.prefix}kept:"
        self._present = f"{sharing.prefix}process:"
        self._queue: deque[News] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._refused_reported = False
        self._members = Members(SILENCE)
        self.up: bool | None = None
        """Whether news are shared; None until the first attempt."""
        self.sent = self.received = 0
        """News so far."""
        self.refused = 0
        """Messages that were malformed, or not sealed as required."""

    def start(self) -> None:
        """Connect, and reconnect after failures."""
        self._task = asyncio.get_running_loop().create_task(self._stay())

    def publish(self, news: News) -> None:
        """Queue news for all other processes; the oldest is dropped if the queue is full."""
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self._state.dropped += 1
        self._queue.append(news)
        self._wake.set()

    async def stop(self) -> None:
        """Send what is queued, for at most GOODBYE seconds, and close."""
        task, self._task = self._task, None
        if task is None:
            return
        self._closing = True
        self._wake.set()
        await asyncio.wait((task,), timeout=GOODBYE if self.up else 0.0)
        task.cancel()
        await asyncio.wait((task,))

    async def _stay(self) -> None:
        """Run sessions, and connect again after each failure."""
        pause = FIRST_PAUSE
        while not self._closing:
            try:
                await self._session()
            except Exception as error:
                if self.up:
                    pause = FIRST_PAUSE
                if self.up is not False:
                    self._log.warning(
                        f"sharing: the store {self.where} is away, and each gateway is on its own until it is "
                        f"back: {reason_of(error)}"
                    )
                self.up = False
                await asyncio.sleep(pause * (1.0 - self._chance() / 2))
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _session(self) -> None:
        """Share until the process stops. Raise the error that ends it earlier."""
        client = client_of(self._sharing)
        subscription = client.pubsub()
        try:
            async with asyncio.timeout(TIMEOUT):
                await subscription.subscribe(self._channel)
                # The keys are read only after this, so that no news is lost between channel and keys.
                await subscription.get_message(timeout=TIMEOUT)
            async with asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(self._receive(subscription))
                await self._resync(client)
                await self._send(client)
                receiving.cancel()
        finally:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(GOODBYE):
                    await subscription.aclose()  # type: ignore[no-untyped-call]
                    await client.aclose()

    # Receiving.

    async def _receive(self, subscription: PubSub) -> None:
        """Receive messages of the channel."""
        while True:
            message = await subscription.get_message(timeout=SILENCE)
            # Yield, so that a flood of messages does not block the loop.
            await asyncio.sleep(0)
            if message is None or message["type"] != "message":
                raise TimeoutError("nothing comes over the channel, not even this process's own")
            self._take(message["data"])

    def _take(self, message: bytes) -> None:
        """Handle one message of the channel."""
        opened = self._envelopes.unwrap(message)
        if opened is None:
            self.refused += 1
            self._state.dropped += 1
            return
        process, frames = opened
        if process == self._envelopes.process:
            return
        if BYE in frames:
            self._members.forget(process)
        else:
            self._members.note_alive(process, asyncio.get_running_loop().time())
        self._state.processes = 1 + len(self._members)
        for frame in frames:
            self._hear(frame)

    def _hear(self, frame: bytes) -> None:
        """Apply one news frame; one that a later version sends and this one does not know is skipped."""
        news = decode(frame)
        if news is None:
            return
        self.received += 1
        try:
            self._state.receive(news)
        except Exception as error:
            # Raising would end the session again and again, as long as the store has it.
            self._log.error(f"sharing: {news.kind} was not understood: {reason_of(error)}", once=True)

    # Resynchronizing.

    async def _resync(self, client: Redis) -> None:
        """Read what the store has, then send what it lacks."""
        self._members.restart(asyncio.get_running_loop().time())
        stored: set[int] = set()
        cursor = -1
        while cursor:
            async with asyncio.timeout(TIMEOUT):
                cursor, names = await client.scan(
                    max(cursor, 0), match=f"{self._sharing.prefix}*", count=PAGE
                )
            await self._read(client, [name for name in names if isinstance(name, bytes)], stored)
        await self._beat(client)
        missing = [news for news in self._state.snapshot() if hash(encode(news)) not in stored]
        for start in range(0, len(missing), BATCH):
            await self._write(client, missing[start : start + BATCH])
        self.up = True
        self._log.info(f"sharing: news are shared over the store {self.where}")

    async def _read(self, client: Redis, names: Sequence[bytes], stored: set[int]) -> None:
        """Apply the values of some keys; another program's values are ignored."""
        kept, present = self._kept.encode(), self._present.encode()
        ours = [name for name in names if name.startswith((kept, present))]
        if not ours:
            return
        pipeline = client.pipeline(transaction=False)
        for name in ours:
            # At most a message's length, however large another program's value is.
            pipeline.getrange(name, 0, MAX_MESSAGE)
        async with asyncio.timeout(TIMEOUT):
            values = await pipeline.execute(raise_on_error=False)
        for name, value in zip(ours, values, strict=True):
            opened = self._envelopes.unwrap(value) if isinstance(value, bytes) else None
            if opened is None:
                self.refused += value != b""
                continue
            process, frames = opened
            if name.startswith(present) and process != self._envelopes.process:
                self._members.note_alive(process, asyncio.get_running_loop().time())
            for frame in frames:
                stored.add(hash(frame))
                self._hear(frame)

    # Sending.

    async def _send(self, client: Redis) -> None:
        """Send queued news and signs of life until the process stops."""
        loop = asyncio.get_running_loop()
        due = loop.time() + BEAT
        while not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            self._wake.clear()
            if loop.time() >= due:
                await self._beat(client)
                due = loop.time() + BEAT
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                await self._write(client, batch)
                await asyncio.sleep(PACE)
        pipeline = client.pipeline(transaction=False)
        pipeline.publish(self._channel, self._envelopes.wrap([BYE]))
        pipeline.delete(self._name)
        await self._execute(pipeline)

    async def _beat(self, client: Redis) -> None:
        """Send a sign of life, and forget processes that were silent for too long."""
        self._members.drop_silent(asyncio.get_running_loop().time())
        self._state.processes = 1 + len(self._members)
        pipeline = client.pipeline(transaction=False)
        sign = self._envelopes.wrap([])
        pipeline.publish(self._channel, sign)
        pipeline.set(self._name, sign, px=int(SILENCE * 1000))
        await self._execute(pipeline)

    @property
    def _name(self) -> str:
        return self._present + self._envelopes.process.hex()

    async def _write(self, client: Redis, batch: Sequence[News]) -> None:
        """Publish news, and store them until they end."""
        now = time.time()
        lasting = [(each, frame) for each in batch if each.until > now and (frame := encode(each))]
        if not lasting:
            return
        pipeline = client.pipeline(transaction=False)
        for message in self._envelopes.messages([frame for _, frame in lasting]):
            pipeline.publish(self._channel, message)
        for news, frame in lasting:
            left = min(news.until - now, LONGEST_KEPT)
            name = self._kept + self._envelopes.name(news.kind, news.key)
            # Like the library's `set`, in a tenth of its time.
            pipeline.execute_command(
                "SET", name, self._envelopes.wrap([frame]), "PX", max(1, int(left * 1000))
            )
        await self._execute(pipeline)
        self.sent += len(lasting)

    async def _execute(self, pipeline: Any) -> None:
        """Run commands of which the first publishes. Raise if that was refused; warn once if others were."""
        async with asyncio.timeout(TIMEOUT):
            first, *others = await pipeline.execute(raise_on_error=False)
        refused = next((result for result in others if isinstance(result, Exception)), None)
        if isinstance(first, Exception):
            raise first
        if isinstance(refused, ReadOnlyError):
            # The server has become a replica: what it publishes reaches its own clients only.
            raise refused
        if refused is not None and not self._refused_reported:
            self._refused_reported = True
            self._log.warning(
                f"sharing: the store {self.where} keeps no news for gateways that start later, only those that "
                f"run hear them: {reason_of(refused)}"
            )


def client_of(section: Sharing) -> Redis:
    """Return an unconnected client without retries or other automatic operations."""
    assert section.url is not None
    options: dict[str, Any] = {}
    if section.ca_file is not None:
        options["ssl_ca_certs"] = str(section.ca_file)
    return Redis.from_url(
        section.url.reveal(),
        # Operations here have their own deadlines; a timeout per reply of a pipeline would cost more than the reply.
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        # An old server or an access list may refuse HELLO.
        protocol=2,
        **options,
    )


def open_store(section: Sharing, peers: Peers | None, log: AccessLog) -> tuple[Peers, Store]:
    """Return a Store that is not started, and the Peers that it belongs to: `peers`, or else its own."""
    peers = peers or Peers()
    store = Store(section, peers.state, log)
    tell_workers = peers.state.publish

    def publish(news: News) -> None:
        tell_workers(news)
        store.publish(news)

    peers.state.publish = publish
    return peers, store


def reason_of(error: BaseException) -> str:
    """Return an error's message in one line; of a group of errors, the first one's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, RedisError | OSError):
        # An error in the gateway's own code: its text may hold anything.
        return f"{type(error).__name__}, a fault of the gateway"
    text = " ".join(str(error).split()) or "no response in time"
    return text[:LONGEST_REASON]
