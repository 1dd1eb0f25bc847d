from gateway.dialects.citations import CITED_LENGTH, Page, citation, write_search
from gateway.messages.stream import StreamWriter
from tests.dialects.gemini.support import message, read_events

PAGE = Page("https://a.example", "A")


def test_citation() -> None:
    assert citation(PAGE, "x" * 200) == {
        "type": "web_search_result_location",
        "url": "https://a.example",
        "title": "A",
        "encrypted_index": "",
        "cited_text": "x" * CITED_LENGTH,
    }


def test_write_search() -> None:
    writer = StreamWriter(message_id="msg_1", model="m")
    write_search(writer, "srvtoolu_1", "q", [PAGE])
    writer.finish("end_turn", {})
    found = {
        "type": "web_search_result",
        "url": "https://a.example",
        "title": "A",
        "encrypted_content": "",
        "page_age": None,
    }
    assert message(read_events(writer.take()))["content"] == [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]},
    ]
