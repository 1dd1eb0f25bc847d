"""The soak's judgement of responses, its table of scenarios, and its report."""

import json

import pytest

from gateway.config import parse
from tests.soak import client, report
from tests.soak.__main__ import MAX_MINUTES, MAX_REQUESTS, MINUTES, bounds
from tests.soak.scenarios import ACCOUNTS, ALONE, GEMINI, GOOD, SCENARIOS, config
from tests.soak.upstream import BEHAVIOURS
from tests.support.client import Response

EVENT = b"event: %b\ndata: %b\n\n"


def response(status: int, body: bytes, *fields: tuple[str, str], complete: bool = True) -> Response:
    return Response(status, list(fields), body, complete)


def stream(*kinds: str) -> Response:
    events = [EVENT % (kind.encode(), json.dumps({"type": kind}).encode()) for kind in kinds]
    return response(200, b": a comment\n\n" + b"".join(events), ("content-type", "text/event-stream"))


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (("message_start", "content_block_start", "content_block_stop", "message_stop"), "stream"),
        (("message_start", "content_block_start", "error"), "stream, then error"),
    ],
)
def test_streams_are_read_by_the_grammar(kinds: tuple[str, ...], word: str) -> None:
    assert client.judge(stream(*kinds)).word == word


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        (("message_start", "content_block_start", "message_stop"), "1 blocks begun, 0 ended"),
        (("message_start",), "last event is message_start"),
        ((), "last event is none"),
        (("message_stop", "ping"), "something after message_stop"),
        (("error", "message_stop"), "something after error"),
    ],
)
def test_bad_streams_are_named(kinds: tuple[str, ...], why: str) -> None:
    with pytest.raises(client.BadResponse, match=why):
        client.judge(stream(*kinds))


ERROR = b'{"type":"error","error":{"type":"t","message":"m"}}'


def test_complete_responses() -> None:
    assert client.judge(response(200, b"{}")).word == "json"
    assert client.judge(response(503, ERROR)) == client.Outcome("status 503", "m")
    assert client.judge(response(429, ERROR, ("retry-after", "3"))).word == "status 429"


@pytest.mark.parametrize(
    ("status", "body", "complete"),
    [(500, b"{}", True), (500, b"[]", True), (429, ERROR, True), (200, b"{", True), (200, b"{}", False)],
)
def test_bad_complete_responses(status: int, body: bytes, complete: bool) -> None:
    with pytest.raises((client.BadResponse, ValueError)):
        client.judge(response(status, body, complete=complete))


def test_the_gateway_accepts_the_soaks_config() -> None:
    parsed = parse(config(40002), {})
    assert {upstream.kind for upstream in parsed.upstreams} == {"anthropic", "gemini"}
    assert all(len(upstream.accounts) == ACCOUNTS for upstream in parsed.upstreams)


def test_every_behaviour_has_a_place_and_every_model_a_behaviour() -> None:
    assert {*GOOD, *ALONE} == set(BEHAVIOURS)
    assert set(GEMINI) <= set(BEHAVIOURS)
    models = {scenario.model for scenario in SCENARIOS if scenario.model.startswith("soak-")}
    served = {f"soak-{name}" for name in (*GOOD, *ALONE)} | {f"soak-gemini-{name}" for name in GEMINI}
    assert models <= served | {"soak-fallback"}
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("minutes", "requests", "expected"),
    [
        (None, None, (MINUTES, MAX_REQUESTS)),
        (None, 100_000, (MAX_MINUTES, 100_000)),
        (12.0, 100_000, (12.0, 100_000)),
        (10.0, None, (10.0, MAX_REQUESTS)),
        (1e9, 10**9, (MAX_MINUTES, MAX_REQUESTS)),
        (0.0, 0, (0.05, 1)),
    ],
)
def test_minutes_and_requests_bound_a_soak(
    minutes: float | None, requests: int | None, expected: tuple[float, int]
) -> None:
    assert bounds(minutes, requests) == expected


def soaked() -> report.Soak:
    soak = report.Soak(seed=1, warm_share=0.25, seconds=8.0)
    soak.note(SCENARIOS[0], client.Outcome("json"))
    soak.usage = [report.Usage(float(second), 30_000_000 + second * 1000, 20) for second in range(10)]
    return soak


def test_a_soak_without_surprises_passes() -> None:
    soak = soaked()
    soak.log("line\nline\n")
    assert soak.well
    text = report.markdown(soak)
    assert "| json | json | 1 | yes |" in text
    assert "## Unexplained" not in text


def test_an_outcome_that_its_scenario_does_not_name_is_unexplained() -> None:
    soak = soaked()
    soak.note(SCENARIOS[0], client.Outcome("status 500", "why"))
    assert not soak.well
    text = report.markdown(soak)
    assert "| json | status 500 | 1 | NO |" in text
    assert "- json: status 500 why" in text


@pytest.mark.parametrize(
    "line", ["Traceback (most recent call last):", "2026-01-31T08:05:00.250Z error: req_1: internal error: x"]
)
def test_a_fault_in_the_log_fails(line: str) -> None:
    soak = soaked()
    soak.log('2026-01-31T08:05:00.250Z req_1 - GET / 404 refused error="no"\n')
    assert soak.well
    soak.log(f"line\n{line}\n")
    assert not soak.well


def test_drift_is_counted_after_the_warm_up() -> None:
    soak = soaked()
    first, last, quiet = report.drift(soak)["RSS, MB"]
    assert (first, last, quiet) == (30.004, 30.006, 30.009)
    soak.usage = []
    assert report.drift(soak) == {}
