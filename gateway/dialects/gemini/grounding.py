"""Google's search results in an answer, as the Messages protocol shows a web search.

Gemini searches by itself and says afterwards what it looked for, what it found and which sentence rests
on which page. Collected while the answer streams, written when it ends.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.messages.stream import StreamWriter

CITED_LENGTH = 150
"""Characters of a cited text that a citation repeats: the Messages API's own limit."""


class Grounding:
    """The grounding of one answer."""

    __slots__ = ("_chunks", "_queries", "_supports")

    def __init__(self) -> None:
        self._queries: dict[str, None] = {}
        self._chunks: list[Any] = []
        self._supports: list[Any] = []

    def add(self, metadata: Mapping[str, Any]) -> None:
        """One event's `groundingMetadata`. Events repeat what was said before or tell what is new."""
        self._queries.update((q, None) for q in _list(metadata, "webSearchQueries") if isinstance(q, str))
        self._chunks = _grown(self._chunks, _list(metadata, "groundingChunks"))
        self._supports = _grown(self._supports, _list(metadata, "groundingSupports"))

    def write(self, writer: StreamWriter, new_id: Callable[[], str], *, cite: bool) -> int:
        """The citations (with `cite`: a text block is open for them) and the search; returns how many
        searches there were."""
        pages = [_page(chunk) for chunk in self._chunks]
        results = [page for page in pages if page]
        if not results and not self._queries:
            return 0
        if cite:
            for support in self._supports:
                for citation in _citations(support, pages):
                    writer.citation(citation)
        id = new_id()
        query = "; ".join(self._queries)
        writer.block({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}})
        content = [
            {
                "type": "web_search_result",
                "url": url,
                "title": title,
                "encrypted_content": "",
                "page_age": None,
            }
            for url, title in results
        ]
        writer.block({"type": "web_search_tool_result", "tool_use_id": id, "content": content})
        return len(self._queries) or 1


def _list(metadata: Mapping[str, Any], key: str) -> list[Any]:
    value = metadata.get(key)
    return value if isinstance(value, list) else []


def _grown(known: list[Any], told: list[Any]) -> list[Any]:
    return told if told[: len(known)] == known else known + told


def _page(chunk: object) -> tuple[str, str] | None:
    """(url, title) of a grounding chunk from the web."""
    web = chunk.get("web") if isinstance(chunk, dict) else None
    if not isinstance(web, dict) or not isinstance(web.get("uri"), str):
        return None
    title = web.get("title") or web.get("domain")
    return web["uri"], title if isinstance(title, str) else web["uri"]


def _citations(support: object, pages: list[tuple[str, str] | None]) -> list[dict[str, Any]]:
    if not isinstance(support, dict):
        return []
    segment = support.get("segment")
    text = segment.get("text") if isinstance(segment, dict) else None
    cited = text[:CITED_LENGTH] if isinstance(text, str) else ""
    found = [
        pages[index]
        for index in _list(support, "groundingChunkIndices")
        if isinstance(index, int) and 0 <= index < len(pages)
    ]
    return [
        {
            "type": "web_search_result_location",
            "url": page[0],
            "title": page[1],
            "encrypted_index": "",
            "cited_text": cited,
        }
        for page in found
        if page
    ]
