"""Reads the size of a picture from the beginning of its base64 data. Supports the protocol's four formats and decodes
no picture.
"""

from binascii import Error, a2b_base64

_HEAD = 180 * 1024
"""Characters of base64 that are read: a JPEG's size follows its metadata, and cameras write up to two segments of
64 KiB."""

_JPEG_SEGMENTS = 1000
"""Segments and fill bytes that are read; a JPEG has some ten before its size. Each could have only two bytes."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG segment with the size; the three exceptions are tables."""


def image_size(data: str) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, JPEG, GIF or WebP; None for data that cannot be read."""
    try:
        head = a2b_base64(data[:_HEAD])
    except (Error, ValueError):
        return None
    for magic, read in _FORMATS:
        if head.startswith(magic):
            size = read(head)
            return size if size and all(size) else None
    return None


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "big")


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")


def _png(head: bytes) -> tuple[int, int]:
    return _big(head, 16, 4), _big(head, 20, 4)


def _gif(head: bytes) -> tuple[int, int]:
    return _little(head, 6, 2), _little(head, 8, 2)


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
    if kind == b"VP8L":
        bits = _little(head, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_JPEG_SEGMENTS):
        if at + 9 > len(head) or head[at] != 0xFF:
            break
        marker = head[at + 1]
        if marker in _JPEG_FRAMES:
            return _big(head, at + 7, 2), _big(head, at + 5, 2)
        at += 1 if marker == 0xFF else 2 + _big(head, at + 2, 2)
    return None


_FORMATS = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)
