from typing import Any

import pytest

from gateway.dialects.json_schema.budget import Budget, SchemaTooLarge
from gateway.dialects.json_schema.notes import NOTE_LENGTH, describe, note


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("^a$", "(k: ^a$)"),
        ({"a": [1, None]}, '(k: {"a":[1,null]})'),
        ("x" * (NOTE_LENGTH + 1), f"(k: {'x' * NOTE_LENGTH}…)"),
    ],
)
def test_note(value: Any, expected: str) -> None:
    assert note("k", value, Budget()) == expected


def test_long_values_are_charged() -> None:
    with pytest.raises(SchemaTooLarge):
        note("k", "x" * 10_000, Budget(10))


@pytest.mark.parametrize(
    ("schema", "notes", "expected"),
    [
        ({}, [], {}),
        ({"description": "d"}, [], {"description": "d"}),
        ({"description": "d"}, ["(a)", "", "(b)"], {"description": "d (a) (b)"}),
        ({"description": 5}, ["(a)"], {"description": "(a)"}),
    ],
)
def test_describe(schema: dict[str, Any], notes: list[str], expected: dict[str, Any]) -> None:
    describe(schema, notes)
    assert schema == expected
