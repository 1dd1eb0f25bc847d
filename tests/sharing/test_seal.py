"""Seals: only sealed messages are opened."""

import hashlib
import hmac
import os

from hypothesis import given
from hypothesis import strategies as st

from gateway.sharing.seal import NONCE, TAG, VERSION, Seal

SECRET = "correct horse battery staple"

COUNTING = bytes(range(NONCE))

START = "01000102030405060708090a0b0c0d0e0f"

VECTORS = {
    b"": "3c0fc3d6c20a082273ea46b3394966d4937c9d4e71534f7017686fab2ec02845",
    b"news": "b72c4561ddb66d5e4b9fe3c865ca5d53cd9d0c4f82b66a6a03e9eaf8831254d8e0746986",
}
"""Message -> ciphertext and tag behind START."""


def fixed(secret: str = SECRET) -> Seal:
    """A seal whose nonce is always the same."""
    return Seal(secret, lambda size: bytes(range(size)))


def by_hand(secret: str, nonce: bytes, message: bytes) -> bytes:
    """The construction once more, a byte at a time, from the words of the module's docstring."""

    def key(purpose: str) -> bytes:
        return hmac.new(secret.encode(), f"gateway sharing: {purpose}".encode(), hashlib.sha256).digest()

    stream = hashlib.shake_256(key("stream") + nonce).digest(len(message))
    body = b"\x01" + nonce + bytes(a ^ b for a, b in zip(message, stream, strict=True))
    return body + hmac.new(key("tags"), body, hashlib.sha256).digest()


def test_vectors() -> None:
    for message, sealed in VECTORS.items():
        assert fixed().close(message).hex() == START + sealed
        assert fixed().open(bytes.fromhex(START + sealed)) == message
    assert fixed().name("zai/work@example.com") == "b5c4987a7b4cf0099d603371e31a89ce"


@given(
    secret=st.text(st.characters(codec="ascii"), min_size=1),
    nonce=st.binary(min_size=NONCE, max_size=NONCE),
    message=st.binary(max_size=2000),
)
def test_is_the_documented_construction(secret: str, nonce: bytes, message: bytes) -> None:
    seal = Seal(secret, lambda size: nonce)
    assert seal.close(message) == by_hand(secret, nonce, message)
    assert seal.open(by_hand(secret, nonce, message)) == message


def test_sealed_messages_show_nothing_and_differ() -> None:
    seal = Seal(SECRET, os.urandom)
    message = b"signature-of-a-thought" * 20
    first, second = seal.close(message), seal.close(message)
    assert message[:8] not in first
    assert first[len(VERSION) + NONCE :] != second[len(VERSION) + NONCE :]
    assert len(first) == len(VERSION) + NONCE + len(message) + TAG
    assert seal.open(first) == seal.open(second) == message


def test_a_change_anywhere_is_seen() -> None:
    sealed = fixed().close(b"cooling until noon")
    for index in range(len(sealed)):
        for bit in (1, 128):
            changed = bytearray(sealed)
            changed[index] ^= bit
            assert fixed().open(bytes(changed)) is None
    for size in range(len(sealed)):
        assert fixed().open(sealed[:size]) is None
    assert fixed().open(sealed + b"\0") is None


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_not_opened(data: bytes) -> None:
    assert fixed().open(data) is None


def test_another_secret_opens_no_seal_and_has_other_keys() -> None:
    other = fixed(SECRET + "!")
    assert other.open(fixed().close(b"news")) is None
    assert other.name("account") != fixed().name("account") == fixed().name("account")
    assert fixed().name("account") != fixed().name("accounts")


def test_a_later_version_is_not_opened_however_well_it_is_sealed() -> None:
    body = b"\x02" + COUNTING + b"whatever"
    tags = hmac.digest(SECRET.encode(), b"gateway sharing: tags", "sha256")
    assert fixed().open(body + hmac.digest(tags, body, "sha256")) is None


def test_names_that_are_no_text_have_a_hash_too() -> None:
    assert len(fixed().name("\udcff")) == 32
