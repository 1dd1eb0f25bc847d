from typing import Any

import pytest

from gateway.dialects.gemini.schema.openapi import MAX_INLINED_DEPTH, parameters_to_openapi, to_openapi
from gateway.dialects.json_schema.budget import Budget, count_nodes
from tests.fakes.gemini.schemas import validate_openapi_schema

STRING = {"type": "string"}
ANY = {"type": "STRING", "description": "(any JSON value)"}

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("anything", {}, ANY),
    (
        "annotations",
        {"title": "t", "description": "d", **STRING},
        {"title": "t", "description": "d", "type": "STRING"},
    ),
    ("an enum", {**STRING, "enum": ["a"]}, {"type": "STRING", "enum": ["a"]}),
    ("an enum without type", {"enum": ["a"]}, {"type": "STRING", "enum": ["a"]}),
    ("an enum with null", {"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
    ("an enum of null", {"enum": [None]}, {"type": "STRING", "nullable": True}),
    (
        "an enum of numbers",
        {"type": "integer", "enum": [1, 2]},
        {"type": "INTEGER", "description": "(one of: [1,2])"},
    ),
    ("an enum of both", {"enum": ["a", 1]}, {"type": "STRING", "description": '(one of: ["a",1])'}),
    ("bounds", {"type": "number", "minimum": 1}, {"type": "NUMBER", "minimum": 1}),
    ("bounds without type", {"maximum": 1}, {"type": "NUMBER", "maximum": 1}),
    ("bounds of a text", {**STRING, "minimum": 1}, {"type": "STRING"}),
    ("a known format", {**STRING, "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
    ("another format", {**STRING, "format": "uri"}, {"type": "STRING", "description": "(format: uri)"}),
    ("a boolean", {"type": "boolean"}, {"type": "BOOLEAN"}),
    ("only null", {"type": "null"}, {"type": "STRING", "nullable": True}),
    ("nullable", {**STRING, "nullable": True}, {"type": "STRING", "nullable": True}),
    ("a type or null", {"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
    (
        "types",
        {"type": ["string", "integer"], "minimum": 1},
        {"anyOf": [{"type": "STRING"}, {"type": "INTEGER", "minimum": 1}]},
    ),
    (
        "an array",
        {"type": "array", "items": STRING, "minItems": 1},
        {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 1},
    ),
    ("an array of anything", {"type": "array"}, {"type": "ARRAY", "items": ANY}),
    ("an array without type", {"items": {}}, {"type": "ARRAY", "items": ANY}),
    ("a tuple", {"prefixItems": [STRING]}, {"type": "ARRAY", "items": {"type": "STRING"}}),
    (
        "a tuple of two",
        {"type": "array", "prefixItems": [STRING, {"type": "boolean"}]},
        {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}]}},
    ),
    (
        "an object",
        {"properties": {"a": STRING}, "required": ["a"], "additionalProperties": False},
        {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
    ),
    (
        "a map",
        {"type": "object", "additionalProperties": STRING},
        {"type": "STRING", "description": '(additionalProperties: {"type":"string"}) (a JSON object)'},
    ),
    (
        "choices",
        {"description": "d", "title": "t", "nullable": True, "anyOf": [STRING, {"type": "boolean"}]},
        {
            "anyOf": [
                {"type": "STRING", "title": "t", "description": "d", "nullable": True},
                {"type": "BOOLEAN", "title": "t", "description": "d", "nullable": True},
            ]
        },
    ),
    (
        "choices and null, with their own descriptions",
        {"description": "d", "anyOf": [{**STRING, "description": "s"}, {"type": ["boolean", "null"]}]},
        {
            "anyOf": [
                {"type": "STRING", "description": "d s"},
                {"type": "BOOLEAN", "description": "d", "nullable": True},
            ]
        },
    ),
    (
        "types with words",
        {"description": "d", "type": ["string", "boolean", "null"]},
        {
            "anyOf": [
                {"type": "STRING", "description": "d", "nullable": True},
                {"type": "BOOLEAN", "description": "d", "nullable": True},
            ]
        },
    ),
    ("one choice and null", {"anyOf": [STRING, {"type": "null"}]}, {"type": "STRING", "nullable": True}),
    ("choice of null", {"anyOf": [{"type": "null"}]}, {"type": "STRING", "nullable": True}),
    (
        "one choice with a description",
        {"description": "a", "oneOf": [{"type": "string", "description": "b"}]},
        {"type": "STRING", "description": "a b"},
    ),
    (
        "two sorts of choices",
        {"anyOf": [STRING, {"type": "boolean"}], "oneOf": [{}]},
        {
            "anyOf": [
                {"type": "STRING", "description": "(oneOf: [{}])"},
                {"type": "BOOLEAN", "description": "(oneOf: [{}])"},
            ]
        },
    ),
    (
        "choices beside properties",
        {
            "type": "object",
            "properties": {"a": STRING},
            "required": ["a"],
            "anyOf": [{"properties": {"b": STRING}, "required": ["b"]}, {"description": "d"}],
        },
        {
            "anyOf": [
                {
                    "type": "OBJECT",
                    "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}},
                    "required": ["a", "b"],
                },
                {
                    "type": "OBJECT",
                    "description": "d",
                    "properties": {"a": {"type": "STRING"}},
                    "required": ["a"],
                },
            ]
        },
    ),
    (
        "choices in choices",
        {
            "type": "integer",
            "minimum": 1,
            "anyOf": [{"anyOf": [{"maximum": 3}, {"maximum": 4}]}, {"enum": [5]}],
        },
        {
            "anyOf": [
                {"type": "NUMBER", "minimum": 1, "maximum": 3},
                {"type": "NUMBER", "minimum": 1, "maximum": 4},
                {"type": "INTEGER", "minimum": 1, "description": "(one of: [5])"},
            ]
        },
    ),
    (
        "a reference",
        {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": STRING}},
        {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
    ),
    (
        "a reference to nothing",
        {"properties": {"a": {"$ref": "#/$defs/x"}}},
        {"type": "OBJECT", "properties": {"a": {"type": "STRING", "description": "(a JSON object: x)"}}},
    ),
    (
        "a long note",
        {"additionalProperties": {"description": "x" * 300}, "type": "object"},
        {
            "type": "STRING",
            "description": '(additionalProperties: {"description":"' + "x" * 224 + "…) (a JSON object)",
        },
    ),
]


@pytest.mark.parametrize(
    ("schema", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_to_openapi(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    out = to_openapi(schema, Budget())
    validate_openapi_schema(out)
    assert out == expected


def test_a_tree_is_written_out_to_a_fixed_depth() -> None:
    node = {"type": "object", "properties": {"more": {"$ref": "#/$defs/node"}}}
    out = parameters_to_openapi({"$ref": "#/$defs/node", "$defs": {"node": node}}, Budget())
    for _ in range(MAX_INLINED_DEPTH):
        assert out is not None
        assert out["type"] == "OBJECT"
        out = out["properties"]["more"]
    assert out == {"type": "STRING", "description": "(a JSON object: node)"}


PARAMETERS: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    (
        "one object of choices",
        {
            "title": "t",
            "anyOf": [
                {"type": "object", "properties": {"a": STRING, "b": STRING}, "required": ["a", "b"]},
                {
                    "anyOf": [
                        {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
                        {"type": "object", "properties": {"c": STRING}, "required": ["a"]},
                    ]
                },
            ],
        },
        {
            "title": "t",
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}, "c": {"type": "STRING"}},
            "required": ["a"],
        },
    ),
    (
        "choices that require nothing",
        {"description": "d", "anyOf": [{"properties": {"a": STRING}, "required": ["a"]}, {"type": "object"}]},
        {"description": "d", "type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
    ),
    ("choices of nothing", {"anyOf": [{"type": "object"}, STRING]}, None),
    ("no object at all", {**STRING, "description": "d"}, None),
    ("no properties", {"type": "object"}, None),
]


@pytest.mark.parametrize(
    ("schema", "expected"), [case[1:] for case in PARAMETERS], ids=[case[0] for case in PARAMETERS]
)
def test_parameters(schema: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert parameters_to_openapi(schema, Budget()) == expected


def test_too_many_levels() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(80):
        schema = {"type": "array", "items": schema}
    out = to_openapi(schema, Budget())
    for _ in range(65):
        out = out["items"]
    assert out == ANY


class TestGrowth:
    def test_references_that_double(self) -> None:
        two = {
            f"d{n}": {"properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "abcdefgh"}} for n in range(8)
        }
        schema = {"$ref": "#/$defs/d0", "$defs": {**two, "d8": STRING}}
        out = parameters_to_openapi(
            {"type": "object", "properties": {"x": schema, "y": STRING}, "$defs": schema["$defs"]}, Budget()
        )
        assert out == {
            "type": "OBJECT",
            "properties": {
                "x": {"type": "STRING", "description": "(a JSON object: d0)"},
                "y": {"type": "STRING"},
            },
        }

    def test_choices_that_double(self) -> None:
        schema: dict[str, Any] = {"type": "object", "properties": {"a": STRING}}
        for _ in range(30):
            schema = {
                "type": "object",
                "properties": {"a": schema},
                "anyOf": [{"required": []}, {"required": []}],
            }
        out = parameters_to_openapi(schema, Budget())
        assert out is not None
        validate_openapi_schema(out)
        assert count_nodes(out) < 500
        assert out["description"].startswith("(any of: ")
