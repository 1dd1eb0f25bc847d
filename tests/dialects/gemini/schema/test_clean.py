from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.gemini.schema.clean import Form, Schemas, clean
from gateway.dialects.gemini.schema.openapi import parameters_to_openapi, to_openapi
from gateway.dialects.json_schema.budget import MAX_WORK, TOO_LARGE, Budget, SchemaTooLarge
from gateway.dialects.json_schema.cache import SchemaCache
from tests.dialects.json_schema.growth import SCHEMAS
from tests.fakes.gemini.schemas import validate_json_schema, validate_openapi_schema

STRING = {"type": "string"}

CASES: list[tuple[str, Any, Any]] = [
    ("nothing", {}, {}),
    ("true", True, {}),
    ("false", False, {"description": "(no value is valid here)"}),
    ("no schema", "x", {}),
    (
        "supported keywords",
        {
            "type": "object",
            "description": "d",
            "title": "t",
            "properties": {
                "s": {"type": "string", "enum": ["a", "b"], "format": "uri"},
                "n": {"type": "number", "minimum": 0.5, "maximum": 2},
                "l": {"type": "array", "items": STRING, "minItems": 1, "maxItems": 3},
                "t": {"type": "array", "prefixItems": [STRING, {"type": "integer"}]},
                "u": {"anyOf": [STRING, {"type": "null"}]},
                "o": {"oneOf": [STRING, {"type": "integer"}]},
                "m": {"type": "object", "additionalProperties": STRING},
                "z": {"type": ["string", "null"], "nullable": True},
            },
            "required": ["s", "n"],
            "additionalProperties": False,
        },
        None,
    ),
    ("comments", {"$schema": "x", "$id": "y", "$comment": "z", "x-own": 1, "type": "string"}, STRING),
    ("const", {"const": "a"}, {"enum": ["a"]}),
    ("const null", {"const": None}, {"enum": [None]}),
    ("const and enum", {"const": "a", "enum": ["a", "b"]}, {"enum": ["a"]}),
    ("enum and const", {"enum": ["a", "b"], "const": "a"}, {"enum": ["a"]}),
    ("const object", {"const": {"a": 1}}, {"description": '(const: {"a":1})'}),
    (
        "enum with an object",
        {"enum": ["a", {"b": 1}]},
        {"enum": ["a"], "description": '(enum: ["a",{"b":1}])'},
    ),
    ("enum of objects", {"enum": [[1]]}, {"description": "(enum: [[1]])"}),
    ("enum no list", {"enum": "a"}, {}),
    ("enum with an empty word", {"enum": ["", "a"]}, {"enum": ["a"], "description": '(enum: ["","a"])'}),
    (
        "enum of an empty word",
        {"type": "string", "enum": [""]},
        {"type": "string", "description": '(enum: [""])'},
    ),
    ("const empty", {"const": ""}, {"description": "(const: )"}),
    (
        "constraints",
        {"type": "string", "description": "An id.", "pattern": "^a$", "minLength": 2},
        {"type": "string", "description": "An id. (pattern: ^a$) (minLength: 2)"},
    ),
    (
        "exclusive bounds",
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": True},
        {"type": "integer", "description": "(exclusiveMinimum: 0) (exclusiveMaximum: true)"},
    ),
    (
        "unique",
        {"uniqueItems": True, "items": STRING},
        {"items": STRING, "description": "(uniqueItems: true)"},
    ),
    (
        "constraints without effect",
        {"uniqueItems": False, "not": {}, "examples": [], "propertyNames": STRING, "pattern": None},
        {},
    ),
    (
        "defaults",
        {"default": False, "type": "boolean"},
        {"type": "boolean", "description": "(default: false)"},
    ),
    ("no default", {"default": None}, {}),
    ("a long constraint", {"pattern": "x" * 300}, {"description": f"(pattern: {'x' * 240}…)"}),
    ("type in capitals", {"type": "STRING"}, STRING),
    ("type twice", {"type": ["string", "string"]}, STRING),
    ("no type", {"type": "file"}, {}),
    ("type no text", {"type": 5}, {}),
    ("types with strangers", {"type": ["string", 5, "x"]}, STRING),
    ("numbers that are none", {"minimum": True, "maximum": "3", "minItems": -1, "maxItems": False}, {}),
    ("huge numbers", {"minimum": 1e305, "minItems": 2**60}, {}),
    ("a count as float", {"minItems": 2.0}, {"minItems": 2}),
    ("texts that are none", {"description": 1, "title": [], "format": None, "nullable": "yes"}, {}),
    ("an old tuple", {"items": [STRING, True]}, {"prefixItems": [STRING, {}]}),
    ("items true", {"type": "array", "items": True}, {"type": "array"}),
    ("any additional", {"additionalProperties": True}, {"additionalProperties": True}),
    ("additional no schema", {"additionalProperties": 3}, {}),
    ("choices no list", {"anyOf": {"a": 1}}, {}),
    ("no choices", {"anyOf": []}, {}),
    (
        "choices that are conditions",
        {"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]},
        {"type": "object", "properties": {"a": {}}, "description": '(anyOf: [{"required":["a"]}])'},
    ),
    ("properties no object", {"properties": ["a"]}, {}),
    ("required no list", {"required": "a"}, {}),
    (
        "required without a property",
        {"properties": {"a": True}, "required": ["a", "b", 3]},
        {"properties": {"a": {}}, "required": ["a"], "description": '(required: ["b"])'},
    ),
    (
        "properties with keywords' names",
        {"properties": {"$ref": STRING, "type": STRING, "allOf": STRING, "required": STRING}},
        {"properties": {"$ref": STRING, "type": STRING, "allOf": STRING, "required": STRING}},
    ),
    (
        "definitions",
        {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": STRING, "unused": {}}},
        {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": STRING}},
    ),
    (
        "pointers of one name",
        {
            "properties": {
                "a": {"$ref": "#/definitions/A"},
                "b": {"$ref": "#/$defs/A"},
                "A": {"$ref": "#/properties/A"},
                "c": {"$ref": "#/properties/d/properties/A"},
                "d": {"properties": {"A": {"type": "null"}}},
            },
            "definitions": {"A": STRING},
            "$defs": {"A": {"type": "integer"}},
        },
        {
            "properties": {
                "a": {"$ref": "#/$defs/A"},
                "b": {"$ref": "#/$defs/A_2"},
                "A": {"description": "(see #/properties/A)"},
                "c": {"$ref": "#/$defs/A_3"},
                "d": {"properties": {"A": {"type": "null"}}},
            },
            "$defs": {"A": STRING, "A_2": {"type": "integer"}, "A_3": {"type": "null"}},
        },
    ),
    (
        "a pointer to anywhere",
        {"properties": {"a b": STRING, "c": {"$ref": "#/properties/a%20b"}}},
        {"properties": {"a b": STRING, "c": {"$ref": "#/$defs/a_20b"}}, "$defs": {"a_20b": STRING}},
    ),
    (
        "a pointer beside annotations",
        {"properties": {"a": {"$ref": "#/$defs/A", "description": "d"}}, "$defs": {"A": STRING}},
        {
            "properties": {"a": {"anyOf": [{"$ref": "#/$defs/A"}], "description": "d"}},
            "$defs": {"A": STRING},
        },
    ),
    (
        "a pointer beside restrictions",
        {"properties": {"a": {"$ref": "#/$defs/A", "enum": ["x"]}}, "$defs": {"A": STRING}},
        {"properties": {"a": {"type": "string", "enum": ["x"]}}},
    ),
    (
        "pointers to nowhere",
        {"properties": {"a": {"$ref": "http://x/y", "description": "d"}, "b": {"$ref": "#/no"}}},
        {"properties": {"a": {"description": "d (see http://x/y)"}, "b": {"description": "(see #/no)"}}},
    ),
    ("a root that points", {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}}, {"type": "object"}),
    ("a root that points to itself", {"$ref": "#"}, {"description": "(see #)"}),
    (
        "a tree",
        {
            "type": "object",
            "properties": {"root": {"$ref": "#/$defs/node"}},
            "required": ["root"],
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {
                        "value": STRING,
                        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                    },
                    "required": ["value", "children"],
                }
            },
        },
        {
            "type": "object",
            "properties": {"root": {"$ref": "#/$defs/node"}},
            "required": ["root"],
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {
                        "value": STRING,
                        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                    },
                    "required": ["value"],
                }
            },
        },
    ),
    (
        "a circle of two",
        {
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {
                "A": {"properties": {"b": {"$ref": "#/$defs/B"}}, "required": ["b"]},
                "B": {"anyOf": [{"properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}]},
            },
        },
        {
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {
                "A": {"properties": {"b": {"$ref": "#/$defs/B"}}},
                "B": {"anyOf": [{"properties": {"a": {"$ref": "#/$defs/A"}}}]},
            },
        },
    ),
    (
        "the root again",
        {"type": "object", "properties": {"more": {"$ref": "#"}}},
        {
            "type": "object",
            "properties": {"more": {"$ref": "#/$defs/root"}},
            "$defs": {"root": {"type": "object", "properties": {"more": {"$ref": "#/$defs/root"}}}},
        },
    ),
    (
        "allOf",
        {"allOf": [{"type": "object", "properties": {"a": STRING}}, {"properties": {"b": STRING}}]},
        {"type": "object", "properties": {"a": STRING, "b": STRING}},
    ),
]


@pytest.mark.parametrize(
    ("schema", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_clean(schema: Any, expected: Any) -> None:
    before = orjson.dumps(schema)
    cleaned = clean(schema, Budget())
    validate_json_schema(cleaned)
    assert cleaned == (schema if expected is None else expected)
    assert orjson.dumps(schema) == before


def schemas(form: Form = "json", warnings: list[str] | None = None) -> Schemas:
    """Return the schemas of one request, translated by a new dialect."""
    return Schemas(SchemaCache(), form, (warnings if warnings is not None else []).append)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = STRING
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def test_fifty_levels_are_kept() -> None:
    assert clean(nested(50), Budget()) == nested(50)
    older = schemas("openapi").parameters(nested(50))
    validate_openapi_schema(older)
    for _ in range(50):
        assert older is not None
        older = older["properties"]["a"]
    assert older == {"type": "STRING"}


def test_too_many_levels_end_in_anything() -> None:
    cleaned = clean(nested(190), Budget())
    validate_json_schema(cleaned)
    assert cleaned["properties"]["a"]["properties"]["a"]["type"] == "object"


@pytest.mark.parametrize("form", ["json", "openapi"])
@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
def test_doubling_references_are_bounded(keyword: str, form: Form) -> None:
    defs: dict[str, Any] = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    warnings: list[str] = []
    found = schemas(form, warnings).output(
        {"allOf": [{"$ref": "#/$defs/d0"}], "$defs": defs | {"d60": STRING}}
    )
    if keyword == "allOf":
        assert found == (TOO_LARGE if form == "json" else None)
        assert warnings == ["a schema is too large to be translated: sent as one that takes any object"]
    else:
        assert len(orjson.dumps(found)) < 2_000_000
        assert warnings == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_budget_is_charged_as_the_schema_grows(name: str) -> None:
    """Items of a loop inside C are charged too: that loop shows in no profile."""

    def units(n: int) -> int:
        budget = Budget(MAX_WORK)
        try:
            parameters_to_openapi({**clean(SCHEMAS[name](n), budget), "type": "object"}, budget)
        except SchemaTooLarge:
            return MAX_WORK
        return MAX_WORK - budget.left

    assert units(500) <= 2.3 * units(250)


@pytest.mark.parametrize("form", ["json", "openapi"])
@pytest.mark.parametrize("name", ["doubling references", "references beside restrictions"])
def test_multiplying_references_are_stopped_by_the_budget(name: str, form: Form) -> None:
    warnings: list[str] = []
    assert schemas(form, warnings).parameters(SCHEMAS[name](500)) is TOO_LARGE
    assert len(warnings) == 1


NAMES = ("a", "b", "$ref", "type", "properties", "allOf", "required", "enum", "const", "$defs", "é ü", "")
POINTERS = (
    "#", "#/$defs/A", "#/$defs/B", "#/definitions/A", "#/$defs/A/properties/a", "#/properties/a", "#/nope",
    "http://x/y", "#anchor", "#/$defs/", "",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    [],
    {},
    ["a"],
    {"a": 1},
    "string",
    ["string", "null"],
)
KEYWORDS = (
    "type", "description", "enum", "const", "format", "required", "minItems", "maximum", "pattern", "default",
    "nullable", "items", "properties", "additionalProperties", "anyOf", "allOf", "oneOf", "$ref", "title",
    "minLength", "not", "if", "prefixItems", "exclusiveMinimum", "uniqueItems", "$defs", "examples",
)  # fmt: skip
TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")


def any_schema(rng: Random, depth: int) -> Any:
    """Mostly sensible, at times nonsense."""
    dice = rng.random()
    if dice < 0.05:
        return rng.choice(ODD)
    schema: dict[str, Any] = {}
    if rng.random() < 0.7:
        schema["type"] = rng.choice(TYPES) if rng.random() < 0.8 else rng.sample(TYPES, 2)
    if depth > 0:
        if rng.random() < 0.4:
            schema["properties"] = {name: any_schema(rng, depth - 1) for name in rng.sample(NAMES, 2)}
            schema["required"] = rng.sample(NAMES, 2)
        for keyword, chance in (("anyOf", 0.15), ("oneOf", 0.1), ("allOf", 0.15), ("prefixItems", 0.05)):
            if rng.random() < chance:
                schema[keyword] = [any_schema(rng, depth - 1) for _ in range(rng.randint(0, 3))]
        for keyword in ("items", "additionalProperties", "not"):
            if rng.random() < 0.15:
                schema[keyword] = any_schema(rng, depth - 1)
    if rng.random() < 0.2:
        schema["$ref"] = rng.choice(POINTERS)
    if rng.random() < 0.2:
        schema["enum"] = rng.choices(ODD, k=rng.randint(0, 3))
    for keyword in rng.choices(KEYWORDS, k=rng.randint(0, 2)):
        schema[keyword] = rng.choice(ODD)
    return schema


def any_root(rng: Random) -> Any:
    root = any_schema(rng, rng.choice((1, 1, 2, 3)))
    if isinstance(root, dict):
        root = dict(root)
        for keyword in ("$defs", "definitions"):
            if rng.random() < 0.6:
                root[keyword] = {name: any_schema(rng, 2) for name in ("A", "B")}
    if rng.random() < 0.02:
        for _ in range(50):
            root = rng.choice(({"items": root}, {"properties": {"a": root}}, {"anyOf": [root, {}]}))
    return root


@given(st.integers(0, 2**64))
def test_any_schema_becomes_a_valid_one(seed: int) -> None:
    rng = Random(seed)
    for _ in range(10):
        root = any_root(rng)
        cleaned = clean(root, Budget())
        validate_json_schema(cleaned)
        validate_openapi_schema(to_openapi(cleaned, Budget()))
        older = parameters_to_openapi({**cleaned, "type": "object"}, Budget())
        if older is not None:
            assert older["type"] == "OBJECT"
            validate_openapi_schema(older)


def test_forms_and_uses_are_cached_apart() -> None:
    cache = SchemaCache()
    schema = {"type": "object", "properties": {"a": STRING}}
    found = [Schemas(cache, form, print).parameters(schema) for form in ("json", "openapi") for _ in range(2)]
    assert found[0] is found[1]
    assert found[2] is found[3]
    assert found[0] != found[2]
    assert Schemas(cache, "json", print).output(schema) == schema
    assert len(cache) == 3


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object"},
        {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        {"properties": {}, "$schema": "x"},
        {"type": "object", "properties": {}, "additionalProperties": STRING, "title": "t"},
    ],
)
def test_no_parameters(schema: Any) -> None:
    assert schemas("json").parameters(schema) is None
    assert schemas("openapi").parameters(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": STRING}},
        {"anyOf": [{"properties": {"a": STRING}}]},
        {"properties": {}, "oneOf": [{"properties": {"a": STRING}}]},
    ],
)
def test_parameters_are_an_object(schema: Any) -> None:
    found = schemas("json").parameters(schema)
    assert found is not None
    assert found["type"] == "object"
    older = schemas("openapi").parameters(schema)
    assert older is not None
    assert older["type"] == "OBJECT"
    assert older["properties"] == {"a": {"type": "STRING"}}


def test_an_output_may_be_anything() -> None:
    assert schemas("json").output({}) == {}
    assert schemas("json").output(STRING) == STRING
    assert schemas("openapi").output(STRING) == {"type": "STRING"}
