"""The history on its way to Gemini: `messages` become `contents`.

Promises Gemini's rules whatever the history looks like: turns alternate and begin with the user's, no
turn is without parts, and every function call is answered once, in its order, at the beginning of the
next turn. Signatures go back where they belong. What each block becomes is a table at the end.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.dialects.gemini.signatures import BYPASS, SignatureStore, unmarked
from gateway.dialects.gemini.tools import ToolNames
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document

Part = dict[str, Any]

NO_RESULT = "no result was provided"

MIME_OF_ENDING: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "pdf": "application/pdf",
}
"""For a URL, which comes without a type."""

MIME_OF_BLOCK: Mapping[str, str] = {"image": "image/jpeg", "document": "application/pdf"}
"""For a URL that does not tell either."""


class UnsupportedSource(Exception):
    """An image or document that Gemini cannot be given. Carries the block's `source`."""

    def __init__(self, kind: str, source: object) -> None:
        super().__init__(kind)
        self.kind = kind
        self.source = source


class Contents:
    """The turns of one request, built message by message."""

    def __init__(
        self, names: ToolNames, signatures: SignatureStore | None, warn: Callable[[str], None]
    ) -> None:
        """`signatures` None: no thinking goes back, and every call gets the bypass value."""
        self._names = names
        self._signatures = signatures
        self._warn = warn
        self.turns: list[dict[str, Any]] = []
        self._called: set[str] = set()
        """Ids of every call so far."""
        self._open: list[tuple[str, str]] = []
        """(id, wire name) of the calls in the last model turn, which the next user turn must answer."""
        self._awaited: list[str] = []
        """Ids of those that have no result yet."""
        self._answers: dict[str, list[tuple[dict[str, str], list[Part]]]] = {}
        """The user turn being built: the responses (each with its media) to those calls,"""
        self._strays: list[Part] = []
        """responses to calls that are nowhere in the history,"""
        self._others: list[Part] = []
        """and all the rest."""

    def add(self, message: Mapping[str, Any]) -> None:
        """The next message. Raises UnsupportedSource."""
        content = message.get("content")
        blocks: Iterable[Any] = content if isinstance(content, list) else (content,)
        if message.get("role") == "assistant":
            self._add_model(blocks)
        else:
            self._add_user(blocks)

    def end(self) -> list[dict[str, Any]]:
        """All turns."""
        self._close_user()
        return self.turns

    def _add_user(self, blocks: Iterable[Any]) -> None:
        for block in blocks:
            if isinstance(block, dict) and block.get("type") == "tool_result":
                self._add_result(block)
            else:
                self._add_block(block, self._others)

    def _add_result(self, block: Mapping[str, Any]) -> None:
        id = block.get("tool_use_id")
        id = id if isinstance(id, str) else ""
        text, media = self._result_content(block.get("content"))
        response = {"error": text} if block.get("is_error") is True else {"result": text}
        if id not in self._called:
            self._strays += [_response(self._names.wire(id), id, response), *media]
        elif id in self._awaited:
            self._awaited.remove(id)
            self._answers.setdefault(id, []).append((response, media))
        else:
            # A second or a late result: there is no call left that it could answer.
            if text.strip():
                self._others.append({"text": text})
            self._others += media

    def _result_content(self, content: object) -> tuple[str, list[Part]]:
        """A tool result's text, and its images and documents as parts."""
        if isinstance(content, str):
            return content, []
        parts: list[Part] = []
        for block in content if isinstance(content, list) else ():
            self._add_block(block, parts)
        texts = [part["text"] for part in parts if "text" in part]
        return "\n".join(texts), [part for part in parts if "text" not in part]

    def _add_model(self, blocks: Iterable[Any]) -> None:
        parts: list[Part] = []
        calls: list[tuple[str, str]] = []
        thought = ""
        for block in blocks:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "tool_use":
                calls.append(self._add_call(block, thought if not calls else "", parts))
            elif kind == "thinking":
                thought = self._add_thinking(block, parts) or thought
            else:
                before = len(parts)
                self._add_block(block, parts)
                if kind == "text" and len(parts) > before and self._signatures:
                    signature = self._signatures.of_text(block["text"])
                    if signature:
                        parts[-1]["thoughtSignature"] = signature
        if parts:
            # Two model messages with nothing said between them are one turn, its calls still open.
            if self._answers or self._strays or self._others:
                self._close_user()
            self._append("model", parts)
            for call in calls:
                self._open.append(call)
                self._awaited.append(call[0])

    def _add_thinking(self, block: Mapping[str, Any], parts: list[Part]) -> str:
        """Returns the signature; a block without one of Gemini's is left out."""
        signature = unmarked(block.get("signature")) if self._signatures is not None else ""
        if signature:
            text = block.get("thinking")
            text = text if isinstance(text, str) else ""
            parts.append({"text": text, "thought": True, "thoughtSignature": signature})
        return signature

    def _add_call(self, block: Mapping[str, Any], thought: str, parts: list[Part]) -> tuple[str, str]:
        """`thought`: the signature of the thinking before it, if it may have that one. Returns the id and
        the wire name."""
        id = block.get("id")
        id = id if isinstance(id, str) else ""
        name = self._names.wire(str(block.get("name", "")))
        input = block.get("input")
        call: dict[str, Any] = {"name": name}
        call["args"] = input if isinstance(input, dict) else {} if input is None else {"input": input}
        if id:
            call["id"] = id
        known = (self._signatures.of_call(id) or thought) if self._signatures is not None else ""
        parts.append({"functionCall": call, "thoughtSignature": known or BYPASS})
        self._called.add(id)
        return id, name

    def _add_block(self, block: object, parts: list[Part]) -> None:
        """A block that is neither a call, nor a result, nor thinking of the model."""
        if isinstance(block, str):
            if block.strip():
                parts.append({"text": block})
        elif isinstance(block, dict):
            kind = block.get("type")
            make = _PARTS.get(kind) if isinstance(kind, str) else None
            part = make(block) if make else self._unknown(block)
            if part:
                parts.append(part)

    def _unknown(self, block: Mapping[str, Any]) -> Part | None:
        kind = block.get("type")
        if _holds_binary(block):
            self._warn(f"content blocks of type {kind} cannot be translated: left out")
            return None
        self._warn(f"content blocks of type {kind} are unknown: sent as their JSON")
        return {"text": write_document(block).decode()}

    def _append(self, role: str, parts: list[Part]) -> None:
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["parts"].extend(parts)
            return
        if not self.turns and role == "model":
            self.turns.append({"role": "user", "parts": [{"text": ""}]})
        self.turns.append({"role": role, "parts": parts})

    def _close_user(self) -> None:
        """End the user turn, if anything was said in it or a call waits for it."""
        parts: list[Part] = []
        for id, name in self._open:
            answers = self._answers.get(id)
            response, media = answers.pop(0) if answers else ({"error": NO_RESULT}, [])
            parts += [_response(name, id, response), *media]
        parts += self._strays + self._others
        self._open, self._awaited, self._answers, self._strays, self._others = [], [], {}, [], []
        if parts:
            self._append("user", parts)


def gemini_contents(
    messages: Iterable[Mapping[str, Any]],
    original: Iterable[Mapping[str, Any]],
    names: ToolNames,
    signatures: SignatureStore | None,
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """`contents` for the (repaired) messages.

    Raises RequestError(400) for an image or document that cannot be sent, naming its place in the
    `original` messages, those that the client knows.
    """
    contents = Contents(names, signatures, warn)
    try:
        for message in messages:
            contents.add(message)
    except UnsupportedSource as error:
        place = _place(original, error.source)
        given = error.source.get("type") if isinstance(error.source, dict) else None
        raise RequestError(
            400,
            f"{place}: the source of this {error.kind} (type {given!r}) cannot be sent to a Gemini model; "
            "base64, url and text sources can",
        ) from None
    return contents.end()


def _place(messages: Iterable[Mapping[str, Any]], source: object) -> str:
    """Where the block with this very `source` is. Repairs copy blocks but never look into a source."""
    for i, message in enumerate(messages):
        content = message.get("content")
        for j, block in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(block, dict):
                continue
            if block.get("source") is source and "source" in block:
                return f"messages.{i}.content.{j}"
            inner = block.get("content")
            for k, inside in enumerate(inner if isinstance(inner, list) else ()):
                if isinstance(inside, dict) and "source" in inside and inside["source"] is source:
                    return f"messages.{i}.content.{j}.content.{k}"
    return "messages"


def _response(name: str, id: str, response: dict[str, str]) -> Part:
    named = {"name": name, "id": id} if id else {"name": name}
    return {"functionResponse": {**named, "response": response}}


def _text_part(block: Mapping[str, Any]) -> Part | None:
    text = block.get("text")
    return {"text": text} if isinstance(text, str) and text.strip() else None


def _media_part(block: Mapping[str, Any]) -> Part | None:
    """An image's or a document's part. Raises UnsupportedSource."""
    source = block.get("source")
    kind = str(block["type"])
    given = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict):
        data = source.get("url" if given == "url" else "data")
        if isinstance(data, str):
            if given == "base64" and isinstance(source.get("media_type"), str):
                return {"inlineData": {"mimeType": source["media_type"], "data": data}}
            if given == "text":
                return {"text": data} if data.strip() else None
            if given == "url":
                return {"fileData": {"fileUri": data, "mimeType": _mime_of_url(data, kind)}}
    raise UnsupportedSource(kind, source)


def _mime_of_url(url: str, kind: str) -> str:
    path = url.partition("?")[0].partition("#")[0]
    return MIME_OF_ENDING.get(path.rpartition(".")[2].lower(), MIME_OF_BLOCK[kind])


def _left_out(block: Mapping[str, Any]) -> None:
    return None


def _tool_reference(block: Mapping[str, Any]) -> Part:
    return {"text": f"Tool loaded: {block.get('tool_name')}"}


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "text": _text_part,
    "image": _media_part,
    "document": _media_part,
    "thinking": _left_out,
    "redacted_thinking": _left_out,
    "tool_reference": _tool_reference,
}
"""Block type -> its part; None: left out. Calls, results and thinking with a signature are turns' work."""


def _holds_binary(block: Mapping[str, Any]) -> bool:
    """Whether an unknown block carries data that is no text."""
    rest: list[object] = [block]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if value.get("type") == "base64" or (
                "data" in value and value.keys() & {"media_type", "mime_type"}
            ):
                return True
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return False
