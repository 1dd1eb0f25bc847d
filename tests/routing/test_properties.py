"""For every failure: it changes the state of what its meaning names, and nothing else."""

from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config import Retry
from gateway.routing.accounts import Target
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.meanings import meaning_of
from gateway.routing.model_routes import Candidate
from gateway.routing.policy import About
from gateway.routing.retries import Choice, Retries, Wait
from gateway.routing.scheduler import Lease, Scheduler
from gateway.routing.sent import Sent
from tests.routing.test_signals import FEATURES, SILENT, SPEAKS
from tests.routing.transcript import WALL, cast

STATUSES = [200, 307, 400, 401, 402, 403, 404, 408, 413, 415, 422, 429, 498, 500, 502, 503, 504, 529]

KEYS = ["error", "code", "type", "message", "detail", "metadata", "raw", "details", "errors", "base_resp"]

shapes = st.recursive(
    st.none() | st.integers(-9, 9999) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)

errors = st.one_of(
    st.sampled_from([error for _, error, _ in SPEAKS]),
    st.sampled_from([error for _, error, _ in FEATURES]),
    st.sampled_from([error for _, error, _, _ in SILENT]),
    st.text(max_size=40),
    shapes,
)


def _body(error: Any) -> bytes:
    return orjson.dumps({"error": {"message": error}} if isinstance(error, str) else error)


bodies = st.one_of(errors.map(_body), st.binary(max_size=20))

headers = st.lists(
    st.sampled_from(
        [
            (b"retry-after", b"8"),
            (b"retry-after-ms", b"100"),
            (b"x-should-retry", b"false"),
            (b"anthropic-ratelimit-unified-overage-disabled-reason", b"out_of_credits"),
        ]
    ),
    max_size=2,
    unique=True,
)

failures = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    status=st.sampled_from(STATUSES),
    body=bodies,
    headers=headers.map(tuple),
)

DOCUMENTS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "document"}]}], "speed": "fast"},
]


def free(scheduler: Scheduler, targets: dict[str, Target], sent: Sent) -> set[str]:
    """Return the accounts that a request could use now."""
    ranked = scheduler.rank(tuple(targets.values()), "", 10.0, sent.features)
    names = {target: name for name, target in targets.items()}
    return {names[one.target] for one in ranked if not one.opens_at}


@given(failure=failures, document=st.sampled_from(DOCUMENTS), twice=st.booleans())
@example(Failure(kind=FailureKind.CONNECT), DOCUMENTS[0], True)
def test_a_failure_changes_only_what_its_meaning_names(
    failure: Failure, document: dict[str, Any], twice: bool
) -> None:
    scheduler = Scheduler(cast("A B / C"))
    found = {
        "A m": scheduler.targets([Candidate("a", "m", 0)])[0],
        "A n": scheduler.targets([Candidate("a", "n", 0)])[0],
        "B m": scheduler.targets([Candidate("a", "m", 0)])[1],
        "C m": scheduler.targets([Candidate("c", "m", 0)])[0],
    }
    sent, plain = Sent(document), Sent(DOCUMENTS[0])
    meaning = meaning_of(failure, WALL, wire_model="m", features=sent.features())
    for _ in range(1 + twice):
        lease = scheduler.take(found["A m"], "", None, False, 10.0, sent.features)
        scheduler.failed(lease, meaning, failure, 10.0)
        lease.release()
    shut = {
        About.REQUEST: set(),
        About.FEATURE: {"A m"} if sent is not plain else set(),
        About.MODEL: {"A m"},
        About.ACCOUNT: {"A m", "A n"},
        About.UPSTREAM: {"A m", "A n", "B m"},
    }[meaning.about]
    assert free(scheduler, found, sent) >= found.keys() - shut
    if meaning.about is About.FEATURE and meaning.feature not in plain.features():
        assert free(scheduler, found, plain) == found.keys()
    assert all(account.in_flight == 0 for account in scheduler.snapshot(10.0))


@given(outcomes=st.lists(failures, min_size=1, max_size=4), document=st.sampled_from(DOCUMENTS))
def test_every_request_ends_after_any_failures(outcomes: list[Failure], document: dict[str, Any]) -> None:
    scheduler = Scheduler(cast("A B / C"))
    targets = scheduler.targets([Candidate("a", "m", 0), Candidate("c", "m", 0)])
    retries = Retries(scheduler, targets, "talk", Retry(), lambda: 0.5, Sent(document))
    now, sent = 0.0, 0
    for _ in range(100):
        step = retries.next(now)
        if isinstance(step, Lease):
            retries.failed(step, outcomes[sent % len(outcomes)], now, WALL + now)
            sent += 1
        elif isinstance(step, Wait):
            now += step.seconds
        else:
            break
    else:
        raise AssertionError("it never ends")
    assert 400 <= step.status <= 599
    assert len(retries.tried) <= sent
    assert now <= Retry().max_wait


deeds = st.lists(
    st.tuples(st.sampled_from(["lease", "fail", "succeed", "release"]), st.integers(0, 5), failures),
    max_size=12,
)


@given(deeds=deeds, talk=st.sampled_from(["", "one", "two"]), later=st.sampled_from([0.0, 2.0, 100.0]))
def test_rank_names_the_account_of_the_next_lease(
    deeds: list[tuple[str, int, Failure]], talk: str, later: float
) -> None:
    scheduler = Scheduler(cast("A B / C"))
    targets = scheduler.targets([Candidate("a", "m", 0), Candidate("c", "m", 1)])
    held: list[Lease] = []
    for at, (deed, which, failure) in enumerate(deeds):
        if deed == "lease":
            lease = scheduler.lease(targets, ("one", "two")[which % 2], float(at))
            held += [lease] if lease is not None else []
        elif held:
            lease = held.pop(which % len(held))
            if deed == "fail":
                scheduler.failed(lease, meaning_of(failure, WALL, wire_model="m"), failure, float(at))
            elif deed == "succeed":
                lease.succeeded(float(at))
            lease.release()
    now = len(deeds) + later
    step = Retries(scheduler, targets, talk, Retry(), lambda: 0.0).look(now)
    ranked = scheduler.rank(targets, talk, now)
    given_at_once = scheduler.lease(targets, talk, now)
    if given_at_once is not None:
        assert step == Choice(given_at_once.target, alone=False)
        assert ranked[0].target is given_at_once.target
    else:
        taken = Retries(scheduler, targets, talk, Retry(), lambda: 0.0).next(now)
        assert step == (Choice(taken.target, alone=True) if isinstance(taken, Lease) else taken)
