"""How accounts are, as operators see it."""

import pytest

from gateway.config import Account, Secret, Upstream
from gateway.routing.model_routes import Candidate
from gateway.routing.policy import About
from gateway.routing.scheduler import Scheduler
from gateway.routing.status import CoolDown, State
from tests.routing.test_scheduler import fail, made, take

MODEL, ACCOUNT, UPSTREAM = About.MODEL, About.ACCOUNT, About.UPSTREAM

STATES = [
    ("A", [], [(State.FREE, None, 0.0, "")]),
    ("A", [("A", "400")], [(State.FREE, None, 0.0, "")]),
    ("A", [("A", "500")], [(State.FREE, None, 0.0, "")]),
    ("A", [("A", "401")], [(State.CLOSED, ACCOUNT, 600.0, "login")]),
    (
        "A B",
        [("A", "401"), ("B", "402")],
        [(State.CLOSED, ACCOUNT, 600.0, "login"), (State.CLOSED, ACCOUNT, 60.0, "billing")],
    ),
    ("A B", [("A", "connect")], [(State.COOLING, UPSTREAM, 1.0, "connect")] * 2),
    ("A / C", [("A", "connect")], [(State.COOLING, UPSTREAM, 1.0, "connect"), (State.FREE, None, 0.0, "")]),
    ("A", [("A", "429 retry-after=9000")], [(State.COOLING, MODEL, 9000.0, "limit")]),
    ("A", [("A", "connect"), ("A", "429 retry-after=70")], [(State.COOLING, MODEL, 70.0, "limit")]),
]


@pytest.mark.parametrize(("names", "story", "expected"), STATES)
def test_state(
    names: str, story: list[tuple[str, str]], expected: list[tuple[State, About | None, float, str]]
) -> None:
    scheduler, cast_ = made(names)
    for name, outcome in story:
        fail(scheduler, cast_[name], outcome)
    found = scheduler.snapshot(0.0)
    assert [(one.state, one.about, one.until, one.cause) for one in found] == expected
    assert [one.ready for one in found] == [until == 0.0 for _, _, until, _ in expected]
    for one in found:
        (then,) = (later for later in scheduler.snapshot(one.until) if later.account == one.account)
        assert then.ready


def test_until_when_a_request_without_alternative_is_held_back() -> None:
    scheduler, cast_ = made("A")
    for _ in range(6):
        fail(scheduler, cast_["A"], "connect")
    (account,) = scheduler.snapshot(0.0)
    assert (account.until, account.alone_until) == (32.0, 2.0)
    fail(scheduler, cast_["A"], "429 retry-after=60")
    assert [(one.until, one.alone_until) for one in scheduler.snapshot(0.0)] == [(60.0, 60.0)]


def test_busy_and_probing_are_ready() -> None:
    scheduler, cast_ = made("A:1 B / C")
    take(scheduler, cast_["A"])
    fail(scheduler, cast_["B"], "401")
    take(scheduler, cast_["B"], 600.0)
    found = scheduler.snapshot(600.0)
    assert [one.state for one in found] == [State.BUSY, State.PROBING, State.FREE]
    assert all(one.ready for one in found)
    assert [one.in_flight for one in found] == [1, 1, 0]


def test_an_account_is_ready_while_one_of_its_models_is() -> None:
    scheduler, cast_ = made("A")
    other = scheduler.targets([Candidate("a", "other", 0)])[0]
    take(scheduler, other)
    fail(scheduler, cast_["A"], "model")
    assert scheduler.snapshot(0.0)[0].ready
    fail(scheduler, other, "429 retry-after=30")
    (account,) = scheduler.snapshot(0.0)
    assert (account.ready, account.until) == (False, 30.0)


def test_models_that_a_table_names_count_without_being_asked_for() -> None:
    upstream = Upstream(
        name="a",
        kind="anthropic",
        base_url="https://x",
        models={"big-*": "big", "small-*": "small"},
        accounts=(Account(name="A", api_key=Secret("k")),),
    )
    scheduler = Scheduler([upstream])
    big, small = (scheduler.targets([Candidate("a", name, 0)])[0] for name in ("big", "small"))
    fail(scheduler, big, "429 retry-after=30")
    assert scheduler.snapshot(0.0)[0].ready
    fail(scheduler, small, "429 retry-after=40")
    (account,) = scheduler.snapshot(0.0)
    assert (account.ready, account.until) == (False, 30.0)


def test_every_cool_down_is_listed() -> None:
    scheduler, cast_ = made("A")
    fail(scheduler, cast_["A"], "connect", now=1.0)
    fail(scheduler, cast_["A"], "402", now=1.0)
    fail(scheduler, cast_["A"], "429 retry-after=9000", now=2.0)
    (account,) = scheduler.snapshot(5.0)
    assert [(one.about, one.wire_model, one.rule, one.since, one.until) for one in account.cool_downs] == [
        (ACCOUNT, "", "billing", 1.0, 61.0),
        (MODEL, "m", "limit", 2.0, 9002.0),
    ]
    assert account.cool_downs[1] == CoolDown(
        about=MODEL,
        wire_model="m",
        rule="limit",
        words="failed with 429",
        since=2.0,
        until=9002.0,
        alone_until=9002.0,
        probe_at=3602.0,
        probing=False,
    )
