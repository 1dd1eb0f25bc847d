"""Converts a whole Message to the events of a stream."""

from collections.abc import Iterator
from typing import Any

from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_dict, as_list

_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "input": {"input": {}},
}
"""A block's content at its start, by the key that its deltas fill."""


def message_events(message: dict[str, Any]) -> bytes:
    """Return the event stream of a message that `read_document` has read; unknown parts are kept."""
    events = [
        _event(
            "message_start", message={**message, "content": [], "stop_reason": None, "stop_sequence": None}
        )
    ]
    for index, block in enumerate(as_list(message.get("content"))):
        events += _block(index, block)
    delta = {key: message.get(key) for key in ("stop_reason", "stop_sequence")}
    events.append(_event("message_delta", delta=delta, usage=as_dict(message.get("usage"))))
    events.append(_event("message_stop"))
    return b"".join(events)


def _block(index: int, block: Any) -> Iterator[bytes]:
    """Yield the events of one block; an unknown type is sent whole with its start."""
    key = next((key for key in _EMPTY if isinstance(block, dict) and key in block), "")
    start = {**block, **_EMPTY[key]} if key else block
    if key == "text":
        start.pop("citations", None)
    yield _event("content_block_start", index=index, content_block=start)
    for delta in _deltas(key, block):
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _deltas(key: str, block: Any) -> Iterator[dict[str, Any]]:
    """Yield the deltas that fill a block."""
    if key == "text":
        yield {"type": "text_delta", "text": block["text"]}
        for citation in as_list(block.get("citations")):
            yield {"type": "citations_delta", "citation": citation}
    elif key == "thinking":
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        if block.get("signature"):
            yield {"type": "signature_delta", "signature": block["signature"]}
    elif key == "input":
        yield {"type": "input_json_delta", "partial_json": write_document(block["input"]).decode()}


def _event(name: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), write_document({"type": name, **fields}))
