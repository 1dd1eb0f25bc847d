"""Content codings are decoded before a reader gets the body; a broken coding is a broken body."""

import gzip
import zlib

import pytest

from gateway.http1.upstream_request import UpstreamError
from gateway.proxy.content_encoding import content_decoder
from gateway.proxy.responses import DecodingReader
from tests.support.attempt import Recorder

BODY = b"Hello there, "


class Taker:
    """A reader that records what it gets."""

    decode = True

    def __init__(self) -> None:
        self.payload = b""
        self.calls: list[str] = []

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        assert raw == payload
        self.payload += payload
        if ended:
            self.calls.append("ended")

    def failed(self, error: UpstreamError) -> None:
        self.calls.append(f"failed{' by timeout' * error.timeout}: {error.message}")


def decoded(coding: bytes = b"gzip") -> tuple[Recorder, DecodingReader, Taker]:
    content = content_decoder(coding)
    assert content is not None
    attempt, taker = Recorder(), Taker()
    made = DecodingReader(attempt, content)
    made.hand_over(taker)
    return attempt, made, taker


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_reader_gets_decoded_bytes(size: int) -> None:
    attempt, made, taker = decoded()
    assert made.decode
    raw = gzip.compress(BODY)
    for at in range(0, len(raw), size):
        made.body_received(b"3\r\n", raw[at : at + size], at + size >= len(raw))
    assert (taker.payload, taker.calls, attempt.calls) == (BODY, ["ended"], [])


@pytest.mark.parametrize(
    ("coding", "raw", "words"),
    [
        (b"gzip", b"plain", "the upstream's gzip body is broken: "),
        (b"gzip", gzip.compress(BODY)[:-1], "the upstream's gzip body ends early"),
        (b"deflate", zlib.compress(BODY)[:-1], "the upstream's deflate body ends early"),
    ],
    ids=range(3),
)
async def test_a_coding_that_is_broken_ends_the_upstreams_response(
    coding: bytes, raw: bytes, words: str
) -> None:
    attempt, made, taker = decoded(coding)
    made.body_received(b"", raw, True)
    assert attempt.calls == ["abandon"]
    (call,) = taker.calls
    assert call.startswith(f"failed: {words}")


async def test_the_rest_goes_to_another_reader() -> None:
    _, made, first = decoded()
    raw = gzip.compress(BODY)
    made.body_received(b"", raw[:12], False)
    other = Taker()
    made.hand_over(other)
    made.body_received(b"", raw[12:], True)
    assert (first.calls, other.calls) == ([], ["ended"])
    assert first.payload + other.payload == BODY


async def test_a_body_that_is_cut_off_is_reported_to_the_reader() -> None:
    _, made, taker = decoded()
    made.failed(UpstreamError("gone", timeout=True))
    assert taker.calls == ["failed by timeout: gone"]
