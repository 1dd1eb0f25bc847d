"""The result of each cure of any valid request can be sent, and needs no further cure. The request itself stays
unchanged, and keeps its model, its tools' schemas and the number of its messages, except those that are emptied."""

import json
from typing import Any

from hypothesis import strategies as st

from gateway.messages.cures import CURES
from gateway.messages.json_documents import write_document
from gateway.messages.request import read_request
from tests.fuzz.fuzz import fuzz
from tests.support.driven import request_of
from tests.support.strategies import BODIES

DETAILS = st.sampled_from(
    [
        "",
        "messages.0.content.1.text.text",
        "tools.*.cache_control,system",
        "thinking.adaptive.display",
        "^fc_ {",
    ]
) | st.text(max_size=20)


def contract(raw: bytes, detail: str) -> None:
    request = request_of(raw)
    if request is None:
        return
    document = request.exact()
    before = json.dumps(document)
    for name, cure in CURES.items():
        cured = cure(document, detail)
        assert json.dumps(read_request(write_document(cured)).exact()) == json.dumps(cured)
        assert cure(cured, detail) == cured or name == "user_id"
        assert cured["model"] == document["model"]
        assert len(cured["messages"]) <= len(document["messages"]) + (name == "prefill")
        assert schemas(cured) == schemas(document) or name in ("deferred_tools", "tool_names", "tool_schemas")
    assert json.dumps(document) == before


def schemas(document: dict[str, Any]) -> list[Any]:
    tools = document.get("tools")
    return (
        [tool.get("input_schema") for tool in tools if isinstance(tool, dict)]
        if isinstance(tools, list)
        else []
    )


def test_a_cure() -> None:
    fuzz(contract, BODIES, DETAILS)
