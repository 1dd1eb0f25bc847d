"""Assembles an event stream to the Message that a response without streaming would have.

Lenient about what it does not know (events, deltas, blocks, fields), strict about the end: without message_stop there
is no message. The caller decides what the client gets instead.
"""

from typing import Any

from gateway.messages.json_documents import read_document
from gateway.messages.json_values import as_dict
from gateway.messages.sse import Event

_TEXT_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}
"""Type of a text delta -> the key of the text, in the delta and in the block."""

_APPENDED = ("text", "thinking")
"""Texts that deltas add to. A signature replaces an earlier one, as in the SDKs."""

_DONE = b"[DONE]"
"""Some hosts end a stream with it, as in OpenAI's protocol."""


class Collector:
    """Takes one response's events in order.

    `message` is set once `complete`, `error` (type, message) if the response failed; events after either are ignored.
    """

    __slots__ = ("_blocks", "_cut", "_message", "_pieces", "complete", "error")

    def __init__(self) -> None:
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, dict[str, list[str]]] = {}
        """The deltas' texts of each block that has not stopped, by key; "input" is JSON text."""
        self._cut: dict[int, str] = {}
        """Calls whose input is no JSON, and the error."""
        self.complete = False
        self.error: tuple[str, str] | None = None

    @property
    def message(self) -> dict[str, Any] | None:
        """Return the whole message, or None before its end."""
        return self._message if self.complete else None

    def feed(self, event: Event) -> None:
        """Add one event."""
        if self.complete or self.error or event.data == _DONE:
            return
        try:
            data = read_document(event.data)
            if isinstance(data, dict):
                self._take(data.get("type") or event.name, data)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # The text of other errors may contain a part of the response.
            what = str(error) if isinstance(error, ValueError) else type(error).__name__
            self._fail(f"the upstream sent a broken {event.name or 'unnamed'} event: {what}")

    def _take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "content_block_delta":
            self._delta(data["index"], data["delta"])
        elif kind == "content_block_start":
            self._blocks[data["index"]] = dict(data["content_block"])
            self._pieces[data["index"]] = {}
        elif kind == "content_block_stop":
            self._stop(data["index"])
        elif kind == "message_start":
            self._message = dict(data["message"])
        elif kind == "message_delta":
            self._message_delta(data)
        elif kind == "message_stop":
            self._end()
        elif kind == "error":
            error = as_dict(data.get("error"))
            self.error = (str(error.get("type") or "api_error"), str(error.get("message") or "unknown error"))

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if kind == "input_json_delta":
            self._pieces[index].setdefault("input", []).append(delta["partial_json"])
        elif kind == "citations_delta":
            block = self._blocks[index]
            citations = block["citations"] = block.get("citations") or []
            citations.append(delta["citation"])
        elif kind in _TEXT_DELTAS:
            key = _TEXT_DELTAS[kind]
            self._pieces[index].setdefault(key, []).append(delta[key])

    def _stop(self, index: int) -> None:
        """Join a block's pieces, once: joining with each delta would take quadratic time."""
        block = self._blocks[index]
        for key, pieces in self._pieces.pop(index).items():
            if key == "input":
                self._put_input(index, "".join(pieces))
            elif key in _APPENDED:
                block[key] = "".join((block.get(key) or "", *pieces))
            else:
                block[key] = pieces[-1]

    def _put_input(self, index: int, text: str) -> None:
        """Set a call's input. Some hosts send no text for a call without arguments."""
        if not text.strip():
            return
        try:
            self._blocks[index]["input"] = read_document(text.encode("utf-8", "surrogatepass"))
        except ValueError as error:
            self._cut[index] = str(error)

    def _message_delta(self, data: dict[str, Any]) -> None:
        message = self._begun()
        message.update(data["delta"])
        for key, value in data.items():
            if key == "usage":
                # A count that is missing or null here keeps its value from message_start.
                usage = message["usage"] = message.get("usage") or {}
                usage.update({name: count for name, count in (value or {}).items() if count is not None})
            elif key not in ("type", "delta"):
                message[key] = value

    def _end(self) -> None:
        message = self._begun()
        for index in list(self._pieces):
            self._stop(index)
        if self._cut:
            # A call that the token limit cut off must not be run, but the rest of the response is valid.
            if message.get("stop_reason") != "max_tokens":
                raise ValueError(f"a tool call's input: {next(iter(self._cut.values()))}")
            for index in self._cut:
                del self._blocks[index]
        message["content"] = [self._blocks[index] for index in sorted(self._blocks)]
        self.complete = True

    def _begun(self) -> dict[str, Any]:
        if self._message is None:
            raise ValueError("it came before message_start")
        return self._message

    def _fail(self, message: str) -> None:
        self.error = ("api_error", message)
