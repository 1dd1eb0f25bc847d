"""Gemini's thought signatures: their storage, and their way to clients and back.

Gemini signs its thinking, and a function call in an open turn must have its signature, unchanged. The Messages protocol
has a field for it in thinking blocks only; signatures of calls and texts are stored here, by the call's id and by the
text. Losing one costs quality, not the request: the API documents a value that passes its check.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.config.kinds import GEMINI
from gateway.dialects.signature_store import MAX_BYTES, SignatureStore, text_key

MARK = GEMINI.signature_mark
"""Prefix of a signature in a thinking block, by which other providers' dialects recognize it in a history."""

BYPASS = "skip_thought_signature_validator"
"""Google's documented value for a call without a known signature. It is not sent to other upstreams."""

REFUSED = "refused"


def add_mark(signature: str) -> str:
    """Return a signature as it is put in a thinking block; the mark alone if Gemini sent none.

    Clients drop thinking without a signature, or send it back as prose.
    """
    return MARK + signature


def remove_mark(signature: object) -> str:
    """Return Gemini's part of a thinking block's signature; "" if it is another provider's."""
    if isinstance(signature, str) and signature.startswith(MARK):
        return signature[len(MARK) :]
    return ""


class Signatures:
    """Gemini's signatures, kept for the life of the process: 8 MiB at most."""

    def __init__(self) -> None:
        self._calls = SignatureStore()
        self._texts = SignatureStore(max_bytes=MAX_BYTES // 2)
        self._refused = SignatureStore(max_bytes=MAX_BYTES // 2)
        """Signatures of thinking from clients that were refused, by their content."""

    @property
    def stores(self) -> Mapping[str, SignatureStore]:
        """Return the stores to share with other processes, by names that are the same in all of them."""
        return {"gemini.calls": self._calls, "gemini.texts": self._texts}

    def remember_call(self, id: str, signature: str) -> None:
        """Store a function call's signature by the tool_use id that the client got."""
        self._calls.remember(id, signature)

    def remember_text(self, text: str, signature: str) -> None:
        """Store a text's signature."""
        self._texts.remember(text_key(text), signature)

    def of_call(self, id: str) -> str:
        """Return the signature of the call with this id; "" if it is unknown."""
        return self._calls.get(id)

    def of_text(self, text: str) -> str:
        """Return the signature of a text; "" if it is unknown."""
        return self._texts.get(text_key(text)) if len(self._texts) else ""

    def of_thinking(self, signature: object) -> str:
        """Return Gemini's part of a thinking block's signature; "" if Gemini would refuse it."""
        own = remove_mark(signature)
        return "" if len(self._refused) and self._refused.get(text_key(own)) else own

    def refuse(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Drop all signatures that belong to these messages, since one of them was refused.

        Otherwise each later turn would be refused first. Signatures learnt later are kept.
        """
        for block in _model_blocks(messages):
            kind = block.get("type")
            if kind == "thinking" and remove_mark(block.get("signature")):
                self._refused.remember(text_key(remove_mark(block["signature"])), REFUSED)
            elif kind == "tool_use":
                self._calls.forget((str(block.get("id")),))
            elif kind == "text" and isinstance(block.get("text"), str):
                self._texts.forget((text_key(block["text"]),))


def _model_blocks(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content")
        if message.get("role") == "assistant" and isinstance(content, list):
            yield from (block for block in content if isinstance(block, dict))
