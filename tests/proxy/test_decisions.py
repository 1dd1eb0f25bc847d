"""Log lines of level debug: the decisions about a request."""

from typing import Any

import pytest

from gateway.proxy.decisions import MAX_OTHERS, describe_choice, describe_failure, describe_step
from gateway.routing.cures import Cure
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.give_up import FailedAttempt
from gateway.routing.model_routes import Candidate
from gateway.routing.policy import RULES
from gateway.routing.retries import GiveUp, Wait
from gateway.routing.scheduler import Scheduler
from tests.support.running import upstream

FAILED = Failure(kind=FailureKind.CONNECT, status=502)
REST: dict[str, Any] = {"retry_after": None, "final": False, "sentences": ()}


def test_debug_line_of_an_attempt() -> None:
    scheduler = Scheduler([upstream("http://a", *(f"{number}@x" for number in range(MAX_OTHERS + 3)))])
    targets = scheduler.targets([Candidate("up", "a b", 0)])
    lease = scheduler.take(targets[0], "", None, False, 1.0)
    lease.cures = (Cure("user_id"), Cure("fields", "x,y"))
    line = describe_choice(lease, 2, scheduler.rank(targets, "", 1.0), [("1@x", "up")])
    assert line.startswith(
        'attempt 2 asks up/0@x model="a b" cures=user_id;fields:x,y; not up/1@x (failed before, '
    )
    assert line.endswith("up/8@x (priority 0, 0 in flight), and 2 more")
    assert describe_choice(lease, 1, scheduler.rank(targets[:1], "", 1.0), []).endswith(
        "cures=user_id;fields:x,y"
    )


@pytest.mark.parametrize(
    ("rule", "status", "cure", "line"),
    [
        ("connect", 0, None, "up/a@x failed: about=upstream rule=connect"),
        ("brief limit", 429, None, 'up/a@x failed: about=model rule="brief limit" status=429'),
        ("request", 400, Cure("images"), "up/a@x failed: about=request rule=request status=400 cure=images"),
    ],
)
def test_debug_line_of_a_failure(rule: str, status: int, cure: Cure | None, line: str) -> None:
    (target,) = Scheduler([upstream("http://a", "a@x")]).targets([Candidate("up", "m", 0)])
    assert describe_failure(FailedAttempt(target, FAILED, RULES[rule], status, cure=cure)) == line


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (Wait(0.5, False), "waits 0.50 s"),
        (Wait(2.0, True), "waits 2.00 s, or until an account is free"),
        (GiveUp(failure=FAILED, rule="login", status=503, **REST), "gives up: login, status=503"),
        (GiveUp(failure=None, status=429, **REST), "gives up: no account is free, status=429"),
    ],
)
def test_debug_line_of_a_wait_or_error(step: Wait | GiveUp, line: str) -> None:
    assert describe_step(step) == line
