"""What every translation of a message history needs, whatever the upstream's own form is."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.messages.json_values import as_dict, as_list

SEE_BELOW = "(see below)"
"""The text of a tool's result that is only an image or a document, where these stand behind it."""


class UnsupportedSource(Exception):
    """An image or a document that the upstream cannot be given."""

    def __init__(self, kind: str, source: object) -> None:
        """`kind`: the block's type. `source`: the very value that is in the block."""
        super().__init__(kind)
        self.kind = kind
        self.source = source
        self.type = as_dict(source).get("type")

    def place(self, messages: Iterable[Mapping[str, Any]]) -> str:
        """Return where the block is. Repairs copy blocks but never look into a source."""
        for i, message in enumerate(messages):
            for j, block in _blocks(message):
                if block.get("source", self) is self.source:
                    return f"messages.{i}.content.{j}"
                for k, inside in _blocks(block):
                    if inside.get("source", self) is self.source:
                        return f"messages.{i}.content.{j}.content.{k}"
        return "messages"


def _blocks(holder: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the blocks of a content, each with its index."""
    content = enumerate(as_list(holder.get("content")))
    yield from ((at, block) for at, block in content if isinstance(block, dict))


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a call gives its tool: `input`, in an object of its own if it is none."""
    input = call.get("input")
    return input if isinstance(input, dict) else {} if input is None else {"input": input}
