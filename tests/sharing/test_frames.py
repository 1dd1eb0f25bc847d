"""Frames are cut where they were joined, and what waits to be sent has an end."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sharing import frames
from gateway.sharing.frames import (
    MAX_PAYLOAD,
    NEWS,
    REPLY,
    Inbox,
    Outbox,
    add_name,
    add_number,
    frame,
    split_name,
    split_number,
)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50))), st.data())
def test_frames_arrive_as_they_were_sent_however_they_are_cut(
    sent: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in sent)
    inbox = Inbox()
    got: list[tuple[int, bytes]] = []
    while stream:
        count = data.draw(st.integers(1, len(stream)))
        got += inbox.feed(stream[:count])
        stream = stream[count:]
    assert got == sent


def test_a_frame_that_is_too_large_is_refused_at_its_head() -> None:
    head = frame(NEWS, b"x" * (MAX_PAYLOAD + 1))[:5]
    with pytest.raises(ValueError, match="a frame of"):
        list(Inbox().feed(head))


@given(st.integers(0, 2**32 - 1), st.text(max_size=20), st.binary(max_size=20))
def test_numbers_and_names(number: int, name: str, rest: bytes) -> None:
    assert split_number(add_number(number, rest)) == (number, rest)
    assert split_name(add_name(name, rest)) == (name, rest)


def drained(outbox: Outbox, at_once: int = 10**9) -> list[tuple[int, bytes]]:
    inbox = Inbox()
    got: list[tuple[int, bytes]] = []
    while data := outbox.next():
        got += inbox.feed(data[:at_once])
        outbox.remove_sent(min(at_once, len(data)))
    return got


def test_outbox_priority() -> None:
    outbox = Outbox([frame(NEWS, b"old 1"), frame(NEWS, b"old 2")])
    outbox.put(frame(NEWS, b"young"))
    outbox.put(frame(REPLY, b"reply"))
    assert [payload for _, payload in drained(outbox, 3)] == [b"reply", b"old 1", b"old 2", b"young"]
    assert outbox.next() == b""


def test_the_oldest_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROOM", 100)
    monkeypatch.setattr(frames, "ROOM_FOR_REST", 100)
    outbox = Outbox()
    for number in range(100):
        outbox.put(frame(NEWS, b"%015d" % number))
        outbox.put(frame(REPLY, b"%015d" % number))
    assert outbox.dropped == 190
    kept = [b"%015d" % number for number in range(95, 100)]
    assert drained(outbox) == [
        *((REPLY, payload) for payload in kept),
        *((NEWS, payload) for payload in kept),
    ]


def test_a_snapshot_is_taken_in_pieces() -> None:
    made: list[int] = []

    def snapshot() -> Iterator[bytes]:
        for number in range(100):
            made.append(number)
            yield frame(NEWS, b"x" * 10_000)

    outbox = Outbox(snapshot())
    outbox.remove_sent(len(outbox.next()))
    assert len(made) == 7
    assert len(drained(outbox)) == 93
