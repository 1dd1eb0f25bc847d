"""Recent requests: bounded, summed by their own times, the same at any later time of reading."""

from bisect import bisect_left
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import recent
from gateway.telemetry.access_log import LONGEST, Record
from gateway.telemetry.recent import (
    CONVERSATIONS,
    LIMITS,
    MINUTES,
    MOST,
    REQUESTS,
    SHORTEST,
    STEP,
    STEPS,
    SUMS,
    Recent,
    percentile,
    short_name,
)

NOW = 1_800_000_000.0
"""The beginning of a minute."""

TOKENS = {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 80, "cache_creation_tokens": 3}


def ended(at: float = NOW, **changes: Any) -> Record:
    """A request that ended then, a second after its beginning."""
    fields: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/messages",
        "model": "m",
        "upstream": "up",
        "account": "a@x",
        "status": 200,
        "outcome": "ok",
        "duration": 1.0,
        **TOKENS,
    }
    return Record(at - 1.0, **{**fields, **changes})


def read(*records: Record) -> Recent:
    found = Recent()
    found.take(records)
    return found


def sums(requests: int, failures: int = 0, **tokens: int) -> dict[str, int]:
    return {**dict.fromkeys(SUMS, 0), "requests": requests, "failures": failures, **tokens}


def test_sums_by_account_minute_and_conversation() -> None:
    found = read(
        ended(conversation="laptop/one", first_byte=0.5),
        ended(NOW + 59.9, conversation="laptop/one", first_byte=0.5),
        ended(NOW + 60.0, conversation="laptop/two", account="b@x", first_byte=2.0),
    )
    twice = {name: 2 * count for name, count in TOKENS.items()}
    assert found.accounts["up", "a@x"].total == sums(2, **twice)
    assert found.accounts["up", "b@x"].total == sums(1, **TOKENS)
    assert {minute: kept.sums for minute, kept in found.minutes.items()} == {
        NOW // 60: sums(2, **twice),
        NOW // 60 + 1: sums(1, **TOKENS),
    }
    one, two = found.conversations.values()
    assert {**one, **sums(2, **twice)} == one
    assert (one["id"], one["since"], one["last"]) == (short_name("laptop/one"), NOW - 1.0, NOW + 59.9)
    assert (two["account"], two["upstream"], two["model"]) == ("b@x", "up", "m")
    assert [request["conversation"] for request in found.requests] == [one["id"], one["id"], two["id"]]


OUTCOMES = [
    # what happened; requests and failures of a@up, b@up, and of the minute
    ({}, (1, 0), (0, 0), 0),
    ({"outcome": "canceled", "status": 499}, (1, 0), (0, 0), 0),
    ({"outcome": "upstream_error", "status": 529}, (1, 1), (0, 0), 1),
    ({"outcome": "internal_error", "status": 500}, (1, 0), (0, 0), 1),
    ({"tried": ("b@x@up:429",)}, (1, 0), (1, 1), 0),
    ({"tried": ("a@x@up:500",)}, (1, 1), (0, 0), 0),
    ({"tried": ("b@x@up:unreached", "a@x@up:529"), "outcome": "upstream_error"}, (1, 1), (1, 1), 1),
    ({"upstream": "", "account": "", "outcome": "refused", "status": 404}, (0, 0), (0, 0), 1),
]


@pytest.mark.parametrize(("what", "a", "b", "failures"), OUTCOMES)
def test_failures_by_account(
    what: dict[str, Any], a: tuple[int, int], b: tuple[int, int], failures: int
) -> None:
    found = read(ended(**what))
    for name, expected in (("a@x", a), ("b@x", b)):
        account = found.accounts.get(("up", name)) or recent.AccountSums()
        assert (account.total["requests"], account.total["failures"]) == expected
        assert found.hour(account, NOW) == account.total
    (minute,) = found.minutes.values()
    assert minute.sums["failures"] == failures


@pytest.mark.parametrize(
    ("method", "path", "counts"),
    [
        ("POST", "/v1/messages", True),
        ("POST", "/v1/chat/completions", True),
        ("GET", "/status.json", False),
        ("POST", "/status/clear", False),
        ("GET", "/healthz", False),
        ("HEAD", "/", False),
        ("POST", "/api/event_logging/batch", False),
        ("POST", "/v1/api/event_logging", False),
    ],
)
def test_status_requests_are_not_recorded(method: str, path: str, counts: bool) -> None:
    assert bool(read(ended(method=method, path=path)).requests) is counts


def test_sums_of_an_hour() -> None:
    found = read(ended(NOW, first_byte=0.5), ended(NOW + 60 * MINUTES, first_byte=0.5))
    account = found.accounts["up", "a@x"]
    assert found.hour(account, NOW + 60 * MINUTES)["requests"] == 1
    assert account.total["requests"] == 2
    assert list(found.minutes) == [NOW // 60 + MINUTES]
    assert [sum(kept.first_bytes.values()) for kept in found.minutes.values()] == [1]


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "ACCOUNTS", 50)
    long = "x" * 10_000
    found = Recent()
    for at in range(3 * REQUESTS):
        # A clock that goes backwards, too.
        fields = dict.fromkeys(("model", "path", "error", "key", "wire_model"), long)
        found.take(
            [
                ended(
                    NOW - 60 * at,
                    conversation=f"{long}{at}",
                    upstream=f"u{at}",
                    tried=(f"{long}:1",),
                    **fields,
                )
            ]
        )
    assert len(found.requests) == REQUESTS
    assert len(found.minutes) <= MINUTES
    assert len(found.conversations) == CONVERSATIONS
    assert len(found.accounts) == 50
    assert all(len(account.minutes) <= MINUTES for account in found.accounts.values())
    kept = orjson.dumps([*found.requests, *found.conversations.values()])
    assert len(kept) < (REQUESTS + CONVERSATIONS) * 8 * (LONGEST + 100)


def test_counts_that_no_model_has_do_not_break_the_sums() -> None:
    found = read(*[ended(output_tokens=2**63)] * 3)
    assert found.accounts["up", "a@x"].total["output_tokens"] == 3 * MOST
    assert orjson.dumps(found.accounts["up", "a@x"].total)


def test_the_conversation_that_was_silent_for_longest_goes_first() -> None:
    found = read(*(ended(conversation=str(at)) for at in (*range(CONVERSATIONS), 0, "new")))
    assert short_name("0") in found.conversations
    assert short_name("1") not in found.conversations


def test_a_conversations_name_leads_nowhere_back() -> None:
    name = short_name("laptop/5f1c-session")
    assert name == short_name("laptop/5f1c-session")
    assert name != short_name("laptop/5f1d-session")
    assert "laptop" not in name
    assert short_name("\ud800")


@given(st.floats(0.0, 10_000.0))
def test_a_first_byte_is_within_its_limit_and_not_within_the_one_before(seconds: float) -> None:
    limit = bisect_left(LIMITS, seconds)
    assert 0 <= limit <= STEPS
    assert limit == STEPS or seconds <= SHORTEST * STEP**limit * 1.000001
    assert limit == 0 or seconds >= SHORTEST * STEP ** (limit - 1) * 0.999999


@given(st.lists(st.floats(0.001, 300.0), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_percentiles_are_within_a_step(times: list[float], part: float) -> None:
    counts: dict[int, int] = {}
    for seconds in times:
        limit = bisect_left(LIMITS, seconds)
        counts[limit] = counts.get(limit, 0) + 1
    estimate = percentile(counts, part)
    true = sorted(times)[max(0, -int(-len(times) * part // 1) - 1)]
    assert estimate is not None
    assert true * 0.94 <= estimate
    assert estimate <= max(true, SHORTEST) * STEP * 1.06


def test_no_first_byte_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None


@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 3)), max_size=30), st.integers(1, 7))
def test_sums_do_not_depend_on_the_time_of_reading(story: list[tuple[int, int]], every: int) -> None:
    records = [ended(NOW + at, conversation=str(who), account=str(who)) for at, who in story]
    at_once, in_parts = read(*records), Recent()
    for number in range(len(records)):
        if number % every == 0:
            in_parts.take(records[number : number + every])
    assert at_once.requests == in_parts.requests
    assert at_once.conversations == in_parts.conversations
    assert {key: account.total for key, account in at_once.accounts.items()} == {
        key: account.total for key, account in in_parts.accounts.items()
    }
