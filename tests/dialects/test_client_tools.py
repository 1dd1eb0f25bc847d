from typing import Any

import pytest

from gateway.dialects.client_tools import as_function
from tests.fakes.gemini.schemas import validate_json_schema


@pytest.mark.parametrize(
    ("type", "required", "some"),
    [
        ("bash_20250124", [], {"command", "restart"}),
        ("text_editor_20241022", ["command", "path"], {"view_range", "old_str", "new_str", "insert_line"}),
        ("text_editor_20250728", ["command", "path"], {"insert_text", "file_text"}),
        ("memory_20250818", ["command"], {"path", "old_path", "new_path", "insert_text"}),
    ],
)
def test_a_typed_tool_of_the_client_gets_its_schema(type: str, required: list[str], some: set[str]) -> None:
    made = as_function({"type": type, "name": "n", "max_characters": 100})
    assert made is not None
    schema = made["input_schema"]
    validate_json_schema(schema)
    assert (made["name"], made["type"], schema.get("required", [])) == ("n", "custom", required)
    assert made["description"]
    assert some <= schema["properties"].keys()


@pytest.mark.parametrize(
    ("type", "can_undo"),
    [("text_editor_20250124", True), ("text_editor_20250429", False), ("text_editor_2030", False)],
)
def test_editors_of_both_generations(type: str, can_undo: bool) -> None:
    made = as_function({"type": type, "name": "n"})
    assert made is not None
    properties = made["input_schema"]["properties"]
    assert ("undo_edit" in properties["command"]["enum"], "insert_text" not in properties) == (
        can_undo,
        can_undo,
    )


@pytest.mark.parametrize("type", ["computer_20250124", "web_search_20250305", 5])
def test_other_types(type: Any) -> None:
    assert as_function({"type": type, "name": "n"}) is None
