"""Content codings: whole, byte by byte and broken, from upstreams that ignore `accept-encoding: identity`."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from gateway.messages.errors import RequestError
from gateway.proxy import content_encoding as decoding
from gateway.proxy.content_encoding import (
    UnreadableCoding,
    check_request_coding,
    content_decoder,
    decode_request,
)

PLAIN = b'{"type":"message","content":[]}' * 40


def bare(data: bytes) -> bytes:
    """deflate without zlib's header, as some servers send it under that name."""
    coder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return coder.compress(data) + coder.flush()


CODED: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"X-GZip", gzip.compress),
    "blanks": (b" gzip ", gzip.compress),
    "zlib": (b"deflate", zlib.compress),
    "bare deflate": (b"deflate", bare),
    "two members": (b"gzip", lambda data: gzip.compress(data[:7], mtime=0) + gzip.compress(data[7:])),
    "three members, one empty": (
        b"gzip",
        lambda d: gzip.compress(d, mtime=0) + gzip.compress(b"") + gzip.compress(b""),
    ),
}


def decoded(coding: bytes, pieces: list[bytes]) -> bytes:
    decoder = content_decoder(coding)
    assert decoder is not None
    plain = b"".join(map(decoder.feed, pieces))
    decoder.end()
    return plain


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("coding", "encode"), CODED.values(), ids=CODED)
@pytest.mark.parametrize("plain", [PLAIN, b"x", b""], ids=["long", "one byte", "empty"])
def test_gzip_and_deflate_are_decoded(
    coding: bytes, encode: Callable[[bytes], bytes], plain: bytes, size: int
) -> None:
    raw = encode(plain)
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    assert decoded(coding, pieces) == plain
    assert decoded(coding, [b"", *pieces, b""]) == plain


@pytest.mark.parametrize("coding", [None, b"", b"identity", b"Identity"])
def test_identity_content_encoding(coding: bytes | None) -> None:
    assert content_decoder(coding) is None


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, br", b"\xff"])
def test_an_unknown_content_encoding_is_an_error(coding: bytes) -> None:
    with pytest.raises(UnreadableCoding) as raised:
        content_decoder(coding)
    assert repr(coding.decode("latin-1")) in str(raised.value)


@pytest.mark.parametrize(("coding", "encode"), CODED.values(), ids=CODED)
def test_a_compressed_body_that_ends_early(coding: bytes, encode: Callable[[bytes], bytes]) -> None:
    raw = encode(PLAIN)
    for length in range(len(raw) - 1):
        decoder = content_decoder(coding)
        assert decoder is not None
        plain = decoder.feed(raw[:length])
        assert PLAIN.startswith(plain)
        if plain != PLAIN and length not in member_ends(raw):
            with pytest.raises(UnreadableCoding, match="ends early"):
                decoder.end()


def member_ends(raw: bytes) -> set[int]:
    """Where in a run of gzip members one is whole."""
    return {at for at in range(len(raw)) if raw[at : at + 3] == b"\x1f\x8b\x08"}


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("coding", "raw"),
    [
        (b"gzip", b"plain text"),
        (b"gzip", gzip.compress(b"x", mtime=0)[:-8] + b"\0" * 8),
        (b"gzip", gzip.compress(b"x", mtime=0) + b"garbage"),
        (b"deflate", b"\xff\xff\xff\xff"),
        (b"deflate", zlib.compress(PLAIN)[:-4] + b"\xff" * 4),
    ],
)
def test_a_broken_compressed_body(coding: bytes, raw: bytes, size: int) -> None:
    decoder = content_decoder(coding)
    assert decoder is not None
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    with pytest.raises(UnreadableCoding, match=f"the upstream's {coding.decode()} body is broken"):
        b"".join(map(decoder.feed, pieces))


@pytest.mark.parametrize(("coding", "encode"), CODED.values(), ids=CODED)
def test_zip_bomb_in_one_read(
    monkeypatch: pytest.MonkeyPatch, coding: bytes, encode: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(decoding, "MAX_PLAIN", 10_000)
    assert decoded(coding, [encode(bytes(9_000))]) == bytes(9_000)
    with pytest.raises(UnreadableCoding, match="far more than its size"):
        decoded(coding, [encode(bytes(30_000))])


def test_zip_bomb_in_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PLAIN", 10_000)
    member = gzip.compress(bytes(4_000))
    assert decoded(b"gzip", [member * 2]) == bytes(8_000)
    assert decoded(b"gzip", [member, member, member]) == bytes(12_000)
    with pytest.raises(UnreadableCoding, match="far more than its size"):
        decoded(b"gzip", [member * 3])


# Bodies of requests.


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, ""),
        (b"", ""),
        (b"Identity", ""),
        (b" GZIP ", "gzip"),
        (b"x-gzip", "x-gzip"),
        (b"deflate", "deflate"),
    ],
)
def test_content_encoding_of_a_request(value: bytes | None, coding: str) -> None:
    assert check_request_coding(value) == coding


@pytest.mark.parametrize("value", [b"br", b"zstd", b"gzip, gzip"])
def test_unsupported_content_encoding_of_a_request(value: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        check_request_coding(value)
    assert raised.value.status == 400
    assert raised.value.details == {"error_code": "request_body_encoding_unsupported"}


@pytest.mark.parametrize(
    ("coding", "encode"), [pair for name, pair in CODED.items() if "members" not in name]
)
def test_a_request_without_its_coding(coding: bytes, encode: Callable[[bytes], bytes]) -> None:
    assert decode_request(coding.decode(), encode(PLAIN), len(PLAIN)) == PLAIN
    with pytest.raises(RequestError) as raised:
        decode_request(coding.decode(), encode(PLAIN), len(PLAIN) - 1)
    assert raised.value.status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "body", [b"", b"plain", gzip.compress(PLAIN)[:-1], zlib.compress(PLAIN) + b"more"], ids=range(4)
)
def test_a_request_whose_coding_is_broken(coding: str, body: bytes) -> None:
    with pytest.raises(RequestError, match=f"is not {coding}") as raised:
        decode_request(coding, body, len(PLAIN) + 1)
    assert raised.value.status == 400
