"""The last word: which failure, which status, which words, and when to come back."""

import pytest

from gateway.routing.accounts import Target
from gateway.routing.failures import Failure, FailureKind, status_of
from gateway.routing.give_up import WORDS, FailedAttempt, GiveUp, format_duration, give_up, without_keys
from gateway.routing.meanings import meaning_of
from gateway.routing.scheduler import Scheduler
from tests.routing.transcript import WALL, Stage, candidates, cast, failure

NOW = 100.0

Story = list[tuple[str, str]]

IMAGES = frozenset({"images"})


def targets(names: str) -> dict[str, Target]:
    upstreams = cast(names)
    found = Scheduler(upstreams).targets(candidates(upstreams))
    return {target.account: target for target in found}


def attempt(target: Target, outcome: str | Failure) -> FailedAttempt:
    """A failed attempt whose cool-down has begun."""
    failed = failure(outcome.split()) if isinstance(outcome, str) else outcome
    meaning = meaning_of(failed, WALL, wire_model=target.wire_model, features=IMAGES)
    scheduler = Scheduler([])
    lease = scheduler.take(target, "", None, False, NOW)
    scheduler.failed(lease, meaning, failed, NOW)
    lease.release()
    status = meaning.status or status_of(failed)
    return FailedAttempt(target, failed, meaning.rule, status, meaning.hint is not None)


def plain(stop: GiveUp) -> str:
    return stop.error_message(str, str)


ERRORS: list[tuple[Story, str, int, int | None, bool]] = [
    # attempts; whose failure, status, retry-after, final
    ([("A", "429 retry-after=59.9"), ("B", "429 retry-after=80")], "B", 429, 60, False),
    ([("A", "429 retry-after=60"), ("B", "429 retry-after=80")], "B", 429, 60, False),
    ([("A", "429 retry-after=60.2"), ("B", "429 retry-after=80")], "B", 429, 61, False),
    ([("A", "429 retry-after=9000"), ("B", "401")], "A", 429, 600, False),
    ([("A", "429 retry-after=0"), ("B", "403")], "A", 429, 1, False),
    ([("A", "429"), ("B", "529"), ("B", "500")], "A", 429, 1, False),
    ([("A", "529"), ("B", "500")], "A", 529, None, False),
    ([("A", "529"), ("A", "529"), ("B", "500")], "A", 529, 1, False),
    ([("A", "529 retry-after=30")], "A", 529, 30, False),
    ([("A", "503 retry-after=30"), ("B", "503 retry-after=40")], "B", 503, 30, False),
    ([("A", "500"), ("B", "503")], "B", 503, None, False),
    ([("A", "connect")], "A", 502, 1, False),
    ([("A", "connect"), ("B", "model")], "A", 502, None, False),
    ([("A", "500"), ("A", "500"), ("B", "404")], "A", 500, None, False),
    ([("A", "empty"), ("B", "401")], "A", 502, None, False),
    ([("A", "page")], "A", 502, 1, False),
    ([("A", "401"), ("B", "model")], "A", 503, None, True),
    ([("A", "402"), ("B", "403")], "B", 503, None, True),
    ([("A", "429 billing"), ("B", "429 billing")], "B", 503, None, True),
    ([("A", "spent"), ("B", "blind")], "B", 404, None, True),
    ([("A", "model"), ("B", "model")], "B", 404, None, False),
    ([("A", "400")], "A", 400, None, False),
    ([("A", "408")], "A", 408, None, False),
    ([("A", "307")], "A", 502, None, False),
    ([("A", "error overloaded_error")], "A", 529, None, False),
]


@pytest.mark.parametrize(("story", "account", "status", "after", "final"), ERRORS)
def test_error_for_the_client(
    story: Story, account: str, status: int, after: int | None, final: bool
) -> None:
    cast_ = targets("A B")
    attempts = [attempt(cast_[name], outcome) for name, outcome in story]
    stop = give_up(list(cast_.values()), attempts, NOW, lambda: IMAGES)
    assert (stop.account, stop.status, stop.retry_after, stop.final) == (account, status, after, final)
    assert stop.upstream == "a"
    assert stop.failure in [one.failure for one in attempts]
    assert stop.own_words == (stop.status != 503 or not final)


def test_a_feature_with_its_own_limit_is_waited_for() -> None:
    cast_ = targets("A")
    limited = failure(["429", "retry-after=60"])
    meaning = meaning_of(limited, WALL, features=frozenset({"fast"}))
    scheduler = Scheduler([])
    scheduler.failed(scheduler.take(cast_["A"], "", None, False, NOW), meaning, limited, NOW)
    message = FailedAttempt(cast_["A"], limited, meaning.rule, 429, True)
    stop = give_up(list(cast_.values()), [message], NOW, lambda: frozenset({"fast"}))
    assert (stop.status, stop.retry_after, stop.final, stop.own_words) == (429, 60, False, True)


def test_a_timeout_keeps_its_status() -> None:
    cast_ = targets("A")
    late = Failure(kind=FailureKind.CONNECT, status=504, message="no response in 300 s")
    assert give_up(list(cast_.values()), [attempt(cast_["A"], late)], NOW).status == 504


MESSAGES: list[tuple[Story, str]] = [
    (
        [("A", "429 retry-after=8465")],
        "failed with 429 (no account is free for this request; the first will be in 2 h 21 min)",
    ),
    ([("A", "500")], "failed with 500"),
    ([("A", "error api_error")], "failed in the stream"),
    (
        [("A", "connect")],
        'upstream "a" could not be reached: connection refused '
        "(no account is free for this request; the first will be in 1 s)",
    ),
    ([("A", "empty")], 'upstream "a" ended its response before any content'),
    ([("A", "contentless")], 'upstream "a" ended its response without any content'),
    (
        [("A", "401")],
        'upstream "a" refused account "A" (401): the operator must check its credential: failed with 401',
    ),
    (
        [("A", "402")],
        'upstream "a" refused account "A" (402): the operator must check its billing and permissions: '
        "failed with 402",
    ),
    (
        [("A", "403")],
        'upstream "a" refused model "m" for account "A" (403): the operator must check its billing and '
        "permissions: failed with 403",
    ),
]


@pytest.mark.parametrize(("story", "message"), MESSAGES)
def test_error_messages(story: Story, message: str) -> None:
    cast_ = targets("A")
    attempts = [attempt(cast_[name], outcome) for name, outcome in story]
    assert plain(give_up(list(cast_.values()), attempts, NOW)) == message


SILENT = [
    (Failure(kind=FailureKind.STATUS, status=500), 'upstream "a" responded with 500'),
    (
        Failure(kind=FailureKind.CONNECT),
        'upstream "a" could not be reached (no account is free for this request; the first will be in 1 s)',
    ),
    (
        Failure(kind=FailureKind.INCOMPLETE, message="no finish reason"),
        'upstream "a" ended its response before any content: no finish reason',
    ),
    (
        Failure(kind=FailureKind.STATUS, status=401),
        'upstream "a" refused account "A" (401): the operator must check its credential',
    ),
]


@pytest.mark.parametrize(("failed", "message"), SILENT)
def test_error_message_of_a_failure_without_one(failed: Failure, message: str) -> None:
    cast_ = targets("A")
    assert plain(give_up(list(cast_.values()), [attempt(cast_["A"], failed)], NOW)) == message


def test_all_refused_accounts_are_named_masked_and_censored() -> None:
    cast_ = targets("A B / C")
    words = "bad key sk-very-secret " + "x" * 1000
    refused = Failure(kind=FailureKind.STATUS, status=401, message=words)
    attempts = [attempt(cast_[name], refused) for name in "AABC"]
    stop = give_up(list(cast_.values()), attempts, NOW)
    message = stop.error_message(
        lambda account: f"{account}***", lambda text: text.replace("sk-very-secret", "***")
    )
    for upstream, account in ("aA", "aB", "cC"):
        assert message.count(f'upstream "{upstream}" refused account "{account}***" (401)') == 1
    assert "secret" not in message
    assert message.count("x") < 3 * WORDS + 10


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Incorrect API key provided: sk-proj-****abcd.", "Incorrect API key provided: ***."),
        ("no: gsk_0123456789, AIzaSyA-0123, sk****7890", "no: ***, ***, ***"),
        ("skipping the skeleton, pkgconfig", "skipping the skeleton, pkgconfig"),
    ],
)
def test_keys_are_censored(words: str, shown: str) -> None:
    assert without_keys(words) == shown
    cast_ = targets("A")
    failed = attempt(cast_["A"], Failure(kind=FailureKind.INCOMPLETE, message=words))
    assert plain(give_up(list(cast_.values()), [failed], NOW)).endswith(shown)


def test_error_message_length_limit() -> None:
    cast_ = targets("A")
    for status in (400, 401, 500):
        wordy = Failure(kind=FailureKind.STATUS, status=status, message="w" * 100_000)
        stop = give_up(list(cast_.values()), [attempt(cast_["A"], wordy)], NOW)
        assert plain(stop).count("w") < WORDS + 10


def test_a_key_quoted_by_a_host_is_censored() -> None:
    cast_ = targets("A")
    quoted = Failure(
        kind=FailureKind.STATUS, status=401, message="Incorrect API key provided: sk-pro**********9x."
    )
    assert plain(give_up(list(cast_.values()), [attempt(cast_["A"], quoted)], NOW)).endswith("provided: ***.")


def test_token_errors_are_only_logged() -> None:
    cast_ = targets("A")
    token = Failure(
        kind=FailureKind.REFRESH, status=401, message="the token endpoint https://x responded with 400"
    )
    for attempts in ([attempt(cast_["A"], token)], []):
        assert plain(give_up(list(cast_.values()), attempts, NOW)).endswith("must check its credential")


def test_error_without_an_attempt_names_the_cool_downs() -> None:
    cast_ = targets("A B")
    attempt(cast_["A"], "401")
    attempt(cast_["B"], "429 retry-after=50")
    stop = give_up(list(cast_.values()), [], NOW + 5)
    assert (stop.account, stop.status, stop.retry_after, stop.rule) == ("B", 429, 45, "limit")
    assert stop.failure == Failure(kind=FailureKind.STATUS, status=429, message="failed with 429")


def test_error_names_the_current_cool_down() -> None:
    Stage("A").play(
        """
        00 p                    -> A
        00 p 429 retry-after=25 -> stop 429 A after=25
        30 q                    -> A
        30 q connect            -> wait 0.25 slot
        30.25 q                 -> A
        30.25 q connect         -> wait 0.5 slot
        30.75 q                 -> A
        30.75 q connect         -> stop 502 A after=1
        """
    )
    cast_ = targets("A")
    attempt(cast_["A"], "429 retry-after=10")
    scheduler, late = Scheduler([]), failure(["529", "retry-after=60"])
    lease = scheduler.take(cast_["A"], "", None, False, NOW + 20)
    scheduler.failed(lease, meaning_of(late, WALL), late, NOW + 20)
    lease.release()
    stop = give_up(list(cast_.values()), [], NOW + 21)
    assert (stop.status, stop.rule) == (529, "overloaded with hint")


def test_failure_counts_without_a_cool_down_are_not_named() -> None:
    cast_ = targets("A")
    attempt(cast_["A"], "500")
    stop = give_up(list(cast_.values()), [], NOW)
    assert (stop.status, stop.failure, plain(stop)) == (503, None, "no account can serve this request")


def test_busy() -> None:
    cast_ = targets("A:1 B")
    Scheduler([]).take(cast_["A"], "", None, False, NOW)
    attempt(cast_["B"], "401")
    stop = give_up(list(cast_.values()), [], NOW)
    assert (stop.status, stop.retry_after, stop.final) == (529, 1, False)
    assert plain(stop) == "every account is busy and none got free in time"
    shut = targets("A:1")
    Scheduler([]).take(shut["A"], "", None, False, NOW)
    attempt(shut["A"], "402")
    assert give_up(list(shut.values()), [], NOW).status == 503, "busy, but shut as well"


def test_error_without_targets() -> None:
    stop = give_up([], [], NOW)
    assert (stop.status, plain(stop)) == (503, "no account serves this model")


DURATIONS = [
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


@pytest.mark.parametrize(("seconds", "expected"), DURATIONS)
def test_format_duration(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_an_account_that_never_opens_gives_no_retry_after() -> None:
    scheduler = Scheduler(cast("A B"))
    cast_ = {target.account: target for target in scheduler.targets(candidates(cast("A B")))}
    attempts = [attempt(cast_["A"], "429 retry-after=60")]
    for name in "AB":
        scheduler.disable("a", name)
    stop = give_up(list(cast_.values()), attempts, NOW)
    assert (stop.status, stop.retry_after) == (429, 1)
    scheduler.disable("a", "A", False)
    stop = give_up(list(cast_.values()), attempts, NOW)
    assert (stop.status, stop.retry_after) == (429, 60)
