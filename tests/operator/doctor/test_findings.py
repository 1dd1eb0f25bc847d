"""Findings of checks, and their text and JSON."""

import asyncio
from typing import Any

import orjson
import pytest

from gateway.operator.doctor.findings import (
    Fault,
    Finding,
    Row,
    as_json,
    as_text,
    carry_out,
    failed,
    skip,
    warn,
)

ROWS = [
    Row("gateway", "ping", Finding("fail", "none\x1b[2J came", "pass\nthem on"), 1.25),
    Row("here", "port", Finding("ok", "it is free")),
    Row("here", "clock", skip("no date")),
    Row("upstreams", "a: models", warn("x" * 500 + "\ud800"), 0.0004),
]


async def well() -> str:
    return "well"


async def odd() -> Finding:
    return warn("odd", "look")


async def fault() -> str:
    raise Fault("bad", "mend it")


async def slow() -> str:
    await asyncio.sleep(60)
    raise AssertionError


async def broken() -> str:
    raise ValueError("canary")


@pytest.mark.parametrize(
    ("check", "finding"),
    [
        (well, Finding("ok", "well")),
        (odd, Finding("warn", "odd", "look")),
        (fault, Finding("fail", "bad", "mend it")),
        (slow, Finding("fail", "nothing within 0.05 s")),
    ],
)
async def test_any_outcome_of_a_check_is_a_finding(check: Any, finding: Finding) -> None:
    row = await carry_out("here", "name", check, 0.05)
    assert (row.part, row.name, row.finding) == ("here", "name", finding)


async def test_a_check_that_fails_itself_quotes_nothing() -> None:
    row = await carry_out("here", "name", broken, 1.0)
    assert row.finding.saw.startswith("the check itself failed: ValueError at test_findings.py:")
    assert "canary" not in row.finding.saw


def test_text_report() -> None:
    assert as_text(ROWS).splitlines() == [
        "Here",
        f"  ok    {'port':<34} it is free",
        f"  skip  {'clock':<34} no date",
        "",
        "Upstreams",
        f"  warn  {'a: models':<34} {'x' * 400}...",
        "",
        "The gateway",
        f"  fail  {'ping':<34} none\\x1b[2J came (1250 ms)",
        "        -> pass\\nthem on",
        "",
        "1 ok, 1 warn, 1 fail, 1 skip",
    ]
    assert failed(ROWS)


def test_json_report() -> None:
    document = orjson.loads(as_json(ROWS))
    assert document["ok"] is False
    assert document["checks"][0] == {
        "part": "gateway",
        "name": "ping",
        "state": "fail",
        "saw": "none\\x1b[2J came",
        "todo": "pass\\nthem on",
        "seconds": 1.25,
    }
    assert orjson.loads(as_json(ROWS[1:]))["ok"] is True
