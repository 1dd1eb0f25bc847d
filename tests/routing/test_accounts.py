"""The conditions that close a target, and bounds on their memory."""

from gateway.routing.accounts import MAX_MODELS
from gateway.routing.circuit_breaker import PROBE_PATIENCE
from gateway.routing.model_routes import Candidate
from tests.routing.test_scheduler import fail, made, take


def test_the_widest_cool_down_decides() -> None:
    scheduler, cast_ = made("A")
    target = cast_["A"]
    fail(scheduler, target, "429 retry-after=10")
    fail(scheduler, target, "402")
    fail(scheduler, target, "connect")
    assert target.opens_at(0.0) == 60.0
    assert target.free_at(0.0) == 60.0
    assert target.free_at(70.0) == 70.0
    assert [(about.value, breaker.until) for about, breaker in target.breakers()] == [
        ("upstream", 1.0),
        ("account", 60.0),
        ("model", 10.0),
    ]
    assert target.opens_at(0.5, upstream_early=True, model_early=True) == 60.0


def test_early_passes_only_its_own_scope() -> None:
    scheduler, cast_ = made("A")
    target = cast_["A"]
    for outcome in ("500", "500", "connect"):
        fail(scheduler, target, outcome)
    assert target.opens_at(0.0, upstream_early=True, model_early=True) == 0.0
    assert target.opens_at(0.0, upstream_early=True) == 1.0
    assert target.opens_at(0.0, model_early=True) == 1.0


def test_a_probe_is_one_of_everything_that_cooled_down() -> None:
    scheduler, cast_ = made("A B")
    target = cast_["A"]
    fail(scheduler, target, "429 retry-after=10")
    fail(scheduler, target, "connect")
    probe = take(scheduler, target, 10.0)
    take(scheduler, target, 10.0).release()
    assert target.opens_at(10.0) == 10.0 + PROBE_PATIENCE
    assert cast_["B"].opens_at(10.0) == 10.0 + PROBE_PATIENCE, "the upstream is being probed"
    probe.release()
    assert target.opens_at(10.0) == 0.0


def test_models_are_forgotten_before_they_are_too_many() -> None:
    scheduler, _ = made("A")
    for index in range(MAX_MODELS + 5):
        fail(scheduler, scheduler.targets([Candidate("a", f"m{index}", 0)])[0], "429")
    (account,) = scheduler.snapshot(0.0)
    assert {one.wire_model for one in account.cool_downs} == {
        f"m{index}" for index in range(5, MAX_MODELS + 5)
    }


def test_repr() -> None:
    scheduler, cast_ = made("A B")
    target = cast_["B"]
    assert repr(target) == "<Target m on <AccountState a/B [SOUND], 0 in flight>>"
    assert repr(target.state.upstream) == "<UpstreamState a [SOUND]>"
    fail(scheduler, cast_["A"], "connect")
    assert repr(target.state.upstream) == (
        "<UpstreamState a <CircuitBreaker [COOLING, until 1.000, probe at 1.000, connect x1]>>"
    )
