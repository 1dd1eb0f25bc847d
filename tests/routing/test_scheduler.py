"""The accounts' shared state: slots, health, conversations, reloads, readiness."""

import pytest

from gateway.config import Account, Secret, Upstream
from gateway.routing.circuit_breaker import PROBE_PATIENCE
from gateway.routing.failures import judge
from gateway.routing.model_routes import Candidate
from gateway.routing.scheduler import (
    BOUND_FOR,
    MAX_CONVERSATIONS,
    MAX_MODELS,
    MAX_TUPLES,
    AccountState,
    Scheduler,
    Target,
)
from tests.routing.transcript import MODEL, WALL, candidates, cast, failure


def made(names: str) -> tuple[Scheduler, dict[str, Target]]:
    upstreams = cast(names)
    scheduler = Scheduler(upstreams)
    found = scheduler.options(candidates(upstreams))
    return scheduler, {option.account.config.name: option for option in found}


def fail(
    scheduler: Scheduler, option: Target, outcome: str, now: float = 0.0, started: float | None = None
) -> None:
    failed = failure(outcome.split())
    scheduler.failed(option, judge(failed, WALL), failed, now, now if started is None else started)


def test_options_are_in_order_of_priority_then_of_the_configuration() -> None:
    scheduler, _ = made("A B / C | D | E F")
    found = scheduler.options(
        [
            Candidate("e", "m3", 2),
            Candidate("a", "m1", 0),
            Candidate("d", "m2", 1),
            Candidate("nowhere", "m", 0),
            Candidate("c", "m1", 0),
        ]
    )
    told = [(option.account.config.name, option.wire_model, option.priority) for option in found]
    assert told == [
        ("A", "m1", 0),
        ("B", "m1", 0),
        ("C", "m1", 0),
        ("D", "m2", 1),
        ("E", "m3", 2),
        ("F", "m3", 2),
    ]


def test_options_are_kept_but_not_without_end() -> None:
    scheduler, _ = made("A")
    first = scheduler.options((Candidate("a", "first", 0),))
    assert scheduler.options([Candidate("a", "first", 0)]) is first
    for index in range(MAX_TUPLES):
        scheduler.options((Candidate("a", f"m{index}", 0),))
    assert scheduler.options((Candidate("a", "first", 0),)) is not first


def test_slots() -> None:
    scheduler, cast_ = made("A:2 B")
    option = cast_["A"]
    for full in (False, True):
        assert scheduler.take(option, 3.0, "who") == ()
        assert option.account.full is full
    assert (option.account.in_flight, option.account.last_used) == (2, 3.0)
    scheduler.release(option, (), "who")
    assert not option.account.full
    for _ in range(100):
        scheduler.take(cast_["B"], 0.0, "who")
    assert not cast_["B"].account.full


SCOPES = [
    # outcome, then who is shut: A for this model, A for another, B of the same upstream, C of another
    ("connect", (True, True, True, False)),
    ("401", (True, True, False, False)),
    ("403", (True, True, False, False)),
    ("404", (True, False, False, False)),
    ("429", (True, False, False, False)),
    ("429 retry-after=9", (True, False, False, False)),
    ("400", (False, False, False, False)),
    ("empty", (False, False, False, False)),
    ("500", (False, False, False, False)),
    ("529", (False, False, False, False)),
]


@pytest.mark.parametrize(("outcome", "shut"), SCOPES)
def test_what_a_failure_shuts(outcome: str, shut: tuple[bool, ...]) -> None:
    scheduler, cast_ = made("A B / C")
    other_model = Target(cast_["A"].account, "other", 0)
    fail(scheduler, cast_["A"], outcome)
    everyone = (cast_["A"], other_model, cast_["B"], cast_["C"])
    assert tuple(option.opens_at(0.0) > 0.0 for option in everyone) == shut


@pytest.mark.parametrize(
    ("outcome", "shut"), [("500", (True, False, False, False)), ("529", (True, True, True, False))]
)
def test_what_a_second_failure_shuts(outcome: str, shut: tuple[bool, ...]) -> None:
    scheduler, cast_ = made("A B / C")
    other_model = Target(cast_["A"].account, "other", 0)
    for _ in range(2):
        fail(scheduler, cast_["A"], outcome)
    everyone = (cast_["A"], other_model, cast_["B"], cast_["C"])
    assert tuple(option.opens_at(0.0) > 0.0 for option in everyone) == shut


def test_the_widest_cool_down_decides() -> None:
    scheduler, cast_ = made("A")
    option = cast_["A"]
    fail(scheduler, option, "429 retry-after=10")
    fail(scheduler, option, "402")
    fail(scheduler, option, "connect")
    assert option.opens_at(0.0) == 60.0
    assert option.free_at(0.0) == 60.0
    assert option.free_at(70.0) == 70.0
    assert [health.until for health in option.healths()] == [1.0, 60.0, 10.0]
    assert option.opens_at(0.5, upstream_early=True, model_early=True) == 60.0


def test_early_passes_only_its_own_scope() -> None:
    scheduler, cast_ = made("A")
    option = cast_["A"]
    for _ in range(2):
        fail(scheduler, option, "500")
    fail(scheduler, option, "connect")
    assert option.opens_at(0.0, upstream_early=True, model_early=True) == 0.0
    assert option.opens_at(0.0, upstream_early=True) == 1.0
    assert option.opens_at(0.0, model_early=True) == 1.0


def test_a_success_ends_what_it_shows_to_be_over() -> None:
    scheduler, cast_ = made("A")
    option = cast_["A"]
    other = Target(option.account, "other", 0)
    fail(scheduler, other, "429", now=5.0)
    for outcome in ("402", "429", "connect"):
        fail(scheduler, option, outcome, now=5.0)
    scheduler.succeeded(option, started=4.0)
    assert len(list(option.healths())) == 3, "it was under way before"
    scheduler.succeeded(Target(option.account, "third", 0), started=4.0)
    scheduler.succeeded(option, started=5.0)
    assert list(option.healths()) == []
    assert list(other.healths()) != []


def test_a_success_of_a_sound_account_changes_nothing() -> None:
    scheduler, cast_ = made("A")
    before = repr(scheduler)
    scheduler.succeeded(cast_["A"], started=0.0)
    assert repr(scheduler) == before


def test_any_answer_shows_that_an_upstream_can_be_reached() -> None:
    scheduler, cast_ = made("A B")
    fail(scheduler, cast_["A"], "connect", now=5.0)
    fail(scheduler, cast_["B"], "429", now=6.0, started=4.0)
    assert cast_["A"].opens_at(5.0) == 6.0, "it was under way before"
    fail(scheduler, cast_["B"], "400", now=6.0)
    assert cast_["A"].opens_at(5.0) == 0.0
    fail(scheduler, cast_["A"], "529", now=7.0)
    fail(scheduler, cast_["A"], "connect", now=7.0)
    fail(scheduler, cast_["A"], "500", now=7.0)
    health = cast_["A"].account.upstream.health
    assert health is not None
    assert health.failures == {"overloaded": 1}


def test_probes() -> None:
    scheduler, cast_ = made("A B")
    option = cast_["A"]
    fail(scheduler, option, "429 retry-after=10")
    fail(scheduler, option, "connect")
    assert not option.probed()
    probed = scheduler.take(option, 10.0, "probe")
    assert probed == tuple(option.healths())
    assert option.probed()
    assert cast_["B"].probed(), "the upstream is"
    assert scheduler.take(option, 10.0, "other") == ()
    assert option.opens_at(10.0) == 10.0 + PROBE_PATIENCE
    scheduler.release(option, probed, "probe")
    assert not option.probed()
    assert option.opens_at(10.0) == 0.0


def test_models_are_forgotten_before_they_are_too_many() -> None:
    scheduler, cast_ = made("A")
    account = cast_["A"].account
    for index in range(MAX_MODELS + 5):
        option = Target(account, f"m{index}", 0)
        scheduler.take(option, 0.0, "who")
        fail(scheduler, option, "404")
    assert len(account.models) == MAX_MODELS
    assert len(account.asked) == MAX_MODELS
    assert "m4" not in account.models
    assert "m5" in account.models


def test_those_who_wait_are_called_once_in_order() -> None:
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


def test_whoever_is_called_may_wait_again_or_take_another_back() -> None:
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


def test_bindings_end() -> None:
    scheduler, cast_ = made("A")
    account = cast_["A"].account
    assert scheduler.bound("talk", 0.0) is None
    scheduler.bind("talk", account, 0.0)
    assert scheduler.bound("talk", BOUND_FOR) is account
    assert scheduler.bound("talk", BOUND_FOR + 1) is None


def test_the_least_recently_used_binding_goes_first() -> None:
    scheduler, cast_ = made("A")
    account = cast_["A"].account
    for index in range(MAX_CONVERSATIONS):
        scheduler.bind(f"talk {index}", account, 0.0)
    scheduler.bind("talk 0", account, 1.0)
    scheduler.bind("one more", account, 1.0)
    assert scheduler.bound("talk 0", 1.0) is account
    assert scheduler.bound("talk 1", 1.0) is None
    assert scheduler.bound("talk 2", 1.0) is account


# --- readiness -------------------------------------------------------------------------------------

READY = [
    ("A", [], (True, None, "")),
    ("A", [("A", "400")], (True, None, "")),
    ("A", [("A", "500")], (True, None, "")),
    ("A B", [("A", "401")], (True, None, "")),
    ("A", [("A", "401")], (False, 600.0, "a/A: login")),
    ("A B", [("A", "401"), ("B", "403")], (False, 60.0, "a/A: login; a/B: billing")),
    ("A B", [("A", "connect")], (False, 1.0, "a/A: connect; a/B: connect")),
    ("A / C", [("A", "connect")], (True, None, "")),
    ("A", [("A", "429 retry-after=9000")], (False, 9000.0, "a/A: limit")),
    ("A", [("A", "connect"), ("A", "429 retry-after=70")], (False, 70.0, "a/A: limit")),
]


@pytest.mark.parametrize(("names", "story", "expected"), READY)
def test_ready(names: str, story: list[tuple[str, str]], expected: tuple[bool, float | None, str]) -> None:
    scheduler, cast_ = made(names)
    for name, outcome in story:
        scheduler.take(cast_[name], 0.0, "who")
        fail(scheduler, cast_[name], outcome)
    ready, earliest, reason = scheduler.ready(0.0)
    assert (ready, earliest, reason.removeprefix("every account is cooling down: ")) == expected
    if earliest is not None:
        assert scheduler.ready(earliest)[0]


def test_nobody_is_not_ready() -> None:
    assert Scheduler([]).ready(0.0) == (False, None, "no account is configured")


def test_busy_is_ready() -> None:
    scheduler, cast_ = made("A:1")
    scheduler.take(cast_["A"], 0.0, "who")
    assert scheduler.ready(0.0)[0]


def test_an_account_is_ready_while_one_of_its_models_is() -> None:
    scheduler, cast_ = made("A")
    account = cast_["A"].account
    for model in ("m", "n"):
        scheduler.take(Target(account, model, 0), 0.0, "who")
    fail(scheduler, Target(account, "m", 0), "404")
    assert scheduler.ready(0.0)[0]
    fail(scheduler, Target(account, "n", 0), "429 retry-after=30")
    assert scheduler.ready(0.0)[:2] == (False, 30.0)


def test_models_that_a_table_names_count_without_being_asked_for() -> None:
    account = Account(name="A", api_key=Secret("k"))
    upstream = Upstream(
        name="a",
        kind="anthropic",
        base_url="https://x",
        models={"big-*": "big", "small-*": "small"},
        accounts=(account,),
    )
    scheduler = Scheduler([upstream])
    big, small = (Target(scheduler.accounts["a", "A"], name, 0) for name in ("big", "small"))
    fail(scheduler, big, "429 retry-after=30")
    assert scheduler.ready(0.0)[0]
    fail(scheduler, small, "429 retry-after=40")
    assert scheduler.ready(0.0)[:2] == (False, 30.0)


# --- reload ----------------------------------------------------------------------------------------


def adopted(old: Scheduler, names: str) -> Scheduler:
    new = Scheduler(cast(names))
    new.adopt(old)
    return new


def state(scheduler: Scheduler, upstream: str, account: str) -> AccountState:
    return scheduler.accounts[upstream, account]


def test_a_reload_keeps_what_is_known() -> None:
    old, cast_ = made("A B / C")
    a = cast_["A"].account
    old.take(cast_["A"], 1.0, "who")
    old.bind("talk", a, 1.0)
    fail(old, cast_["A"], "429 retry-after=60")
    fail(old, cast_["C"], "connect")
    new = adopted(old, "A:1 D / C")
    assert list(new.accounts) == [("a", "A"), ("a", "D"), ("c", "C")]
    assert state(new, "a", "A") is a
    assert a.config.max_concurrent == 1
    assert a.full
    assert new.bound("talk", 2.0) is a
    new_options = {o.account.config.name: o for o in new.options(candidates(cast("A:1 D / C")))}
    assert new_options["A"].opens_at(0.0) == 60.0
    assert new_options["C"].opens_at(0.0) == 1.0
    assert state(new, "a", "D").upstream is a.upstream, "an upstream's accounts share its health"
    woken: list[bool] = []
    new.on_free(lambda: woken.append(True))
    old.release(cast_["A"], (), "who")
    old.wake()
    assert (woken, a.full) == ([True], False)


def test_a_reload_lets_a_refused_login_be_tried_again() -> None:
    old, cast_ = made("A")
    fail(old, cast_["A"], "401")
    new = adopted(old, "A")
    option = new.options(candidates(cast("A")))[0]
    assert option.opens_at(0.0) == 0.0
    assert len(new.take(option, 0.0, "probe")) == 1


def test_an_account_of_the_same_name_elsewhere_is_another() -> None:
    old, cast_ = made("A")
    fail(old, cast_["A"], "401")
    new = Scheduler(
        [Upstream(name="b", kind="anthropic", base_url="https://x", accounts=(Account(name="A"),))]
    )
    new.adopt(old)
    assert state(new, "b", "A").health is None


def test_it_can_be_looked_at() -> None:
    scheduler, cast_ = made("A:2 B")
    scheduler.take(cast_["A"], 0.0, "who")
    fail(scheduler, cast_["A"], "429 retry-after=9")
    assert repr(scheduler) == (
        "<Scheduler [<AccountState a/A [SOUND]"
        " m <CircuitBreaker [COOLING, until 9.000, probe at 9.000, limit x1]>, 1 in flight>,"
        " <AccountState a/B [SOUND], 0 in flight>]>"
    )
    assert repr(cast_["B"]) == f"<Target {MODEL} on <AccountState a/B [SOUND], 0 in flight>>"
    assert repr(cast_["B"].account.upstream) == "<UpstreamState a [SOUND]>"
    fail(scheduler, cast_["A"], "connect")
    assert repr(cast_["B"].account.upstream) == (
        "<UpstreamState a <CircuitBreaker [COOLING, until 1.000, probe at 1.000, connect x1]>>"
    )
