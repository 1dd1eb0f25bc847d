from typing import Any

import pytest

from gateway.dialects.json_schema.budget import Budget, SchemaTooLarge
from gateway.dialects.json_schema.merge import Merger, join

STRING = {"type": "string"}

JOINS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("different keywords", {"type": "string"}, {"minLength": 1}, {"type": "string", "minLength": 1}),
    ("the same twice", STRING, STRING, STRING),
    ("the same without a rule", {"not": {"enum": [1]}}, {"not": {"enum": [1]}}, {"not": {"enum": [1]}}),
    ("types", {"type": ["string", "null"]}, {"type": ["string", "integer"]}, {"type": ["string"]}),
    ("a type and a list", {"type": "string"}, {"type": ["string", "null"]}, {"type": ["string"]}),
    ("an integer is a number", {"type": "number"}, {"type": "integer"}, {"type": "integer"}),
    ("a number may be an integer", {"type": "integer"}, {"type": "number"}, {"type": "integer"}),
    (
        "types that exclude each other",
        {"type": "string"},
        {"type": "array"},
        {"type": "string", "description": "(type: array)"},
    ),
    ("enums", {"enum": ["a", "b"]}, {"enum": ["b", "c"]}, {"enum": ["b"]}),
    (
        "properties",
        {"properties": {"a": STRING, "b": STRING}},
        {"properties": {"b": STRING, "c": STRING}},
        {"properties": {"a": STRING, "b": STRING, "c": STRING}},
    ),
    (
        "a property twice",
        {"properties": {"a": STRING}},
        {"properties": {"a": {"minLength": 1}}},
        {"properties": {"a": {"allOf": [STRING, {"minLength": 1}]}}},
    ),
    ("properties that are none", {"properties": 1}, {"properties": {"a": {}}}, {"properties": {"a": {}}}),
    ("no properties after some", {"properties": {"a": {}}}, {"properties": 1}, {"properties": {"a": {}}}),
    ("required", {"required": ["a"]}, {"required": ["b", "a"]}, {"required": ["a", "b"]}),
    ("required no list", {"required": 1}, {"required": ["a"]}, {"required": ["a"]}),
    ("items", {"items": STRING}, {"items": {"enum": []}}, {"items": {"allOf": [STRING, {"enum": []}]}}),
    ("items true", {"items": True}, {"items": STRING}, {"items": {"allOf": [STRING]}}),
    ("lower bounds", {"minimum": 1}, {"minimum": 2}, {"minimum": 2}),
    ("upper bounds", {"maximum": 1}, {"maximum": 2}, {"maximum": 1}),
    (
        "bounds that are none",
        {"minimum": 1},
        {"minimum": "2"},
        {"minimum": 1},
    ),
    ("no upper bound", {"maximum": []}, {"maximum": 2}, {"maximum": 2}),
    ("true is not one", {"minimum": True}, {"minimum": 1}, {"minimum": 1}),
    ("descriptions", {"description": "a"}, {"description": "b"}, {"description": "a b"}),
    ("titles", {"title": "a"}, {"title": "b"}, {"title": "a"}),
    (
        "two patterns",
        {"pattern": "a", "description": "d"},
        {"pattern": "b"},
        {"pattern": "a", "description": "d (pattern: b)"},
    ),
    (
        "additional schemas",
        {"additionalProperties": STRING},
        {"additionalProperties": {"minLength": 1}},
        {"additionalProperties": {"allOf": [STRING, {"minLength": 1}]}},
    ),
    (
        "closed and open",
        {"additionalProperties": False},
        {"additionalProperties": STRING},
        {"additionalProperties": False},
    ),
    (
        "closed and a schema with properties",
        {"properties": {"a": {}}, "additionalProperties": False},
        {"properties": {"b": {}}},
        {"properties": {"a": {}, "b": {}}},
    ),
    (
        "closed comes second",
        {"type": "object"},
        {"properties": {"a": {}}, "additionalProperties": False},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    ),
]


@pytest.mark.parametrize(
    ("first", "second", "expected"), [case[1:] for case in JOINS], ids=[case[0] for case in JOINS]
)
def test_join(first: dict[str, Any], second: dict[str, Any], expected: dict[str, Any]) -> None:
    assert join([first, second], Budget()) == expected


ROOT = {
    "$defs": {
        "a": STRING,
        "b": {"$ref": "#/$defs/a"},
        "loop": {"$ref": "#/$defs/loop"},
        "odd": {"$ref": 5},
        "yes": True,
        "text": "x",
        "a/b~c": {"title": "slash"},
        "é": {"title": "accent"},
        "list": {"anyOf": [{"title": "first"}]},
        "self": {"allOf": [{"$ref": "#/$defs/self"}, {"title": "s"}]},
        "beside": {"$ref": "#/$defs/a", "minLength": 1},
    }
}

POINTERS: list[tuple[str, tuple[bool, object]]] = [
    ("#", (True, ROOT)),
    ("#/$defs/a", (True, STRING)),
    ("#/$defs/b", (True, STRING)),
    ("#/$defs/loop", (False, None)),
    ("#/$defs/odd", (True, {})),
    ("#/$defs/yes", (True, True)),
    ("#/$defs/text", (False, None)),
    ("#/$defs/nope", (False, None)),
    ("#/$defs/a~1b~0c", (True, {"title": "slash"})),
    ("#/$defs/%C3%A9", (True, {"title": "accent"})),
    ("#/$defs/list/anyOf/0", (True, {"title": "first"})),
    ("#/$defs/list/anyOf/1", (False, None)),
    ("#/$defs/list/anyOf/x", (False, None)),
    ("#anchor", (False, None)),
    ("http://example.com/x", (False, None)),
]


@pytest.mark.parametrize(("pointer", "expected"), POINTERS)
def test_resolve(pointer: str, expected: tuple[bool, object]) -> None:
    found, target = Merger(ROOT, Budget()).resolve(pointer)
    assert (found, target if found else None) == expected


MERGES: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ("nothing to do", {"type": "string"}, {"type": "string"}, ()),
    (
        "members",
        {"title": "t", "allOf": [STRING, {"minLength": 1}]},
        {"title": "t", **STRING, "minLength": 1},
        (),
    ),
    ("members of members", {"allOf": [{"allOf": [STRING]}]}, STRING, ()),
    ("no list", {"allOf": STRING}, {}, ()),
    ("members that are none", {"allOf": [True, 1, STRING]}, STRING, ()),
    ("a reference", {"allOf": [{"$ref": "#/$defs/a"}]}, STRING, ("#/$defs/a",)),
    (
        "the keywords beside it",
        {"allOf": [{"$ref": "#/$defs/a", "title": "t"}]},
        {**STRING, "title": "t"},
        ("#/$defs/a",),
    ),
    (
        "a reference beside a reference",
        {"allOf": [{"$ref": "#/$defs/beside"}]},
        {**STRING, "minLength": 1},
        ("#/$defs/beside", "#/$defs/a"),
    ),
    ("a reference to anything", {"allOf": [{"$ref": "#/$defs/yes"}]}, {}, ("#/$defs/yes",)),
    ("a reference to nowhere", {"allOf": [{"$ref": "#/no"}]}, {"description": "(see #/no)"}, ()),
    (
        "a circle",
        {"allOf": [{"$ref": "#/$defs/self"}]},
        {"description": "(see #/$defs/self)", "title": "s"},
        ("#/$defs/self",),
    ),
    ("the place it came from", {"allOf": [{"$ref": "#/here"}]}, {"description": "(see #/here)"}, ()),
]


@pytest.mark.parametrize(
    ("schema", "expected", "followed"), [case[1:] for case in MERGES], ids=[case[0] for case in MERGES]
)
def test_merged(schema: dict[str, Any], expected: dict[str, Any], followed: tuple[str, ...]) -> None:
    merger = Merger(ROOT, Budget())
    merger.inside.add("#/here")
    assert merger.merge(schema, 0) == (expected, list(followed))
    assert merger.inside == {"#/here"}


def test_no_work_left() -> None:
    with pytest.raises(SchemaTooLarge):
        Merger({}, Budget(5)).merge({"allOf": [STRING, {"title": "t"}]}, 0)


def test_too_deep() -> None:
    schema: dict[str, Any] = {"title": "t"}
    for _ in range(100):
        schema = {"allOf": [schema]}
    assert Merger({}, Budget()).merge(schema, 0) == ({}, [])
