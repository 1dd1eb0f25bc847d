"""Many requests at once against accounts that fail in every way: invariants."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Retry
from gateway.routing.accounts import Target
from gateway.routing.circuit_breaker import PROBE_PATIENCE, TICK, CircuitBreaker
from gateway.routing.cures import MAX_CURES
from gateway.routing.retries import GiveUp, Wait
from gateway.routing.scheduler import Lease, Scheduler
from tests.routing.transcript import Request as Client
from tests.routing.transcript import candidates, cast

CASTS = ["A", "A:1", "A*", "A B", "A:1 B:2", "A* B", "A / B", "A B | F", "A:1 | F:1", "A B:1 / C* | F"]

FAILURES = [
    "connect",
    "400",
    "401",
    "403",
    "404",
    "model",
    "spent",
    "408",
    "429",
    "429 retry-after=0",
    "429 retry-after=1.5",
    "429 retry-after=7",
    "429 retry-after=90",
    "500",
    "529",
    "529 retry-after=3",
    "503 retry-after=30",
    "500 x-should-retry=false",
    "error overloaded_error",
    "empty",
    "contentless",
    "page",
    "timeout",
    "loading",
    "signature",
    "metadata",
    "blind",
]

outcomes = st.tuples(
    st.sampled_from([0.0, 0.3, 2.0, 14.0]),
    st.sampled_from([*FAILURES, "ok", "ok", "ok broke", "responded ok", "canceled"]),
)


@dataclass
class Script:
    """One request: when it begins, where it belongs, how its attempts go, when its client leaves."""

    begins: float
    conversation: str
    outcomes: list[tuple[float, str]]
    leaves_after: float


scripts = st.builds(
    Script,
    begins=st.sampled_from([0.0, 0.0, 0.5, 5.0, 31.0, 200.0]),
    conversation=st.sampled_from(["", "x", "y"]),
    outcomes=st.lists(outcomes, min_size=1, max_size=6),
    leaves_after=st.sampled_from([1.0, 1e6, 1e6, 1e6]),
)


@dataclass
class Probe:
    """A request that was let in when a cool-down had ended."""

    since: float
    cool_down: tuple[float, str, int]
    """The cool-down it tests."""
    responded: bool = False
    over: bool = False

    def keeps_others_out(self, health: CircuitBreaker, now: float) -> bool:
        waited = now - self.since
        patient = not self.responded and waited < PROBE_PATIENCE - 2 * TICK
        return patient and not self.over and self.cool_down == cool_down(health)


def cool_down(health: CircuitBreaker) -> tuple[float, str, int]:
    """Identity of a cool-down: after a hint of no time two may end at the same moment."""
    name = health.rule.name if health.rule is not None else ""
    return health.until, name, health.failures.get(name, 0)


class World:
    """A clock, and the requests on it."""

    def __init__(self, names: str, retry: Retry) -> None:
        self.upstreams = cast(names)
        self.scheduler = Scheduler(self.upstreams)
        self.targets = self.scheduler.targets(candidates(self.upstreams))
        self.limits = [account.max_concurrent or 1000 for up in self.upstreams for account in up.accounts]
        self.retry = retry
        self.now = 1000.0
        self.probes: dict[CircuitBreaker, Probe] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, action))

    def run(self) -> None:
        for _ in range(10_000):
            if not self._events:
                return
            self.now, _, action = heapq.heappop(self._events)
            action()
            for account, limit in zip(self.scheduler.snapshot(self.now), self.limits, strict=True):
                assert 0 <= account.in_flight <= limit
        pytest.fail("it never ends")


@dataclass
class Request:
    """Follows the steps as a forwarder would, and checks the invariants."""

    world: World
    script: Script
    alone: bool
    client: Client = field(init=False)
    tries: int = 0
    waited: float = 0.0
    steps: list[Lease | Wait | GiveUp] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    over: bool = False
    waiting_since: float | None = None
    timer: int = 0
    take_back: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        world = self.world
        self.client = Client(
            world.scheduler, world.targets, self.script.conversation, world.retry, lambda: 0.5
        )
        begins = world.now + self.script.begins
        world.at(begins, self.step)
        world.at(begins + self.script.leaves_after, self.leave)

    def step(self) -> None:
        if self.over:
            return
        world, now = self.world, self.world.now
        self.stop_waiting()
        half_open = {target: self.half_open(target) for target in world.targets}
        step = self.client.next(now)
        assert len(self.steps) < 100
        if isinstance(step, Lease):
            self.tries += 1
            for health in half_open[step.target]:
                probe = world.probes.get(health)
                assert probe is None or not probe.keeps_others_out(health, now), "two probes at once"
                if health in step.probes:
                    self.probes.append(Probe(now, cool_down(health)))
                    world.probes[health] = self.probes[-1]
            refreshed = sum(target.state.refreshable for target in world.targets)
            extra = len(world.targets) + MAX_CURES + refreshed
            assert self.tries <= world.retry.max_attempts + extra
            wait, outcome = self.script.outcomes[(self.tries - 1) % len(self.script.outcomes)]
            world.at(now + wait, lambda: self.report(outcome.split()))
        elif isinstance(step, Wait):
            assert step.seconds > 0.0
            assert self.waited + step.seconds <= world.retry.max_wait + 1e-6
            self.waiting_since = now
            self.timer += 1
            ticket = self.timer
            world.at(now + step.seconds, lambda: self.step() if ticket == self.timer else None)
            if step.for_slot:
                self.take_back = world.scheduler.on_free(self.step)
        else:
            self.over = True
            last = self.steps[-1] if self.steps else None
            if self.alone and isinstance(last, Wait):
                assert last.for_slot, "a wait that no attempt followed"
        self.steps.append(step)

    def stop_waiting(self) -> None:
        if self.waiting_since is not None:
            self.waited += self.world.now - self.waiting_since
            self.waiting_since = None
            self.timer += 1
        if self.take_back is not None:
            self.take_back()
            self.take_back = None

    def half_open(self, target: Target) -> list[CircuitBreaker]:
        """Cool-downs of an account that no success has ended yet."""
        ends = self.world.now + TICK
        return [
            health for _, health in target.breakers() if health.rule is not None and ends >= health.probe_at
        ]

    def probes_end(self) -> None:
        for probe in self.probes:
            probe.over = True

    def report(self, outcome: list[str]) -> None:
        if self.over:
            return
        world, now = self.world, self.world.now
        if outcome[0] == "responded":
            for probe in self.probes:
                probe.responded = True
            self.client.report(now, ["responded"])
            outcome = outcome[1:]
        self.probes_end()
        if outcome[0] == "ok":
            self.client.report(now, ["ok"])
            self.over = True
            end = self.broke if "broke" in outcome else self.end
            world.at(now + 1.0, end)
        elif outcome[0] == "canceled":
            self.leave()
        else:
            self.client.report(now, outcome)
            self.step()

    def broke(self) -> None:
        self.client.report(self.world.now, ["broke", "error", "overloaded_error"])

    def end(self) -> None:
        self.client.report(self.world.now, ["done"])

    def leave(self) -> None:
        if not self.over:
            self.over = True
            self.probes_end()
            self.stop_waiting()
            if self.tries:
                self.client.lease.release()


retries = st.builds(
    Retry, max_attempts=st.sampled_from([1, 2, 3, 5]), max_wait=st.sampled_from([0.0, 1.0, 20.0, 100.0])
)


def check_end(world: World, requests: list[Request]) -> None:
    assert all(request.over for request in requests)
    for account in world.scheduler.snapshot(world.now):
        assert account.in_flight == 0
        assert not any(one.probing for one in account.cool_downs), "a probe without a request"
    for target in world.targets:
        # After any failures a request is let in again.
        assert target.opens_at(world.now + 1e7) == 0.0


@given(names=st.sampled_from(CASTS), retry=retries, scripts=st.lists(scripts, min_size=2, max_size=8))
def test_many_requests(names: str, retry: Retry, scripts: list[Script]) -> None:
    world = World(names, retry)
    requests = [Request(world, script, alone=False) for script in scripts]
    world.run()
    check_end(world, requests)


@given(names=st.sampled_from(CASTS), retry=retries, scripts=st.lists(scripts, min_size=1, max_size=4))
def test_one_request_after_the_other(names: str, retry: Retry, scripts: list[Script]) -> None:
    world = World(names, retry)
    for script in scripts:
        request = Request(world, script, alone=True)
        world.run()
        check_end(world, [request])
