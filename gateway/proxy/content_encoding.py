"""Content codings: an upstream is asked for `identity`; one that compresses anyway is understood for gzip and deflate.

Takes payload bytes cut anywhere, gives the bytes they stand for.
"""

import zlib
from typing import Protocol

from gateway.messages.errors import RequestError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
"""zlib tells the two headers apart by itself with this window size."""

MAX_PLAIN = 32 * 1024 * 1024
"""Bytes that one read may stand for. A read has at most 256 KiB, and text in gzip some 20 times as much; zlib could
make 1,032 times as much of zeros."""


class UnreadableCoding(Exception):
    """The payload's coding is unknown here, or its bytes are broken. The message names it."""


class Inflate:
    """gzip, and deflate with or without its zlib header (servers send both under that name)."""

    __slots__ = ("_name", "_stream", "_undecided")

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
        self._undecided: bytes | None = b"" if name == "deflate" else None
        """What came before it is known whether there is a header: until the first plain byte. None from then on."""

    def feed(self, data: bytes) -> bytes:
        """Return the plain bytes that `data` completes. Raises UnreadableCoding."""
        if not data:
            return b""
        try:
            return self._inflate(data)
        except zlib.error as error:
            if self._undecided is None:
                raise UnreadableCoding(f"the upstream's {self._name} body is broken: {error}") from None
        data = self._undecided + data
        self._undecided = None
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        return self.feed(data)

    def _inflate(self, data: bytes) -> bytes:
        plain = self._plain(data, 0)
        if plain:
            self._undecided = None
        elif self._undecided is not None:
            self._undecided += data
        while self._stream.eof and self._stream.unused_data:
            # gzip members may follow one another.
            data = self._stream.unused_data
            self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
            plain += self._plain(data, len(plain))
        return plain

    def _plain(self, data: bytes, before: int) -> bytes:
        """Return what `data` stands for; this read has given `before` plain bytes already."""
        plain = self._stream.decompress(data, max(1, MAX_PLAIN - before))
        if self._stream.unconsumed_tail:
            raise UnreadableCoding(f"the upstream's {self._name} body stands for far more than its size")
        return plain

    def end(self) -> None:
        """Take notice that the body is over. Raises UnreadableCoding when its compressed form is not."""
        if not self._stream.eof:
            raise UnreadableCoding(f"the upstream's {self._name} body ends early")


class ContentDecoder(Protocol):
    """What undoes a coding."""

    def feed(self, data: bytes) -> bytes:
        """Return the plain bytes that `data` completes. Raises UnreadableCoding."""

    def end(self) -> None:
        """Take notice that the body is over. Raises UnreadableCoding when its coded form is not."""


def content_decoder(coding: bytes | None) -> ContentDecoder | None:
    """Return what undoes a Content-Encoding; None where nothing is to be undone. Raises UnreadableCoding."""
    name = (coding or b"identity").strip().lower().decode("latin-1")
    if name == "identity":
        return None
    if name in {"gzip", "x-gzip", "deflate"}:
        return Inflate(name)
    raise UnreadableCoding(f"the upstream compresses with {name!r}, which it was asked not to do")


def decode_request(coding: str, body: bytes, limit: int) -> bytes:
    """Return a request's body without its content coding, which `check_request_coding` has accepted.

    Raises RequestError: 413 for one that stands for more than `limit` bytes, 400 for broken ones.
    """
    for window in (GZIP_OR_ZLIB, -zlib.MAX_WBITS) if coding == "deflate" else (GZIP_OR_ZLIB,):
        stream = zlib.decompressobj(window)
        try:
            plain = stream.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(plain) > limit:
            raise RequestError(413, f"the request's body stands for more than {limit} bytes")
        if stream.eof and not stream.unused_data:
            return plain
    raise RequestError(400, f"the request's body is not {coding}, which its content-encoding names")


def check_request_coding(value: bytes | None) -> str:
    """Return the content coding of a request's body, "" for none. Raises RequestError (400) for an unknown one."""
    name = (value or b"identity").strip().lower().decode("latin-1")
    if name in {"identity", ""}:
        return ""
    if name in {"gzip", "x-gzip", "deflate"}:
        return name
    raise RequestError(
        400,
        f"content-encoding: {name} is not supported here; send gzip, deflate or none",
        details={"error_code": "request_body_encoding_unsupported"},
    )
