"""The memory of the event decoder, for the incomplete event's data and line, never exceeds its limit.
ValueError alone is raised, and only for an event or a line above the limit; without one the events are those of the
standard."""

import re

from gateway.messages.sse import EventDecoder
from tests.fuzz.fuzz import fuzz
from tests.support.references import events_by_the_standard
from tests.support.strategies import CUTS, EVENT_STREAMS, cut

LIMIT = 24


def unfinished(sent: bytes) -> int:
    """Bytes that cannot be released yet: the data of the incomplete event, and its last line."""
    *lines, last = re.sub(rb"\r\n?", b"\n", sent).rpartition(b"\n\n")[2].split(b"\n")
    return len(last) + sum(len(line) - len(b"data: ") for line in lines if line.startswith(b"data: "))


def contract(sent: bytes, cuts: list[int]) -> None:
    decoder, events, fed = EventDecoder(LIMIT), [], b""
    try:
        for read in cut(sent, cuts):
            events += decoder.feed(read)
            fed += read
            assert unfinished(fed) <= LIMIT
    except ValueError:
        assert max(map(len, re.sub(rb"\r\n?", b"\n", sent).split(b"\n\n"))) > LIMIT - 2
    else:
        assert events == events_by_the_standard(sent)
        assert all(len(event.data) <= LIMIT for event in events)


def test_an_event_stream_with_a_limit() -> None:
    fuzz(contract, EVENT_STREAMS, CUTS)
