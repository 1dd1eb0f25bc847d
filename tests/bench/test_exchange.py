"""A connection of the load, fed by hand: whole, in two pieces at every place, and byte by byte."""

import pytest

from bench import responses
from bench.exchange import Exchange, Sample, dechunked
from bench.load import Job, Run
from tests.support.wire import Wire


class Listener:
    """Writes down what an exchange reports."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.firsts = 0
        self.events = 0
        self.hidden = 0

    def first_event(self, seconds: float) -> None:
        self.firsts += 1

    def deltas(self, count: int) -> None:
        self.events += count

    def stamps(self, data: bytes) -> tuple[int, int]:
        job = Job(kind="paced", port=0, requests=[], connections=1, seconds=1)
        count, end = Run(job).stamps(data)
        self.events += count
        return count, end

    def unread(self, count: int) -> None:
        self.hidden += count

    def finished(self, sample: Sample) -> bool:
        self.samples.append(sample)
        return False


def fed(parts: list[bytes], events: int, *, paced: bool = False, lost: bool = False) -> Listener:
    """An exchange that has sent its request and been given these parts."""
    listener = Listener()
    exchange = Exchange(listener, b"request", events, paced=paced)
    wire = Wire()
    assert wire.join(exchange) == b""
    exchange.begin()
    assert wire.written() == b"request"
    for part in parts:
        exchange.data_received(part)
    if lost:
        exchange.connection_lost(None)
    return listener


JSON_RESPONSE = responses.json_head(1, len(responses.MESSAGE)) + responses.MESSAGE
STREAM = (
    responses.stream_head(1)
    + responses.MESSAGES.start
    + responses.MESSAGES.delta * 3
    + responses.MESSAGES.end
)


def rechunked(stream: bytes, size: int) -> bytes:
    """The same head and payload, in chunks of `size`: words are cut by framing."""
    head, _, body = stream.partition(b"\r\n\r\n")
    payload = dechunked(body)
    chunks = [responses.chunk(payload[start : start + size]) for start in range(0, len(payload), size)]
    return head + b"\r\n\r\n" + b"".join(chunks) + responses.LAST_CHUNK


def only(listener: Listener) -> str:
    """The problem of the one response that ended."""
    (sample,) = listener.samples
    return sample.problem


async def test_a_complete_response_in_two_parts_cut_anywhere() -> None:
    for cut in range(1, len(JSON_RESPONSE)):
        assert only(fed([JSON_RESPONSE[:cut], JSON_RESPONSE[cut:]], 0)) == ""


async def test_a_stream_in_two_parts_cut_anywhere() -> None:
    for cut in range(1, len(STREAM)):
        listener = fed([STREAM[:cut], STREAM[cut:]], 3)
        assert only(listener) == ""
        assert (listener.events, listener.firsts) == (3, 1)


async def test_a_stream_byte_by_byte() -> None:
    listener = fed([STREAM[at : at + 1] for at in range(len(STREAM))], 3)
    assert only(listener) == ""
    assert (listener.events, listener.firsts) == (3, 1)


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
async def test_words_cut_by_chunk_framing_are_found_at_the_end(size: int) -> None:
    listener = fed([rechunked(STREAM, size)], 3)
    assert only(listener) == ""
    assert listener.events == 3


@pytest.mark.parametrize("size", [1000, 3])
async def test_stamps_cut_by_chunk_framing_are_not_lost(size: int) -> None:
    listener = fed([rechunked(STREAM, size)], 3, paced=True)
    assert only(listener) == ""
    assert listener.events + listener.hidden == 3


async def test_stamps_cut_by_reads() -> None:
    for cut in range(1, len(STREAM)):
        listener = fed([STREAM[:cut], STREAM[cut:]], 3, paced=True)
        assert only(listener) == ""
        assert listener.events == 3


@pytest.mark.parametrize(
    ("response", "events", "lost", "problem"),
    [
        (STREAM, 4, False, "3 events instead of 4"),
        (STREAM[: -len(responses.LAST_CHUNK)], 3, True, "connection closed before the response was whole"),
        (STREAM.replace(b'"message_stop"', b'"message_halt"'), 3, False, "stream ended without message_stop"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", 3, False, "status 500: oops"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 0, False, "status 503: "),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", 0, True, ""),
        (b"HTTP/1.1 200 OK\r\nContent-", 0, True, "connection closed before the response was whole"),
    ],
)
async def test_problems_are_named(response: bytes, events: int, lost: bool, problem: str) -> None:
    assert only(fed([response], events, lost=lost)) == problem


def test_dechunked_stops_where_framing_breaks() -> None:
    assert dechunked(b"3\r\nabc\r\nzz\r\n") == b"abc"
    assert dechunked(b"3;x=y\r\nabc\r\n0\r\n\r\n") == b"abc"
    assert dechunked(b"") == b""


def test_job_round_trip() -> None:
    job = Job(kind="burst", port=1, requests=[b"\x00\xff"], connections=2, seconds=0.5, events=3)
    assert Job.read(job.dump()) == job
