"""Retry hints of OpenAI-compatible hosts."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from typing import Any

import orjson
import pytest

from gateway.routing.error_bodies import read_error
from gateway.routing.retry_after import read_hint

WALL = 1_700_000_000.0

ROWS: list[tuple[str, dict[str, str], Any, float | None]] = [
    ("nothing", {}, {}, None),
    ("a bucket that is used up", {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, {}, 360.0),
    ("one that is not", {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, {}, None),
    ("one that the type names", {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "120ms"}, {"type": "tokens"}, 0.12),
    ("seconds", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7.66"}, {}, 7.66),
    ("the later of two", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2m59.56s"}, {}, 179.56),
    ("Azure's -1", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "-1"}, {}, None),
    ("Azure's 0", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "0"}, {}, None),
    ("words", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, {}, None),
    ("OpenRouter's", {}, {"metadata": {"headers": {"X-RateLimit-Reset": "1700000030000", "X-RateLimit-Remaining": "0"}}}, 30.0),
    ("OpenRouter's, gone by", {}, {"metadata": {"headers": {"X-RateLimit-Reset": "1600000000000"}}}, None),
    ("OpenRouter's, odd", {}, {"metadata": {"headers": {"X-RateLimit-Reset": "soon"}}}, None),
    ("OpenRouter's, odder", {}, {"metadata": {"headers": {"X-RateLimit-Reset": "nan"}}}, None),
    ("OpenRouter's, an inner retry-after", {}, {"metadata": {"headers": {"Retry-After": "12"}}}, 12.0),
    ("free text", {}, {"message": "Please try again in 1.2s"}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "error", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS]
)
def test_hints(headers: dict[str, str], error: dict[str, Any], expected: float | None) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    body = orjson.dumps({"error": error})
    found = read_hint(fields, body, WALL, type=read_error(body).type)
    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'[{"error": 7}]'])
def test_odd_bodies_are_no_hint(body: bytes) -> None:
    assert read_hint([], body, WALL) is None


def test_a_list_of_one() -> None:
    error = [
        {
            "error": {
                "metadata": {"headers": {"x-ratelimit-reset": "1700000005000", "x-ratelimit-remaining": "0"}}
            }
        }
    ]
    assert read_hint([], orjson.dumps(error), WALL) == 5.0
