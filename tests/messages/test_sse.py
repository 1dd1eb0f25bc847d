"""messages/sse.py: every form an event may have, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.sse import Event, EventDecoder

CASES = [
    (b"", []),
    (b"event: ping\ndata: {}\n\n", [Event("ping", b"{}")]),
    (b"event:ping\ndata:{}\n\n", [Event("ping", b"{}")]),
    (b"event: ping\r\ndata: {}\r\n\r\n", [Event("ping", b"{}")]),
    (b"event: ping\rdata: {}\r\r", [Event("ping", b"{}")]),
    (b"data: {}\r\n\r\n", [Event("", b"{}")]),
    (b"data: a\nb: c\r\n\r\n", [Event("", b"a")]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [Event("", b"a"), Event("", b"b")]),
    (b"event: ping\rdata: {}\r\n\ndata: 2\n\r", [Event("ping", b"{}"), Event("", b"2")]),
    (b"data: a\n\ndata: b\n\n", [Event("", b"a"), Event("", b"b")]),
    (b"data: a\ndata: b\n\n", [Event("", b"a\nb")]),
    (b"data: a\ndata\ndata:\n\n", [Event("", b"a\n\n")]),
    (b"data:\n\n", [Event("", b"")]),
    (b"data\n\n", [Event("", b"")]),
    (b"data:  two blanks\n\n", [Event("", b" two blanks")]),
    (b"data: a:b: c\n\n", [Event("", b"a:b: c")]),
    (b": a comment\ndata: a\n:\n\n", [Event("", b"a")]),
    (b"\n\n\ndata: a\n\n\n\n", [Event("", b"a")]),
    (b"id: 1\nretry: 5\nData: b\n data: c\ndata: a\n\n", [Event("", b"a")]),
    (b"event: lost\n\ndata: a\n\n", [Event("", b"a")]),
    (b"event: a\nevent: b\ndata: x\n\n", [Event("b", b"x")]),
    (b"event: \xc3\xa9\ndata: \xf0\x9f\x98\x80\n\n", [Event("é", "😀".encode())]),
    (b"event: \xff\ndata: \xff\n\n", [Event("\ufffd", b"\xff")]),
    (b"\xef\xbb\xbfdata: a\n\n", [Event("", b"a")]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event("", b"a")]),
    (b"\xef\xbb\xbb\xbfdata: a\n\n", []),
    (b"data: a\n\ndata: cut off", [Event("", b"a")]),
    (b"data: a\n\ndata: cut off\n", [Event("", b"a")]),
]


@pytest.mark.parametrize(("raw", "events"), CASES)
def test_whole(raw: bytes, events: list[Event]) -> None:
    assert EventDecoder().feed(raw) == events


@pytest.mark.parametrize(("raw", "events"), CASES)
def test_byte_by_byte(raw: bytes, events: list[Event]) -> None:
    decoder = EventDecoder()
    got = [event for at in range(len(raw)) for event in decoder.feed(raw[at : at + 1])]
    assert got == events


@given(
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"data: ", b"event: e", b":", b"\xef\xbb\xbf", b"\xc3", b"x"])
    ),
    st.data(),
)
def test_any_split_is_the_whole(pieces: list[bytes], draw: st.DataObject) -> None:
    raw = b"".join(pieces)
    whole = EventDecoder()
    expected = whole.feed(raw)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    decoder = EventDecoder()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        got += decoder.feed(raw[start:end])
    assert got == expected
    assert decoder.end() == whole.end()


BLOCKS = st.lists(
    st.sampled_from(
        [
            *(b"event: ping\ndata: {}\n\n", b"data: a\n\n", b"event: e\n\n", b"event: a\nevent: b\n"),
            *(b"data: a\ndata: b\n\n", b"event:e\ndata:1\n\n", b"data:  a\n\n", b"id: 1\n", b": c\n\n"),
            *(b"data: a\r\n\r\n", b"data: a\r\n", b"data: aaaaaaa\r\n\r\n", b"data: a\rdata: b\r\n\r\n"),
            *(
                b"event: e",
                b"data: ",
                b"data",
                b"event: ",
                b"\n",
                b"\n\n",
                b"\r",
                b"\r\n\r\n",
                b"xxxxxxxx",
            ),
            *(b"event: \xff\ndata: \xff\n\n", b"\xef\xbb\xbf", b"\xc3", b"event: e\rdata: x\r\r"),
        ]
    ),
    max_size=8,
).map(b"".join)


def decode(pieces: list[bytes], limit: int) -> list[Event] | str:
    """All events of a stream that comes in these pieces, or why there are none."""
    decoder = EventDecoder(limit)
    try:
        return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()
    except ValueError as error:
        return str(error)


@given(
    st.one_of(BLOCKS, BLOCKS, st.binary(max_size=12)),
    st.integers(8, 40),
    st.lists(st.integers(0, 99), max_size=4),
)
def test_whole_blocks_are_read_as_their_lines_are(raw: bytes, limit: int, cuts: list[int]) -> None:
    """Bytes that come one by one are never a block."""
    expected = decode([raw[at : at + 1] for at in range(len(raw))], limit)
    edges = sorted(cut % (len(raw) + 1) for cut in cuts)
    pieces = [raw[start:end] for start, end in zip([0, *edges], [*edges, len(raw)], strict=True)]
    assert decode([raw], limit) == expected
    assert decode(pieces, limit) == expected


def test_an_event_is_complete_at_its_blank_line() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [Event("", b"a")]
    assert decoder.feed(b"\ndata: b\n\n") == [Event("", b"b")]


def test_an_event_of_one_line_that_ends_with_crlf() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [Event("", b"a")]
    assert decoder.feed(b"data: b\r\n\r\n") == [Event("", b"b")]
    assert decoder.feed(b"\ndata: c\n\n") == [Event("", b"c")]


@pytest.mark.parametrize(
    ("raw", "last"),
    [
        (b"", []),
        (b"data: a\n\n", []),
        (b"event: e\ndata: a\n", [Event("e", b"a")]),
        (b"event: e\ndata: a", [Event("e", b"a")]),
        (b"data: a\ndata", [Event("", b"a\n")]),
        (b"data: a\r", [Event("", b"a")]),
        (b"event: e\n", []),
        (b": comment", []),
        (b"\xef\xbb", []),
    ],
)
def test_the_end_gives_the_last_event_without_its_blank_line(raw: bytes, last: list[Event]) -> None:
    decoder = EventDecoder()
    decoder.feed(raw)
    assert decoder.end() == last
    assert decoder.end() == []


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("raw", "fits"),
    [
        (b"data: " + b"x" * 13 + b"\n\n", True),
        (b"data: " + b"x" * 14 + b"\n\n", False),
        (b"data: x\ndata: x\ndata:\n\n", False),
        (b"event: 12345678\ndata: \n\n", False),
        (b"data: x\n\n" * 50, True),
        (b": 12345\n" * 50, True),
        (b"data: x\n: 345678901\n\n", True),
        (b"data: x\n: 3456789012\n\n", False),
        (b"x" * 20, True),
        (b"x" * 21, False),
    ],
)
def test_an_event_is_bounded(raw: bytes, fits: bool, step: int) -> None:
    decoder = EventDecoder(limit=20)

    def feed() -> None:
        for at in range(0, len(raw), step):
            decoder.feed(raw[at : at + step])

    if fits:
        feed()
        decoder.end()
    else:
        with pytest.raises(ValueError, match="larger than 20 bytes"):
            feed()


def test_a_long_line_in_many_pieces_takes_linear_time() -> None:
    decoder = EventDecoder()
    decoder.feed(b"data: ")
    for _ in range(100_000):
        decoder.feed(b"x" * 50)
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 5_000_000
