"""The last word: which failure, which status, which words."""

import pytest

from gateway.routing.failures import Failure, FailureKind, judge
from gateway.routing.give_up import FailedAttempt, give_up, span
from gateway.routing.scheduler import Scheduler, Target
from tests.routing.transcript import WALL, candidates, cast, failure

NOW = 100.0

Story = list[tuple[str, str]]


def options(names: str) -> dict[str, Target]:
    upstreams = cast(names)
    found = Scheduler(upstreams).options(candidates(upstreams))
    return {option.account.config.name: option for option in found}


def attempt(option: Target, outcome: str | Failure) -> FailedAttempt:
    """A failed attempt whose cool-down has begun."""
    failed = failure(outcome.split()) if isinstance(outcome, str) else outcome
    verdict = judge(failed, WALL)
    Scheduler([]).failed(option, verdict, failed, NOW, NOW)
    return FailedAttempt(option, failed, verdict.rule)


TOLD: list[tuple[Story, str, int, int | None, bool]] = [
    # attempts; whose failure, status, retry-after, final
    ([("A", "429 retry-after=59.9"), ("B", "429 retry-after=80")], "B", 429, 60, False),
    ([("A", "429 retry-after=60"), ("B", "429 retry-after=80")], "B", 429, 60, False),
    ([("A", "429 retry-after=60.2"), ("B", "429 retry-after=80")], "B", 429, 61, False),
    ([("A", "429 retry-after=9000"), ("B", "401")], "A", 429, 600, False),
    ([("A", "429 retry-after=0"), ("B", "403")], "A", 429, 1, False),
    ([("A", "429"), ("B", "529"), ("B", "500")], "A", 429, 1, False),
    ([("A", "529"), ("B", "500")], "A", 529, None, False),
    ([("A", "529"), ("A", "529"), ("B", "500")], "A", 529, 1, False),
    ([("A", "500"), ("B", "503")], "B", 503, None, False),
    ([("A", "connect")], "A", 502, 1, False),
    ([("A", "connect"), ("B", "404")], "A", 502, None, False),
    ([("A", "500"), ("A", "500"), ("B", "404")], "A", 500, 1, False),
    ([("A", "empty"), ("B", "401")], "A", 502, None, False),
    ([("A", "401"), ("B", "404")], "A", 503, None, True),
    ([("A", "402"), ("B", "403")], "B", 503, None, True),
    ([("A", "429 billing"), ("B", "429 billing")], "B", 503, None, True),
    ([("A", "404"), ("B", "404")], "B", 404, None, False),
    ([("A", "400")], "A", 400, None, False),
    ([("A", "408")], "A", 408, None, False),
    ([("A", "307")], "A", 502, None, False),
    ([("A", "error overloaded_error")], "A", 529, None, False),
]


@pytest.mark.parametrize(("story", "account", "status", "after", "final"), TOLD)
def test_what_is_told(story: Story, account: str, status: int, after: int | None, final: bool) -> None:
    cast_ = options("A B")
    attempts = [attempt(cast_[name], outcome) for name, outcome in story]
    stop = give_up(list(cast_.values()), attempts, NOW)
    assert (stop.account, stop.status, stop.retry_after, stop.final) == (account, status, after, final)
    assert stop.upstream == "a"
    assert stop.failure in [one.failure for one in attempts]
    assert (stop.retry_at is None) == (after is None)


def test_a_timeout_keeps_its_status() -> None:
    cast_ = options("A")
    late = Failure(kind=FailureKind.CONNECT, status=504, message="no answer in 300 s")
    assert give_up(list(cast_.values()), [attempt(cast_["A"], late)], NOW).status == 504


WORDS: list[tuple[Story, str]] = [
    (
        [("A", "429 retry-after=8465")],
        "said with 429 (no account is free for this request; the first will be in 2 h 21 min)",
    ),
    ([("A", "500")], "said with 500"),
    ([("A", "error api_error")], "said in the stream"),
    (
        [("A", "connect")],
        'upstream "a" could not be reached: connection refused '
        "(no account is free for this request; the first will be in 1 s)",
    ),
    ([("A", "empty")], 'upstream "a" ended its answer before any content'),
    ([("A", "401")], 'upstream "a" refused account "A" (401): the operator must check its credential'),
    (
        [("A", "403")],
        'upstream "a" refused account "A" (403): the operator must check its billing and permissions',
    ),
]


@pytest.mark.parametrize(("story", "message"), WORDS)
def test_words(story: Story, message: str) -> None:
    cast_ = options("A")
    attempts = [attempt(cast_[name], outcome) for name, outcome in story]
    assert give_up(list(cast_.values()), attempts, NOW).message == message


SILENT = [
    (Failure(kind=FailureKind.STATUS, status=500), 'upstream "a" answered 500'),
    (
        Failure(kind=FailureKind.CONNECT),
        'upstream "a" could not be reached (no account is free for this request; the first will be in 1 s)',
    ),
    (
        Failure(kind=FailureKind.INCOMPLETE, message="no finish reason"),
        'upstream "a" ended its answer before any content: no finish reason',
    ),
]


@pytest.mark.parametrize(("failed", "message"), SILENT)
def test_words_for_those_who_said_little(failed: Failure, message: str) -> None:
    cast_ = options("A")
    assert give_up(list(cast_.values()), [attempt(cast_["A"], failed)], NOW).message == message


def test_a_refusal_is_not_quoted_and_its_account_can_be_hidden() -> None:
    cast_ = options("A")
    refused = Failure(kind=FailureKind.STATUS, status=401, message="bad key sk-very-secret")
    stop = give_up(list(cast_.values()), [attempt(cast_["A"], refused)], NOW)
    assert "secret" not in stop.message
    assert '"w***@example.com"' in stop.told_as("w***@example.com")
    assert '"A"' not in stop.told_as("w***@example.com")


def test_without_an_attempt_the_cool_downs_are_told() -> None:
    cast_ = options("A B")
    attempt(cast_["A"], "401")
    attempt(cast_["B"], "429 retry-after=50")
    stop = give_up(list(cast_.values()), [], NOW + 5)
    assert (stop.account, stop.status, stop.retry_after) == ("B", 429, 45)
    assert stop.failure == Failure(kind=FailureKind.STATUS, status=429, message="said with 429")
    assert stop.retry_at == NOW + 50


def test_counts_that_shut_nothing_are_no_cause() -> None:
    cast_ = options("A")
    attempt(cast_["A"], "500")
    stop = give_up(list(cast_.values()), [], NOW)
    assert (stop.status, stop.failure, stop.message) == (503, None, "no account can serve this request")


def test_busy() -> None:
    cast_ = options("A:1 B")
    cast_["A"].account.in_flight = 1
    attempt(cast_["B"], "401")
    stop = give_up(list(cast_.values()), [], NOW)
    assert (stop.status, stop.retry_after, stop.retry_at, stop.final) == (529, 1, NOW, False)
    assert stop.message == "every account is busy and none got free in time"
    attempt(cast_["A"], "403")
    assert give_up(list(cast_.values()), [], NOW).status == 503, "busy, but shut as well"


def test_nobody() -> None:
    stop = give_up([], [], NOW)
    assert (stop.status, stop.message) == (503, "no account serves this model")


SPANS = [
    (0.0, "1 s"),
    (0.4, "1 s"),
    (59.0, "59 s"),
    (60.0, "1 min"),
    (60.00001, "1 min"),
    (61.5, "1 min 2 s"),
    (3600.0, "1 h"),
    (3605.0, "1 h"),
    (8465.2, "2 h 21 min"),
    (86400.0, "1 d"),
    (90000.0, "1 d 1 h"),
    (1e6, "11 d 13 h"),
]


@pytest.mark.parametrize(("seconds", "expected"), SPANS)
def test_span(seconds: float, expected: str) -> None:
    assert span(seconds) == expected
