"""A Reply as the protocol has it: one Message, or a stream in small pieces."""

import re
from collections.abc import Iterator
from typing import Any

from gateway.demo.reply import Reply
from gateway.messages.json_documents import write_document
from gateway.messages.stream import StreamWriter

_WORD = re.compile(r"\s*\S+|\s+")

INPUT_PIECE = 24
"""Characters of a tool's input that come at once: enough pieces to show that a client must join them."""


def message(reply: Reply, message_id: str, model: str) -> bytes:
    """The whole answer as a JSON body."""
    document: dict[str, Any] = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": reply.content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": reply.stop_sequence,
        "usage": reply.usage,
    }
    return write_document(document)


def pieces(reply: Reply, message_id: str, model: str) -> Iterator[bytes]:
    """The answer as a stream: the start, then each word, then the end."""
    writer = StreamWriter(message_id=message_id, model=model)
    writer.start({**reply.usage, "output_tokens": 1})
    writer.ping()
    yield writer.take()
    for block in reply.content:
        kind = block["type"]
        if kind == "tool_use":
            writer.tool_start(block["id"], block["name"])
            text = write_document(block["input"]).decode()
            for start in range(0, len(text), INPUT_PIECE):
                writer.tool_input(text[start : start + INPUT_PIECE])
                yield writer.take()
        else:
            write = writer.thinking if kind == "thinking" else writer.text
            for word in _WORD.findall(block[kind]):
                write(word)
                yield writer.take()
            writer.signature(block.get("signature", ""))
        writer.stop_block()
    writer.finish(reply.stop_reason, reply.usage, reply.stop_sequence)
    yield writer.take()
