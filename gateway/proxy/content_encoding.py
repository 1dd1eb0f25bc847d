"""Content codings: requests to upstreams ask for `identity`; gzip and deflate are decoded anyway.

Takes payload bytes cut anywhere, returns the decoded bytes.
"""

import zlib
from typing import Protocol

from gateway.messages.errors import RequestError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
"""With this window size zlib distinguishes the two headers by itself."""

MAX_PLAIN = 32 * 1024 * 1024
"""Decoded bytes of one read, at most. A read has up to 256 KiB, and text expands some 20 times from gzip; zeros could
expand 1,032 times."""


class UnreadableCoding(Exception):
    """The payload's coding is unknown, or its bytes are broken. The message names the coding."""


class Inflate:
    """Decodes gzip, and deflate with or without its zlib header (servers send both under that name)."""

    __slots__ = ("_name", "_stream", "_undecided")

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
        self._undecided: bytes | None = b"" if name == "deflate" else None
        """Bytes received before it is known whether there is a header: until the first plain byte. None from then
        on."""

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
            # A gzip body may have several members.
            data = self._stream.unused_data
            self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
            plain += self._plain(data, len(plain))
        return plain

    def _plain(self, data: bytes, before: int) -> bytes:
        """Decode `data`, when this read has given `before` plain bytes already."""
        plain = self._stream.decompress(data, max(1, MAX_PLAIN - before))
        if self._stream.unconsumed_tail:
            raise UnreadableCoding(f"the upstream's {self._name} body stands for far more than its size")
        return plain

    def end(self) -> None:
        """Finish at the end of the body. Raises UnreadableCoding if the compressed data is incomplete."""
        if not self._stream.eof:
            raise UnreadableCoding(f"the upstream's {self._name} body ends early")


class ContentDecoder(Protocol):
    """Decodes a content coding."""

    def feed(self, data: bytes) -> bytes:
        """Return the plain bytes that `data` completes. Raises UnreadableCoding."""

    def end(self) -> None:
        """Finish at the end of the body. Raises UnreadableCoding if the coded data is incomplete."""


def content_decoder(coding: bytes | None) -> ContentDecoder | None:
    """Return a decoder for a Content-Encoding; None if none is needed. Raises UnreadableCoding."""
    name = (coding or b"identity").strip().lower().decode("latin-1")
    if name == "identity":
        return None
    if name in {"gzip", "x-gzip", "deflate"}:
        return Inflate(name)
    raise UnreadableCoding(f"the upstream compresses with {name!r}, which it was asked not to do")


def decode_request(coding: str, body: bytes, limit: int) -> bytes:
    """Return a request's body decoded; `check_request_coding` has accepted the coding.

    Raises RequestError: 413 for one that expands to more than `limit` bytes, 400 for a broken one.
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
