"""Ids for content blocks, in the form of the Messages protocol."""

from collections.abc import Callable

ID_LENGTH = 24
"""Characters after the prefix, as in the API's own ids."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def new_id(prefix: str, random: Callable[[], float]) -> str:
    """Return `prefix` and 24 characters of [A-Za-z0-9]. `random` returns [0, 1)."""
    return prefix + "".join([_ALPHABET[int(random() * len(_ALPHABET))] for _ in range(ID_LENGTH)])
