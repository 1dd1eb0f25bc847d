"""The hub and its workers over real socket pairs, in one process."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from gateway.sharing import frames, hub, link, peers
from gateway.sharing.facts import SIGNATURE_FOR
from gateway.sharing.frames import (
    ASK,
    BROADCAST,
    EXPECT,
    KEEP,
    LIVE,
    NEWS,
    REPLY,
    add_name,
    add_number,
    frame,
)
from gateway.sharing.news import SIGNATURE, News, encode, key_of
from gateway.sharing.peers import Sharing
from tests.sharing.office import Office, office
from tests.support.clock import run
from tests.support.loops import eventually

WALL = time.time()


def news(number: int = 1, value: str = "x") -> News:
    return News(SIGNATURE, key_of("calls", f"{number}"), WALL + SIGNATURE_FOR, WALL, {"value": value})


@contextmanager
def stranger(made: Office) -> Iterator[socket.socket]:
    """A worker's end of a pair, in the hands of the test."""
    ours, theirs = socket.socketpair()
    made.hub.join(ours, 99)
    with theirs:
        yield theirs


def link_of(worker: Sharing) -> link.Link:
    """A worker's way to its parent."""
    assert worker._link is not None
    return worker._link


async def test_news_of_a_worker_reach_all_others() -> None:
    async with office() as made:
        first, *others = made.workers
        first.state.publish(news())
        await made.turn(lambda: all(each.state.received for each in others))
        assert first.state.received == 0
        assert [each.state.snapshot() for each in others] == [[news()]] * 2
        # News that are already known are not passed on.
        others[0].state.publish(news())
        others[0].state.publish(news(2))
        await made.turn(lambda: others[1].state.received == 2)
        assert first.state.received == 1


async def test_a_late_worker_gets_current_news() -> None:
    async with office(1) as made:
        for number in range(200):
            made.workers[0].state.publish(news(number, "x" * 3000))
        await made.turn(lambda: len(made.hub._facts.snapshot(WALL)) == 200)
        late = made.add()
        await made.turn(lambda: late.state.received == 200)
        assert (made.workers[0].state.workers, late.state.workers) == (2, 2)
        await made.turn(lambda: late.workers == (1,))
        assert await made.gathered(made.workers[0], "any") == []
        await made.turn(lambda: made.workers[0].workers == late.workers == (1, 2))


async def test_an_exited_worker_is_not_counted() -> None:
    async with office(3) as made:
        made.workers[0].finish()
        await made.turn(lambda: made.workers[1].state.workers == 2)


async def test_blobs_are_gathered_from_all_others() -> None:
    async with office() as made:
        assert await made.gathered(made.workers[0], "status") == []
        for number, each in enumerate(made.workers):
            each.provide("status", partial(bytes, str(number), "ascii"))
        assert await made.gathered(made.workers[0], "status") == [b"1", b"2"]
        assert await made.gathered(made.workers[2], "status") == [b"0", b"1"]


async def test_a_worker_alone_gathers_nothing() -> None:
    replies: list[list[bytes]] = []
    alone = Sharing()
    alone.start()
    alone.broadcast("clear", b"")
    alone.gather("status", replies.append)
    await asyncio.sleep(0)
    assert replies == [[]]
    alone.finish()
    async with office(1) as made:
        assert await made.gathered(made.workers[0], "status") == []


def test_a_stuck_worker_is_not_waited_for() -> None:
    run(not_waited_for())


async def not_waited_for() -> None:
    async with office(2) as made:
        made.workers[1].provide("status", lambda: b"1")
        with stranger(made):
            loop = asyncio.get_running_loop()
            started = loop.time()
            assert await made.gathered(made.workers[0], "status", 0.1) == [b"1"]
            assert loop.time() - started == pytest.approx(0.1, abs=0.01)
            # Its end is a reply, too.
            replies: list[list[bytes]] = []
            made.workers[0].gather("status", replies.append, 60.0)
            await made.turn(lambda: len(made.hub._asks) == 2)
        await made.turn(lambda: replies)
        assert replies == [[b"1"]]
        assert made.hub._asks == {}


def test_a_stuck_worker_gets_no_requests_until_it_replies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The hub's own clock does not jump: whoever is asked again before it has replied stands still.
    monkeypatch.setattr(hub, "STILL", 0.0)
    run(asked_no_more())


async def asked_no_more() -> None:
    async with office(2) as made:
        made.workers[1].provide("status", lambda: b"1")
        with stranger(made) as still:
            assert await made.gathered(made.workers[0], "status", 0.05) == [b"1"]
            loop = asyncio.get_running_loop()
            started = loop.time()
            for _ in range(20):
                assert await made.gathered(made.workers[0], "status", 60.0) == [b"1"]
            assert loop.time() - started < 5.0
            assert len(made.hub._asks) == 1
            (number,) = made.hub._asks
            still.sendall(frame(REPLY, add_number(number, b"0")))
            await made.turn(lambda: not made.hub._asks)
            replies: list[list[bytes]] = []
            made.workers[0].gather("status", replies.append, 60.0)
            await made.turn(lambda: made.hub._asks)
            (number,) = made.hub._asks
            still.sendall(frame(REPLY, add_number(number, b"0")))
            await made.turn(lambda: replies)
            assert sorted(replies[0]) == [b"0", b"1"]


async def test_an_exception_in_a_handler_ends_no_connection() -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: faults.append(context["exception"])
    )

    def fail(*_: bytes) -> Any:
        raise ValueError("a fault")

    async with office(2) as made:
        one, other = made.workers
        payloads: list[bytes] = []
        other.on_broadcast("odd", fail)
        other.on_broadcast("action", payloads.append)
        other.provide("status", fail)
        one.broadcast("odd", b"")
        one.broadcast("action", b"off")
        # It has no data, and replies so.
        assert await made.gathered(one, "status", 60.0) == []
        await made.turn(lambda: payloads == [b"off"])
    assert [str(each) for each in faults] == ["a fault"] * 2


async def test_a_blob_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "KEEP_EVERY", 0.01)
    async with office(2) as made:
        one, other = made.workers
        size = frames.MAX_PAYLOAD
        other.provide("metrics", lambda: bytes(size), lambda: bytes(size))
        assert await made.gathered(one, "metrics", 60.0) == []
        size = 1
        assert await made.gathered(one, "metrics", 60.0) == [b"\0"]
        await made.turn(lambda: any(each.kept for each in made.hub._peers.values()))


async def test_a_request_of_an_exited_worker_is_dropped() -> None:
    async with office(0) as made:
        with stranger(made), stranger(made) as silent:
            with stranger(made) as gathering:
                gathering.sendall(frame(ASK, add_number(1, b"status")))
                await made.turn(lambda: made.hub._asks)
            await made.turn(lambda: not made.hub._asks)
            # One worker replies to an unknown question, and one leaves while others still have to reply.
            with stranger(made) as gathering:
                gathering.sendall(frame(ASK, add_number(2, b"status")))
                await made.turn(lambda: made.hub._asks)
                silent.sendall(frame(REPLY, add_number(1, b"x")))
                silent.sendall(frame(REPLY, add_number(made.hub._last_number, b"x")) * 2)
                await made.turn(lambda: len(next(iter(made.hub._asks.values())).waiting) == 1)
                silent.close()
                await made.turn(lambda: len(made.hub.readers) == 2)
                assert len(made.hub._asks) == 1


async def test_the_last_counters_of_a_worker_that_ended_count_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "KEEP_EVERY", 0.01)
    async with office(3) as made:
        ended, killed, left = made.workers
        counts = {"ended": 1, "killed": 5}
        ended.provide("metrics", lambda: b"all", lambda: b"%d" % counts["ended"])
        killed.provide("metrics", lambda: b"all", lambda: b"%d" % counts["killed"])
        await made.turn(lambda: all(len(each.kept) for each in list(made.hub._peers.values())[:2]))
        counts["ended"] = 2
        ended.finish()
        assert killed._link is not None
        killed._link.close()
        await made.turn(lambda: left.state.workers == 1)
        assert await made.gathered(left, "metrics") == [b"2", b"5"]
        assert await made.gathered(left, "status") == []
        late = made.add()
        left.provide("metrics", lambda: b"7")
        assert await made.gathered(late, "metrics") == [b"2", b"5", b"7"]
        killed.finish()


async def test_an_operators_word_reaches_all_others() -> None:
    async with office() as made:
        payloads: list[tuple[int, bytes]] = []

        def note(number: int, payload: bytes) -> None:
            payloads.append((number, payload))

        for number, each in enumerate(made.workers):
            each.on_broadcast("clear", partial(note, number))
        made.workers[1].broadcast("unheard", b"")
        made.workers[1].broadcast("clear", b"main/work")
        await made.turn(lambda: len(payloads) == 2)
        assert sorted(payloads) == [(0, b"main/work"), (2, b"main/work")]


async def test_operator_actions_reach_late_workers_until_a_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "MAX_BROADCASTS", 2)

    async def late_payloads(count: int) -> list[bytes]:
        late, payloads = made.add(), list[bytes]()
        late.on_broadcast("action", payloads.append)
        late.state.publish(news())
        await made.turn(lambda: late.state.workers == len(made.workers) and len(payloads) >= count)
        return payloads

    async with office(1) as made:
        for word in (b"old", b"off", b"on", b"off"):
            made.workers[0].broadcast("action", word)
        await made.turn(
            lambda: list(made.hub._broadcasts) == [add_name("action", b"on"), add_name("action", b"off")]
        )
        # Of several news about one thing the last counts.
        assert await late_payloads(2) == [b"on", b"off"]
        made.hub.forget_broadcasts()
        assert await late_payloads(0) == []


async def test_pending_gathers_end_with_their_worker() -> None:
    async with office(1) as made:
        replies: list[list[bytes]] = []
        made.workers[0].gather("status", replies.append, 60.0)
        made.workers[0].finish()
        assert replies == [[]]
        made.workers[0].gather("status", replies.append)
        made.workers[0].broadcast("clear", b"")
        await asyncio.sleep(0)
        assert replies == [[], []]


async def test_unread_news_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROOM", 100_000)
    async with office(2) as made:
        first, second = made.workers
        with stranger(made) as stopped:
            for number in range(3000):
                first.state.publish(news(number, "x" * 400))
                if number % 100 == 0:
                    await made.turn(lambda: not link_of(first)._outbox._news)
            await made.turn(lambda: second.state.received == 3000)
            assert first.state.dropped == second.state.dropped == 0
            peer = next(each for each in made.hub._peers.values() if each.outbox.dropped)
            assert peer.outbox._bytes <= 100_000
            stopped.setblocking(False)
            got = 0
            while made.hub.writers:
                made.hub.handle([])
                try:
                    got += len(stopped.recv(1 << 20))
                except BlockingIOError:
                    pass
            assert got < 1_500_000
            assert not peer.outbox._news


async def test_a_stuck_worker_gets_missed_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROOM", 100_000)
    async with office(1) as made:
        ours, theirs = socket.socketpair()
        made.hub.join(ours, 99)
        for number in range(3000):
            made.workers[0].state.publish(news(number, "x" * 400))
            if number % 100 == 0:
                await made.turn(lambda: not link_of(made.workers[0])._outbox._news)
        await made.turn(lambda: len(made.hub._facts.snapshot(WALL)) == 3000)
        still = Sharing(theirs)
        still.start()
        made.workers.append(still)
        await made.turn(lambda: still.state.received + still.state.dropped == 3000)
        assert still.state.dropped > 1000
        # The newest are those that it has received.
        assert news(2999, "x" * 400) in still.state.snapshot()


async def test_a_stuck_parent_costs_a_worker_the_oldest_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "ROOM", 50_000)
    async with office(1) as made:
        (only,) = made.workers
        for number in range(3000):
            only.state.publish(news(number, "x" * 400))
            if number % 50 == 0:
                await asyncio.sleep(link.BATCH * 1.5)
        assert only.state.dropped > 500
        # And then it reads again.
        await made.turn(lambda: not link_of(made.workers[0])._blocked)
        known = {each.key for each in made.hub._facts.snapshot(WALL)}
        await made.turn(lambda: news(2999).key in {each.key for each in made.hub._facts.snapshot(WALL)})
        assert len(known) < 2500


async def test_news_that_cannot_be_written_are_counted() -> None:
    async with office(1) as made:
        made.workers[0].state.publish(news(1, "\ud800"))
        assert made.workers[0].state.dropped == 1


JUNK: list[tuple[int, Any]] = [
    (NEWS, b"junk"),
    (99, b""),
    (EXPECT, add_number(9, add_number(9))),
    (REPLY, add_number(9, b"x")),
    (LIVE, add_number(3, add_number(0))),
    (LIVE, add_number(3, add_number(0, b"x"))),
    (KEEP, add_name("x", b"y")),
]


async def test_invalid_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_NAMES", 2)
    monkeypatch.setattr(hub, "MAX_ASKS", 2)
    async with office(2) as made:
        with stranger(made) as odd:
            for kind, payload in JUNK:
                odd.sendall(frame(kind, payload))
            for number in range(9):
                odd.sendall(
                    frame(KEEP, add_name(f"{number}", b"y")) + frame(ASK, add_number(number, b"status"))
                )
            await made.turn(lambda: made.hub._last_number == 9)
            assert len(made.hub._asks) <= 2
        await made.turn(lambda: made.workers[0].state.workers == 2)
        with stranger(made) as odd:
            odd.sendall(frame(KEEP, add_name("z", b"y")))
        await made.turn(lambda: len(made.hub.readers) == 2)
        assert made.hub._ended.keys() == {"x", "0"}
        # To a worker, too.
        mine, theirs = socket.socketpair()
        sharing = Sharing(theirs)
        sharing.start()
        for kind, payload in (*JUNK, (BROADCAST, add_name("x", b"")), (NEWS, encode(news()))):
            mine.sendall(frame(kind, payload))
        await made.turn(lambda: sharing.state.received)
        assert sharing.state.workers == 3
        sharing.finish()
        mine.close()


async def test_a_frame_without_an_end_ends_the_connection() -> None:
    head = b"\xff\xff\xff\xff\x00"
    async with office(1) as made:
        with stranger(made) as odd:
            odd.sendall(head)
            await made.turn(lambda: len(made.hub.readers) == 1)
    mine, theirs = socket.socketpair()
    sharing = Sharing(theirs)
    sharing.start()
    mine.sendall(head)
    await made.turn(lambda: sharing._link is not None and not sharing._link.open)
    sharing.state.publish(news())
    sharing.finish()
    mine.close()


@pytest.mark.parametrize("unread", [False, True])
async def test_a_worker_without_its_parent_continues_alone(unread: bool) -> None:
    mine, theirs = socket.socketpair()
    sharing = Sharing(theirs)
    if not unread:
        sharing.start()
    sharing.state.publish(news())
    mine.close()
    await eventually(lambda: sharing._link is not None and not sharing._link.open)
    sharing.finish()


async def test_goodbye_to_a_parent_that_has_exited() -> None:
    mine, theirs = socket.socketpair()
    sharing = Sharing(theirs)
    sharing.provide("metrics", lambda: b"1")
    mine.close()
    sharing.finish()
    assert sharing._link is not None
    assert not sharing._link.open


async def test_a_hub_writes_to_an_exited_worker() -> None:
    async with office(2) as made:
        with stranger(made) as gone:
            pass
        assert gone.fileno() < 0
        made.workers[0].state.publish(news())
        await made.turn(lambda: made.workers[1].state.received)
        made.hub.handle([])
        assert len(made.hub.readers) == 2
