"""Seals messages in a store that others can access: without the secret none can be read, made or changed.

The standard library has no cipher, so a well-known construction is made of what it has: a stream from a keyed hash in
counter mode, and encrypt-then-MAC over the result.

- The stream is SHAKE-256 of a 32-byte key and a 16-byte random nonce. SHAKE is a sponge with an output of any length,
  which counts by itself; with the key in front it is a pseudo-random function (the sponge has no length extension,
  which is why SHA-2 needs HMAC and SHAKE does not). Nonces are random: after 2^48 messages under one secret the chance
  - The tag is HMAC-SHA-256 of version, nonce and ciphertext, whole, and is checked in constant time before the message
    is decrypted.
  message is looked at.
- Stream, tags and names have a key each, derived from the secret by HMAC-SHA-256 with their purpose.

Not covered: a seal does not prove when a message was made. Others who can write to the store can replay old ones; news
have an end, and repeating them changes nothing. Lengths are visible.
"""

from collections.abc import Callable
from hashlib import shake_256
from hmac import compare_digest, digest

VERSION = b"\x01"

NONCE = 16
"""Bytes."""

TAG = 32
"""Bytes of HMAC-SHA-256."""

NAME = 16
"""Bytes of a hashed name: 128 bits, so that two names of a store never collide."""


class Seal:
    """Seals and opens messages by one secret; every process with that secret can open them."""

    __slots__ = ("_entropy", "_names", "_stream", "_tags")

    def __init__(self, secret: str, entropy: Callable[[int], bytes]) -> None:
        """`entropy` returns that many random bytes, as os.urandom does."""
        self._entropy = entropy
        self._stream, self._tags, self._names = (
            digest(secret.encode(), b"gateway sharing: " + purpose, "sha256")
            for purpose in (b"stream", b"tags", b"names")
        )

    def close(self, message: bytes) -> bytes:
        """Return the message, sealed: version, nonce, ciphertext, tag."""
        nonce = self._entropy(NONCE)
        body = VERSION + nonce + self._crypt(nonce, message)
        return body + digest(self._tags, body, "sha256")

    def open(self, sealed: bytes) -> bytes | None:
        """Return the message; None if `close` with this secret did not make it."""
        body, tag = sealed[:-TAG], sealed[-TAG:]
        if len(body) < len(VERSION) + NONCE or not compare_digest(digest(self._tags, body, "sha256"), tag):
            return None
        if not body.startswith(VERSION):
            return None
        nonce = body[len(VERSION) : len(VERSION) + NONCE]
        return self._crypt(nonce, body[len(VERSION) + NONCE :])

    def name(self, name: str) -> str:
        """Return a hash in place of a name in the store, equal for all processes with the secret."""
        return digest(self._names, name.encode("utf-8", "surrogatepass"), "sha256")[:NAME].hex()

    def _crypt(self, nonce: bytes, message: bytes) -> bytes:
        """Return the message XOR the nonce's stream; applied twice it returns the message."""
        size = len(message)
        stream = shake_256(self._stream + nonce).digest(size)
        return (int.from_bytes(message, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
