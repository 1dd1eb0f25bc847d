"""The upstream's prepared responses have their documented content."""

import json

import pytest

from bench import responses
from bench.exchange import dechunked
from bench.programs import DELTA, JSON_SIZE, STAMP, STOP


def events(payload: bytes) -> list[dict[str, object]]:
    """The JSON of each event of an SSE payload."""
    blocks = payload.replace(b"\r\n", b"\n").strip().split(b"\n\n")
    found = [line for block in blocks for line in block.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line.removeprefix(b"data: ")) for line in found]


def test_message_has_its_size() -> None:
    assert len(responses.MESSAGE) == JSON_SIZE
    assert json.loads(responses.MESSAGE)["stop_reason"] == "end_turn"


def test_messages_stream_is_whole() -> None:
    body = responses.MESSAGES.start + responses.MESSAGES.delta * 2 + responses.MESSAGES.end
    assert body.endswith(responses.LAST_CHUNK)
    assert body.count(DELTA) == 2
    assert body.count(STOP) == 1
    assert [event["type"] for event in events(dechunked(body))] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_gemini_stream_ends_with_a_finish_reason() -> None:
    body = responses.GEMINI.start + responses.GEMINI.delta + responses.GEMINI.end
    first, last = events(dechunked(body))
    assert "finishReason" not in str(first)
    assert "STOP" in str(last)


@pytest.mark.parametrize("dialect", [responses.MESSAGES, responses.GEMINI, responses.OPENAI])
def test_a_stamped_delta_carries_its_time_and_keeps_its_length(dialect: responses.Dialect) -> None:
    stamped = dialect.stamped(1234567890)
    assert len(stamped) == len(dialect.delta)
    found = STAMP.search(stamped)
    assert found is not None
    assert int(found[1]) == 1234567890


@pytest.mark.parametrize("head", [responses.json_head(7, 10), responses.stream_head(7)])
def test_heads_differ_by_their_number(head: bytes) -> None:
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"request-id: req_%024d\r\n" % 7 in head
