"""Schemas that could take quadratic time to join and clean; tests/support/growth.py says how growth is counted."""

from collections.abc import Callable
from typing import Any

from gateway.dialects.json_schema.budget import MAX_WORK, Budget, SchemaTooLarge
from gateway.dialects.json_schema.cycles import loosen_cycles
from gateway.dialects.json_schema.merge import Merger
from tests.support.growth import Row

STRING = {"type": "string"}
Make = Callable[[int], Any]


def defs(n: int, make: Callable[[int], Any], last: Any = STRING) -> dict[str, Any]:
    return {**{f"d{k}": make(k) for k in range(n)}, f"d{n}": last}


def to(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def properties(n: int, prefix: str = "p") -> dict[str, Any]:
    return {f"{prefix}{k}": STRING for k in range(n)}


def words(n: int) -> list[str]:
    return [f"p{k}" for k in range(n)]


SCHEMAS: dict[str, Make] = {
    "chains of definitions": lambda n: {
        "properties": {"a": to("d0")},
        "$defs": defs(n, lambda k: {"properties": {"x": to(f"d{k + 1}")}}),
    },
    "chains of bare references": lambda n: {
        "properties": {f"p{k}": to(f"d{k}") for k in range(n)},
        "$defs": defs(n, lambda k: to(f"d{k + 1}")),
    },
    "pointers that end in one name": lambda n: {
        "properties": {
            f"p{k}": {"properties": {"A": STRING, "r": {"$ref": f"#/properties/p{k}/properties/A"}}}
            for k in range(n)
        }
    },
    "many definitions": lambda n: {
        "properties": {f"p{k}": to(f"d{k}") for k in range(n)},
        "$defs": defs(n, lambda k: STRING),
    },
    "a circle": lambda n: {
        "properties": {"a": to("d0")},
        "$defs": defs(n, lambda k: {"properties": {"x": to(f"d{k + 1}")}, "required": ["x"]}, to("d0")),
    },
    "allOf of two enums": lambda n: {
        "properties": {"a": {"allOf": [{"enum": words(n)}, {"enum": words(n)[::-1]}]}}
    },
    "allOf of two required": lambda n: {
        "properties": properties(n),
        "allOf": [{"required": words(n)}, {"required": words(n)[::-1]}],
    },
    "allOf of many properties": lambda n: {"allOf": [{"properties": {f"p{k}": STRING}} for k in range(n)]},
    "allOf of one property": lambda n: {"allOf": [{"properties": {"p": {"minLength": k}}} for k in range(n)]},
    "allOf of many keywords": lambda n: {
        "properties": {"a": STRING},
        "allOf": [{f"x{k}": k} for k in range(n)],
    },
    "allOf of many patterns": lambda n: {
        "properties": {"a": {"allOf": [{"pattern": f"x{k}"} for k in range(n)]}}
    },
    "allOf of one enum and many": lambda n: {
        "properties": {"a": {"allOf": [{"enum": words(n)}, *({"enum": [f"q{k}"]} for k in range(n))]}}
    },
    "many references to one long pointer": lambda n: {
        "properties": {f"p{k}": to("x" * 200) for k in range(n)},
        "$defs": {"x" * 200: STRING},
    },
    "references to a large schema": lambda n: {
        "allOf": [to("b")] * n,
        "$defs": {"b": {"properties": properties(n)}},
    },
    "doubling references": lambda n: {
        "allOf": [to("d0")],
        "$defs": defs(n, lambda k: {"allOf": [to(f"d{k + 1}")] * 2}),
    },
    "references beside restrictions": lambda n: {
        "properties": {f"p{k}": {**to("b"), "minItems": 1} for k in range(n)},
        "$defs": {"b": {"properties": properties(n)}},
    },
    "properties beside anyOf": lambda n: {
        "type": "object",
        "properties": properties(2 * n),
        "anyOf": [{"properties": {f"q{k}": STRING}} for k in range(2 * n)],
    },
    "members of anyOf": lambda n: {
        "anyOf": [{"type": "object", "properties": {f"p{k}": STRING}} for k in range(n)]
    },
    "required of anyOf": lambda n: {
        "anyOf": [{"type": "object", "properties": properties(n), "required": words(n)}] * 10
    },
    "descriptions beside anyOf": lambda n: {
        "properties": {
            "a": {
                "description": "x" * 50 * n,
                "anyOf": [{"type": "string", "title": str(k)} for k in range(n)],
            }
        }
    },
    "nested anyOf": lambda n: {
        "properties": {"a": {"anyOf": [{"anyOf": [STRING, {"type": "integer"}]} for _ in range(n)]}}
    },
    "notes in notes": lambda n: {
        "properties": {"a": {"not": {"not": {"enum": words(n)}}, "if": {"enum": words(n)}}}
    },
}


def merge(schema: dict[str, Any]) -> None:
    merger = Merger(schema, Budget(MAX_WORK))
    try:
        merger.merge(schema, 0)
        for inner in schema.get("properties", {}).values():
            merger.merge({"allOf": [inner]}, 0)
    except SchemaTooLarge:
        pass


ROWS = [
    *(
        Row(f"a schema that is joined: {name}", merge, make)
        for name, make in SCHEMAS.items()
        if name != "doubling references"  # only the budget stops it: see the tests of cleaning
    ),
    Row("definitions in a chain", loosen_cycles, lambda n: defs(n, lambda k: {"items": to(f"d{k + 1}")})),
    Row("definitions in a circle", loosen_cycles, lambda n: defs(n, lambda k: to(f"d{k + 1}"), to("d0"))),
    Row(
        "definitions that all lead to one",
        loosen_cycles,
        lambda n: defs(n, lambda k: {"anyOf": [to("d0")] * 2}),
    ),
]
