"""Converts content blocks to Gemini's parts: a table of block types, and the supported media types.

contents.py handles calls, results and thinking.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.dialects.history import UnsupportedSource, described
from gateway.messages.content_repairs import tool_loaded
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_text
from gateway.messages.tool_repairs import is_server_result

Part = dict[str, Any]

IN_RESULTS = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
"""Media types that are allowed inside a function's response."""

MEDIA = IN_RESULTS | {
    "image/heic",
    "image/heif",
    *(
        f"audio/{kind}"
        for kind in ("aac", "aiff", "flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "ogg", "opus")
    ),
    *(f"audio/{kind}" for kind in ("pcm", "wav", "webm", "x-aac", "x-wav")),
    *(
        f"video/{kind}"
        for kind in ("3gpp", "avi", "mov", "mp4", "mpeg", "mpegps", "mpg", "quicktime", "webm")
    ),
    *(f"video/{kind}" for kind in ("wmv", "x-flv")),
}
"""Media types that Google documents. Any other is refused, and as a part of the history in every later turn, too."""

ALIASES: Mapping[str, str] = {"image/jpg": "image/jpeg", "application/x-pdf": "application/pdf"}
"""Names that clients use for a documented type."""

MIME_OF_ENDING: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "svg": "image/svg+xml",
    "webp": "image/webp",
    "pdf": "application/pdf",
    "txt": "text/plain",
}
"""Media types for URLs, which have none of their own."""

MIME_OF_BLOCK: Mapping[str, str] = {"image": "image/jpeg", "document": "application/pdf"}
"""Media types for URLs without a known ending."""


class PartMaker:
    """Converts content blocks to parts."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """`warn` is called for what cannot be translated."""
        self._warn = warn

    def parts_of(self, content: object) -> list[Part]:
        """Return the parts of a content: a string, or a list of blocks. Raises UnsupportedSource."""
        blocks = content if isinstance(content, list) else (content,)
        return [part for block in blocks for part in self.parts(block)]

    def parts(self, block: object) -> list[Part]:
        """Return the parts of one block, [] for an empty one. Raises UnsupportedSource."""
        if isinstance(block, str):
            return [{"text": block}] if block.strip() else []
        if not isinstance(block, dict):
            return []
        kind = block.get("type")
        make = _PARTS.get(kind) if isinstance(kind, str) else None
        return make(self, block) if make else self._other(block)

    def text(self, block: Mapping[str, Any]) -> list[Part]:
        """Return a text block's part."""
        text = as_text(block.get("text"))
        return [{"text": text}] if text.strip() else []

    def media(self, block: Mapping[str, Any]) -> list[Part]:
        """Return the part of an image or a document, or those of a document of blocks. Raises UnsupportedSource."""
        source = block.get("source")
        kind = str(block["type"])
        given = source.get("type") if isinstance(source, dict) else None
        if isinstance(source, dict):
            if given == "content" and kind == "document":
                return self.parts_of(source.get("content"))
            data = source.get("url" if given == "url" else "data")
            if isinstance(data, str):
                if given == "base64" and isinstance(source.get("media_type"), str):
                    mime = _plain_type(source["media_type"])
                    return self._if_known(kind, mime, {"inlineData": {"mimeType": mime, "data": data}})
                if given == "text":
                    return [{"text": data}] if data.strip() else []
                if given == "url":
                    mime = _mime_of_url(data, kind)
                    return self._if_known(kind, mime, {"fileData": {"fileUri": data, "mimeType": mime}})
        raise UnsupportedSource(kind, source)

    def _if_known(self, kind: str, mime: str, part: Part) -> list[Part]:
        if mime in MEDIA:
            return [part]
        self._warn(f"{kind}s of type {mime} cannot be read by Gemini models: replaced by a note")
        name = mime or kind
        return [{"text": f"({'an' if name[0] in 'aeiou' else 'a'} {name}, which this model cannot read)"}]

    def nothing(self, block: Mapping[str, Any]) -> list[Part]:
        """Return []: the block is left out."""
        return []

    def tool_reference(self, block: Mapping[str, Any]) -> list[Part]:
        """Return a note that a tool was loaded."""
        return [{"text": tool_loaded(block.get("tool_name"))}]

    def described(self, block: Mapping[str, Any]) -> list[Part]:
        """Return the texts, titles and addresses in a block."""
        text = described(block)
        return [{"text": text}] if text else []

    def _other(self, block: Mapping[str, Any]) -> list[Part]:
        kind = block.get("type")
        if is_server_result(kind):
            return self.described(block)
        if _holds_binary(block):
            self._warn(f"content blocks of type {kind} cannot be translated: left out")
            return []
        self._warn(f"content blocks of type {kind} are unknown: sent as their JSON")
        return [{"text": write_document(block).decode()}]


_PARTS: Mapping[str, Callable[[PartMaker, Mapping[str, Any]], list[Part]]] = {
    "text": PartMaker.text,
    "image": PartMaker.media,
    "document": PartMaker.media,
    "thinking": PartMaker.nothing,
    "redacted_thinking": PartMaker.nothing,
    "server_tool_use": PartMaker.nothing,
    "mcp_tool_use": PartMaker.nothing,
    "container_upload": PartMaker.nothing,
    "search_result": PartMaker.described,
    "compaction": PartMaker.described,
    "tool_reference": PartMaker.tool_reference,
}
"""Block type -> its parts. Results of the provider's own tools are described, whatever their type."""


def may_stand_in_result(part: Part) -> bool:
    """Return whether a media part is allowed inside a function's response."""
    return "inlineData" in part and part["inlineData"]["mimeType"] in IN_RESULTS


def _plain_type(given: str) -> str:
    """Return a media type without parameters, in lower case, by its documented name."""
    plain = given.partition(";")[0].strip().lower()[:100]
    return ALIASES.get(plain, plain)


def _mime_of_url(url: str, kind: str) -> str:
    path = url.partition("?")[0].partition("#")[0]
    return MIME_OF_ENDING.get(path.rpartition(".")[2].lower(), MIME_OF_BLOCK[kind])


def _holds_binary(block: Mapping[str, Any]) -> bool:
    """Return whether an unknown block contains binary data."""
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
