"""Choosing an account, slots, waiting, what failures and successes change, reloads."""

import sys
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Account, Retry, Upstream
from gateway.routing.accounts import Target
from gateway.routing.circuit_breaker import TURNED_OFF
from gateway.routing.cures import Cure
from gateway.routing.meanings import meaning_of
from gateway.routing.model_routes import Candidate
from gateway.routing.policy import NEVER
from gateway.routing.retries import GiveUp, Retries
from gateway.routing.scheduler import Lease, Scheduler
from gateway.routing.status import State
from tests.routing.transcript import WALL, candidates, cast, failure


def made(names: str) -> tuple[Scheduler, dict[str, Target]]:
    """A scheduler, and its targets by account."""
    upstreams = cast(names)
    scheduler = Scheduler(upstreams)
    return scheduler, {target.account: target for target in scheduler.targets(candidates(upstreams))}


def take(scheduler: Scheduler, target: Target, now: float = 0.0) -> Lease:
    return scheduler.take(target, "", None, False, now)


def fail(
    scheduler: Scheduler, target: Target, outcome: str, now: float = 0.0, started: float | None = None
) -> None:
    failed = failure(outcome.split())
    lease = take(scheduler, target, now if started is None else started)
    scheduler.failed(lease, meaning_of(failed, WALL, wire_model=target.wire_model), failed, now)
    lease.release()


def succeed(scheduler: Scheduler, target: Target, started: float) -> None:
    lease = take(scheduler, target, started)
    lease.succeeded(started)
    lease.release()


def shut(scheduler: Scheduler, target: Target, now: float = 0.0) -> float:
    """Return the seconds from `now` until a target can be used; 0.0 for now."""
    (ranked,) = scheduler.rank([target], "", now)
    return max(0.0, ranked.opens_at - now)


def test_targets_are_in_order_of_priority_then_of_the_configuration() -> None:
    scheduler, _ = made("A B / C | D | E F")
    found = scheduler.targets(
        [
            Candidate("e", "m3", 2),
            Candidate("a", "m1", 0),
            Candidate("d", "m2", 1),
            Candidate("nowhere", "m", 0),
            Candidate("c", "m1", 0),
        ]
    )
    assert [(target.account, target.wire_model, target.priority) for target in found] == [
        ("A", "m1", 0),
        ("B", "m1", 0),
        ("C", "m1", 0),
        ("D", "m2", 1),
        ("E", "m3", 2),
        ("F", "m3", 2),
    ]


def test_a_lease_takes_and_frees_a_slot() -> None:
    scheduler, cast_ = made("A:2")
    targets = tuple(cast_.values())
    first, second = (scheduler.lease(targets, "", 3.0) for _ in range(2))
    assert first is not None
    assert second is not None
    assert scheduler.lease(targets, "", 3.0) is None
    assert (first.started, first.target, first.cures) == (3.0, cast_["A"], ())
    assert repr(first) == "<Lease [HELD] a/A m>"
    for _ in range(2):
        first.release()
    assert repr(first) == "<Lease [RELEASED] a/A m>"
    assert scheduler.lease(targets, "", 3.0) is not None
    assert scheduler.lease(targets, "", 3.0) is None


def test_no_lease_while_all_accounts_are_closed() -> None:
    assert Scheduler([]).lease((), "", 0.0) is None


steps = st.lists(
    st.tuples(
        st.sampled_from("ABCF"),
        st.sampled_from(["connect", "401", "429 retry-after=9", "500", "500", "529", "take", "ok", "talk"]),
    ),
    max_size=12,
)


@given(steps=steps, conversation=st.sampled_from(["", "talk"]))
def test_a_lease_goes_to_the_first_of_the_ranking(steps: list[tuple[str, str]], conversation: str) -> None:
    scheduler, cast_ = made("A:1 B:2 / C | F:1")
    for number, (name, outcome) in enumerate(steps):
        target, now = cast_[name], number * 0.7
        if outcome == "take":
            take(scheduler, target, now)
        elif outcome == "talk":
            scheduler.conversations.bind("talk", target.state, now)
        elif outcome == "ok":
            succeed(scheduler, target, now)
        else:
            fail(scheduler, target, outcome, now)
    now = len(steps) * 0.7
    first = scheduler.rank(tuple(cast_.values()), conversation, now)[0]
    lease = scheduler.lease(tuple(cast_.values()), conversation, now)
    if lease is None:
        assert first.opens_at > now or first.full
    else:
        assert lease.target is first.target
        assert not first.full


def test_ranking_gives_reasons() -> None:
    scheduler, cast_ = made("A B:1 C / D | F")
    take(scheduler, cast_["B"])
    fail(scheduler, cast_["D"], "401")
    scheduler.conversations.bind("talk", cast_["C"].state, 0.0)
    ranked = scheduler.rank(tuple(cast_.values()), "talk", 1.0)
    assert [(one.target.account, one.reason) for one in ranked] == [
        ("C", "priority 0, the conversation's own account, 0 in flight"),
        ("A", "priority 0, 0 in flight"),
        ("F", "priority 1, 0 in flight"),
        ("B", "full: 1 of 1 requests in flight, priority 0, 1 in flight"),
        ("D", "cooling down: login, priority 0, 0 in flight"),
    ]


SCOPES = [
    # outcomes, then what cools down: A for this model, A for another, B of the same upstream, C of another
    ("connect", (True, True, True, False)),
    ("401", (True, True, False, False)),
    ("402", (True, True, False, False)),
    ("product", (True, True, False, False)),
    ("spent", (True, True, False, False)),
    ("403", (True, False, False, False)),
    ("model", (True, False, False, False)),
    ("404", (False, False, False, False)),
    ("file", (False, False, False, False)),
    ("metadata", (False, False, False, False)),
    ("signature", (False, False, False, False)),
    ("loading", (True, True, True, False)),
    ("page", (True, True, True, False)),
    ("timeout", (True, True, True, False)),
    ("503 retry-after=9", (True, False, False, False)),
    ("529 retry-after=9", (True, True, True, False)),
    ("429", (True, False, False, False)),
    ("429 retry-after=9", (True, False, False, False)),
    ("400", (False, False, False, False)),
    ("empty", (False, False, False, False)),
    ("500", (False, False, False, False)),
    ("529", (False, False, False, False)),
    ("500, 500", (True, False, False, False)),
    ("529, 529", (True, True, True, False)),
]


@pytest.mark.parametrize(("outcomes", "expected"), SCOPES)
def test_which_targets_a_failure_cools_down(outcomes: str, expected: tuple[bool, ...]) -> None:
    scheduler, cast_ = made("A B / C")
    other_model = scheduler.targets([Candidate("a", "other", 0)])[0]
    for outcome in outcomes.split(", "):
        fail(scheduler, cast_["A"], outcome)
    everyone = (cast_["A"], other_model, cast_["B"], cast_["C"])
    assert tuple(shut(scheduler, target) > 0.0 for target in everyone) == expected


def test_which_cool_downs_a_success_ends() -> None:
    scheduler, cast_ = made("A")
    target = cast_["A"]
    other, third = (scheduler.targets([Candidate("a", name, 0)])[0] for name in ("other", "third"))
    fail(scheduler, other, "429", now=5.0)
    for outcome in ("402", "429", "connect"):
        fail(scheduler, target, outcome, now=5.0)
    succeed(scheduler, target, started=4.0)
    assert shut(scheduler, target, 5.0) == 60.0, "it was under way before"
    succeed(scheduler, third, started=4.0)
    succeed(scheduler, target, started=5.0)
    assert (shut(scheduler, target, 5.0), shut(scheduler, other, 5.0)) == (0.0, 5.0)


def test_any_response_ends_an_upstreams_connect_cool_down() -> None:
    scheduler, cast_ = made("A B")
    fail(scheduler, cast_["A"], "connect", now=5.0)
    fail(scheduler, cast_["B"], "429", now=6.0, started=4.0)
    assert shut(scheduler, cast_["A"], 5.0) == 1.0, "it was under way before"
    fail(scheduler, cast_["B"], "400", now=6.0)
    assert shut(scheduler, cast_["A"], 5.0) == 0.0
    fail(scheduler, cast_["A"], "529", now=7.0)
    fail(scheduler, cast_["A"], "connect", now=7.0)
    fail(scheduler, cast_["A"], "500", now=7.0)
    assert shut(scheduler, cast_["A"], 7.0) == 0.0
    fail(scheduler, cast_["A"], "529", now=8.0)
    assert shut(scheduler, cast_["A"], 8.0) == 1.0, "the overload before still counts"


def test_a_token_failure_does_not_affect_the_upstream() -> None:
    scheduler, cast_ = made("A B")
    fail(scheduler, cast_["A"], "connect", now=5.0)
    fail(scheduler, cast_["B"], "tokenless", now=5.5)
    assert shut(scheduler, cast_["A"], 5.5) == 0.5


def test_waiters_are_called_once_in_order() -> None:
    scheduler, _ = made("A")
    called: list[str] = []
    scheduler.on_free(lambda: called.append("first"))
    take_back = scheduler.on_free(lambda: called.append("second"))
    scheduler.on_free(lambda: called.append("third"))
    take_back()
    scheduler.wake()
    assert called == ["first", "third"]
    take_back()
    scheduler.wake()
    assert called == ["first", "third"]


def test_a_waiter_may_wait_again_or_cancel_another() -> None:
    scheduler, _ = made("A")
    called: list[str] = []

    def first() -> None:
        called.append("first")
        take_back()
        scheduler.on_free(first)

    scheduler.on_free(first)
    take_back = scheduler.on_free(lambda: called.append("second"))
    scheduler.wake()
    assert called == ["first"]
    scheduler.wake()
    assert called == ["first", "first"]


def test_clear_all_cool_downs() -> None:
    scheduler, cast_ = made("A B / C")
    for outcome in ("connect", "401", "429", "403", "529"):
        fail(scheduler, cast_["A"], outcome)
    woken: list[bool] = []
    scheduler.on_free(lambda: woken.append(True))
    scheduler.reopen()
    assert woken == [True]
    assert all(one.state is State.FREE and not one.cool_downs for one in scheduler.snapshot(0.0))


def test_clear_cool_downs_of_an_upstream_or_account() -> None:
    scheduler, cast_ = made("A B / C")
    for name in "ABC":
        fail(scheduler, cast_[name], "401")
        scheduler.cures.learn(cast_[name].upstream, "m", [Cure("betas")], 0.0)
    scheduler.reopen("a", "A")
    assert [one.state for one in scheduler.snapshot(0.0)] == [State.FREE, State.CLOSED, State.CLOSED]
    assert len(scheduler.cures.remembered(0.0)) == 2
    scheduler.reopen("a")
    assert [one.state for one in scheduler.snapshot(0.0)] == [State.FREE, State.FREE, State.CLOSED]
    assert [one.upstream for one in scheduler.cures.remembered(0.0)] == ["c"]


def test_a_disabled_account_gets_no_leases() -> None:
    scheduler, cast_ = made("A B")
    targets = list(cast_.values())
    under_way = take(scheduler, cast_["A"])
    woken: list[bool] = []
    scheduler.on_free(lambda: woken.append(True))
    scheduler.disable("a", "A")
    assert woken == [True]
    # A request under way neither opens it when it succeeds, nor changes the reason when it fails.
    under_way.succeeded(1.0)
    under_way.release()
    fail(scheduler, cast_["A"], "401", 1.0)
    for _ in range(3):
        lease = scheduler.lease(targets, "c", 2.0)
        assert lease is not None
        assert lease.target is cast_["B"]
    assert [(place.target.account, place.rule) for place in scheduler.rank(targets, "", 2.0)] == [
        ("B", ""),
        ("A", "disabled"),
    ]
    a, b = scheduler.snapshot(2.0)
    assert (a.state, a.disabled, a.cause, a.until, a.ready) == (State.CLOSED, True, "disabled", 0.0, False)
    assert a.alone_until == NEVER
    assert (b.disabled, b.ready) == (False, True)
    assert TURNED_OFF.prober is None
    scheduler.disable("a", "A", False)
    assert shut(scheduler, cast_["A"], 2.0) == 599.0
    scheduler.reopen()
    assert scheduler.lease([cast_["A"]], "", 2.0) is not None


def test_a_disabled_account_is_an_error_for_the_operator() -> None:
    scheduler, cast_ = made("A")
    scheduler.disable("a", "A")
    retries = Retries(scheduler, list(cast_.values()), "", Retry(), lambda: 0.0)
    stop = retries.next(0.0)
    assert isinstance(stop, GiveUp)
    assert (stop.status, stop.retry_after, stop.final) == (503, None, True)
    assert stop.error_message(str, str) == 'account "A" of upstream "a" is disabled'


# --- reload ----------------------------------------------------------------------------------------


def adopted(old: Scheduler, names: str) -> tuple[Scheduler, dict[str, Target]]:
    """Return a scheduler that takes over from `old` as at a reload, and its targets."""
    upstreams = cast(names)
    new = Scheduler(upstreams)
    new.adopt(old)
    return new, {target.account: target for target in new.targets(candidates(upstreams))}


def test_a_reload_keeps_cool_downs_and_bindings() -> None:
    old, cast_ = made("A B / C")
    lease = old.lease(tuple(cast_.values()), "talk", 1.0)
    assert lease is not None
    fail(old, cast_["C"], "connect")
    new, new_cast = adopted(old, "A:1 D / C")
    assert [(one.account, one.in_flight, one.cause) for one in new.snapshot(0.5)] == [
        ("A", 1, ""),
        ("D", 0, ""),
        ("C", 0, "connect"),
    ]
    targets = tuple(new_cast.values())
    ranked = new.rank(targets, "talk", 2.0)
    assert [(one.target.account, one.full, one.home) for one in ranked][-1] == ("A", True, True)
    woken: list[bool] = []
    new.on_free(lambda: woken.append(True))
    lease.release()
    assert woken == [True]
    assert new.rank(targets, "talk", 2.0)[0].target.account == "A"


def test_accounts_that_a_reload_adds_share_their_upstreams_cool_down() -> None:
    old, cast_ = made("A")
    fail(old, cast_["A"], "connect")
    new, _ = adopted(old, "A D")
    assert [one.cause for one in new.snapshot(0.5)] == ["connect", "connect"]


def test_a_reload_lets_a_refused_login_be_tried_again() -> None:
    old, cast_ = made("A")
    fail(old, cast_["A"], "401")
    new, cast_ = adopted(old, "A")
    targets = tuple(cast_.values())
    assert new.lease(targets, "", 0.0) is not None
    assert new.lease(targets, "", 0.0) is None, "the first one is the probe"


def test_accounts_of_the_same_name_at_two_upstreams() -> None:
    old, cast_ = made("A")
    fail(old, cast_["A"], "401")
    new = Scheduler(
        [Upstream(name="b", kind="anthropic", base_url="https://x", accounts=(Account(name="A"),))]
    )
    new.adopt(old)
    assert [one.cool_downs for one in new.snapshot(0.0)] == [()]


def test_repr() -> None:
    scheduler, cast_ = made("A:2 B")
    fail(scheduler, cast_["A"], "429 retry-after=9")
    take(scheduler, cast_["A"])
    assert repr(scheduler) == (
        "<Scheduler [<AccountState a/A [SOUND]"
        " m <CircuitBreaker [COOLING, until 9.000, probe at 9.000, limit x1]>, 1 in flight>,"
        " <AccountState a/B [SOUND], 0 in flight>]>"
    )


@pytest.mark.parametrize("names", ["A", "A B", "A:4 B:4 C:4 | F"])
def test_a_request_whose_first_attempt_succeeds_costs_few_calls(names: str) -> None:
    scheduler, cast_ = made(names)
    targets = tuple(cast_.values())
    called: list[str] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "routing" in frame.f_code.co_filename:
            called.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        lease = scheduler.lease(targets, "talk", 1.0)
        assert lease is not None
        lease.succeeded(2.0)
        lease.release()
    finally:
        sys.setprofile(None)
    assert len(called) <= 8, called


def test_a_reload_enables_disabled_accounts() -> None:
    old, _ = made("A B")
    old.disable("a", "A")
    new, _ = adopted(old, "A B")
    assert not any(one.disabled for one in new.snapshot(0.0))
