"""The soak's judgement of answers, its table of scenarios, and its report."""

import json

import pytest

from bench.soak import client, report
from bench.soak.__main__ import MAX_MINUTES, MAX_REQUESTS, MINUTES, bounds
from bench.soak.scenarios import ALONE, GEMINI, GOOD, SCENARIOS, Scenario
from bench.soak.upstream import BEHAVIOURS

EVENT = b"event: %b\ndata: %b\n\n"


def stream(*kinds: str) -> bytes:
    return b"".join(EVENT % (kind.encode(), json.dumps({"type": kind}).encode()) for kind in kinds)


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (("message_start", "content_block_start", "content_block_stop", "message_stop"), "stream"),
        (("message_start", "content_block_start", "error"), "stream, then error"),
    ],
)
def test_streams_are_read_by_the_grammar(kinds: tuple[str, ...], word: str) -> None:
    assert client.judge_stream(b": a comment\n\n" + stream(*kinds)) == word


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
    with pytest.raises(client.BadAnswer, match=why):
        client.judge_stream(stream(*kinds))


ERROR = b'{"type":"error","error":{"type":"t","message":"m"}}'


def test_complete_answers() -> None:
    assert client.judge(200, b"", b"{}").outcome == "json"
    assert client.judge(503, b"", ERROR) == client.Answer("status 503", "m")
    assert client.judge(429, b"x\r\nretry-after: 3\r\n", ERROR).outcome == "status 429"
    assert (
        client.judge(200, b"content-type: text/event-stream", stream("error")).outcome == "stream, then error"
    )


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (500, b"[]"), (429, ERROR), (200, b"{")])
def test_bad_complete_answers(status: int, body: bytes) -> None:
    with pytest.raises((client.BadAnswer, ValueError)):
        client.judge(status, b"\r\n", body)


def test_every_behaviour_has_a_place_and_every_model_a_behaviour() -> None:
    assert {*GOOD, *ALONE} == set(BEHAVIOURS)
    assert set(GEMINI) <= set(BEHAVIOURS)
    asked = {scenario.model for scenario in SCENARIOS if scenario.model.startswith("soak-")}
    served = {f"soak-{name}" for name in (*GOOD, *ALONE)} | {f"soak-gemini-{name}" for name in GEMINI}
    assert asked <= served | {"soak-fallback"}
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
def test_what_bounds_a_soak(minutes: float | None, requests: int | None, expected: tuple[float, int]) -> None:
    assert bounds(minutes, requests) == expected


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_becomes_a_request(scenario: Scenario) -> None:
    raw = client.build(scenario, 80, 7)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(f"{scenario.method} {scenario.path} HTTP/1.1".encode())
    declared = scenario.declared or len(body)
    assert b"Content-Length: %d" % declared in head


def soaked() -> report.Soak:
    soak = report.Soak(seed=1, warm_share=0.25, seconds=8.0)
    soak.tally = {"played": {"json": 2}, "overstayed": 0}
    soak.note(SCENARIOS[0], client.Answer("json"))
    soak.usage = [report.Usage(float(second), 30_000_000 + second * 1000, 20) for second in range(10)]
    return soak


def test_a_soak_without_surprises_is_well() -> None:
    soak = soaked()
    soak.log("line\nline\n")
    assert soak.well
    text = report.markdown(soak)
    assert "| json | json | 1 | yes |" in text
    assert "## Unexplained" not in text


def test_what_a_scenario_does_not_name_is_unexplained() -> None:
    soak = soaked()
    soak.note(SCENARIOS[0], client.Answer("status 500", "why"))
    assert not soak.well
    text = report.markdown(soak)
    assert "| json | status 500 | 1 | NO |" in text
    assert "- json: status 500 why" in text


@pytest.mark.parametrize(
    "line", ["Traceback (most recent call last):", "2026-01-31T08:05:00.250Z error: req_1: internal error: x"]
)
def test_a_fault_in_the_log_is_not_well(line: str) -> None:
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
