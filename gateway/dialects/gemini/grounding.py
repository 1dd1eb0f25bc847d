"""Converts Google's search results in a response to a web search of the Messages protocol.

Gemini searches by itself, and reports queries, results, and which sentence refers to which page. This is collected
while the response streams and written at its end.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.dialects.citations import Page, citation, write_search
from gateway.messages.json_values import as_dict, as_list, as_text
from gateway.messages.stream import StreamWriter


class Grounding:
    """The grounding of one response."""

    __slots__ = ("_chunks", "_queries", "_supports")

    def __init__(self) -> None:
        self._queries: dict[str, None] = {}
        self._chunks: list[Any] = []
        self._supports: list[Any] = []

    def add(self, metadata: Mapping[str, Any]) -> None:
        """Add one event's `groundingMetadata`. Events repeat earlier items, or have only new ones."""
        self._queries.update(
            (q, None) for q in as_list(metadata.get("webSearchQueries")) if isinstance(q, str)
        )
        _grow(self._chunks, as_list(metadata.get("groundingChunks")))
        _grow(self._supports, as_list(metadata.get("groundingSupports")))

    def write(self, writer: StreamWriter, new_id: Callable[[], str], *, cite: bool) -> int:
        """Write the search and, with `cite`, citations for the text block that is open.

        Returns how many searches there were.
        """
        pages = [_page(chunk) for chunk in self._chunks]
        results = [page for page in pages if page]
        if not results and not self._queries:
            return 0
        if cite:
            for support in self._supports:
                for citation in _citations(support, pages):
                    writer.citation(citation)
        write_search(writer, new_id(), "; ".join(self._queries), results)
        return len(self._queries) or 1


def _grow(known: list[Any], said: list[Any]) -> None:
    """Add the new items: an event repeats all earlier ones, or has only new ones."""
    known.extend(said[len(known) :] if said[: len(known)] == known else said)


def _page(chunk: object) -> Page | None:
    """Read a grounding chunk from the web."""
    web = as_dict(as_dict(chunk).get("web"))
    if not isinstance(web.get("uri"), str):
        return None
    title = web.get("title") or web.get("domain")
    return Page(web["uri"], title if isinstance(title, str) else web["uri"])


def _citations(support: object, pages: list[Page | None]) -> list[dict[str, Any]]:
    """Return a citation for each page that a segment of the text refers to."""
    if not isinstance(support, dict):
        return []
    text = as_text(as_dict(support.get("segment")).get("text"))
    found = [
        pages[index]
        for index in as_list(support.get("groundingChunkIndices"))
        if isinstance(index, int) and 0 <= index < len(pages)
    ]
    return [citation(page, text) for page in found if page]
