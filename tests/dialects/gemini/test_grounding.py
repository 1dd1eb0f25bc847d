from typing import Any

import pytest

from gateway.dialects.gemini.grounding import Grounding
from gateway.messages.stream import StreamWriter
from tests.dialects.gemini.support import message, read_events

PAGE = {"web": {"uri": "https://a.example", "title": "A"}}
OTHER = {"web": {"uri": "https://b.example", "domain": "b.example"}}
UNTITLED = {"web": {"uri": "https://c.example"}}
FULL = {
    "webSearchQueries": ["q1", "q2"],
    "groundingChunks": [PAGE, {"maps": {}}, OTHER],
    "groundingSupports": [
        {"segment": {"text": "x" * 200}, "groundingChunkIndices": [0, 2, 1, 9, "0"]},
        {"groundingChunkIndices": [0]},
        {"segment": {"text": 5}},
        "odd",
    ],
}


def written(*metadata: Any, cite: bool = True) -> tuple[dict[str, Any], int]:
    grounding = Grounding()
    for one in metadata:
        grounding.add(one)
    writer = StreamWriter(message_id="msg_1", model="m")
    writer.text("Answer.")
    searches = grounding.write(writer, lambda: "srvtoolu_1", cite=cite)
    writer.finish("end_turn", {})
    return message(read_events(writer.take())), searches


def citation(page: str, title: str, text: str) -> dict[str, str]:
    return {
        "type": "web_search_result_location",
        "url": page,
        "title": title,
        "encrypted_index": "",
        "cited_text": text,
    }


def result(url: str, title: str) -> dict[str, Any]:
    return {
        "type": "web_search_result",
        "url": url,
        "title": title,
        "encrypted_content": "",
        "page_age": None,
    }


def test_a_search() -> None:
    found, searches = written(FULL)
    assert searches == 2
    assert found["content"] == [
        {
            "type": "text",
            "text": "Answer.",
            "citations": [
                citation("https://a.example", "A", "x" * 150),
                citation("https://b.example", "b.example", "x" * 150),
                citation("https://a.example", "A", ""),
            ],
        },
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q1; q2"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [result("https://a.example", "A"), result("https://b.example", "b.example")],
        },
    ]


def test_without_a_text_to_cite() -> None:
    found, _ = written(FULL, cite=False)
    assert "citations" not in found["content"][0]


@pytest.mark.parametrize(
    "events",
    [
        [{"groundingChunks": [PAGE]}, {"groundingChunks": [PAGE, UNTITLED]}],
        [{"groundingChunks": [PAGE]}, {"groundingChunks": [UNTITLED]}],
    ],
    ids=["events repeat", "events have only new results"],
)
def test_several_events(events: list[dict[str, Any]]) -> None:
    found, searches = written(*events)
    assert searches == 1
    assert found["content"][2]["content"] == [
        result("https://a.example", "A"),
        result("https://c.example", "https://c.example"),
    ]


@pytest.mark.parametrize(
    "metadata",
    [{}, {"webSearchQueries": 5, "groundingChunks": {}}, {"groundingChunks": [5, {"web": {"uri": 5}}]}],
)
def test_nothing_was_searched(metadata: dict[str, Any]) -> None:
    found, searches = written(metadata)
    assert searches == 0
    assert len(found["content"]) == 1
