"""Token counts out of events and bodies, whatever their shape."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.usage import (
    UNKNOWN,
    Usage,
    usage_of,
    usage_of_json_body,
    usage_of_message_delta,
    usage_of_message_start,
)

OBJECTS: list[tuple[Any, Usage]] = [
    ({"input_tokens": 12, "output_tokens": 1}, Usage(12, 1)),
    (
        {
            "input_tokens": 12,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 48_000,
            "output_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 5},
            "service_tier": "standard",
        },
        Usage(12, 0, 48_000, 5),
    ),
    ({"output_tokens": 7}, Usage(None, 7)),
    ({"input_tokens": None, "output_tokens": "7"}, UNKNOWN),
    ({"input_tokens": True, "output_tokens": 7.0}, UNKNOWN),
    ({"input_tokens": -1, "output_tokens": [7]}, UNKNOWN),
    ({}, UNKNOWN),
    (None, UNKNOWN),
    ([], UNKNOWN),
    ("usage", UNKNOWN),
]


@pytest.mark.parametrize(("usage", "expected"), OBJECTS)
def test_usage_of(usage: object, expected: Usage) -> None:
    assert usage_of(usage) == expected
    start = {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": usage}}
    assert usage_of_message_start(orjson.dumps(start)) == expected
    assert usage_of_message_delta(orjson.dumps({"type": "message_delta", "usage": usage})) == expected
    body = {"content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 99}}}], "usage": usage}
    assert usage_of_json_body(orjson.dumps(body)) == expected


READERS = [usage_of_message_start, usage_of_message_delta, usage_of_json_body]

ODD = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"null",
    b'"usage"',
    b"\xff",
    b"{}",
    b'{"message":[],"usage":[]}',
    b'{"message":{}}',
    b'{"message":{"usage":7},"usage":7}',
    b'{"usage":{"input_tokens":123456789012345678901234567890},"message":null}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("data", ODD)
def test_odd_data(read: Callable[[bytes], Usage], data: bytes) -> None:
    assert read(data) == UNKNOWN


@pytest.mark.parametrize("read", READERS)
@given(data=st.binary(max_size=30))
def test_nothing_raises(read: Callable[[bytes], Usage], data: bytes) -> None:
    assert read(data) == UNKNOWN


UPDATES = [
    (UNKNOWN, UNKNOWN, UNKNOWN),
    (Usage(1, 2, 3, 4), UNKNOWN, Usage(1, 2, 3, 4)),
    (Usage(1, 2, 3, 4), Usage(output=0), Usage(1, 0, 3, 4)),
    (UNKNOWN, Usage(1, 2, 3, 4), Usage(1, 2, 3, 4)),
    (Usage(1), Usage(5, 6), Usage(5, 6)),
]


@pytest.mark.parametrize(("before", "later", "expected"), UPDATES)
def test_updated(before: Usage, later: Usage, expected: Usage) -> None:
    assert before.updated(later) == expected
