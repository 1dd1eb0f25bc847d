"""What the decoder of an event stream keeps never exceeds its limit. ValueError alone is raised, and only for an event
or a line above the limit; without one the events are those of the standard."""

import re

from gateway.messages.sse import EventDecoder
from tests.fuzz.fuzz import fuzz
from tests.support.references import events_by_the_standard
from tests.support.strategies import CUTS, EVENT_STREAMS, cut

LIMIT = 24


def contract(sent: bytes, cuts: list[int]) -> None:
    decoder, events = EventDecoder(LIMIT), []
    try:
        for read in cut(sent, cuts):
            events += decoder.feed(read)
            assert sum(map(len, [*decoder._pieces, *decoder._data])) <= LIMIT
    except ValueError:
        assert max(map(len, re.sub(rb"\r\n?", b"\n", sent).split(b"\n\n"))) > LIMIT - 2
    else:
        assert events == events_by_the_standard(sent)
        assert all(len(event.data) <= LIMIT for event in events)


def test_an_event_stream_with_a_limit() -> None:
    fuzz(contract, EVENT_STREAMS, CUTS, examples=200)
