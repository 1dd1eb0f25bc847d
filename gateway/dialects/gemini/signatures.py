"""Gemini's thought signatures: where they are kept, and how they go out and come back.

Gemini signs its thinking, and a function call of a turn that is still open must bring its signature back
unchanged. The Messages protocol has a place for one on thinking blocks only; signatures of calls and of texts
are kept here, under the call's id and under the text. Forgetting one costs quality, not the request: the API
documents a value that passes its check.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.config.kinds import GEMINI
from gateway.dialects.signature_store import MAX_BYTES, SignatureStore, text_key

MARK = GEMINI.signature_mark
"""Before a signature on a thinking block: a history that later meets another provider is recognised."""

BYPASS = "skip_thought_signature_validator"
"""Google's documented value for a call whose signature is not known. No other upstream gets it."""

REFUSED = "refused"


def marked(signature: str) -> str:
    """Return a signature as a thinking block carries it; the mark alone where Gemini gave none.

    Clients throw thinking away, or send it back as prose, that has no signature at all.
    """
    return MARK + signature


def unmarked(signature: object) -> str:
    """Return Gemini's part of a thinking block's signature; "" if it is not one of Gemini's."""
    if isinstance(signature, str) and signature.startswith(MARK):
        return signature[len(MARK) :]
    return ""


class Signatures:
    """The signatures that Gemini gave, for as long as the process lives: 8 MiB at most."""

    def __init__(self) -> None:
        self._calls = SignatureStore()
        self._texts = SignatureStore(max_bytes=MAX_BYTES // 2)
        self._refused = SignatureStore(max_bytes=MAX_BYTES // 2)
        """Signatures of thinking that came back from clients and were refused, by their content."""

    @property
    def stores(self) -> Mapping[str, SignatureStore]:
        """Return what other processes should know, too, by names that are the same in all of them."""
        return {"gemini.calls": self._calls, "gemini.texts": self._texts}

    def remember_call(self, id: str, signature: str) -> None:
        """Keep a function call's signature under the tool_use id that the client got."""
        self._calls.remember(id, signature)

    def remember_text(self, text: str, signature: str) -> None:
        """Keep a text's signature."""
        self._texts.remember(text_key(text), signature)

    def of_call(self, id: str) -> str:
        """Return the signature of the call with this id; "" if it is not known."""
        return self._calls.get(id)

    def of_text(self, text: str) -> str:
        """Return the signature of a text; "" if it is not known."""
        return self._texts.get(text_key(text)) if len(self._texts) else ""

    def of_thinking(self, signature: object) -> str:
        """Return Gemini's part of a thinking block's signature; "" if it has none that Gemini takes."""
        own = unmarked(signature)
        return "" if len(self._refused) and self._refused.get(text_key(own)) else own

    def refuse(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Forget every signature that goes with these messages: one of them was refused.

        Else each later turn would be refused first. What is learnt from now on is kept.
        """
        for block in _model_blocks(messages):
            kind = block.get("type")
            if kind == "thinking" and unmarked(block.get("signature")):
                self._refused.remember(text_key(unmarked(block["signature"])), REFUSED)
            elif kind == "tool_use":
                self._calls.forget((str(block.get("id")),))
            elif kind == "text" and isinstance(block.get("text"), str):
                self._texts.forget((text_key(block["text"]),))


def _model_blocks(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content")
        if message.get("role") == "assistant" and isinstance(content, list):
            yield from (block for block in content if isinstance(block, dict))
