"""The states of one thing that can fail, each step with its clock."""

import pytest

from gateway.routing.circuit_breaker import (
    CAUSE_LENGTH,
    PROBE_EVERY,
    PROBE_PATIENCE,
    TICK,
    CircuitBreaker,
)
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.meanings import Meaning
from gateway.routing.policy import ALONE, NEVER, RULES

FAILURE = Failure(
    kind=FailureKind.STATUS,
    status=429,
    headers=((b"retry-after", b"9"),),
    body=b"{}",
    message="slow down",
    type="rate_limit_error",
)


def fail(
    health: CircuitBreaker, name: str, now: float, started: float | None = None, hint: float | None = None
) -> None:
    health.fail(Meaning(RULES[name], hint), FAILURE, now, now if started is None else started)


def limited(hint: float = 10.0, now: float = 0.0) -> CircuitBreaker:
    health = CircuitBreaker()
    fail(health, "limit", now, hint=hint)
    return health


def test_cool_down_then_probe() -> None:
    health = limited()
    assert repr(health) == "<CircuitBreaker [COOLING, until 10.000, probe at 10.000, limit x1]>"
    assert health.opens_at(3.0) == 10.0
    assert not health.enter(3.0, "early")
    assert health.opens_at(10.0) == 0.0
    assert health.enter(10.0, "probe")
    assert repr(health) == "<CircuitBreaker [PROBING, until 10.000, probe at 10.000, limit x1]>"
    assert health.opens_at(10.0) == 10.0 + PROBE_PATIENCE
    assert not health.enter(10.0, "other")
    health.leave("other")
    assert health.opens_at(11.0) == 10.0 + PROBE_PATIENCE
    fail(health, "limit", 12.0, started=10.0, hint=5.0)
    health.leave("probe")
    assert repr(health) == "<CircuitBreaker [COOLING, until 17.000, probe at 17.000, limit x2]>"
    assert health.ended_by(17.0)


def test_a_count_without_a_cool_down_shuts_nothing() -> None:
    health = CircuitBreaker()
    fail(health, "server", 0.0)
    assert repr(health) == "<CircuitBreaker [SOUND, server x1]>"
    assert health.opens_at(0.0) == 0.0
    assert not health.enter(0.0, "anyone")
    fail(health, "server", 1.0)
    assert health.opens_at(1.0) == 2.0


def test_rules_count_separately() -> None:
    health = CircuitBreaker()
    fail(health, "server", 0.0)
    fail(health, "limit without hint", 1.0)
    assert health.failures == {"server": 1, "limit without hint": 1}
    assert health.until == 6.0


def test_a_probe_that_leaves_makes_room_for_the_next() -> None:
    health = limited()
    assert health.enter(10.0, "first")
    health.leave("first")
    assert health.enter(10.0, "second")


def test_a_probe_with_a_response_lets_the_others_in() -> None:
    health = limited()
    health.enter(10.0, "probe")
    health.responded(11.0, "other")
    assert health.opens_at(11.0) == 10.0 + PROBE_PATIENCE
    health.responded(11.0, "probe")
    assert health.opens_at(11.0) == 0.0
    assert not health.enter(11.0, "other"), "it is no probe"


def test_probe_patience_expires() -> None:
    health = limited()
    health.enter(10.0, "probe")
    assert health.opens_at(10.0 + PROBE_PATIENCE - 1) > 0.0
    assert health.opens_at(10.0 + PROBE_PATIENCE) == 0.0


def test_timers_may_be_a_tick_early() -> None:
    health = limited()
    assert health.opens_at(10.0 - TICK) == 0.0
    assert health.enter(10.0 - TICK, "probe")
    assert health.opens_at(10.0 - 3 * TICK) > 0.0


def test_a_long_cool_down_is_probed_before_its_end() -> None:
    health = limited(5 * PROBE_EVERY)
    assert (health.until, health.probe_at) == (5 * PROBE_EVERY, PROBE_EVERY)
    assert health.opens_at(PROBE_EVERY) == 0.0


def test_failures_of_the_same_trouble_count_once() -> None:
    health = CircuitBreaker()
    fail(health, "limit without hint", 1.0, started=0.0)
    fail(health, "limit without hint", 2.0, started=0.5)
    assert health.failures == {"limit without hint": 1}
    assert health.until == 7.0
    fail(health, "limit without hint", 2.5, started=1.0)
    assert health.failures == {"limit without hint": 2}


def test_a_failure_of_another_rule_starts_its_own_count() -> None:
    health = limited(1.0, now=1.0)
    fail(health, "limit without hint", 2.0, started=0.5)
    assert health.failures == {"limit": 1}
    assert health.until == 7.0


@pytest.mark.parametrize(("hint", "until"), [(3.0, 10.0), (30.0, 31.0)])
def test_a_cool_down_gets_longer_not_shorter(hint: float, until: float) -> None:
    health = limited()
    fail(health, "limit", 1.0, hint=hint)
    assert health.until == until


def test_an_older_failure_does_not_end_a_probe() -> None:
    health = limited(10.0, now=1.0)
    assert health.enter(11.0, "probe")
    fail(health, "limit", 12.0, started=0.5, hint=-1.5)
    assert health.opens_at(12.0) == 11.0 + PROBE_PATIENCE
    fail(health, "limit", 12.0, started=0.5, hint=3.0)
    assert health.opens_at(12.0) == 15.0


def test_after_a_probe_the_newest_hint_counts() -> None:
    health = limited(5 * PROBE_EVERY)
    health.enter(PROBE_EVERY, "probe")
    fail(health, "limit", PROBE_EVERY + 1, started=PROBE_EVERY, hint=30.0)
    assert health.until == PROBE_EVERY + 31


def test_a_new_cool_down_has_its_own_probe() -> None:
    health = limited()
    health.enter(10.0, "stuck")
    fail(health, "limit", 30.0, started=25.0, hint=5.0)
    assert health.enter(35.0, "next")


def test_a_hint_of_no_time_is_half_open_at_once() -> None:
    health = limited(0.0)
    assert health.opens_at(0.0) == 0.0
    assert health.enter(0.0, "probe")
    assert health.opens_at(0.0) == PROBE_PATIENCE


@pytest.mark.parametrize(
    ("name", "early"),
    [("connect", True), ("overloaded", True), ("limit without hint", False), ("login", False)],
)
def test_early_retry_only_after_retryable_failures(name: str, early: bool) -> None:
    health = CircuitBreaker()
    fail(health, name, 0.0)
    fail(health, name, 0.0)
    assert (health.opens_at(0.1, early=True) == 0.0) is early
    assert health.opens_at(0.1) > 0.1
    end = health.until
    health.enter(end, "probe")
    assert health.opens_at(end, early=True) == end + PROBE_PATIENCE, "a probe is to be waited for"


def test_the_cause_is_kept_without_its_bytes() -> None:
    assert limited().cause == Failure(
        kind=FailureKind.STATUS, status=429, message="slow down", type="rate_limit_error"
    )
    health = CircuitBreaker()
    wordy = Failure(kind=FailureKind.STREAM_ERROR, type="overloaded_error", body=b"x" * 5000)
    for _ in range(2):
        health.fail(Meaning(RULES["overloaded"]), wordy, 0.0, 0.0)
    assert health.cause == Failure(
        kind=FailureKind.STREAM_ERROR, status=529, message="x" * CAUSE_LENGTH, type="overloaded_error"
    )


def test_what_ends_a_cool_down() -> None:
    health = limited(now=5.0)
    assert not health.ended_by(4.0)
    assert health.ended_by(5.0)
    assert CircuitBreaker().ended_by(0.0)


def test_forget() -> None:
    health = CircuitBreaker()
    fail(health, "connect", 0.0)
    fail(health, "overloaded", 0.0)
    assert not health.forget("connect", "timeout")
    assert health.failures == {"overloaded": 1}
    assert health.opens_at(0.0) == 0.0
    fail(health, "overloaded", 0.0)
    assert not health.forget("connect")
    assert health.opens_at(0.0) == 1.0
    assert health.forget("overloaded")
    assert (health.rule, health.cause, health.until) == (None, None, -NEVER)
    assert health.forget("unheard of")


def test_a_failure_of_the_same_request_does_not_count_again() -> None:
    health = CircuitBreaker()
    fail(health, "connect", 0.0)
    health.fail(Meaning(RULES["connect"]), FAILURE, 0.5, 0.5, again=True)
    assert health.failures == {"connect": 1}
    assert health.until == 1.5, "but its cool-down starts again"
    health.fail(Meaning(RULES["timeout"]), FAILURE, 0.6, 0.6, again=True)
    assert health.failures == {"connect": 1, "timeout": 1}, "unless a success has ended that series"


def test_a_request_without_alternative_waits_two_seconds_at_most() -> None:
    health = CircuitBreaker()
    for _ in range(6):
        fail(health, "connect", 0.0)
    assert (health.until, health.opens_at(1.0), health.opens_at(1.0, alone=True)) == (32.0, 32.0, ALONE)
    assert health.free_at == ALONE
    assert not health.enter(ALONE, "with a choice")
    assert health.enter(ALONE, "without", alone=True)
    assert health.opens_at(ALONE, alone=True) == ALONE + PROBE_PATIENCE
    health.leave("without")
    fail(health, "connect", 3.0, started=3.0)
    assert health.opens_at(3.0, alone=True) == 3.0 + ALONE


@pytest.mark.parametrize(("name", "hint"), [("overloaded with hint", 60.0), ("limit", 60.0), ("login", None)])
def test_cool_downs_without_early_retry(name: str, hint: float | None) -> None:
    health = CircuitBreaker()
    assert health.alone_at == -NEVER
    fail(health, name, 0.0, hint=hint)
    assert health.opens_at(1.0, alone=True) == health.opens_at(1.0) == health.free_at == health.until


def test_half_open() -> None:
    health = limited()
    health.half_open()
    assert health.enter(0.0, "probe")
    assert health.opens_at(0.0) == PROBE_PATIENCE
    sound = CircuitBreaker()
    sound.half_open()
    assert not sound.enter(0.0, "anyone")
