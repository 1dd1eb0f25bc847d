"""An event stream with any bytes, cut into any reads: the decoder gives the events that the
standard's own words give for the whole text."""

from gateway.messages.sse import Event, EventDecoder
from tests.fuzz.fuzz import fuzz
from tests.support.references import events_by_the_standard
from tests.support.strategies import CUTS, EVENT_STREAMS, cut, singly


def decoded(reads: list[bytes]) -> list[Event]:
    decoder = EventDecoder()
    events = [event for read in reads for event in decoder.feed(read)]
    decoder.end()
    assert decoder.end() == []
    return events


def contract(sent: bytes, cuts: list[int]) -> None:
    expected = events_by_the_standard(sent)
    for reads in ([sent], cut(sent, cuts), singly(sent)):
        assert decoded(reads) == expected


def test_an_event_stream() -> None:
    fuzz(contract, EVENT_STREAMS, CUTS)
