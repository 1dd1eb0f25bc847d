"""Rendezvous hashing: assigns conversations to accounts, equally in all processes without communication.

A conversation belongs to the available account with the greatest weight for it. When an account goes, only its own
conversations move, each to the remaining account with the greatest weight.
"""

from hashlib import blake2b

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def point_of(name: str) -> int:
    """Return the 64-bit hash of a conversation or an account, equal in every process."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def weight(conversation: int, account: int) -> int:
    """Return the weight of an account for a conversation, both given as `point_of` returns them.

    Uses the finalizer of splitmix64, in which each input bit changes half of the output bits.
    """
    mixed = conversation ^ account
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
    return mixed ^ (mixed >> 31)


def stable_hash(value: object) -> int:
    """Return a hash of strings, bytes and tuples of them that, unlike `hash`, is equal in every process."""
    return point_of(repr(value))
