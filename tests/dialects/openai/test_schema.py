"""Schemas of tools: the root, and what grammar compilers refuse."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from typing import Any

import pytest

from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.openai.schema import Schemas, is_strict


def parameters(schema: object, style: str = "full") -> dict[str, Any]:
    return Schemas(style, SchemaCache(), lambda warning: None).parameters(schema)


A = {"type": "string"}
B = {"type": "integer"}

ROOTS: list[tuple[str, object, dict[str, Any]]] = [
    ("whole", {"type": "object", "properties": {"a": A}}, {"type": "object", "properties": {"a": A}}),
    ("its dialect goes", {"$schema": "x", "type": "object", "properties": {}}, {"type": "object", "properties": {}}),
    ("none", None, {"type": "object", "properties": {}}),
    ("empty", {}, {"type": "object", "properties": {}}),
    ("no properties", {"type": "object", "additionalProperties": True}, {"type": "object", "properties": {}, "additionalProperties": True}),
    (
        "a choice at the root",
        {"type": "object", "anyOf": [{"properties": {"a": A}, "required": ["a"]}, {"properties": {"b": B}}, 7]},
        {"type": "object", "properties": {"a": A, "b": B}},
    ),
    (
        "parts at the root",
        {"allOf": [{"properties": {"a": A}, "required": ["a"]}, {"properties": {"b": B}}]},
        {"type": "object", "properties": {"a": A, "b": B}, "required": ["a"]},
    ),
    (
        "a reference at the root",
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"a": A}}}},
        {"type": "object", "properties": {"a": A}, "$defs": {"x": {"type": "object", "properties": {"a": A}}}},
    ),
    ("values and exceptions at the root", {"type": "object", "properties": {"a": A}, "enum": [{}], "not": {"required": ["b"]}}, {"type": "object", "properties": {"a": A}}),
    ("an odd choice", {"oneOf": 7, "properties": {"a": A}}, {"type": "object", "properties": {"a": A}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROOTS])
def test_the_root_is_an_object_with_properties(schema: object, expected: dict[str, Any]) -> None:
    assert parameters(schema) == expected


def test_dropped_keywords_become_descriptions() -> None:
    schema = {
        "type": "object",
        "propertyNames": {"pattern": "^x"},
        "properties": {
            "pattern": {"type": "string", "pattern": "^a$", "minLength": 1, "description": "a name"},
            "list": {"type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 1},
            "choice": {"anyOf": [{"type": "string", "maxLength": 3}, True]},
            "tuple": {"items": [{"type": "string", "format": "date"}]},
            "any list": {"type": "array"},
            "any list or none": {"type": ["array", "null"]},
            "another tuple": {"type": "array", "prefixItems": [{"type": "string"}]},
            "any": True,
        },
        "additionalProperties": False,
    }
    assert parameters(schema, "plain") == {
        "type": "object",
        "description": '(propertyNames: {"pattern":"^x"})',
        "properties": {
            "pattern": {"type": "string", "description": "a name (pattern: ^a$) (minLength: 1)"},
            "list": {
                "type": "array",
                "items": {"type": "string", "description": "(format: uri)"},
                "minItems": 1,
            },
            "choice": {"anyOf": [{"type": "string", "description": "(maxLength: 3)"}, True]},
            "tuple": {"items": [{"type": "string", "description": "(format: date)"}]},
            "any list": {"type": "array", "items": {}},
            "any list or none": {"type": ["array", "null"], "items": {}},
            "another tuple": {"type": "array", "prefixItems": [{"type": "string"}], "items": {}},
            "any": True,
        },
        "additionalProperties": False,
    }
    assert parameters(schema) is schema


def test_a_schema_that_is_too_large_takes_any_object() -> None:
    warnings: list[str] = []
    schema: dict[str, Any] = {"anyOf": [{"properties": {str(n): A for n in range(20_000)}}]}
    found = Schemas("full", SchemaCache(), warnings.append).parameters(schema)
    assert found["type"] == "object"
    assert warnings


CLOSED = {"type": "object", "properties": {"a": A}, "required": ["a"], "additionalProperties": False}

STRICT: list[tuple[object, bool]] = [
    (CLOSED, True),
    ({**CLOSED, "required": []}, False),
    ({**CLOSED, "additionalProperties": True}, False),
    ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}}, True),
    ({**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, False),
    ({**CLOSED, "$defs": {"x": {"anyOf": [CLOSED, {"type": "object", "properties": {}}]}}}, False),
    (True, False),
]


@pytest.mark.parametrize(("schema", "strict"), STRICT)
def test_strict_only_where_every_object_is_closed_and_whole(schema: object, strict: bool) -> None:
    assert is_strict(schema) is strict
