"""The history for a chat.completions host: `messages` of the one protocol become those of the other.

Promises what hosts enforce, for any history: each assistant message with calls is followed at once by exactly its tool
messages, in order; assistant text is one string; nothing is empty. The table at the end maps content blocks to parts.
The messages of one turn are a byte prefix of the next turn's.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from gateway.config.openai_traits import Traits
from gateway.dialects.history import SEE_BELOW, UnsupportedSource, arguments_of, described
from gateway.dialects.openai.reasoning import Entry, Reasoning, items_of, put_back, read_block
from gateway.messages.content_repairs import tool_loaded
from gateway.messages.json_documents import read_document, write_document
from gateway.messages.json_values import as_dict, as_text
from gateway.messages.tool_repairs import NO_RESULT, is_server_result

Part = dict[str, Any]
Message = dict[str, Any]

ORDER = "order"
"""Key of an assistant message for the Responses wire, which keeps the order of blocks: pairs of kind (reasoning,
text, call) and the item, the text or the call."""

NO_OUTPUT = "(no output)"
"""Content of a tool message without output: an empty one is refused."""

AFTER_TOOL = "(tool results received)"

IMAGE_NOTE = "[image left out: this upstream takes none]"
URL_NOTE = "[image left out: this upstream takes no URLs]"
DOCUMENT_NOTE = "[document left out: this upstream takes none]"

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class History:
    """Builds the messages of one request, one after the other."""

    def __init__(
        self,
        traits: Traits,
        host: str,
        model: str,
        names: Callable[[str], str],
        extras: Callable[[str], Mapping[str, Any]],
        warn: Callable[[str], None],
        *,
        opaque: bool = True,
    ) -> None:
        """`names` returns a tool's name for the host. `extras` returns the remembered values of a call, by its id.
        `opaque` False: leave opaque reasoning out."""
        self._traits = traits
        self._host, self._model = host, model
        self._names = names
        self._extras = extras
        self._warn = warn
        self._opaque = opaque
        self.messages: list[Message] = []
        self.features: set[str] = set()
        """Features of the messages that a host may refuse."""
        self.ids: set[str] = set()
        """The client's ids of all calls so far."""
        self._wire_ids: set[str] = set()
        self._calls = 0
        self._open: list[tuple[str, str, str]] = []
        """(id, wire id, the client's name) of calls whose results belong into the next user message."""

    def add(self, message: Mapping[str, Any]) -> None:
        """Add the next message. Raises UnsupportedSource."""
        content = message.get("content")
        blocks: Iterable[Any] = content if isinstance(content, list) else (content,)
        if message.get("role") == "assistant":
            self._add_assistant(blocks)
        else:
            self._add_user(blocks)

    def end(self) -> list[Message]:
        """Return all messages. Calls without a result get a placeholder."""
        self._answer({})
        last = self.messages[-1] if self.messages else {}
        if self._traits.prefill == "prefix" and last.get("role") == "assistant":
            last["prefix"] = True
        return self.messages

    # The assistant's.

    def _add_assistant(self, blocks: Iterable[Any]) -> None:
        self._answer({})
        texts: list[str] = []
        thoughts: list[Reasoning] = []
        calls: list[Part] = []
        more: list[Entry] = []
        opened: list[tuple[str, str, str]] = []
        order: list[tuple[str, Any]] = []
        for block in blocks:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "tool_use":
                calls.append(self._call(block, more, opened))
                order.append(("call", calls[-1]))
            elif kind == "thinking":
                read = read_block(block, self._host, self._model, opaque=self._opaque)
                thoughts += [read] if read else []
                order += [("reasoning", item) for item in items_of(read, self._traits)]
            else:
                said = [part["text"] for part in self._parts(block) if "text" in part]
                texts += said
                order += [("text", text) for text in said]
        text = "".join(texts)
        if not text.strip() and not calls:
            return
        message: Message = {"role": "assistant", "content": text if text.strip() else None}
        spelling = put_back(message, thoughts, self._traits, more)
        self.features |= {"assistant"} | ({"echo"} if spelling else set()) | ({"calls"} if calls else set())
        if any(thought.details for thought in thoughts) or more:
            self.features.add("opaque")
        if calls:
            message["tool_calls"] = calls
        if self._traits.wire == "responses":
            message[ORDER] = order
        self.messages.append(message)
        self._open = opened

    def _call(self, block: Mapping[str, Any], more: list[Entry], opened: list[tuple[str, str, str]]) -> Part:
        id, name = as_text(block.get("id")), str(block.get("name", ""))
        wire = self._names(name)
        wire_id = self._wire_id(id, wire)
        self.ids.add(id)
        opened.append((id, wire_id, name))
        arguments = arguments_of(block)
        known = self._extras(id)
        written = known.get("arguments")
        if (
            not isinstance(written, str)
            or read_document(written.encode("utf-8", "surrogatepass")) != arguments
        ):
            written = write_document(arguments).decode()
        call: Part = {"id": wire_id, "type": "function", "function": {"name": wire, "arguments": written}}
        more += known.get("details", ()) if self._opaque else ()
        if self._opaque and "extra_content" in known:
            call["extra_content"] = known["extra_content"]
            self.features.add("opaque")
        return call

    def _wire_id(self, id: str, name: str) -> str:
        """Return a call's id in the host's form: equal in every turn, and used only once."""
        position = self._calls
        self._calls += 1
        if self._traits.tool_ids == "kimi":
            return f"functions.{name}:{position}"
        wire = _fit_id(id, self._traits.tool_ids)
        if not wire or wire in self._wire_ids:
            wire = _hash(f"{id}#{position}", self._traits.tool_ids)
        self._wire_ids.add(wire)
        return wire

    # The user's.

    def _add_user(self, blocks: Iterable[Any]) -> None:
        results: dict[str, list[Mapping[str, Any]]] = {}
        others: list[Part] = []
        awaited = [id for id, _, _ in self._open]
        for block in blocks:
            if not isinstance(block, dict) or block.get("type") != "tool_result":
                others += self._parts(block)
                continue
            id = block.get("tool_use_id")
            if isinstance(id, str) and id in awaited:
                awaited.remove(id)
                results.setdefault(id, []).append(block)
            else:
                # It answers no open call, so it becomes text.
                text, media = self._result(block)
                others += [_text(text)] if text else []
                others += media
        parts = self._answer(results) + others
        if parts:
            behind_tool = bool(self.messages) and self.messages[-1]["role"] == "tool"
            if behind_tool and self._traits.after_tool == "assistant":
                self.messages.append({"role": "assistant", "content": AFTER_TOOL})
            elif behind_tool:
                self.features.add("user_after_tool")
            self.messages.append({"role": "user", "content": content_of(parts)})

    def _answer(self, results: Mapping[str, list[Mapping[str, Any]]]) -> list[Part]:
        """Write the tool message of each open call; return pictures and files that belong behind them."""
        behind: list[Part] = []
        for id, wire_id, name in self._open:
            given = results.get(id)
            block = given.pop(0) if given else {"is_error": True, "content": NO_RESULT}
            text, media = self._result(block)
            content: str | list[Part] = text or (SEE_BELOW if media else NO_OUTPUT)
            if media and self._traits.tool_images == "tool":
                content = ([_text(text)] if text else []) + media
            elif media:
                behind += [_text(f"[from tool result {name}:]"), *media]
            if "cache_control" in block and isinstance(content, str):
                content = [{**_text(content), "cache_control": block["cache_control"]}]
            self.messages.append({"role": "tool", "tool_call_id": wire_id, "content": content})
        self._open = []
        return behind

    def _result(self, block: Mapping[str, Any]) -> tuple[str, list[Part]]:
        """Return a tool result's text, and its pictures and files as parts."""
        content = block.get("content")
        parts: list[Part] = []
        for inner in content if isinstance(content, list) else (content,):
            parts += self._parts(inner)
        text = "\n".join(part["text"] for part in parts if "text" in part)
        if block.get("is_error") is True:
            text = f"Error: {text or NO_OUTPUT}"
        return text, [part for part in parts if "text" not in part]

    # Blocks.

    def _parts(self, block: object) -> list[Part]:
        """Return the parts of a block that is not a call, a result or thinking."""
        if isinstance(block, str):
            return [_text(block)] if block.strip() else []
        if not isinstance(block, dict):
            return []
        kind = str(block.get("type"))
        make = _PARTS.get(kind, _described if is_server_result(kind) else None)
        if make is None:
            self._warn(f"content blocks of type {kind} are unknown: their texts are sent")
            return _described(block, self._traits)
        parts = make(block, self._traits)
        if parts and "cache_control" in block and "text" in parts[-1]:
            parts[-1]["cache_control"] = block["cache_control"]
        for part in parts:
            if part["type"] != "text":
                self.features.add(part["type"])
        return parts


def content_of(parts: list[Part]) -> str | list[Part]:
    """Return one string if the parts are text without cache marks, else the parts."""
    if all(part.keys() == {"type", "text"} for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _fit_id(id: str, style: str) -> str:
    """Return the id in the host's style."""
    longest = {"40": 40, "64": 64}.get(style)
    if style == "alnum9":
        fits = len(id) == 9 and id.isascii() and id.isalnum()
    else:
        fits = longest is None or len(id) <= longest
    return id if fits else _hash(id, style)


def _hash(id: str, style: str) -> str:
    digest = sha256(id.encode("utf-8", "surrogatepass")).digest()
    if style == "alnum9":
        return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:9])
    # 37 characters fit into every style; 128 bits do not collide.
    return f"call_{digest.hex()[:32]}"


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _text_parts(block: Mapping[str, Any], traits: Traits) -> list[Part]:
    text = as_text(block.get("text"))
    return [_text(text)] if text.strip() else []


def _image_parts(block: Mapping[str, Any], traits: Traits) -> list[Part]:
    source = as_dict(block.get("source"))
    kind, data, url = source.get("type"), source.get("data"), source.get("url")
    if traits.images == "note":
        return [_text(IMAGE_NOTE)]
    if kind == "base64" and isinstance(data, str):
        url = f"data:{source.get('media_type') or 'image/png'};base64,{data}"
    elif kind != "url" or not isinstance(url, str):
        return [_text(IMAGE_NOTE)]
    elif traits.images == "data" and not url.startswith("data:"):
        return [_text(URL_NOTE)]
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document_parts(block: Mapping[str, Any], traits: Traits) -> list[Part]:
    """Return a document's parts. Raises UnsupportedSource."""
    source = as_dict(block.get("source"))
    kind, data, title = source.get("type"), source.get("data"), as_text(block.get("title"))
    title = title if title.strip() else ""
    if kind == "text" and isinstance(data, str):
        text = f"{title}\n{data}" if title else data
        return [_text(text)] if text.strip() else []
    if kind == "content":
        content = source.get("content")
        parts = [_text(title)] if title else []
        for inner in content if isinstance(content, list) else (content,):
            if isinstance(inner, str):
                parts += _text_parts({"text": inner}, traits)
            elif isinstance(inner, dict):
                parts += _PARTS.get(str(inner.get("type")), _described)(inner, traits)
        return parts
    if traits.documents == "error":
        raise UnsupportedSource("document", block.get("source"))
    media_type = source.get("media_type")
    if traits.documents == "file" and kind == "base64" and isinstance(data, str):
        uri = f"data:{media_type or 'application/pdf'};base64,{data}"
        return [{"type": "file", "file": {"filename": title or "document.pdf", "file_data": uri}}]
    return [_text(DOCUMENT_NOTE)]


def _described(block: Mapping[str, Any], traits: Traits) -> list[Part]:
    text = described(block)
    return [_text(text)] if text else []


def _nothing(block: Mapping[str, Any], traits: Traits) -> list[Part]:
    return []


def _tool_reference(block: Mapping[str, Any], traits: Traits) -> list[Part]:
    return [_text(tool_loaded(block.get("tool_name")))]


_PARTS: Mapping[str, Callable[[Mapping[str, Any], Traits], list[Part]]] = {
    "text": _text_parts,
    "image": _image_parts,
    "document": _document_parts,
    "search_result": _described,
    "server_tool_use": _nothing,
    "mcp_tool_use": _nothing,
    "thinking": _nothing,
    "redacted_thinking": _nothing,
    "compaction": _described,
    "container_upload": _nothing,
    "tool_reference": _tool_reference,
}
"""Block type -> its parts; types that are missing are described, with a warning unless they are results of the
provider's own tools. Messages handle calls, results and thinking."""
