"""Answers that are read to their end: gathered, decoded, limited, and judged when they break off."""

import gzip
from functools import partial

import pytest

from gateway.http1.client_connection import UpstreamError
from gateway.http1.framing import Mode
from gateway.proxy.content_encoding import content_decoder
from gateway.proxy.responses.buffered import BufferedResponse, refuse_whole, relay_whole
from gateway.proxy.responses.reader import Reader
from tests.support.attempt import Recorder, head_of

BODY = b'{"type": "message"}'


def read(attempt: Recorder, *, coding: bytes | None = None, limit: int = 1000) -> tuple[Reader, list[bytes]]:
    """A reader, and what it hands over."""
    taken: list[bytes] = []
    return BufferedResponse(attempt, content_decoder(coding), limit, taken.append), taken


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("coding", [None, b"gzip"])
async def test_a_body_in_pieces(size: int, coding: bytes | None) -> None:
    attempt = Recorder()
    reader, taken = read(attempt, coding=coding)
    assert reader.decode
    assert reader.can_ping()
    raw = BODY if coding is None else gzip.compress(BODY)
    for at in range(0, len(raw), size):
        assert not taken
        reader.body_received(raw[at : at + size], at + size >= len(raw))
    assert taken == [BODY]
    assert attempt.told == []


async def test_one_piece_is_not_copied() -> None:
    reader, taken = read(Recorder())
    reader.body_received(BODY, True)
    assert taken[0] is BODY


@pytest.mark.parametrize("coding", [None, b"gzip"])
@pytest.mark.parametrize("over", [0, 1])
async def test_a_body_that_is_too_large(over: int, coding: bytes | None) -> None:
    """Counted as it is read, not as it is coded."""
    attempt = Recorder()
    reader, taken = read(attempt, coding=coding, limit=500)
    for _ in range(2):
        body = b"x" * 250 + b"x" * over
        reader.body_received(body if coding is None else gzip.compress(body), False)
    if over:
        assert attempt.told == [
            "abandon",
            "failed early: the upstream's answer is larger than 500 bytes",
        ]
    else:
        reader.body_received(b"", True)
        assert taken == [b"x" * 500]


@pytest.mark.parametrize(
    ("raw", "words"), [(b"plain", "is broken"), (gzip.compress(BODY)[:-1], "ends early")], ids=["", "cut"]
)
async def test_a_coding_that_is_broken(raw: bytes, words: str) -> None:
    attempt = Recorder()
    reader, taken = read(attempt, coding=b"gzip")
    reader.body_received(raw, True)
    assert attempt.told[0] == "abandon"
    assert attempt.told[1].startswith("failed early: the upstream's gzip body")
    assert words in attempt.told[1]
    assert not taken


@pytest.mark.parametrize("silent", [False, True])
async def test_a_body_that_breaks_off(silent: bool) -> None:
    attempt = Recorder()
    reader, taken = read(attempt)
    reader.body_received(BODY, False)
    reader.failed(UpstreamError("body", "gone", timeout=silent))
    assert attempt.told == [f"failed early{' by timeout' * silent}: gone"]
    assert not taken


async def test_where_the_head_says_enough() -> None:
    attempt = Recorder()
    refused = partial(refuse_whole, attempt, head_of(b"retry-after: 30", status=429))
    reader = BufferedResponse(attempt, None, 5, refused, partial(refused, b""))
    reader.failed(UpstreamError("body", "gone"))
    assert attempt.told == ["failed: 429 : "]
    assert (b"retry-after", b"30") in attempt.failures[0].headers
    reader.body_received(b"longer than five", False)
    assert attempt.told[1:] == ["abandon", "failed: 429 : "]


@pytest.mark.parametrize("mode", ["length", "chunked", "close"])
async def test_a_whole_answer_is_passed_on(mode: Mode) -> None:
    attempt = Recorder()
    relay_whole(attempt, head_of(b"content-type: application/json; x=y"), mode, BODY)
    assert attempt.told == [f"whole application/json; x=y {BODY.decode()}"]


@pytest.mark.parametrize("mode", ["none", "length", "chunked", "close"])
async def test_an_empty_answer_is_none(mode: Mode) -> None:
    attempt = Recorder()
    relay_whole(attempt, head_of(), mode, b"")
    assert attempt.told == ["failed early: the upstream's answer is empty"]


async def test_half_an_answer_that_the_close_ended() -> None:
    for length in range(1, len(BODY)):
        attempt = Recorder()
        relay_whole(attempt, head_of(), "close", BODY[:length])
        assert attempt.told == ["failed early: the upstream closed the connection inside its answer"]


async def test_what_has_a_framing_of_its_own_need_be_no_json() -> None:
    attempt = Recorder()
    relay_whole(attempt, head_of(b"content-type: text/plain"), "length", BODY[:-1])
    assert attempt.told == [f"whole text/plain {BODY[:-1].decode()}"]


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
async def test_an_error_keeps_its_words(status: int) -> None:
    attempt = Recorder()
    refuse_whole(attempt, head_of(status=status), BODY)
    (failure,) = attempt.failures
    assert (failure.status, failure.body, failure.message) == (status, BODY, "")
    assert failure.headers == ((b"request-id", b"req_upstream"),)


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308])
async def test_a_redirect_is_an_error_that_teaches(status: int) -> None:
    attempt = Recorder()
    refuse_whole(attempt, head_of(b"location: http://elsewhere/", status=status), b"<html>")
    assert attempt.told == [
        f"failed: 502 : the upstream redirects ({status}), which is not followed: correct its base_url"
    ]
    assert attempt.failures[0].body == b""
