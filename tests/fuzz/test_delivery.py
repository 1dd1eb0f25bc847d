"""An upstream's streamed answer on its way to the client, whatever its bytes.

Contract: no exception. The attempt hears one end. What the client got by then is nothing, or an answer that h11 reads:
whole if it ended well, and else with an error among its events, or cut so that nobody takes it for whole. An answer
that is made here has the grammar of events, and ends as a message only if it ended well.
"""

import asyncio

import h11
import orjson
import pytest
from hypothesis import strategies as st

from gateway.delivery.readers import reader_of
from gateway.delivery.relay import kind_of
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, Outgoing
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.messages.sse import Decoder, Event
from tests.fuzz.fuzz import CUTS, cut, edited, fuzz
from tests.support.attempt import Recorder, upstream_connection
from tests.support.clock import JumpingLoop
from tests.support.leftovers import leftovers
from tests.support.upstream import chunked, event, message_start, text_events

JUNK = [
    b"\n",
    b"\n\n",
    b"\r",
    b"{",
    b"}",
    b'"',
    b"[",
    b"]",
    b"null",
    b"0",
    b"data: ",
    b"event: error\n",
    b":",
]
CALL = {"type": "tool_use", "id": "t", "name": "rm", "input": {}}
EVENTS = [
    *(message_start(), b": a comment\r\n\r\n", *text_events()[1:-2]),
    event("content_block_start", index=1, content_block=CALL),
    event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a": 1}'}),
    event("content_block_stop", index=1),
    *text_events(stop_reason="tool_use")[-2:],
]
ERROR = event("error", error={"type": "overloaded_error", "message": "busy"})
PARTS = [
    {"text": "Hi"},
    {"text": "hm", "thought": True},
    {"functionCall": {"name": "Read", "args": {"a": 1}}},
]
CHUNKS = [
    *({"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in PARTS),
    {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2},
    },
    {"candidates": [{"finishReason": "SAFETY"}]},
    {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}},
]
BODIES: dict[str, list[bytes]] = {
    "anthropic": [*EVENTS, ERROR],
    "gemini": [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in CHUNKS],
}
GOOD = {"anthropic": len(EVENTS), "gemini": 4}
"""So many of them are a good answer."""
DIALECTS: dict[str, Dialect] = {
    "anthropic": AnthropicDialect(),
    "gemini": GeminiDialect(lambda: 0.5, lambda warning: None),
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ENDS = ("done", "broke", "failed", "whole")


async def delivered(reads: list[bytes], kind: str, stream: bool) -> tuple[str, bytes, list[str]]:
    """How the attempt ended, what was written to the client, what was logged."""
    attempt = Recorder(stream=stream)
    outgoing = Outgoing(method="POST", target="/", headers=(), body=b"")
    connection = upstream_connection(
        lambda connection, head: reader_of(attempt, connection, head, None, DIALECTS[kind], outgoing, 10_000)
    )
    for read in reads:
        if connection.state != "CLOSED" and "abandon" not in attempt.told:
            connection.data_received(read)
    if "abandon" in attempt.told:
        connection.abort()
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert leftovers() == []
    (end,) = [told.partition(":")[0].partition(" ")[0] for told in attempt.told if told.startswith(ENDS)]
    assert attempt.answer.exchange.ended == (end in ("done", "broke"))
    return end, attempt.wire.sent, attempt.lines


def as_read(sent: bytes) -> tuple[list[Event], bool]:
    """The client's events, and whether its answer is whole."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    decoder, events = Decoder(), list[Event]()
    assert isinstance(client.next_event(), h11.Response)
    while isinstance(item := client.next_event(), h11.Data):
        events += decoder.feed(bytes(item.data))
    return events, isinstance(item, h11.EndOfMessage)


def grammatical(events: list[Event], end: str) -> None:
    """What is made here: one start, blocks one after the other, and one end of its kind."""
    names = [event.name for event in events if event.name != "ping"]
    assert names[0] == "message_start"
    assert names.count("message_start") == 1
    assert names.count("message_stop") == (end == "done")
    assert names.count("error") == (end == "broke")
    assert names[-1] == ("message_stop" if end == "done" else "error")
    indexes = [orjson.loads(e.data)["index"] for e in events if e.name == "content_block_start"]
    assert indexes == list(range(len(indexes)))
    assert len(indexes) - names.count("content_block_stop") in ((0,) if end == "done" else (0, 1))


async def judged(kind: str, stream: bool, reads: list[bytes]) -> None:
    end, written, lines = await delivered(reads, kind, stream)
    assert not any("internal error" in line for line in lines)
    if end in ("failed", "whole"):
        assert written == b""
        assert end == "failed" or not stream
        return
    events, whole = as_read(written)
    if end == "done":
        assert whole
        assert any(kind_of(event) == "message_stop" or b"stop_reason" in event.data for event in events)
    else:
        assert "error" in map(kind_of, events) or not whole
    if kind == "gemini":
        grammatical(events, end)


@pytest.mark.parametrize("kind", BODIES)
def test_a_streamed_answer(kind: str) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:

        def contract(payload: bytes, chunks: list[int], cuts: list[int], missing: int) -> None:
            coding, body = b"", payload
            if chunks:
                coding, body = b"transfer-encoding: chunked\r\n", chunked(cut(payload, chunks))
            head = HEAD + coding + b"\r\n"
            reads = [head, *cut(body[: max(0, len(body) - missing)], cuts)]
            runner.run(judged(kind, True, reads))
            runner.run(judged(kind, False, reads))

        good = st.just(b"".join(BODIES[kind][: GOOD[kind]]))
        payloads = edited(good | st.lists(st.sampled_from(BODIES[kind]), max_size=12).map(b"".join), JUNK)
        fuzz(contract, payloads, CUTS, CUTS, st.sampled_from([0, 0, 0, 1, 5, 100]), examples=60)
