"""A web search that an upstream made by itself, as the Messages protocol shows one."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gateway.messages.stream import StreamWriter

CITED_LENGTH = 150
"""Characters of a cited text that a citation repeats: the Messages API's own limit."""


class Page(NamedTuple):
    """A page of the web that a response rests on."""

    url: str
    title: str


def citation(page: Page, cited_text: str) -> dict[str, Any]:
    """Return a citation for StreamWriter.citation: `cited_text` of the response rests on `page`."""
    return {
        "type": "web_search_result_location",
        "url": page.url,
        "title": page.title,
        "encrypted_index": "",
        "cited_text": cited_text[:CITED_LENGTH],
    }


def write_search(writer: StreamWriter, id: str, query: str, pages: Iterable[Page]) -> None:
    """Write the blocks of one web search: what was looked for and what was found."""
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
