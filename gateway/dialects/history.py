"""Helpers that the translations of a message history share."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.messages.json_values import as_dict, as_list

SEE_BELOW = "(see below)"
"""Text of a tool result that holds only images or documents, when these are sent behind it."""


class UnsupportedSource(Exception):
    """An image or a document that the upstream does not accept."""

    def __init__(self, kind: str, source: object) -> None:
        """`kind`: the block's type. `source`: the block's `source` itself, not a copy."""
        super().__init__(kind)
        self.kind = kind
        self.source = source
        self.type = as_dict(source).get("type")

    def place(self, messages: Iterable[Mapping[str, Any]]) -> str:
        """Return the path of the block in these messages.

        Found by identity: repairs copy blocks, but never their sources.
        """
        for i, message in enumerate(messages):
            for j, block in _blocks(message):
                if block.get("source", self) is self.source:
                    return f"messages.{i}.content.{j}"
                for k, inside in _blocks(block):
                    if inside.get("source", self) is self.source:
                        return f"messages.{i}.content.{j}.content.{k}"
        return "messages"


def _blocks(holder: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the index and the block for each block of a content list."""
    content = enumerate(as_list(holder.get("content")))
    yield from ((at, block) for at, block in content if isinstance(block, dict))


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a tool call: its `input`, wrapped in an object if it is not one."""
    input = call.get("input")
    return input if isinstance(input, dict) else {} if input is None else {"input": input}


SAID = ("title", "url", "source", "text", "content", "stdout", "stderr")
"""Keys of text in blocks of other types."""


def described(block: Mapping[str, Any]) -> str:
    """Return the texts, titles and URLs in a block, a line each; nothing binary or encrypted. "" for none."""
    found: list[str] = []
    rest: list[object] = [block]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            # A document's text is the `data` of its source.
            given = [value.get(key) for key in (*SAID, *(("data",) if value.get("type") == "text" else ()))]
            found += [text for text in given if isinstance(text, str) and text.strip()]
            rest += reversed(value.values())
        elif isinstance(value, list):
            rest += reversed(value)
    return "".join(f"{text}\n" for text in found)
