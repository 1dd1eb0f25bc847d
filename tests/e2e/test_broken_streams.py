"""Streams that break, at every byte: what a client may get of them, and what it must never get."""

import zlib

import orjson
import pytest

from gateway.http1.framing import Framing
from gateway.http1.grammar import ProtocolError
from tests.fakes.messages import SSE_HEAD, Close, Script, Stall, Step, event
from tests.support.breaking import (
    BREAKS,
    COMPLETE,
    CONTENT,
    EDGES,
    ENDS,
    EVENTS,
    PAYLOAD,
    PIECES,
    STOPS,
    WIRE,
    behind_whole_events,
    break_at,
    delivered,
    framed,
    near,
)
from tests.support.client import Response

SOME = sorted({*range(0, len(PAYLOAD), 11), *near(STOPS, len(PAYLOAD))})
"""Payload bytes: all about those that matter, and every eleventh one."""


def check_prefix(seen: int, complete: bool, response: Response, accounts: list[str]) -> None:
    """The upstream sent `seen` bytes of the payload; with `complete` nothing was missing."""
    assert response.status == 200
    if complete:
        assert len(accounts) == 1
        assert response.body == PAYLOAD[:seen]
        assert response.complete
    elif seen < CONTENT:
        assert len(accounts) == 2
        assert response.body == PAYLOAD
        assert response.complete
    else:
        assert len(accounts) == 1
        (last,) = behind_whole_events(response.body, seen)
        assert last.name == "error"
        assert orjson.loads(last.data)["error"]["type"] in {"api_error", "timeout_error"}


def check_wire(offset: int, response: Response, accounts: list[str]) -> None:
    """The upstream sent the first `offset` bytes of WIRE."""
    check_prefix(delivered(offset), offset == len(WIRE), response, accounts)
    # A kept connection that dies without a byte is replaced, and no account cools down for it.
    assert len(set(accounts)) == len(accounts) or offset == 0


@pytest.mark.parametrize("kind", BREAKS)
def test_a_stream_that_stops(kind: str) -> None:
    """In each way about each edge; between two of them, where bytes are but counted, every third in one of the ways."""

    def script(offset: int) -> Script:
        return [WIRE[:offset], BREAKS[kind]]

    spread = sorted(EDGES | {*range(3 * [*BREAKS].index(kind), len(WIRE) + 1, 3 * len(BREAKS))})
    if kind == "stall":  # before there is content, silence is a timeout: see the failure table
        after = [offset for offset in spread if delivered(offset) >= CONTENT and offset < len(WIRE)]
        break_at(after, script, check_wire)
        return
    # A response without a head cools a whole upstream down.
    break_at(range(len(SSE_HEAD)), script, check_wire, alone=True)
    break_at([offset for offset in spread if offset >= len(SSE_HEAD)], script, check_wire)


def test_a_stream_that_ends_early_in_good_framing() -> None:
    def script(offset: int) -> Script:
        pieces = [PAYLOAD[: min(offset, ENDS[4])], PAYLOAD[ENDS[4] : offset]]
        return [b"".join(framed([piece for piece in pieces if piece]))]

    def check(offset: int, response: Response, accounts: list[str]) -> None:
        check_prefix(offset, offset >= COMPLETE, response, accounts)

    break_at(SOME, script, check)


def test_a_stream_that_ends_early_where_a_close_is_the_end() -> None:
    head = SSE_HEAD.replace(b"transfer-encoding: chunked\r\n", b"")

    def check(offset: int, response: Response, accounts: list[str]) -> None:
        check_prefix(offset, offset >= COMPLETE, response, accounts)

    break_at(SOME, lambda offset: [head + PAYLOAD[:offset], Close()], check)


@pytest.mark.parametrize("more", [[b"1\r\n\xff\r\n", Stall()], [b"0\r\n\r\n"]], ids=["garbage", "end"])
def test_a_compressed_stream_that_breaks(more: list[Step]) -> None:
    """After each event; the upstream sends on for a while, and the gateway does not read it."""
    head = SSE_HEAD.replace(b"\r\n", b"\r\ncontent-encoding: gzip\r\n", 1)
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in EVENTS]
    garbage = [b"2\r\n\xff\xff\r\n"] if Stall in map(type, more) else []

    def script(count: int) -> Script:
        return [b"".join([head, *framed(packed[:count])[1:-1]]), *garbage, *more]

    def check(count: int, response: Response, accounts: list[str]) -> None:
        check_prefix(ENDS[count - 1] if count else 0, False, response, accounts)

    break_at(range(len(EVENTS)), script, check)


def test_a_stop_reason_of_null_is_no_end() -> None:
    unfinished = EVENTS[-2].replace(b'"tool_use"', b"null")
    script = [b"".join(framed([*EVENTS[:-2], unfinished]))]

    def check(offset: int, response: Response, accounts: list[str]) -> None:
        assert response.names[-2:] == ["message_delta", "error"]

    break_at([0], lambda _: script, check)


GARBAGE = (b"xyz", b"-1\r\n", b"\n", b"5;\x00\r\n", b"11111111111111111\r\n", b"\r\n\r\n")


def spoils(offset: int, garbage: bytes) -> bool:
    """Not every garbage is bad everywhere."""
    framing = Framing("chunked")
    try:
        framing.feed(WIRE[len(SSE_HEAD) : offset] + garbage)
    except ProtocolError:
        return True
    return False


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_invalid_chunk(garbage: bytes) -> None:
    """Behind each chunk, in its size line, and in place of the CRLF behind its data."""
    begins = [len(b"".join(PIECES[:count])) for count in range(1, len(PIECES))]
    places = {at for begin in begins for at in range(begin - 2, begin + 2) if at >= len(SSE_HEAD)}
    bad = [offset for offset in sorted(places) if spoils(offset, garbage)]
    assert len(bad) > 10

    def check(offset: int, response: Response, accounts: list[str]) -> None:
        check_prefix(delivered(offset), False, response, accounts)

    def check_roughly(offset: int, response: Response, accounts: list[str]) -> None:
        """Events that arrive together with the garbage are lost."""
        check_prefix(delivered(offset) if len(accounts) == 1 else 0, False, response, accounts)

    break_at(bad, lambda offset: [WIRE[:offset], garbage, Stall()], check)
    break_at(bad, lambda offset: [WIRE[:offset] + garbage], check_roughly)


def error_of(type: str) -> bytes:
    """An error event with an unusual wording, so that it is found in the response."""
    return event("error", error={"type": type, "message": "oh"}).replace(b"{", b' { "x": 1.0, ', 1)


@pytest.mark.parametrize("end", [None, *BREAKS.values()], ids=["end", *BREAKS])
def test_an_error_event_behind_each_event(end: Step | None) -> None:
    error = error_of("api_error")

    def script(count: int) -> Script:
        pieces = framed([*EVENTS[:count], error])
        return [b"".join(pieces)] if end is None else [b"".join(pieces[:-1]), end]

    def check(count: int, response: Response, accounts: list[str]) -> None:
        check_prefix(ENDS[count - 1] if count else 0, False, response, accounts)
        if len(accounts) == 1:
            assert response.body == b"".join(EVENTS[:count]) + error

    break_at(range(len(EVENTS) - 1), script, check, alone=True)


@pytest.mark.parametrize("kind", BREAKS)
def test_an_error_event_that_is_cut(kind: str) -> None:
    """Whole or not, one error reaches the client, and it can read it."""
    error = error_of("invalid_request_error")
    good = b"".join(EVENTS[:-4])

    def script(offset: int) -> Script:
        pieces = framed([good, error])
        return [b"".join(pieces[:-1])[: offset - 2 - len(error)], BREAKS[kind]]

    def check(offset: int, response: Response, accounts: list[str]) -> None:
        (last,) = behind_whole_events(response.body, len(good))
        assert last.name == "error"
        assert orjson.loads(last.data)["error"]["type"] in {"api_error", "timeout_error"}

    break_at(range(len(error)), script, check)
