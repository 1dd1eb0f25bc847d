"""Counting: every record counts once, labels are bounded for any clients, and it costs next to nothing."""

from typing import Any

from gateway.telemetry.access_log import Record
from gateway.telemetry.metrics import BATCH, LAST, LONGEST, MAX_MODELS, MAX_SERIES, OTHERS, Metrics
from tests.support.calls import calls

ROUTES = {"/v1/messages": "/v1/messages"}


def record(**changes: Any) -> Record:
    fields = {
        "time": 0.0,
        "path": "/v1/messages",
        "status": 200,
        "outcome": "ok",
        "upstream": "up",
        "account": "a@x",
        "wire_model": "m",
        "attempts": 1,
    }
    return Record(**{**fields, **changes})


def add(metrics: Metrics, *records: Record) -> None:
    """As a request does that has ended."""
    for one in records:
        at = metrics.waiting
        metrics.records[at] = one
        metrics.waiting = at + 1
        if at == LAST:
            metrics.fold()


def test_counts_of_a_request() -> None:
    metrics = Metrics(ROUTES)
    used = {"input_tokens": 3, "output_tokens": 5, "cache_read_tokens": 7, "cache_creation_tokens": 11}
    add(
        metrics,
        record(duration=0.1, first_byte=0.02, **used),
        record(duration=7.0, first_byte=999.0, output_tokens=1),
        # A count of tokens is no usage, and one that failed was no attempt of this outcome.
        record(duration=601.0, input_tokens=99, tried=("a@x@up:404",)),
    )
    metrics.fold()
    (key, series) = metrics.series.popitem()
    assert key == ("/v1/messages", 200, "ok", "up", "a@x", "m")
    assert not metrics.series
    assert (series.requests, series.attempts) == (3, 2)
    assert [at for at, number in enumerate(series.durations) if number] == [0, 6, 12]
    assert [at for at, number in enumerate(series.first_bytes) if number] == [0, 12]
    assert (series.seconds, series.first_seconds) == (608.1, 999.02)
    assert (series.input, series.output, series.cache_read, series.cache_creation) == (3, 6, 7, 11)
    assert metrics.counted == {("attempts", "up", "a@x", "404"): 1}


def test_counts_of_rare_fields() -> None:
    metrics = Metrics(ROUTES)
    lost = {"cache": "lost:moved", "cache_lost_tokens": 500}
    add(metrics, record(repairs=("merge_roles", "cure:betas"), cache="hit"), record(**lost), record(**lost))
    add(metrics, record(attempts=2, tried=("a:b@x@up:unreached",)))
    metrics.fold()
    assert metrics.counted == {
        ("repairs", "merge_roles"): 1,
        ("cures", "betas"): 1,
        ("cache", "hit"): 1,
        ("cache", "lost"): 2,
        ("broken", "moved"): 2,
        ("lost", "moved"): 1000,
        ("attempts", "up", "a:b@x", "unreached"): 1,
    }


def test_requests_without_an_attempt_have_no_upstream_times() -> None:
    metrics = Metrics(ROUTES)
    add(
        metrics,
        record(attempts=0, upstream="", account="", wire_model="", status=404, duration=1.0, path="/x"),
    )
    metrics.fold()
    ((key, series),) = metrics.series.items()
    assert key == ("other", 404, "ok", "", "", "")
    assert (series.requests, series.seconds, sum(series.durations)) == (1, 0.0, 0)


def models(metrics: Metrics) -> set[str]:
    metrics.fold()
    return {key[5] for key in metrics.series}


def test_a_model_is_a_label_if_it_is_named_or_was_served() -> None:
    metrics = Metrics(ROUTES)
    metrics.name_models(["named"])
    add(metrics, record(wire_model="named", status=404), record(wire_model="no such", status=404))
    assert models(metrics) == {"named", "other"}
    add(metrics, record(wire_model="served"), record(wire_model="served", status=500))
    add(metrics, record(wire_model="x" * (LONGEST + 1)))
    assert models(metrics) == {"named", "served", "other"}
    add(metrics, *(record(wire_model=f"m{number}") for number in range(2 * MAX_MODELS)))
    assert len(models(metrics)) == MAX_MODELS + 2
    metrics.name_models(["m150"])
    add(metrics, record(wire_model="m150"))
    assert "m150" in models(metrics)


def test_series_are_bounded() -> None:
    metrics = Metrics(ROUTES)
    total = MAX_SERIES + 2 * BATCH
    add(metrics, *(record(account=f"a{number}", tried=(f"a{number}@up:500",)) for number in range(total)))
    metrics.fold()
    assert len(metrics.series) == len(metrics.counted) == MAX_SERIES + 1
    assert (
        metrics.series[OTHERS].requests == metrics.counted["attempts", "other", "other", "other"] == 2 * BATCH
    )
    assert sum(series.requests for series in metrics.series.values()) == total


def test_a_record_is_released() -> None:
    metrics = Metrics(ROUTES)
    add(metrics, *(record() for _ in range(BATCH)))
    assert metrics.waiting == 0
    assert not any(metrics.records)


def test_counting_takes_two_calls_of_c_a_record() -> None:
    """The calls of the request itself are counted by tests/test_calls.py."""
    metrics = Metrics(ROUTES)
    add(metrics, record())
    metrics.fold()
    add(metrics, *(record(first_byte=0.1, output_tokens=1) for _ in range(LAST)))
    python, c = calls(metrics.fold)
    # Before Python 3.12 the list of those that wait is made by a separate call, once a batch.
    assert (python, c) in {(2, 2 * LAST), (1, 2 * LAST)}
