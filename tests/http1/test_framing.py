"""Where a body ends, cut in any way; held to h11's reading of the same bytes."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http1 import framing
from gateway.http1.framing import LAST_CHUNK, Framing, chunk
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import RequestHead, ResponseHead, parse_request_head, parse_response_head
from tests.http1.conformance import CASES, SMUGGLED

LENGTH = (b"content-length", b"5")
CHUNKED = (b"transfer-encoding", b"chunked")


# Which framing a head announces.


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*lines, b""))


def request(*fields: tuple[bytes, bytes]) -> RequestHead:
    return parse_request_head(head(b"POST / HTTP/1.1", b"Host: a", *map(b": ".join, fields)))


def response(status: int, *fields: tuple[bytes, bytes]) -> ResponseHead:
    return parse_response_head(head(b"HTTP/1.1 %d X" % status, *map(b": ".join, fields)))


@pytest.mark.parametrize(
    ("headers", "mode", "left"),
    [
        ([], "none", 0),
        ([(b"content-length", b"0")], "none", 0),
        ([LENGTH], "length", 5),
        ([CHUNKED], "chunked", 0),
    ],
)
def test_framing_of_a_request(headers: list[tuple[bytes, bytes]], mode: str, left: int) -> None:
    found = Framing.for_request(request(*headers))
    assert (found.mode, found.chunk_left, found.ended) == (mode, left, mode == "none")


@pytest.mark.parametrize(
    ("status", "headers", "method", "mode", "ended"),
    [
        (200, [], "GET", "close", False),
        (200, [LENGTH], "GET", "length", False),
        (200, [(b"content-length", b"0")], "GET", "length", True),
        (200, [CHUNKED], "GET", "chunked", False),
        (200, [LENGTH], "HEAD", "none", True),
        (200, [CHUNKED], "HEAD", "none", True),
        (204, [], "GET", "none", True),
        (304, [LENGTH], "GET", "none", True),
        (100, [], "POST", "none", True),
        (500, [], "POST", "close", False),
    ],
)
def test_framing_of_a_response(
    status: int, headers: list[tuple[bytes, bytes]], method: str, mode: str, ended: bool
) -> None:
    found = Framing.for_response(response(status, *headers), method)
    assert (found.mode, found.ended) == (mode, ended)


def test_framing_errors_name_client_or_upstream() -> None:
    body = Framing.for_request(request(CHUNKED))
    with pytest.raises(ProtocolError, match="the request's body is broken") as caught:
        body.feed(b"x")
    assert caught.value.status == 400
    body = Framing.for_response(response(200, LENGTH), "GET")
    with pytest.raises(ProtocolError, match="the upstream's body is broken") as caught:
        body.close()
    assert caught.value.status == 502


# The simple kinds.


def test_no_body() -> None:
    none = Framing("none")
    assert (none.ended, none.feed(b"GET"), none.consumed) == (True, 0, 0)
    assert none.payload(b"GET") == []
    assert none.at_chunk_boundary is False
    none.close()
    assert repr(none) == "<Framing [none, ended]>"


def test_a_body_of_known_length() -> None:
    body = Framing("length", 5)
    assert repr(body) == "<Framing [length, 5 left]>"
    data = b"hel"
    assert body.payload(data)[0] is data
    assert (body.ended, body.consumed, body.chunk_left) == (False, 3, 2)
    assert body.payload(b"") == []
    assert body.payload(b"loGET") == [b"lo"]
    assert (body.ended, body.consumed, body.chunk_left) == (True, 2, 0)
    assert body.feed(b"GET") == 0
    body.close()


def test_a_body_of_known_length_that_is_cut() -> None:
    body = Framing("length", 5)
    body.feed(b"hell")
    with pytest.raises(ProtocolError, match="closed before the end"):
        body.close()
    assert body.ended is False
    with pytest.raises(ProtocolError, match="before"):
        body.feed(b"o")


def test_a_body_until_close() -> None:
    body = Framing("close")
    assert body.payload(b"hello") == [b"hello"]
    assert (body.feed(b"you"), body.ended) == (3, False)
    body.close()
    assert body.ended
    assert body.feed(b"more") == 0


# Chunks, step by step.


def stand(body: Framing) -> tuple[int, bytes, int, bool, bool]:
    return body.chunk_left, body.chunk_end, body.unsettled, body.at_chunk_boundary, body.ended


STEPS = [
    (b"1", (0, b"", 1, False, False)),
    (b"0\r", (0, b"", 3, False, False)),
    (b"\n", (16, b"\r\n", 0, False, False)),
    (b"0123456789abcde", (1, b"\r\n", 0, False, False)),
    (b"f", (0, b"\r\n", 0, False, False)),
    (b"\r", (0, b"\n", 0, False, False)),
    (b"\n", (0, b"", 0, True, False)),
    (b"3;a=b\r\nxyz\r\n2\r\nab\r\n", (0, b"", 0, True, False)),
    (b"2\r\nab\r\n4\r\nabc", (1, b"\r\n", 0, False, False)),
    (b"d\r\n0", (0, b"", 1, False, False)),
    (b"0\r\n", (0, b"", 4, False, False)),
    (b"X: y\r", (0, b"", 9, False, False)),
    (b"\nZ:\r\n\r", (0, b"", 15, False, False)),
    (b"\nGET", (0, b"", 16, False, True)),
]


def test_position_between_chunks() -> None:
    body = Framing("chunked")
    assert stand(body) == (0, b"", 0, True, False)
    for data, expected in STEPS:
        body.feed(data)
        assert stand(body) == expected
        assert stand(body.copy()) == expected
    assert body.consumed == 1


def test_position_of_the_last_chunk() -> None:
    body = Framing("chunked")
    data = b"5\r\nhello\r\n0\r\nX: y\r\n\r\nGET"
    assert body.feed(data) == len(data) - 3
    assert data[body.consumed - body.unsettled : body.consumed] == b"0\r\nX: y\r\n\r\n"


def test_a_copy_is_independent() -> None:
    body = Framing("chunked", status=502)
    body.feed(b"5;x\r\nhel")
    twin = body.copy()
    assert body.payload(b"lo\r\n" + LAST_CHUNK) == [b"lo"]
    assert (body.ended, twin.ended, twin.chunk_left, twin.mode) == (True, False, 2, "chunked")
    with pytest.raises(ProtocolError) as caught:
        twin.feed(b"loX")
    assert caught.value.status == 502


def test_the_payload_of_a_long_chunk_is_not_copied() -> None:
    body = Framing("chunked")
    body.feed(b"fffff\r\n")
    data = b"x" * 5000
    assert body.payload(data)[0] is data


@pytest.mark.parametrize("extension", [b"", b";", b";a"])
def test_many_small_chunks_are_followed_in_parts(extension: bytes) -> None:
    body, whole = Framing("chunked"), Framing("chunked")
    data = b"1%b\r\nx\r\n" % extension * 6000 + LAST_CHUNK + b"GET"
    assert b"".join(whole.payload(data)) == b"x" * 6000
    assert (whole.consumed, whole.ended, whole.more) == (len(data) - 3, True, False)
    rest, parts, pieces = data, 0, list[bytes]()
    while not body.ended:
        size = body.feed(rest, pieces)
        rest = rest[size:]
        parts += 1
        assert body.more is not body.ended
        assert 0 < size <= len(data) - 3
    assert 2 <= parts <= 20
    assert (b"".join(pieces), rest) == (b"x" * 6000, b"GET")


def test_a_truncated_body_cannot_be_closed() -> None:
    body = Framing("chunked")
    body.feed(b"5\r\nhello\r\n0\r\n")
    with pytest.raises(ProtocolError, match="closed before the end"):
        body.close()


def test_chunk() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""
    assert Framing("chunked").feed(chunk(b"a") + LAST_CHUNK) == 11


# Bodies that are refused.


BAD_CHUNKS = [
    (case.name, case.sent.partition(b"\r\n\r\n")[2])
    for case in CASES
    if case.name.startswith(("size:", "data:", "extension:", "last chunk:", "trailer:"))
]

MORE_BAD_CHUNKS = [
    ("size line cut, too long", b"5;" + b"a" * 2000),
    ("size line cut, no size", b"hello"),
    ("size line cut, CR and more", b"5\rh"),
    ("size line too long, complete", b"5;" + b"a" * 1021 + b"\r\nhello\r\n"),
    ("trailer cut, too long", b"0\r\nX: " + b"y" * 8200),
    ("trailer section of 9 KiB", b"0\r\n" + b"X: y\r\n" * 1500),
]


def feed_in_steps(body: Framing, sent: bytes, step: int) -> None:
    for at in range(0, len(sent), step):
        assert body.feed(sent[at : at + step])


@pytest.mark.parametrize(("name", "sent"), BAD_CHUNKS + MORE_BAD_CHUNKS)
@pytest.mark.parametrize("step", [1, 2, 7, 100_000])
def test_invalid_chunks_are_refused(name: str, sent: bytes, step: int) -> None:
    body = Framing("chunked")
    with pytest.raises(ProtocolError, match="the request's body is broken"):
        feed_in_steps(body, sent, step)
    assert not body.ended
    with pytest.raises(ProtocolError, match="before"):
        body.feed(b"0\r\n\r\n")


SIZE_LINE, TRAILER_SECTION = framing.MAX_SIZE_LINE, framing.MAX_TRAILERS


@pytest.mark.parametrize(
    ("sent", "spare"),
    [
        (b"5;%b\r\n", SIZE_LINE - 4),
        (b"5;%b", SIZE_LINE - 2),
        (b"0\r\nX: %b\r\n", TRAILER_SECTION - 8),
        (b"0\r\nX: %b", TRAILER_SECTION - 6),
        (b"0\r\nX: y\r\nX: %b\r\n", TRAILER_SECTION - 14),
    ],
)
def test_chunk_line_size_limit(sent: bytes, spare: int) -> None:
    fitting, too_long = sent % (b"y" * spare), sent % (b"y" * (spare + 1))
    for step in (1, 100_000):
        feed_in_steps(Framing("chunked"), fitting, step)
        with pytest.raises(ProtocolError):
            feed_in_steps(Framing("chunked"), too_long, step)


def test_chunk_extension_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_EXTENSIONS", 10)
    fitting = b"1;aaaa\r\nx\r\n" * 2 + LAST_CHUNK
    assert Framing("chunked").feed(fitting) == len(fitting)
    body = Framing("chunked")
    body.feed(b"1;aaaa\r\nx\r\n")
    with pytest.raises(ProtocolError, match="extensions are too large"):
        body.copy().feed(b"1;aaaaa\r\n")


# Held to h11.


SIZES = st.sampled_from([1, 1, 2, 5, 16, 120, 300])
EXTENSIONS = st.sampled_from([b""] * 4 + [b";", b";a", b';a="b;c"', b";\xff\t"])
ZEROS = st.sampled_from(["", "", "", "0", "000"])
TRAILERS = st.lists(st.sampled_from([b"X: y\r\n", b"x-sum:\r\n", b"Y:  z \r\n"]), max_size=2)
FILL = st.sampled_from([b"x", b"\r\n", b"0\r\n\r\n", b"5\r\n", SMUGGLED])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """A chunked body, its last chunk with trailers, its payload."""
    body = payload = b""
    for size in draw(st.lists(SIZES, max_size=6)):
        data = (draw(FILL) * size)[:size]
        digits = draw(ZEROS) + format(size, draw(st.sampled_from("xX")))
        body += digits.encode() + draw(EXTENSIONS) + b"\r\n" + data + b"\r\n"
        payload += data
    last = draw(st.sampled_from([b"0", b"000"])) + draw(EXTENSIONS) + b"\r\n"
    return body, last + b"".join(draw(TRAILERS)) + b"\r\n", payload


CUTS = st.lists(st.integers(0, 1200), max_size=12)


def parts(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


def h11_body(data: list[bytes]) -> tuple[bytes, bool, bytes]:
    """Return the payload, whether it ended, and the rest. Raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.next_event()
    payload, ended = b"", False
    for piece in data:
        connection.receive_data(piece)
        while not ended:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                payload += event.data
            elif isinstance(event, h11.EndOfMessage):
                ended = True
            else:
                break
    return payload, ended, connection.trailing_data[0]


@settings(max_examples=100)
@given(chunked_bodies(), CUTS, st.sampled_from([b"", b"\r\n", b"GET / HTTP/1.1\r\n", b"0\r\n\r\n"]))
def test_a_valid_body_is_read_as_by_h11(
    made: tuple[bytes, bytes, bytes], cuts: list[int], rest: bytes
) -> None:
    body, last, payload = made
    data = parts(body + last + rest, cuts)
    for way in ("feed", "payload"):
        reader = Framing("chunked")
        seen, passed, left = b"", b"", b""
        for piece in data:
            if way == "feed":
                reader.feed(piece)
            else:
                seen += b"".join(reader.payload(piece))
            passed += piece[: reader.consumed]
            left += piece[reader.consumed :]
            if not reader.ended:
                assert passed[len(passed) - reader.unsettled :] in body + last
        assert reader.ended
        assert (passed, left) == (body + last, rest)
        assert reader.unsettled == len(last)
        if way == "payload":
            assert seen == payload
    assert h11_body(data) == (payload, True, rest)


@given(chunked_bodies())
def test_a_valid_body_byte_by_byte(made: tuple[bytes, bytes, bytes]) -> None:
    body, last, payload = made
    reader = Framing("chunked")
    seen = b""
    for byte in body + last:
        assert not reader.ended
        seen += b"".join(reader.payload(bytes([byte])))
    assert reader.ended
    assert seen == payload


JUNK = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b";", b"0", b"5", b"g", b"\x00", b":", b"x", b""])
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), JUNK), min_size=1, max_size=2)


@settings(max_examples=100)
@given(chunked_bodies(), EDITS, CUTS)
def test_a_broken_body_is_refused_where_h11_refuses_it(
    made: tuple[bytes, bytes, bytes], edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    whole = made[0] + made[1]
    for at, drop, junk in edits:
        whole = whole[:at] + junk + whole[at + drop :]
    data = parts(whole, cuts)
    reader = Framing("chunked")
    seen, passed, refused = b"", 0, False
    for piece in data:
        before = stand(reader)
        try:
            seen += b"".join(reader.payload(piece))
        except ProtocolError:
            refused = True
            assert stand(reader)[:3] == before[:3]
            break
        passed += reader.consumed
    try:
        payload, ended, left = h11_body(data)
    except h11.RemoteProtocolError:
        assert refused
        return
    if not refused:
        assert (seen, reader.ended, whole[passed:] if reader.ended else left) == (payload, ended, left)


@settings(max_examples=100)
@given(chunked_bodies(), EDITS, CUTS, st.booleans())
def test_a_broken_body_can_be_ended_with_an_own_chunk(
    made: tuple[bytes, bytes, bytes], edits: list[tuple[int, int, bytes]], cuts: list[int], cut: bool
) -> None:
    """As a relay does it: pass on the correct bytes, hold back incomplete ones, fill up the chunk."""
    whole = made[0] + made[1]
    if cut:
        whole = whole[: edits[0][0]]
    else:
        for at, drop, junk in edits:
            whole = whole[:at] + junk + whole[at + drop :]
    reader = Framing("chunked")
    passed = b""
    try:
        for piece in parts(whole, cuts):
            passed += piece[: reader.feed(piece)]
    except ProtocolError:
        pass
    if reader.ended or reader.chunk_left > 10_000:
        return
    passed = passed[: len(passed) - reader.unsettled] + b"!" * reader.chunk_left + reader.chunk_end
    payload, ended, left = h11_body([passed + chunk(b"our own") + LAST_CHUNK])
    assert payload.endswith(b"our own")
    assert (ended, left) == (True, b"")
