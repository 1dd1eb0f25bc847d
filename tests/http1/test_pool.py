"""Connections to upstreams: which one serves a request, what becomes of it, and what is told of that."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from gateway.http1.client_connection import BodyReceiver, ClientConnection, UpstreamError
from gateway.http1.dial import Origin
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits
from gateway.http1.pool import Call, Pool
from tests.http1.wire import Sink, Wire
from tests.support.clock import run
from tests.support.loops import settle

ONE = Origin("http", "one.test", 80)
TWO = Origin("http", "two.test", 80)

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
HEAD, BODY = ANSWER[:-5], ANSWER[-5:]
WHOLE = ["head 200", "end 'hello'"]
CLOSED = "head: the upstream closed the connection before it answered"


class Network:
    """A pool and its upstreams: every connection that the pool makes ends in a wire here."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.pool = Pool(limits or Limits(), self.dial)
        self.wires: list[Wire] = []
        self.dialled: list[Origin] = []
        self.closed_at_once = False
        self.error: UpstreamError | None = None
        self.open = asyncio.Event()
        """Connections come about."""
        self.open.set()

    async def dial(self, origin: Origin, limits: Limits) -> ClientConnection:
        self.dialled.append(origin)
        await self.open.wait()
        if self.error is not None:
            raise self.error
        wire = Wire()
        connection = ClientConnection(origin, limits)
        wire.join(connection)
        self.wires.append(wire)
        if self.closed_at_once:
            await wire.leave()
        return connection

    def send(self, sink: Sink, origin: Origin = ONE) -> Call:
        return self.pool.send(origin, "POST", b"HEAD.", b"BODY.", sink, 300.0)

    async def ask(self, origin: Origin = ONE) -> tuple[Sink, Call]:
        """A request that has been sent."""
        sink = Sink()
        call = self.send(sink, origin)
        await settle()
        return sink, call

    async def idle(self, count: int = 1) -> list[Wire]:
        """So many connections that have served a request."""
        for _ in range(count):
            await self.ask()
        wires = self.wires[-count:]
        for wire in wires:
            wire.say(ANSWER)
        assert self.shown == (0, count, 0)
        return wires

    @property
    def shown(self) -> tuple[int, int, int]:
        """Active, idle, dialling, as the pool shows itself."""
        shown = repr(self.pool)
        assert shown.startswith("<Pool [Active: ")
        active, idle, dialling = (int(part.rpartition(" ")[2]) for part in shown[:-2].split(","))
        return active, idle, dialling

    def lost(self) -> list[int]:
        """Which connections are no more, counted in the order they were made."""
        return [number for number, wire in enumerate(self.wires) if wire.state != "OPEN"]


async def test_from_dialling_to_idle() -> None:
    net = Network()
    assert repr(net.pool) == "<Pool [Active: 0, Idle: 0, Dialling: 0]>"
    sink = Sink()
    call = net.send(sink)
    assert repr(net.pool) == "<Pool [Active: 0, Idle: 0, Dialling: 1]>"
    await settle()
    assert repr(net.pool) == "<Pool [Active: 1, Idle: 0, Dialling: 0]>"
    (wire,) = net.wires
    assert wire.heard() == b"HEAD.BODY."
    assert call._body == b"", "nobody will send it again"
    wire.say(HEAD)
    assert net.shown == (1, 0, 0)
    wire.say(BODY)
    assert repr(net.pool) == "<Pool [Active: 0, Idle: 1, Dialling: 0]>"
    assert sink.notes == ["head 200", "end 'hello'"]


# Which connection serves.


async def test_the_newest_is_used_first() -> None:
    net = Network()
    first, second = await net.idle(2)
    await net.ask()
    assert (first.heard(), second.heard()) == (b"", b"HEAD.BODY.")
    await net.ask()
    assert (first.heard(), second.heard()) == (b"HEAD.BODY.", b"")
    await net.ask()
    assert (len(net.wires), net.shown) == (3, (3, 0, 0))


async def test_the_last_to_become_idle_is_the_newest() -> None:
    net = Network()
    for _ in range(2):
        await net.ask()
    first, second = net.wires
    second.say(ANSWER)
    first.say(ANSWER)
    for wire in net.wires:
        wire.heard()
    await net.ask()
    assert (first.heard(), second.heard()) == (b"HEAD.BODY.", b"")


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (replace(ONE), True),
        (TWO, False),
        (replace(ONE, port=81), False),
        (replace(ONE, scheme="https"), False),
        (replace(ONE, proxy="http://proxy.test:3128"), False),
    ],
)
async def test_what_is_shared(other: Origin, shared: bool) -> None:
    net = Network()
    await net.idle()
    await net.ask(other)
    assert net.dialled == ([ONE] if shared else [ONE, other])


async def test_an_answer_that_ends_the_connection() -> None:
    net = Network()
    sink, _ = await net.ask()
    net.wires[0].say(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello")
    assert (sink.notes, net.shown) == (WHOLE, (0, 0, 0))


async def test_a_request_sent_when_an_answer_ends_uses_its_connection() -> None:
    net = Network()
    sink, _ = await net.ask()
    second = Sink()

    def send_again() -> None:
        net.send(second)

    sink.on_body = send_again
    net.wires[0].say(ANSWER)
    net.wires[0].say(ANSWER)
    assert (second.notes, len(net.wires)) == (WHOLE, 1)


# How many stay, and for how long.


@pytest.mark.parametrize(("limit", "lost"), [(0, [0, 1, 2]), (1, [0, 1]), (2, [0]), (3, [])])
async def test_the_oldest_idle_ones_are_too_many(limit: int, lost: list[int]) -> None:
    net = Network(replace(Limits(), pool_max_idle=limit))
    sinks = [(await net.ask())[0] for _ in range(3)]
    for wire in net.wires:
        wire.say(ANSWER)
    assert net.lost() == lost
    assert net.shown == (0, limit, 0)
    assert [sink.notes for sink in sinks] == [WHOLE] * 3


async def test_each_origin_has_its_own_limit() -> None:
    net = Network(replace(Limits(), pool_max_idle=1))
    for origin in (ONE, TWO):
        await net.ask(origin)
    for wire in net.wires:
        wire.say(ANSWER)
    assert (net.lost(), net.shown) == ([], (0, 2, 0))


def test_idle_ones_are_closed_in_time() -> None:
    async def story() -> None:
        net = Network()
        await net.idle(2)
        await asyncio.sleep(50)
        await net.ask()
        net.wires[1].say(ANSWER)
        await asyncio.sleep(11)
        assert (net.lost(), net.shown) == ([0], (0, 1, 0))
        await asyncio.sleep(50)
        assert (net.lost(), net.shown) == ([0, 1], (0, 0, 0))
        assert net.pool._idle == {}

    run(story())


@pytest.mark.parametrize("how", ["leave", "reset", "say"])
async def test_one_that_the_upstream_closes_leaves_at_once(how: str) -> None:
    net = Network()
    first, second = await net.idle(2)
    if how == "say":
        second.say(b"HTTP/1.1 408 X\r\n\r\n")
    else:
        await getattr(second, how)()
    assert net.shown == (0, 1, 0)
    await net.ask()
    assert (first.heard(), len(net.wires)) == (b"HEAD.BODY.", 2)
    assert net.shown == (1, 0, 0)


async def test_one_that_is_being_closed_is_passed_over() -> None:
    net = Network()
    (wire,) = await net.idle()
    wire.close()
    await net.ask()
    assert (len(net.wires), net.shown) == (2, (1, 0, 0))


# Stale connections.


async def used_again(net: Network) -> tuple[Sink, Wire]:
    """A request on a connection that was idle."""
    (wire,) = await net.idle()
    sink, _ = await net.ask()
    wire.heard()
    return sink, wire


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_stale_connection_is_replaced_silently(how: str) -> None:
    net = Network()
    sink, wire = await used_again(net)
    await getattr(wire, how)()
    await settle()
    assert (sink.notes, net.shown) == ([], (1, 0, 0))
    assert net.wires[1].heard() == b"HEAD.BODY."
    net.wires[1].say(ANSWER)
    assert sink.notes == WHOLE


async def test_it_is_replaced_once_by_a_fresh_one() -> None:
    """Another idle one would be as stale."""
    net = Network()
    await net.idle(3)
    sink, _ = await net.ask()
    await net.wires[2].leave()
    await settle()
    assert (len(net.wires), net.shown) == (4, (1, 2, 0))
    await net.wires[3].leave()
    assert (sink.notes, len(net.wires)) == ([CLOSED], 4)


async def test_replacing_may_fail() -> None:
    net = Network()
    sink, wire = await used_again(net)
    net.error = UpstreamError("connect", "nobody is there")
    await wire.leave()
    await settle()
    assert (sink.notes, net.shown) == (["connect: nobody is there"], (0, 0, 0))


async def test_a_fresh_connection_is_not_replaced() -> None:
    net = Network()
    sink, _ = await net.ask()
    await net.wires[0].leave()
    await settle()
    assert (sink.notes, net.dialled) == ([CLOSED], [ONE])


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ([b"H", ""], CLOSED),
        ([b"HTTP/1.1 100 X\r\n\r\n", ""], CLOSED),
        ([b"oops\r\n\r\n"], "head: the upstream's answer cannot be trusted"),
        ([HEAD + b"hel", ""], "body: the upstream's body is broken"),
    ],
)
async def test_one_that_had_begun_to_answer_is_not_replaced(said: Iterable[bytes], note: str) -> None:
    net = Network()
    sink, wire = await used_again(net)
    for data in said:
        if data:
            wire.say(data)
        else:
            await wire.leave()
    await settle()
    assert sink.notes[-1].startswith(note)
    assert net.dialled == [ONE]


def test_silence_is_no_staleness() -> None:
    async def story() -> None:
        net = Network()
        sink, _ = await used_again(net)
        await asyncio.sleep(301)
        assert sink.notes == ["silent head: the upstream did not begin to answer in time"]
        assert (net.dialled, net.shown) == ([ONE], (0, 0, 0))

    run(story())


# Connections that do not come about.


async def test_no_connection() -> None:
    net = Network()
    net.error = UpstreamError("connect", "nobody is there")
    sink, call = await net.ask()
    assert sink.notes == ["connect: nobody is there"]
    assert (sink.error, net.shown) == (net.error, (0, 0, 0))
    call.cancel()


async def test_a_connection_that_is_lost_before_its_first_request() -> None:
    net = Network()
    net.closed_at_once = True
    sink, _ = await net.ask()
    assert sink.notes == ["connect: the connection to http://one.test was closed as soon as it was made"]
    assert net.shown == (0, 0, 0)


# Nobody waits any more.


async def test_cancelled_while_dialling() -> None:
    net = Network()
    net.open.clear()
    sink, call = await net.ask()
    call.cancel()
    await settle()
    assert net.shown == (0, 0, 0)
    net.open.set()
    await settle()
    assert (sink.notes, net.wires) == ([], [])


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1", HEAD, HEAD + b"hel"])
async def test_cancelled_under_way(said: bytes) -> None:
    net = Network()
    sink, call = await net.ask()
    net.wires[0].say(said)
    notes = list(sink.notes)
    call.cancel()
    assert (net.wires[0].state, net.shown) == ("ABORTED", (0, 0, 0))
    call.cancel()
    await settle()
    assert (sink.notes, net.dialled) == (notes, [ONE])


async def test_cancelled_when_it_is_over() -> None:
    net = Network()
    _, call = await net.ask()
    net.wires[0].say(ANSWER)
    call.cancel()
    assert (net.lost(), net.shown) == ([], (0, 1, 0))


async def test_a_call_that_is_over_cannot_harm_the_next() -> None:
    net = Network()
    _, call = await net.ask()
    net.wires[0].say(ANSWER)
    sink, _ = await net.ask()
    call.cancel()
    net.wires[0].say(ANSWER)
    assert (sink.notes, len(net.wires)) == (WHOLE, 1)


async def test_cancelled_while_a_stale_connection_is_replaced() -> None:
    net = Network()
    (wire,) = await net.idle()
    sink, call = await net.ask()
    net.open.clear()
    await wire.leave()
    assert net.shown == (0, 0, 1)
    call.cancel()
    net.open.set()
    await settle()
    assert (sink.notes, len(net.wires), net.shown) == ([], 1, (0, 0, 0))


class Unwilling(Sink):
    """Cancels its call at the head."""

    call: Call

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> BodyReceiver | None:
        self.call.cancel()
        return super().head_received(connection, head)


async def test_cancelled_at_the_head() -> None:
    net = Network()
    sink = Unwilling()
    sink.call = net.send(sink)
    await settle()
    net.wires[0].say(ANSWER)
    assert (sink.notes, net.lost(), net.shown) == (["head 200"], [0], (0, 0, 0))


async def test_a_body_that_is_not_wanted() -> None:
    net = Network()
    sink = Sink(wanted=False)
    net.send(sink)
    await settle()
    net.wires[0].say(ANSWER)
    assert (sink.notes, net.lost(), net.shown) == (["head 200"], [0], (0, 0, 0))


# Closing.


async def test_closing() -> None:
    net = Network()
    await net.idle(2)
    await net.ask(TWO)
    net.open.clear()
    sink, _ = await net.ask(TWO)
    assert net.shown == (1, 2, 1)
    net.pool.close()
    await settle()
    assert (net.lost(), net.shown, sink.notes) == ([0, 1, 2], (0, 0, 0), [])


async def test_a_connection_that_comes_when_the_pool_is_closed() -> None:
    net = Network()
    net.pool.close()
    sink, _ = await net.ask()
    assert (sink.notes, net.lost(), net.shown) == ([], [0], (0, 0, 0))


# Limits.


async def test_new_limits_reach_the_next_connection() -> None:
    net = Network()
    net.pool.limits = replace(Limits(), max_head=10)
    sink, _ = await net.ask()
    net.wires[0].say(ANSWER)
    assert sink.notes == ["head: the upstream's answer has too large a head"]
