"""The client's request, as far as failures need it: read only after one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.messages.json_values import as_text, dicts_in
from gateway.routing.failures import Headers

CONTEXT_1M, FAST, IMAGES, DOCUMENTS, AUDIO = "context-1m", "fast", "images", "documents", "audio"
"""Features that an account, or a model there, may lack."""

FEATURE_OF_BLOCK = {"image": IMAGES, "document": DOCUMENTS, "audio": AUDIO, "input_audio": AUDIO}

DEEPEST = 4
"""Levels of nested blocks: a message's, a tool result's, and some to spare."""


class Sent(NamedTuple):
    """A client's request, read only."""

    document: Mapping[str, Any] = MappingProxyType({})
    """The body as parsed."""
    headers: Headers = ()
    """Its head's fields, lower-case names."""

    def betas(self) -> tuple[str, ...]:
        """Return the values of `anthropic-beta`, in order."""
        values = (value.decode("latin-1") for name, value in self.headers if name == b"anthropic-beta")
        return tuple(beta.strip() for value in values for beta in value.split(",") if beta.strip())

    def features(self) -> frozenset[str]:
        """Return the features that the request uses."""
        used = {FEATURE_OF_BLOCK[kind] for kind in map(kind_of, self.blocks()) if kind in FEATURE_OF_BLOCK}
        if any(beta.startswith("context-1m") for beta in self.betas()):
            used.add(CONTEXT_1M)
        if self.document.get("speed") == "fast":
            used.add(FAST)
        return frozenset(used)

    def blocks(self) -> Iterator[Mapping[str, Any]]:
        """Yield the content blocks of all messages, including those in tool results."""
        for message in self.messages():
            yield from _blocks(message.get("content"), DEEPEST)

    def messages(self) -> Sequence[Mapping[str, Any]]:
        """Return the messages that are objects."""
        return dicts_in(self.document.get("messages"))

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools that are objects."""
        return dicts_in(self.document.get("tools"))


NOTHING_KNOWN = Sent()

Features = Callable[[], frozenset[str]]
"""Returns the features that a request uses; called only if that matters."""


def no_features() -> frozenset[str]:
    """Return no features, for requests that are not known."""
    return frozenset()


def kind_of(block: Mapping[str, Any]) -> str:
    """Return a block's type, "" if it has none."""
    return as_text(block.get("type"))


def _blocks(content: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, list) and depth:
        for block in content:
            if isinstance(block, dict):
                yield block
                yield from _blocks(block.get("content"), depth - 1)
