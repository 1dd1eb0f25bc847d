"""messages/imagesize.py: sizes of pictures as encoders write them, and of broken ones."""

from base64 import b64encode
from struct import pack

import pytest

from gateway.messages.imagesize import image_size

PNG = b"\x89PNG\r\n\x1a\n" + pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x06\x00\x00\x00"
GIF = b"GIF89a" + pack("<HH", 300, 200)
VP8 = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + pack("<HH", 550 | 0x4000, 368)
VP8L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + pack("<I", (385 << 14) | 385)
VP8X = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0" + pack("<I", 1023)[:3] + pack("<I", 767)[:3]


def jpeg(*segments: bytes, frame: int = 0xC0) -> bytes:
    return (
        b"\xff\xd8" + b"".join(segments) + bytes((0xFF, frame)) + pack(">HBHH", 17, 8, 1080, 1920) + b"\0" * 9
    )


def segment(marker: int, size: int) -> bytes:
    return bytes((0xFF, marker)) + pack(">H", size) + b"\xff" * (size - 2)


SIZES = [
    (PNG, (640, 480)),
    (GIF, (300, 200)),
    (GIF.replace(b"89a", b"87a"), (300, 200)),
    (VP8, (550, 368)),
    (VP8L, (386, 386)),
    (VP8X, (1024, 768)),
    (jpeg(), (1920, 1080)),
    (jpeg(frame=0xC2), (1920, 1080)),
    (jpeg(segment(0xE0, 16), segment(0xE1, 65535), segment(0xC4, 300), b"\xff"), (1920, 1080)),
    (jpeg(segment(0xE1, 65535), segment(0xE2, 65535)), (1920, 1080)),
]

BROKEN = [
    b"",
    b"BM",
    b"%PDF-1.7",
    PNG[:18],
    GIF[:7],
    b"GIF89a" + pack("<HH", 0, 200),
    VP8[:20],
    VP8.replace(b"VP8 ", b"VP9 "),
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe0",
    jpeg(segment(0xE0, 16))[:25],
    jpeg(b"\xff\xe0\x00\x04\0\0oops"),
    jpeg(*[segment(0xE1, 65535)] * 3),
    # More segments and fill bytes than any camera writes.
    jpeg(b"\xff" * 2000),
    jpeg(*[segment(0xE1, 2)] * 1000),
]


@pytest.mark.parametrize(("picture", "size"), SIZES)
def test_a_pictures_size(picture: bytes, size: tuple[int, int]) -> None:
    # Whole groups of three bytes, so that no padding precedes what is added.
    data = b64encode(picture + bytes(50 + -(len(picture) + 50) % 3)).decode()
    assert image_size(data) == size
    # A long picture is read no further than its head.
    assert image_size(data + "A" * 1_000_000 + "!") == size


@pytest.mark.parametrize("picture", BROKEN)
def test_no_size(picture: bytes) -> None:
    assert image_size(b64encode(picture).decode()) is None


@pytest.mark.parametrize("data", ["é", "abc", "\ud800", "https://example.com/x.png"])
def test_invalid_base64_has_no_size(data: str) -> None:
    assert image_size(data) is None
