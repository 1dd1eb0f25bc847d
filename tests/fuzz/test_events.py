"""An event stream, whatever its bytes.

Contract: however the bytes are cut into reads, the decoder gives the events that the standard's own words give for the
whole text (here as a few lines that keep everything in memory). ValueError alone is raised, and only for an event or a
line above the limit; what is kept in the meantime never exceeds that.
"""

import re

from hypothesis import strategies as st

from gateway.messages.sse import BOM, Decoder, Event
from tests.fuzz.fuzz import CUTS, cut, edited, fuzz

JUNK = [b"\n", b"\r", b"\r\n", b"\n\n", b":", b" ", b"data", b"event: e\n", b"id", BOM, b"\xc3", b"\x00"]
LINES = [b"data: a", b"data:b", b"data", b"event: x", b"event:", b": note", b"id: 1", b"retry: 5", b"", b""]
SENT = st.lists(st.sampled_from(LINES), max_size=12).map(b"\n".join)
LIMIT = 40


def by_the_standard(sent: bytes) -> list[Event]:
    """WHATWG HTML, 9.2.6: lines, fields, and an event for each blank line behind data."""
    lines = re.split(rb"\r\n|\n|\r", sent.removeprefix(BOM))[:-1]
    events, name, data = [], "", list[bytes]()
    for line in lines:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
        elif not line:
            events += [Event(name, b"\n".join(data))] if data else []
            name, data = "", []
    return events


def decoded(reads: list[bytes], limit: int) -> list[Event] | None:
    """The events; None when one is too large."""
    decoder = Decoder(limit)
    events = []
    try:
        for read in reads:
            events += decoder.feed(read)
            assert decoder._size <= limit
    except ValueError:
        return None
    decoder.end()
    assert not decoder.partial
    return events


def contract(sent: bytes, cuts: list[int]) -> None:
    expected = by_the_standard(sent)
    assert decoded([sent], 10_000) == expected
    assert decoded(cut(sent, cuts), 10_000) == expected
    assert decoded([bytes([byte]) for byte in sent], 10_000) == expected
    bounded = decoded(cut(sent, cuts), LIMIT)
    assert bounded in (expected, None)
    if bounded is None:
        assert max(map(len, re.sub(rb"\r\n?", b"\n", sent).split(b"\n\n"))) > LIMIT - 2
    else:
        assert all(len(event.data) <= LIMIT for event in expected)


def test_an_event_stream() -> None:
    fuzz(contract, edited(SENT, JUNK), CUTS, examples=300)
