"""Token counts out of events and bodies of any shape."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.access_log import Record
from gateway.telemetry.usage import usage_of_json_body, usage_of_message_start
from tests.support.calls import calls

Counts = tuple[int | None, int | None, int | None, int | None]

UNKNOWN: Counts = (None, None, None, None)


def noted(*usages: object) -> Counts:
    """Return a record's counts after these usages: input, output, read, creation."""
    record = Record(time=0.0)
    for usage in usages:
        record.take_usage(usage)
    return record.input_tokens, record.output_tokens, record.cache_read_tokens, record.cache_creation_tokens


OBJECTS: list[tuple[Any, Counts]] = [
    ({"input_tokens": 12, "output_tokens": 1}, (12, 1, None, None)),
    (
        {
            "input_tokens": 12,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 48_000,
            "output_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 5},
            "service_tier": "standard",
        },
        (12, 0, 48_000, 5),
    ),
    ({"output_tokens": 7}, (None, 7, None, None)),
    ({"input_tokens": None, "output_tokens": "7"}, UNKNOWN),
    ({"input_tokens": True, "output_tokens": 7.0}, UNKNOWN),
    ({"input_tokens": -1, "output_tokens": [7]}, UNKNOWN),
    ({}, UNKNOWN),
    (None, UNKNOWN),
    ([], UNKNOWN),
    ("usage", UNKNOWN),
]


@pytest.mark.parametrize(("usage", "expected"), OBJECTS)
def test_counts_of_a_usage_object(usage: object, expected: Counts) -> None:
    start = {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": usage}}
    assert noted(usage_of_message_start(orjson.dumps(start))) == expected
    assert noted(usage_of_json_body(orjson.dumps({"type": "message_delta", "usage": usage}))) == expected
    body = {"content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 99}}}], "usage": usage}
    assert noted(usage_of_json_body(orjson.dumps(body))) == expected


def test_later_counts_replace_earlier_ones() -> None:
    first = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 2}
    later = {"output_tokens": 9, "cache_creation_input_tokens": 3, "input_tokens": None}
    assert noted(first, later, None) == (5, 9, 2, 3)


READERS = [usage_of_message_start, usage_of_json_body]

ODD = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"null",
    b'"usage"',
    b"\xff",
    b"{}",
    b'{"message":[]}',
    b'{"message":{}}',
    b'{"message":null}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("data", ODD)
def test_odd_data(read: Callable[[bytes], object], data: bytes) -> None:
    assert noted(read(data)) == UNKNOWN


@pytest.mark.parametrize("read", READERS)
@given(data=st.binary(max_size=30))
def test_nothing_raises(read: Callable[[bytes], object], data: bytes) -> None:
    assert noted(read(data)) == UNKNOWN


def test_reading_usage_costs_few_calls() -> None:
    body = orjson.dumps({"content": [], "usage": {"input_tokens": 5, "output_tokens": 1}})
    made = Record(time=0.0)
    assert calls(usage_of_json_body, body) == (1, 1)
    assert calls(made.take_usage, usage_of_json_body(body)) == (1, 0)
    assert (made.input_tokens, made.output_tokens) == (5, 1)
