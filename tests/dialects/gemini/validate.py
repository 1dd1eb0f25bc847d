"""Is it Google's shape? Holds request bodies to the pydantic models of google-genai, which forbid what
they do not know, and histories to the rules that the API enforces beyond shape."""

from typing import Any

from google.genai import types
from pydantic import BaseModel

from gateway.dialects.gemini.signatures import BYPASS

FIELDS: dict[str, Any] = {
    "systemInstruction": types.Content,
    "contents": [types.Content],
    "tools": [types.Tool],
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}
"""The body of generateContent: field -> model."""

JSON_KEYWORDS = {
    "type", "description", "title", "enum", "format", "items", "prefixItems", "properties", "required",
    "additionalProperties", "anyOf", "oneOf", "$ref", "$defs", "minItems", "maxItems", "minimum", "maximum",
    "nullable",
}  # fmt: skip


def validate_request(body: dict[str, Any]) -> None:
    """Raises for anything that generateContent would not know."""
    assert body.keys() <= FIELDS.keys(), body.keys() - FIELDS.keys()
    for key, value in body.items():
        expected = FIELDS[key]
        if isinstance(expected, list):
            assert value, key
            for item in value:
                _validate(expected[0], item)
        else:
            _validate(expected, value)
    for tool in body.get("tools", ()):
        for function in tool.get("functionDeclarations", ()):
            if "parametersJsonSchema" in function:
                assert function["parametersJsonSchema"]["type"] == "object"
                validate_json_schema(function["parametersJsonSchema"])
            elif "parameters" in function:
                assert function["parameters"]["type"] == "OBJECT"
                validate_openapi_schema(function["parameters"])
    validate_history(body.get("contents", []))


def _validate(model: type[BaseModel], value: Any) -> None:
    parsed = model.model_validate(value)
    _same_keys(value, parsed.model_dump(by_alias=True, exclude_unset=True))


def _same_keys(given: Any, read: Any) -> None:
    """The models also take snake_case names, which the API's JSON has not: nothing may be renamed."""
    if isinstance(given, dict):
        assert given.keys() == read.keys(), (given, read)
        for key, value in given.items():
            _same_keys(value, read[key])
    elif isinstance(given, list):
        for one, other in zip(given, read, strict=True):
            _same_keys(one, other)


def validate_history(contents: list[dict[str, Any]]) -> None:
    """The API's rules for turns."""
    open_calls: list[tuple[str, str | None]] = []
    for index, turn in enumerate(contents):
        assert turn["role"] == ("user" if index % 2 == 0 else "model"), "turns alternate, user first"
        assert turn["parts"], "a turn without parts"
        responses = [p["functionResponse"] for p in turn["parts"] if "functionResponse" in p]
        calls = [p["functionCall"] for p in turn["parts"] if "functionCall" in p]
        assert [(r["name"], r.get("id")) for r in responses] == open_calls
        if turn["role"] == "user":
            assert not calls
            kinds = [next(iter(part)) for part in turn["parts"]]
            if "text" in kinds:
                assert "functionResponse" not in kinds[kinds.index("text") :], "responses come first"
        open_calls = [(c["name"], c.get("id")) for c in calls]
        for part in turn["parts"]:
            if "functionCall" in part:
                assert part["thoughtSignature"], "an unsigned call"
            if part.get("thought"):
                assert part["thoughtSignature"] != BYPASS
    assert not open_calls, "a call that is never answered"


def validate_json_schema(schema: Any) -> None:
    """The documented subset of JSON Schema, references resolved within it."""
    _json_schema(schema, set(schema.get("$defs", {})), root=True)


def _json_schema(schema: Any, defs: set[str], *, root: bool = False) -> None:
    assert isinstance(schema, dict)
    assert schema.keys() <= JSON_KEYWORDS, schema.keys() - JSON_KEYWORDS
    if "$ref" in schema:
        assert schema.keys() == {"$ref"}, "nothing may stand beside a $ref"
        assert schema["$ref"].startswith("#/$defs/")
        assert schema["$ref"].removeprefix("#/$defs/") in defs
        return
    flat = {k: v for k, v in schema.items() if k not in ("prefixItems", "nullable")}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            _json_schema(schema[key], defs)
            flat[key] = {}
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            assert schema[key]
            for member in schema[key]:
                _json_schema(member, defs)
            flat[key] = []
    for key in ("properties", "$defs"):
        if key in schema:
            assert root or key != "$defs"
            for member in schema[key].values():
                _json_schema(member, defs)
            flat[key] = {}
    flat.pop("prefixItems", None)
    assert isinstance(schema.get("nullable", False), bool)
    assert set(schema.get("required", ())) <= set(schema.get("properties", {}))
    assert schema.get("required") != []
    assert schema.get("enum") != []
    types.JSONSchema.model_validate(flat)


def validate_openapi_schema(schema: Any) -> None:
    """The OpenAPI subset, with what the API checks beyond the model."""
    _same_keys(schema, types.Schema.model_validate(schema).model_dump(by_alias=True, exclude_unset=True))
    rest = [schema]
    while rest:
        one = rest.pop()
        if "anyOf" in one:
            assert one.keys() <= {"anyOf", "description", "title", "nullable"}
            assert len(one["anyOf"]) > 1
        else:
            assert one["type"] in {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}
        if one.get("type") == "ARRAY":
            assert "items" in one
        if "enum" in one:
            assert one["type"] == "STRING"
        assert set(one.get("required", ())) <= set(one.get("properties", {}))
        rest.extend(one.get("anyOf", ()))
        rest.extend(one.get("properties", {}).values())
        rest.extend([one["items"]] if "items" in one else [])
