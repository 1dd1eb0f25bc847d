"""Writes the events of a streamed response. No other module does.

Whatever the caller does, the output is message_start, blocks with rising indexes that each start, change and stop, one
message_delta, one message_stop; or, at any point, one error event and nothing after it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.messages.errors import error_event
from gateway.messages.json_documents import write_document

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_NO_USAGE = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}
"""SDKs crash on a missing usage object, so there is always a complete one."""


class StreamWriter:
    """Writes one response's events; `take` returns their bytes.

    Text and thinking are written as deltas: the first one opens a block, which stays open until another kind of
    content, `stop_block` or `finish` closes it. After `finish` or `error` all calls are ignored.
    """

    __slots__ = (
        "_call_is_empty",
        "_delta_head",
        "_index",
        "_kind",
        "_message_id",
        "_model",
        "_out",
        "_over",
        "_signature",
        "estimated",
        "finished",
        "has_content",
        "started",
        "usage",
    )

    def __init__(self, *, message_id: str, model: str) -> None:
        self._message_id = message_id
        self._model = model
        self._out: list[bytes] = []
        self._index = -1
        """The index of the open block, or the last one."""
        self._kind = ""
        """The kind of the open block: "text", "thinking", "call" (a block with streamed JSON input), or ""."""
        self._delta_head = b""
        """The beginning of a delta event of the open block, up to the delta's type."""
        self._signature = ""
        """The signature of the open thinking block, written when it stops."""
        self._call_is_empty = False
        self._over = False
        """Whether message_stop or an error event was written."""
        self.started = False
        """Whether message_start was written."""
        self.finished = False
        """Whether message_stop was written."""
        self.has_content = False
        """Whether anything was written that a client would lose if the response began again."""
        self.estimated = False
        """Whether some of `usage` is an estimate."""
        self.usage: dict[str, Any] = {}
        """The token counts written so far; later ones replace earlier ones."""

    def take(self) -> bytes:
        """Return what was written since the last call; b"" if nothing."""
        out = self._out
        if not out:
            return b""
        taken = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return taken

    def start(self, usage: Mapping[str, Any] | None = None) -> None:
        """Write message_start, once. `usage`: the token counts known so far."""
        if self.started or self._over:
            return
        self.started = True
        self.usage.update(usage or ())
        message: dict[str, Any] = {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_NO_USAGE, **usage} if usage else _NO_USAGE,
        }
        self._event(b"message_start", {"type": "message_start", "message": message})

    def text(self, text: str) -> None:
        """Write text, in the open text block or a new one. "" opens no block."""
        if not text or self._over:
            return
        if self._kind != "text":
            self._open("text", b'{"type":"text","text":""}')
        self.has_content = True
        value = write_document(text, finite=True)
        self._out.append(b'%b"text_delta","text":%b}}\n\n' % (self._delta_head, value))

    def citation(self, citation: Mapping[str, Any]) -> None:
        """Write a citation for the open text block, or for a new one."""
        if self._over:
            return
        if self._kind != "text":
            self._open("text", b'{"type":"text","text":"","citations":[]}')
        self._delta(b'"citations_delta","citation":', citation)

    def thinking(self, text: str) -> None:
        """Write thinking, in the open thinking block unless it is signed. "" opens no block."""
        if not text or self._over:
            return
        if self._kind != "thinking" or self._signature:
            self._open_thinking()
        self._delta(b'"thinking_delta","thinking":', text)

    def signature(self, signature: str) -> None:
        """Sign the open thinking block, or a new one without text.

        The last signature counts; it is written right before the block's stop.
        """
        if not signature or self._over:
            return
        if self._kind != "thinking":
            self._open_thinking()
        self._signature = signature
        self.has_content = True

    def tool_use(self, id: str, name: str, input_json: bytes) -> None:
        """Write a whole call. `input_json` is its input as JSON text."""
        self.tool_start(id, name)
        self.tool_input(input_json.decode())
        self.stop_block()

    def tool_start(self, id: str, name: str) -> None:
        """Begin a call whose input follows in pieces."""
        if not self._over:
            self._open_call({"type": "tool_use", "id": id, "name": name, "input": {}})

    def tool_input(self, partial_json: str) -> None:
        """Write a piece of the open call's input, which is JSON text.

        Raises RuntimeError if no call is open.
        """
        if self._over:
            return
        if self._kind != "call":
            raise RuntimeError("tool input without an open call")
        if partial_json:
            self._call_is_empty = False
            self._delta(b'"input_json_delta","partial_json":', partial_json)

    def block(self, block: Mapping[str, Any]) -> None:
        """Write a whole block of any type, in the protocol's events for it.

        Blocks whose content has no deltas (redacted_thinking, web_search_tool_result, unknown ones) are sent whole with
        their start.
        """
        if self._over:
            return
        self.stop_block()
        kind = block.get("type")
        if kind == "text":
            for citation in block.get("citations") or ():
                self.citation(citation)
            self.text(block.get("text") or "")
        elif kind == "thinking":
            self.thinking(block.get("thinking") or "")
            self.signature(block.get("signature") or "")
        elif "input" in block:
            # Clients ignore an input that comes only with the start.
            self._open_call({**block, "input": {}})
            self.tool_input(write_document(block["input"]).decode())
        else:
            self._open("whole", write_document(block))
            self.has_content = True
        self.stop_block()

    def stop_block(self) -> None:
        """Close the open block, if there is one."""
        if not self._kind or self._over:
            return
        if self._signature:
            self._delta(b'"signature_delta","signature":', self._signature)
            self._signature = ""
        elif self._kind == "call" and self._call_is_empty:
            self._delta(b'"input_json_delta","partial_json":', "{}")
        self._kind = ""
        self._out.append(
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index
        )

    def finish(self, stop_reason: str, usage: Mapping[str, Any], stop_sequence: str | None = None) -> None:
        """End the response properly, once: close the open block; write message_delta and message_stop."""
        if self._over:
            return
        self.start()
        self.stop_block()
        self.usage.update(usage)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": stop_sequence},
            "usage": {"output_tokens": 0, **usage},
        }
        self._event(b"message_delta", delta)
        self._out.append(_MESSAGE_STOP)
        self.finished = self._over = True

    def error(self, type: str, message: str, request_id: str) -> None:
        """Write one error event: the response failed.

        The open block stays open, since clients run a tool call whose block is closed.
        """
        if self._over:
            return
        self._out.append(error_event(type, message, request_id))
        self._over = True

    def ping(self) -> None:
        """Write a ping, which is allowed anywhere before the end."""
        if not self._over:
            self._out.append(PING)

    def _open_thinking(self) -> None:
        self._open("thinking", b'{"type":"thinking","thinking":"","signature":""}')

    def _open_call(self, block: Mapping[str, Any]) -> None:
        self._open("call", write_document(block))
        self._call_is_empty = True
        self.has_content = True

    def _open(self, kind: str, block: bytes) -> None:
        """Start a block. `block`: its JSON before any delta."""
        self.start()
        self.stop_block()
        self._kind = kind
        self._index += 1
        self._delta_head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":'
            % self._index
        )
        self._out.append(
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,' % self._index
            + b'"content_block":%b}\n\n' % block
        )

    def _delta(self, type_and_key: bytes, value: object) -> None:
        self.has_content = True
        self._out.append(b"".join((self._delta_head, type_and_key, write_document(value), b"}}\n\n")))

    def _event(self, name: bytes, data: object) -> None:
        self._out.append(b"event: %b\ndata: %b\n\n" % (name, write_document(data)))
