"""Rendezvous hashing: a conversation is drawn to one account, and all processes agree to which without a word.

What weighs most for a conversation among the accounts that are there is its place; when one goes, only its own
conversations move, each to the account that weighs most of those that are left.
"""

from hashlib import blake2b

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def point_of(name: str) -> int:
    """Return the 64 bits that stand for a conversation or an account: the same in every process."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def weight(conversation: int, account: int) -> int:
    """Return how strongly a conversation is drawn to an account, both as `point_of` gives them.

    The finalizer of splitmix64: each bit that goes in moves half of the bits that come out.
    """
    mixed = conversation ^ account
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
    return mixed ^ (mixed >> 31)


def stable_hash(value: object) -> int:
    """Return the same for the same strings, bytes and tuples of them in every process, which `hash` does not."""
    return point_of(repr(value))
