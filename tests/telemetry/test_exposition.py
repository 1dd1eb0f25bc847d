"""Metrics as text: what Prometheus' own parsers read of it, and several processes' numbers as one."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.exposition import (
    FAMILIES,
    Family,
    Gauges,
    Snapshot,
    merge,
    read_snapshot,
    render,
    snapshot,
    wants_openmetrics,
)
from gateway.telemetry.metrics import DURATIONS, Metrics
from tests.support.scrape import labels_of, samples, value
from tests.telemetry.test_metrics import ROUTES, add, record

FORMATS = [False, True]


def number_of(family: Family, one: int) -> Any:
    if family.bounds:
        return [one] * (len(family.bounds) + 1) + [0.5]
    return 1 if family.type == "info" else one


def whole(label: str, number: int = 1, process: str = "1") -> Snapshot:
    """A snapshot with one series in each family."""
    families = {
        name: [[[label] * len(family.labels), number_of(family, number)]] for name, family in FAMILIES.items()
    }
    return {"process": process, "families": families}


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_each_family_is_parsed_with_its_type(openmetrics: bool) -> None:
    page = render(whole("x", 3), openmetrics=openmetrics)
    assert page.endswith(b"# EOF\n") is openmetrics
    found = samples(page, openmetrics=openmetrics)
    for name, family in FAMILIES.items():
        labels = dict.fromkeys(family.labels, "x")
        if family.bounds:
            at = [value(found, f"{name}_bucket", **labels, le=str(bound)) for bound in family.bounds]
            assert at == [3.0 * place for place in range(1, len(family.bounds) + 1)]
            everything = 3.0 * (len(family.bounds) + 1)
            assert value(found, f"{name}_bucket", **labels, le="+Inf") == everything
            assert value(found, f"{name}_count", **labels) == everything
            assert value(found, f"{name}_sum", **labels) == 0.5
        else:
            assert value(found, name, **labels) == number_of(family, 3)


@pytest.mark.parametrize("openmetrics", FORMATS)
@given(label=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_no_label_breaks_out_of_its_quotes(label: str, openmetrics: bool) -> None:
    found = samples(render(whole(label), openmetrics=openmetrics), openmetrics=openmetrics)
    assert labels_of(found, "model") == {label}
    assert len(found) == len(samples(render(whole("x"), openmetrics=False)))


def test_lone_surrogates_are_escaped() -> None:
    assert labels_of(samples(render(whole("\ud800"), openmetrics=False)), "model") == {"\\ud800"}


def test_names_keep_the_conventions() -> None:
    for name, family in FAMILIES.items():
        assert name.endswith("_total") is (family.type == "counter"), name
        assert name.endswith("_seconds") or family.type != "histogram", name
        assert family.help.endswith("."), name


def counted() -> Metrics:
    metrics = Metrics(ROUTES)
    add(
        metrics,
        record(input_tokens=1, output_tokens=2, duration=0.2, cache="lost:moved", cache_lost_tokens=9),
        record(account="b@x", outcome="canceled", status=499, repairs=("merge_roles",)),
        record(account="b@x", outcome="upstream_error", tried=("a@x@up:429",), attempts=2),
        record(attempts=0, upstream="", account="", wire_model="", outcome="warmup"),
    )
    metrics.fold()
    series = metrics.series["other", -1, "other", "other", "other", "other"] = metrics.series.popitem()[1]
    series.attempts = 1
    return metrics


@pytest.mark.parametrize("masked", FORMATS)
def test_a_process_numbers(masked: bool) -> None:
    def shown(account: str) -> str:
        return "***" if masked else account

    gauges: Gauges = {"gateway_in_flight": {(): 7}}
    found = samples(render(snapshot("here", counted(), gauges, shown), openmetrics=False))

    def attempts(account: str, result: str) -> float:
        return value(found, "gateway_attempts_total", upstream="up", account=shown(account), result=result)

    assert value(found, "gateway_in_flight") == 7
    assert value(found, "gateway_requests_total", route="/v1/messages", status="200", outcome="ok") == 1
    assert value(found, "gateway_requests_total", route="other", status="other", outcome="other") == 1
    assert (attempts("a@x", "ok"), attempts("b@x", "canceled"), attempts("b@x", "failed")) == (1, 1, 1)
    assert attempts("a@x", "429") == 1
    place = {"upstream": "up", "model": "m"}
    assert value(found, "gateway_tokens_total", **place, kind="output") == 2
    assert value(found, "gateway_request_duration_seconds_count", **place) == 3
    assert value(found, "gateway_request_duration_seconds_sum", **place) == 0.2
    assert value(found, "gateway_prompt_cache_lost_tokens_total", cause="moved") == 9
    assert value(found, "gateway_repairs_total", repair="merge_roles") == 1
    assert labels_of(found, "account") == ({"***", "other"} if masked else {"a@x", "b@x", "other"})


def test_several_processes_are_one() -> None:
    one, two = whole("x", 3, "1"), whole("x", 4, "2")
    del two["families"]["gateway_in_flight"]
    merged = merge([one, two, whole("x", 5, "2")])
    found = {name: series[0][1] for name, series in merged["families"].items()}
    assert merged["process"] == "1"
    assert found["gateway_requests_total"] == 7
    assert found["gateway_request_duration_seconds"] == [7] * (len(DURATIONS) + 1) + [1.0]
    assert found["gateway_in_flight"] == 3
    assert found["gateway_account_available"] == found["process_max_fds"] == 3
    assert found["gateway_account_cooldown_seconds"] == 4
    assert found["process_resident_memory_bytes"] == 7
    assert merge([]) == {"process": "", "families": {}}


def test_snapshot_round_trip() -> None:
    sent = snapshot("here", counted(), {}, str)
    assert read_snapshot(orjson.dumps(sent)) == sent


JUNK: list[Any] = [
    b"",
    b"\xff",
    b"{}",
    b"[]",
    b"null",
    {"process": 1, "families": {}},
    {"process": "1", "families": []},
    {"process": "1", "families": {"unknown": [[[], 1]]}},
    {"process": "1", "families": {"gateway_in_flight": [[["x"], 1]]}},
    {"process": "1", "families": {"gateway_in_flight": [["x", 1]]}},
    {"process": "1", "families": {"gateway_in_flight": [[[], "1"]]}},
    {"process": "1", "families": {"gateway_in_flight": [[[], True]]}},
    {"process": "1", "families": {"gateway_in_flight": [[[], [1]]]}},
    {"process": "1", "families": {"gateway_in_flight": [1]}},
    {"process": "1", "families": {"gateway_in_flight": [[[]]]}},
    {"process": "1", "families": {"gateway_repairs_total": [[[1], 1]]}},
    {"process": "1", "families": {"gateway_request_duration_seconds": [[["x", "x"], [1, 2]]]}},
    {"process": "1", "families": {"gateway_request_duration_seconds": [[["x", "x"], 1]]}},
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_invalid_snapshots_are_left_out(junk: Any) -> None:
    assert read_snapshot(junk if isinstance(junk, bytes) else orjson.dumps(junk)) is None


@given(st.binary() | st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists).map(orjson.dumps))
def test_arbitrary_bytes_from_another_process(data: bytes) -> None:
    found = read_snapshot(data)
    assert found is None or merge([found])


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, False),
        (b"", False),
        (b"*/*", False),
        (b"text/plain", False),
        (b"application/openmetrics-text", True),
        (b"Application/OpenMetrics-Text; Version=1.0.0; Charset=utf-8", True),
        (b'application/openmetrics-text;version="1.0.0"', True),
        (b"application/openmetrics-text;version=0.0.1", False),
        (b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        (b"application/openmetrics-text;q=0.2,text/plain;q=0.3", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text;q=x", False),
        (b";;,;=;\xff", False),
    ],
)
def test_which_format_is_wanted(accept: bytes | None, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted
