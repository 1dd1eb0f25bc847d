"""Upstreams that fail and recover, with clients that retry: how soon a request is served, and by which account."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Retry
from gateway.routing.accounts import Target
from gateway.routing.retries import GiveUp, Wait
from gateway.routing.scheduler import Lease, Scheduler
from tests.routing.transcript import Request, candidates, cast

QUICK = 0.002
"""Seconds that a refusal takes."""

WORK = 0.5
"""Seconds that a good response takes."""

BACKOFF = 0.5
"""Seconds after which a client without a Retry-After retries. SDKs' pauses grow; the gateway's do not."""

SOON = 3.0
"""Seconds from an upstream's return within which somebody must be served."""

Behaviour = Callable[[float, Target], str]
"""The outcome of an attempt that begins now: `ok`, or an outcome of transcripts."""


@dataclass
class World:
    """A clock, the upstreams' behaviour, and clients that send one request after the other."""

    names: str
    behaviour: Behaviour
    jitter: Callable[[], float]
    until: float = 100.0
    retry: Retry = field(default_factory=Retry)
    now: float = 0.0
    served: list[float] = field(default_factory=list)
    """When requests succeeded."""
    refused: list[tuple[float, GiveUp]] = field(default_factory=list)
    requests: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        upstreams = cast(self.names)
        self.scheduler = Scheduler(upstreams)
        self.targets = self.scheduler.targets(candidates(upstreams))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, action))

    def run(self) -> None:
        while self._events and self.now < self.until:
            self.now, _, action = heapq.heappop(self._events)
            action()


class Client:
    """Sends its requests one after the other, and each again when it is refused."""

    def __init__(self, world: World, requests: int = 1_000_000, pause: float = 0.1) -> None:
        self.world = world
        self.left = requests
        self.pause = pause
        self.finished = 0.0
        self.timer = 0
        self.begin()

    def begin(self) -> None:
        world = self.world
        self.request = Request(world.scheduler, world.targets, "", world.retry, world.jitter)
        self.step()

    def step(self) -> None:
        world = self.world
        self.timer += 1
        ticket = self.timer
        step = self.request.next(world.now)
        if isinstance(step, Lease):
            world.requests += 1
            outcome = world.behaviour(world.now, step.target)
            if outcome == "ok":
                world.after(QUICK, self.committed)
            else:
                world.after(QUICK, lambda: self.failed(outcome))
        elif isinstance(step, Wait):

            def again() -> None:
                if self.timer == ticket:
                    self.step()

            if step.for_slot:
                world.scheduler.on_free(lambda: world.after(0.0, again))
            world.after(step.seconds, again)
        else:
            world.refused.append((world.now, step))
            world.after(BACKOFF if step.retry_after is None else step.retry_after, self.begin)

    def failed(self, outcome: str) -> None:
        self.request.report(self.world.now, outcome.split())
        self.step()

    def committed(self) -> None:
        world = self.world
        self.request.report(world.now, ["ok"])
        world.served.append(world.now)
        self.left -= 1
        world.after(WORK, self.request.lease.release)
        self.finished = world.now + WORK
        if self.left:
            world.after(WORK + self.pause, self.begin)


@given(
    away=st.floats(0.5, 45.0),
    accounts=st.integers(1, 5),
    clients=st.integers(1, 8),
    how=st.sampled_from(["connect", "529", "503", "502", "loading", "page"]),
    seed=st.integers(0, 9),
)
def test_a_recovered_upstream_serves_a_request_soon(
    away: float, accounts: int, clients: int, how: str, seed: int
) -> None:
    begins, ends = 5.0, 5.0 + away

    def behaviour(now: float, target: Target) -> str:
        return how if begins <= now < ends else "ok"

    world = World(" ".join("ABCDE"[:accounts]), behaviour, random.Random(seed).random, until=ends + 20.0)
    for _ in range(clients):
        Client(world)
    world.run()
    first = next(at for at in world.served if at > ends)
    assert first - ends <= SOON
    assert all(stop.retry_after is None or stop.retry_after <= 2 for _, stop in world.refused)


@given(
    dead=st.lists(
        st.sampled_from(["401", "402", "403", "spent", "429", "429 retry-after=3600", "model"]),
        min_size=1,
        max_size=4,
    ),
    place=st.integers(0, 4),
    clients=st.integers(1, 8),
    fallback=st.booleans(),
)
def test_no_request_is_refused_while_an_account_is_free(
    dead: list[str], place: int, clients: int, fallback: bool
) -> None:
    names = "ABCDE"[: len(dead) + 1]
    healthy = names[place % len(names)]
    outcomes = dict(zip(names.replace(healthy, ""), dead, strict=True))

    def behaviour(now: float, target: Target) -> str:
        return outcomes.get(target.account, "ok")

    written = " ".join(names.replace(healthy, "")) + f" | {healthy}" if fallback else " ".join(names)
    world = World(written, behaviour, lambda: 0.5, until=30.0)
    for _ in range(clients):
        Client(world)
    world.run()
    assert not world.refused
    assert len(world.served) > 20 * clients


def test_the_first_success_wakes_all_waiting_requests() -> None:
    def behaviour(now: float, target: Target) -> str:
        return "connect" if 1.0 <= now < 6.0 else "ok"

    world = World("A", behaviour, lambda: 0.5, until=12.0)
    for _ in range(8):
        Client(world)
    world.run()
    first, *rest = [at for at in world.served if at > 6.0]
    assert sum(at - first < 0.5 for at in rest) >= 4, "those that wait do not come one by one"


@pytest.mark.parametrize("seed", range(5))
def test_retries_do_not_worsen_an_overload(seed: int) -> None:
    """The same requests, directly: each is sent again after the pauses that the gateway makes."""
    dice = random.Random(seed)

    def behaviour(now: float, target: Target) -> str:
        return "529" if dice.random() < 0.7 else "ok"

    world = World("A", behaviour, dice.random, until=1000.0)
    clients = [Client(world, requests=5) for _ in range(4)]
    world.run()
    assert all(client.left == 0 for client in clients)
    through = max(client.finished for client in clients)

    def directly() -> float:
        spent = 0.0
        for _ in range(5):
            failures = 0
            while dice.random() < 0.7:
                spent += QUICK + min(1.0 * 2**failures, 8.0) * 1.2
                failures += 1
            spent += WORK + 0.1
        return spent

    direct = max(directly() for _ in range(4))
    assert through <= 2.0 * direct, (through, direct)
