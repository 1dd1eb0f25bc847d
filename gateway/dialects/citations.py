"""Web searches that an upstream made by itself, in the form of the Messages protocol."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gateway.messages.stream import StreamWriter

CITED_LENGTH = 150
"""Characters of the cited text in a citation: the Messages API's own limit."""


class Page(NamedTuple):
    """A web page that a response refers to."""

    url: str
    title: str


def citation(page: Page, cited_text: str) -> dict[str, Any]:
    """Return a citation for StreamWriter.citation: `cited_text` of the response refers to `page`."""
    return {
        "type": "web_search_result_location",
        "url": page.url,
        "title": page.title,
        "encrypted_index": "",
        "cited_text": cited_text[:CITED_LENGTH],
    }


def write_search(writer: StreamWriter, id: str, query: str, pages: Iterable[Page]) -> None:
    """Write the blocks of one web search: its query and its results."""
    writer.block({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}})
    content = [
        {
            "type": "web_search_result",
            "url": page.url,
            "title": page.title,
            "encrypted_content": "",
            "page_age": None,
        }
        for page in pages
    ]
    writer.block({"type": "web_search_tool_result", "tool_use_id": id, "content": content})
