"""Processes that share news over a real store: delivery, and each kind of trouble with a store."""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config import Secret, Sharing
from gateway.sharing import store as module
from gateway.sharing.envelope import MAX_MESSAGE, PLAIN, Envelopes
from gateway.sharing.news import News, encode, key_of
from gateway.sharing.peers import Sharing as Peers
from gateway.sharing.state import SharedState
from gateway.sharing.store import Store, open_store
from gateway.telemetry.access_log import AccessLog
from tests.support.loops import PATIENCE, eventually
from tests.support.spawned import unused_port
from tests.support.store_server import StoreServer, needs_a_store

pytestmark = needs_a_store

SECRET = "a secret of 16 or more"

PASSWORD = "p@ss:w/rd#%?canary"
AS_WRITTEN = "p%40ss:w%2Frd%23%25%3Fcanary"

numbers = itertools.count()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again sooner than gateways do, so that no test waits for that; and a slow machine is no trouble."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(module, "TIMEOUT", PATIENCE)


class Known(SharedState):
    """The facts of a process, as far as a transport is concerned: the later end wins."""

    def __init__(self) -> None:
        super().__init__(time.monotonic, time.time)
        self.news: dict[tuple[str, str], News] = {}
        self.fault = False

    def receive(self, news: News) -> None:
        if self.fault:
            raise KeyError("canary")
        known = self.news.get((news.kind, news.key))
        if known is None or news.until >= known.until:
            self.news[news.kind, news.key] = news

    def snapshot(self) -> list[News]:
        return list(self.news.values())

    def knows(self, news: News) -> bool:
        return self.news.get((news.kind, news.key)) == news


class Process:
    """One process with its link."""

    def __init__(self, sharing: Sharing) -> None:
        self.known = Known()
        self.lines: list[str] = []
        self.store = Store(sharing, self.known, AccessLog(self.lines.append), chance=lambda: 1.0)

    def publish(self, news: News) -> None:
        self.known.receive(news)
        self.store.publish(news)

    @property
    def logged(self) -> list[str]:
        """The log lines, without times."""
        return [line.partition(" ")[2] for line in self.lines]


def cooling(account: str = "work@example.com", until: float = 100.0, **data: str) -> News:
    now = time.time()
    return News("cooling", key_of("zai", account), now + until, now, data)


def section(url: str, **fields: Any) -> Sharing:
    """Return a section with its own names in the store."""
    return Sharing(url=Secret(url), prefix=f"test-{next(numbers)}:", **fields)


@asynccontextmanager
async def sharing(section: Sharing, count: int = 2, *, up: bool = True) -> AsyncIterator[list[Process]]:
    """Processes that share, and no task of theirs behind them."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        processes = [Process(section) for _ in range(count)]
        for process in processes:
            process.store.start()
            stack.push_async_callback(process.store.stop)
        if up:
            await eventually(lambda: all(process.store.up for process in processes))
        yield processes
    assert not asyncio.all_tasks() - before


# Delivery.


@pytest.mark.parametrize("secret", [None, Secret(SECRET)], ids=["plain", "sealed"])
async def test_news_reach_other_processes_and_late_ones(
    store_server: StoreServer, secret: Secret | None
) -> None:
    where = section(store_server.url, secret=secret)
    news = cooling(words="too many requests")
    async with sharing(where, 3) as (first, second, third):
        first.publish(news)
        await eventually(lambda: second.known.knows(news) and third.known.knows(news))
        await eventually(lambda: first.store.sent == 1)
        # A process does not get its own news back.
        assert (first.store.received, first.store.refused) == (0, 0)
        assert first.logged == [
            f"info: sharing: news are shared over the store 127.0.0.1:{store_server.port}"
        ]
    async with sharing(where, 1) as (late,):
        assert late.known.knows(news)
        assert late.store.sent == 0


async def test_keys_end_with_their_news(store_server: StoreServer) -> None:
    where = section(store_server.url)
    async with sharing(where, 1) as (process,):
        process.publish(cooling("over", -1.0))
        await store_server.execute("PING")
        process.publish(cooling("soon", 60.0))
        process.publish(cooling("far", 1e9))
        await eventually(lambda: process.store.sent == 2)
        left = {
            name: await store_server.execute("PTTL", f"{where.prefix}kept:cooling:{key_of('zai', name)}")
            for name in ("soon", "far", "over")
        }
    assert 50_000 < left["soon"] <= 60_000
    assert 50_000_000 < left["far"] <= 86_400_000
    assert left["over"] == -2


async def test_with_a_secret_nothing_in_the_store_can_be_read(store_server: StoreServer) -> None:
    where = section(store_server.url, secret=Secret(SECRET))
    signature = News("signature", key_of("call_1"), time.time() + 60, time.time(), {"value": "c2lnbmF0dXJl"})
    async with sharing(where, 2) as (first, second):
        first.publish(cooling())
        first.publish(signature)
        await eventually(lambda: second.known.knows(signature))
        await eventually(lambda: first.store.sent == 2)
        names = await store_server.execute("KEYS", f"{where.prefix}*")
        shown = b"".join([name + await store_server.execute("GET", name) for name in names])
    assert len(names) == 4
    for word in (b"zai", b"work", b"example", b"cooling", b"signature", b"call_1", b"c2lnbmF0dXJl"):
        assert word not in shown


async def test_unsealed_messages_are_dropped_and_counted(store_server: StoreServer) -> None:
    sealed = section(store_server.url, secret=Secret(SECRET))
    plain = Sharing(url=sealed.url, prefix=sealed.prefix)
    other = Sharing(url=sealed.url, prefix=sealed.prefix, secret=Secret(SECRET + "!"))
    async with sharing(plain, 1) as (forger,), sharing(other, 1) as (stranger,):
        forger.publish(cooling())
        stranger.publish(cooling("home@example.com"))
        await eventually(lambda: forger.store.sent == stranger.store.sent == 1)
        async with sharing(sealed, 1) as (process,):
            assert process.store.refused >= 4
            assert process.known.news == {}
            refused = process.store.refused
            forger.publish(cooling())
            await eventually(lambda: process.store.refused > refused)
            assert process.known.news == {}
            assert process.known.processes == 1


async def test_news_of_a_later_version_and_of_unknown_kinds_are_left_out(store_server: StoreServer) -> None:
    where = section(store_server.url)
    later = Envelopes(b"l" * 16, None)
    frame = encode(cooling())
    unknown = [frame.replace(b'"v":1', b'"v":2'), frame.replace(b"cooling", b"dancing"), b"{}", b"junk"]
    await store_server.execute("SET", f"{where.prefix}kept:dancing", later.wrap(unknown))
    async with sharing(where, 1) as (process,):
        await store_server.execute("PUBLISH", f"{where.prefix}news", later.wrap([*unknown, frame]))
        await eventually(lambda: process.known.news)
        assert len(process.known.news) == 1
        assert process.store.received == 1


async def test_another_programs_data_under_the_same_keys(store_server: StoreServer) -> None:
    where = section(store_server.url)
    news = cooling()
    await store_server.execute("HSET", f"{where.prefix}kept:hash", "field", "value")
    await store_server.execute("LPUSH", f"{where.prefix}process:list", "value")
    await store_server.execute("SET", f"{where.prefix}kept:large", bytes(4 * MAX_MESSAGE))
    await store_server.execute("SET", f"{where.prefix}kept:empty", b"")
    await store_server.execute("SET", f"{where.prefix}kept:text", b"\xff not ours")
    await store_server.execute("SET", f"{where.prefix}session:1", PLAIN)
    many = [(f"{where.prefix}{number}", "x") for number in range(2 * module.PAGE)]
    await store_server.execute("MSET", *itertools.chain(*many))
    async with sharing(where, 2) as (first, second):
        assert (first.known.news, first.known.processes) == ({}, first.known.processes)
        await store_server.execute("PUBLISH", f"{where.prefix}news", b"not ours either")
        first.publish(news)
        await eventually(lambda: second.known.knows(news))
        assert second.store.refused == 5
    assert await store_server.execute("GET", f"{where.prefix}kept:text") == b"\xff not ours"


async def test_many_and_large_news_are_split_into_messages(store_server: StoreServer) -> None:
    where = section(store_server.url)
    async with sharing(where, 2) as (first, second):
        many = [
            News("signature", key_of(f"call_{i}"), time.time() + 60, 0.0, {"value": "x" * 60_000})
            for i in range(20)
        ]
        many += [cooling(f"account-{i}") for i in range(250)]
        for news in many:
            first.publish(news)
        await eventually(lambda: len(second.known.news) == len(many))
        assert second.store.refused == 0
    async with sharing(where, 1) as (late,):
        assert len(late.known.news) == len(many)


@pytest.mark.parametrize("workers", [True, False], ids=["a worker", "alone"])
async def test_a_process_publishes_to_the_store(store_server: StoreServer, workers: bool) -> None:
    where = section(store_server.url)
    sent: list[News] = []
    given = Peers() if workers else None
    if given is not None:
        given.state.publish = sent.append
    peers, store = open_store(where, given, AccessLog(lambda line: None))
    assert given in (peers, None)
    news = cooling()
    peers.state.publish(news)
    async with sharing(where, 1) as (other,):
        store.start()
        await eventually(lambda: other.known.knows(news))
        await store.stop()
    assert sent == [news] * workers


# Members.


async def test_processes_are_counted(store_server: StoreServer) -> None:
    where = section(store_server.url)
    async with sharing(where, 2) as (first, second):
        await eventually(lambda: first.known.processes == second.known.processes == 2)
        async with sharing(where, 1) as (third,):
            assert third.known.processes == 3
            await eventually(lambda: first.known.processes == 3)
        await eventually(lambda: first.known.processes == 2)


async def test_a_silent_process_is_no_longer_a_member(
    store_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.05)
    monkeypatch.setattr(module, "SILENCE", 0.5)
    where = section(store_server.url)
    async with sharing(where, 1) as (process,):
        other = Envelopes(b"s" * 16, None).wrap([])
        # Said again, since this process does not listen while it connects again, as it does after a pause.
        while process.known.processes < 2:
            await store_server.execute("PUBLISH", f"{where.prefix}news", other)
        await eventually(lambda: process.known.processes == 1)


# Trouble with the store.


async def test_a_store_that_starts_after_the_gateway(own_store: StoreServer) -> None:
    where = section(own_store.url)
    async with sharing(where, 1, up=False) as (process,):
        news = cooling()
        process.publish(news)
        await eventually(lambda: process.store.up is False)
        own_store.start()
        await eventually(lambda: process.store.up)
        async with sharing(where, 1) as (late,):
            await eventually(lambda: late.known.knows(news))
    place = f"127.0.0.1:{own_store.port}"
    assert len(process.logged) == 2
    assert process.logged[0].startswith(
        f"warning: sharing: the store {place} is away, and each gateway is on its own until it is back: Error 111"
    )


async def test_kill_9_and_an_empty_store_that_is_filled_again(own_store: StoreServer) -> None:
    own_store.start()
    where = section(own_store.url)
    before, later = cooling("before"), cooling("meanwhile")
    async with sharing(where, 2) as (first, second):
        first.publish(before)
        await eventually(lambda: second.known.knows(before))
        own_store.kill()
        await eventually(lambda: first.store.up is second.store.up is False)
        first.publish(later)
        own_store.start()
        await eventually(lambda: first.store.up and second.store.up)
        await eventually(lambda: second.known.knows(later))
        async with sharing(where, 1) as (late,):
            assert late.known.knows(before)
            await eventually(lambda: late.known.knows(later))
        # All had time to be counted again.
        assert first.known.processes >= 2
        assert [line.partition(":")[0] for line in first.logged] == ["info", "warning", "info"]


async def test_a_hanging_store_blocks_nothing(
    own_store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_store.start()
    where = section(own_store.url)
    async with sharing(where, 2) as (first, second):
        own_store.hang()
        monkeypatch.setattr(module, "TIMEOUT", 0.2)
        began = time.perf_counter()
        for number in range(1000):
            first.publish(cooling(f"account-{number}"))
        # Had any of them waited, they would take a thousand times as long as the store is waited for.
        assert time.perf_counter() - began < PATIENCE
        await eventually(lambda: first.store.up is False)
        assert first.logged[1].endswith("until it is back: no response in time")
        own_store.wake()
        await eventually(lambda: len(second.known.news) == 1000)
        # And it holds up no end.
        monkeypatch.setattr(module, "TIMEOUT", 10 * PATIENCE)
        own_store.hang()
        second.publish(cooling())
        async with asyncio.timeout(PATIENCE):
            await second.store.stop()
            await first.store.stop()
        own_store.wake()


async def test_the_oldest_news_are_dropped_when_too_many_wait(
    own_store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE", 3)
    where = section(own_store.url)
    async with sharing(where, 1, up=False) as (process,):
        for number in range(5):
            process.store.publish(cooling(f"account-{number}"))
        assert process.known.dropped == 2
        own_store.start()
        await eventually(lambda: process.store.sent == 3)
        async with sharing(where, 1) as (late,):
            names = [key_of("zai", f"account-{number}") for number in (2, 3, 4)]
            assert [key for _, key in sorted(late.known.news)] == names


async def test_a_connection_that_the_store_ends_is_made_again(store_server: StoreServer) -> None:
    where = section(store_server.url)
    async with sharing(where, 2) as (first, second):
        await store_server.execute("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(first.logged) == len(second.logged) == 3)
        news = cooling()
        first.publish(news)
        await eventually(lambda: second.known.knows(news))
        await store_server.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        first.publish(later := cooling("later"))
        await eventually(lambda: second.known.knows(later))


async def test_a_silent_channel_is_an_error(
    store_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.05)
    async with sharing(section(store_server.url), 1, up=False) as (process,):
        await eventually(lambda: len(process.logged) > 2)
    words = "nothing comes over the channel, not even this process's own"
    assert any(line.endswith(words) for line in process.logged)


async def test_an_internal_error_is_logged_and_does_not_end_the_sharing(store_server: StoreServer) -> None:
    where = section(store_server.url)
    async with sharing(where, 2) as (first, second):
        second.known.fault = True
        first.publish(cooling())
        first.publish(cooling("again"))
        await eventually(lambda: len(second.logged) == 2)
        assert (
            second.logged[1] == "error: sharing: cooling was not understood: KeyError, a fault of the gateway"
        )
        second.known.fault = False
        first.publish(news := cooling("good"))
        await eventually(lambda: second.known.knows(news))
        assert second.store.up


# How stores are set up.


async def test_minimal_store_permissions(own_store: StoreServer) -> None:
    """No CLIENT, no HELLO, no SELECT: and a password with every character that a URL cannot hold."""
    own_store.start()
    where = section(f"redis://gateway:{AS_WRITTEN}@127.0.0.1:{own_store.port}")
    rules = ["resetkeys", f"~{where.prefix}*", "resetchannels", f"&{where.prefix}*", "nocommands"]
    rules += [f"+{command}" for command in ("subscribe", "publish", "set", "del", "scan", "getrange")]
    await own_store.execute("ACL", "SETUSER", "gateway", "on", f">{PASSWORD}", *rules)
    async with sharing(where, 2) as (first, second):
        news = cooling()
        first.publish(news)
        await eventually(lambda: second.known.knows(news))
        # The refused command is named.
        await own_store.execute("ACL", "SETUSER", "gateway", "-publish")
        first.publish(cooling())
        await eventually(lambda: first.store.up is False)
        assert "publish" in first.logged[1]
        assert "canary" not in "".join(first.lines)


async def test_a_wrong_password_is_logged_once_and_not_shown(own_store: StoreServer) -> None:
    own_store.start()
    await own_store.execute("CONFIG", "SET", "requirepass", PASSWORD)
    where = section(f"redis://:wrong-canary@127.0.0.1:{own_store.port}/0")
    async with sharing(where, 1, up=False) as (process,):
        await eventually(lambda: process.store.up is False)
        await asyncio.sleep(0.1)
    assert len(process.logged) == 1
    assert "password" in process.logged[0]
    assert "canary" not in process.logged[0]
    assert "canary" not in repr(process.store)


async def test_a_full_store_still_carries_news(own_store: StoreServer) -> None:
    own_store.start()
    async with sharing(section(own_store.url), 2) as (first, second):
        await own_store.execute("CONFIG", "SET", "maxmemory", "1")
        news, later = cooling(), cooling("later")
        for each in (news, later):
            first.publish(each)
            await eventually(partial(second.known.knows, each))
        await eventually(lambda: len(first.logged) == 2)
        assert first.logged[1].startswith("warning: sharing: the store 127.0.0.1")
        assert "keeps no news for gateways that start later" in first.logged[1]
        assert "maxmemory" in first.logged[1]
        assert first.store.up


async def test_a_cluster_that_has_other_keys_still_carries_news(
    own_store: StoreServer, tmp_path: Path
) -> None:
    server = StoreServer(tmp_path, "--cluster-enabled", "yes")
    server.start()
    await server.execute("CLUSTER", "ADDSLOTSRANGE", 0, 100)
    await server.execute("CONFIG", "SET", "cluster-require-full-coverage", "no")
    try:
        await asyncio.sleep(0)
        async with sharing(section(server.url), 2) as (first, second):
            news = cooling()
            first.publish(news)
            await eventually(lambda: second.known.knows(news))
            await eventually(lambda: len(first.logged) == 2)
            assert "keeps no news" in first.logged[0]
    finally:
        server.close()


async def test_a_store_that_becomes_a_replica_is_disconnected(own_store: StoreServer) -> None:
    own_store.start()
    async with sharing(section(own_store.url), 1) as (process,):
        await own_store.execute("REPLICAOF", "127.0.0.1", "1")
        process.publish(cooling())
        await eventually(lambda: process.store.up is False)
        assert "read only" in process.logged[1]
        await own_store.execute("REPLICAOF", "NO", "ONE")
        await eventually(lambda: process.store.up)


async def test_a_store_that_takes_no_more_connections(own_store: StoreServer) -> None:
    own_store.start()
    await own_store.execute("CONFIG", "SET", "maxclients", "1")
    async with sharing(section(own_store.url), 1, up=False) as (process,):
        await eventually(lambda: process.store.up is False)
        await own_store.execute("CONFIG", "SET", "maxclients", "100")
        await eventually(lambda: process.store.up)


async def test_unix_socket_and_database(store_server: StoreServer) -> None:
    where = section(f"unix://{store_server.path}?db=3")
    async with sharing(where, 2) as (first, second):
        first.publish(news := cooling())
        await eventually(lambda: second.known.knows(news))
        await eventually(lambda: first.store.sent == 1)
        assert first.logged == [f"info: sharing: news are shared over the store {store_server.path}"]
    assert await store_server.execute("KEYS", f"{where.prefix}*") == []


async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    pem = str(tmp_path / "server.pem")
    options = ("--tls-cert-file", pem, "--tls-key-file", pem, "--tls-auth-clients", "no")
    with unused_port() as port:
        server = StoreServer(tmp_path, "--tls-port", str(port), *options)
        server.start()
    url = f"rediss://127.0.0.1:{port}/0"
    try:
        async with sharing(section(url, ca_file=tmp_path / "ca.pem"), 2) as (first, second):
            first.publish(news := cooling())
            await eventually(lambda: second.known.knows(news))
        async with sharing(section(url), 1, up=False) as (wary,):
            await eventually(lambda: wary.store.up is False)
            assert "certificate verify failed" in wary.logged[0]
    finally:
        server.close()


async def test_calls_of_a_thousand_news(own_store: StoreServer) -> None:
    """Counted, not timed: publishing and receiving take 106 Python calls each; publishing alone then takes 42 µs."""
    own_store.start()
    async with sharing(section(own_store.url), 2) as (first, second):
        await own_store.execute("CONFIG", "RESETSTAT")
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            for number in range(1000):
                first.store.publish(cooling(f"account-{number}"))
            # Looking more often would be counted, too.
            while len(second.known.news) < 1000 or first.store.sent < 1000:  # noqa: ASYNC110
                await asyncio.sleep(module.PACE)
        finally:
            sys.setprofile(None)
        statistics = await own_store.execute("INFO", "commandstats")
    assert statistics["cmdstat_publish"]["calls"] <= 1000 / module.BATCH + 1
    assert statistics["cmdstat_set"]["calls"] == 1000
    assert calls < 1000 * 130
