"""Signatures of thinking blocks that prove themselves: who knows the text can tell whether it was signed
here, in this run or an earlier one. Nothing is kept, so that a session outlives a restart."""

from base64 import b64encode
from hashlib import blake2b

MARK = "demo-"

_KEY = b"gateway demo"
"""Public, as the texts are: this is a demonstration of a signature, not a protection."""


def sign(text: str) -> str:
    """The signature of a thinking block with this text."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=48)
    return MARK + b64encode(digest.digest()).decode()


def is_signed(block: dict[str, object]) -> bool:
    """Whether a thinking block was signed here, and not changed since."""
    text = block.get("thinking")
    return isinstance(text, str) and block.get("signature") == sign(text)
