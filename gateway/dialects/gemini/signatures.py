"""Gemini's thought signatures: where they are kept, and how they go out and come back.

Gemini signs its thinking, and a function call of a turn that is still open must bring its signature
back unchanged. The Messages protocol has a place for one on thinking blocks only; signatures of calls
and of texts are kept here, under the call's id and under the text. Forgetting one costs quality, not
the request: the API documents a value that passes its check.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

MARK = "gemini:"
"""Before a signature on a thinking block: a history that later meets another provider is recognised."""

BYPASS = "skip_thought_signature_validator"
"""Google's documented value for a call whose signature is not known. Nobody else gets it."""

REMEMBERED = 10_000
"""Signatures kept of each sort, newest win: at 1 to 4 KB each, a long day of several agents."""

ID_LENGTH = 24
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def new_id(prefix: str, random: Callable[[], float]) -> str:
    """`prefix` and 24 characters of [A-Za-z0-9]. `random` gives [0, 1)."""
    return prefix + "".join([_ALPHABET[int(random() * 62)] for _ in range(ID_LENGTH)])


def marked(signature: str) -> str:
    """A signature as a thinking block carries it."""
    return MARK + signature


def unmarked(signature: object) -> str:
    """Gemini's part of a thinking block's signature; "" if it is not one of Gemini's."""
    if isinstance(signature, str) and signature.startswith(MARK):
        return signature[len(MARK) :]
    return ""


class SignatureStore:
    """The signatures that Gemini gave, for as long as the process lives."""

    def __init__(self, capacity: int = REMEMBERED) -> None:
        self._capacity = capacity
        self._calls: OrderedDict[str, str] = OrderedDict()
        self._texts: OrderedDict[tuple[int, int], str] = OrderedDict()
        """By length and hash of the text. Python's string hash is keyed for each process, as this is."""

    def __repr__(self) -> str:
        return f"<SignatureStore {len(self._calls)} calls, {len(self._texts)} texts>"

    def remember_call(self, id: str, signature: str) -> None:
        """Keep a function call's signature under the tool_use id that the client got."""
        self._remember(self._calls, id, signature)

    def remember_text(self, text: str, signature: str) -> None:
        """Keep a text's signature. Clients may trim a text, so blanks around it do not count."""
        text = text.strip()
        self._remember(self._texts, (len(text), hash(text)), signature)

    def of_call(self, id: str) -> str:
        """ "" if not known."""
        return self._calls.get(id, "")

    def of_text(self, text: str) -> str:
        """ "" if not known."""
        if not self._texts:
            return ""
        text = text.strip()
        return self._texts.get((len(text), hash(text)), "")

    def _remember(self, store: OrderedDict[Any, str], key: str | tuple[int, int], signature: str) -> None:
        store[key] = signature
        store.move_to_end(key)
        if len(store) > self._capacity:
            store.popitem(last=False)
