"""Whether a schema is one that the API takes: the documented subset of JSON Schema, and the older OpenAPI form."""

from typing import Any

from google.genai import types

from tests.fakes.gemini.refusals import refuse_unless

JSON_KEYWORDS = {
    "type", "description", "title", "enum", "format", "items", "prefixItems", "properties", "required",
    "additionalProperties", "anyOf", "oneOf", "$ref", "$defs", "minItems", "maxItems", "minimum", "maximum",
    "nullable",
}  # fmt: skip

TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}


def validate_json_schema(schema: Any) -> None:
    """The documented subset of JSON Schema, references resolved within it."""
    _json_schema(schema, set(schema.get("$defs", {})), root=True)


def _json_schema(schema: Any, defs: set[str], *, root: bool = False) -> None:
    refuse_unless(isinstance(schema, dict), "a schema that is no object")
    refuse_unless(schema.keys() <= JSON_KEYWORDS, f"unknown keywords: {schema.keys() - JSON_KEYWORDS}")
    if "$ref" in schema:
        refuse_unless(schema.keys() == {"$ref"}, "nothing may stand beside a $ref")
        name = schema["$ref"].removeprefix("#/$defs/")
        refuse_unless(schema["$ref"].startswith("#/$defs/") and name in defs, f"no definition {name}")
        return
    flat = {k: v for k, v in schema.items() if k not in ("prefixItems", "nullable")}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            _json_schema(schema[key], defs)
            flat[key] = {}
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            refuse_unless(schema[key], f"an empty {key}")
            for member in schema[key]:
                _json_schema(member, defs)
            flat[key] = []
    for key in ("properties", "$defs"):
        if key in schema:
            refuse_unless(root or key != "$defs", "definitions that are not the root's")
            for member in schema[key].values():
                _json_schema(member, defs)
            flat[key] = {}
    flat.pop("prefixItems", None)
    refuse_unless(isinstance(schema.get("nullable", False), bool), "nullable is no boolean")
    known = set(schema.get("properties", {}))
    refuse_unless(set(schema.get("required", ())) <= known, "required names a property that is not defined")
    refuse_unless(schema.get("required") != [], "an empty required")
    _enum(schema)
    types.JSONSchema.model_validate(flat)


def _enum(schema: Any) -> None:
    refuse_unless(schema.get("enum") != [], "an empty enum")
    refuse_unless("" not in schema.get("enum", ()), "enum: cannot be empty")


def validate_openapi_schema(schema: Any) -> None:
    """The OpenAPI subset, with what the API checks beyond the model."""
    types.Schema.model_validate(schema)
    rest = [schema]
    while rest:
        one = rest.pop()
        if "anyOf" in one:
            # "When using any_of, it must be the only field set."
            refuse_unless(one.keys() == {"anyOf"}, "any_of must be the only field set")
            refuse_unless(len(one["anyOf"]) > 1, "any_of of one")
        else:
            refuse_unless(one.get("type") in TYPES, f"type {one.get('type')}")
        if one.get("type") == "ARRAY":
            refuse_unless("items" in one, "items: missing field")
        if one.get("type") == "OBJECT":
            refuse_unless(one.get("properties"), "properties: should be non-empty for OBJECT type")
        if "enum" in one:
            refuse_unless(one["type"] == "STRING", "enum: only allowed for STRING type")
            _enum(one)
        known = set(one.get("properties", {}))
        refuse_unless(set(one.get("required", ())) <= known, "required: property is not defined")
        rest.extend(one.get("anyOf", ()))
        rest.extend(one.get("properties", {}).values())
        rest.extend([one["items"]] if "items" in one else [])
