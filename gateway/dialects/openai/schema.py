"""Converts schemas of tools and of structured output for chat.completions hosts.

They are passed on unchanged, except that the root becomes an object with properties. `plain` is for servers that
compile a grammar, or are strict: keywords that they refuse become part of the description.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.dialects.json_schema.budget import REQUEST_WORK, Budget
from gateway.dialects.json_schema.cache import Clean, SchemaCache
from gateway.dialects.json_schema.merge import Merger
from gateway.dialects.json_schema.notes import describe, note
from gateway.messages.json_values import as_dict, dicts_in

Schema = dict[str, Any]

NOTED = ("pattern", "minLength", "maxLength", "format", "propertyNames")
"""Keywords that llama.cpp's grammar compiler, and similar ones, do not support."""

_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "unevaluatedProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_TABLES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords that hold schemas: one, a list of them, or a table of them by name."""

_NOT_AT_ROOT = frozenset({"anyOf", "oneOf", "allOf", "enum", "not", "$ref"})
"""Keywords that OpenAI refuses at the root of a function's parameters."""


class Schemas:
    """Converts the schemas of one request, within its budget."""

    def __init__(self, style: str, cache: SchemaCache, warn: Callable[[str], None]) -> None:
        """`style`: the trait `schema`."""
        self._style = style
        self._cache = cache
        self._warn = warn
        self._budget = Budget(REQUEST_WORK)

    def parameters(self, schema: object) -> Schema:
        """Return a tool's `input_schema` as a function's `parameters`. Callers must not change it."""
        rooted = schema if _is_rooted(schema) else self._clean("openai root", schema, _make_root)
        return self._apply_style(without_dialect(rooted))

    def output(self, schema: object) -> Schema:
        """Return the schema of structured output. Callers must not change it."""
        return self._apply_style(without_dialect(schema))

    def _apply_style(self, schema: Schema) -> Schema:
        return schema if self._style == "full" else self._clean("openai plain", schema, _plain)

    def _clean(self, use: str, schema: object, clean: Clean) -> Schema:
        return self._cache.get(use, schema, clean, self._budget, self._warn) or {}


def without_dialect(schema: object) -> Schema:
    """Return the schema without `$schema`."""
    given = as_dict(schema)
    return {key: value for key, value in given.items() if key != "$schema"} if "$schema" in given else given


def _is_rooted(schema: object) -> bool:
    """Return whether the root is what hosts require: an object with properties, without alternatives."""
    return (
        isinstance(schema, dict)
        and schema.get("type") == "object"
        and isinstance(schema.get("properties"), dict)
        and _NOT_AT_ROOT.isdisjoint(schema)
    )


def _make_root(schema: object, budget: Budget) -> Schema:
    """Return the schema with an object as its root. Raises SchemaTooLarge."""
    given: Schema = dict(as_dict(schema))
    merger = Merger(schema, budget)
    pointer = given.pop("$ref", None)
    target = merger.resolve(pointer)[1] if isinstance(pointer, str) else None
    given = {**target, **given} if isinstance(target, dict) else given
    if "allOf" in given:
        joined, _ = merger.merge(given, 0)
        given = {**{key: given[key] for key in ("$defs", "definitions") if key in given}, **joined}
    for key in ("anyOf", "oneOf"):
        if key in given:
            _join(given, given[key], budget)
    given["type"] = "object"
    if not isinstance(given.get("properties"), dict):
        given["properties"] = {}
    return {key: value for key, value in given.items() if key not in _NOT_AT_ROOT}


def _join(root: Schema, members: object, budget: Budget) -> None:
    """Add the properties of the root's alternatives to it, as optional ones."""
    properties: dict[str, Any] = {}
    for member in dicts_in(members):
        found = as_dict(member.get("properties"))
        budget.charge(1 + len(found))
        properties.update(found)
    root["properties"] = {**properties, **as_dict(root.get("properties"))}


def _plain(schema: object, budget: Budget) -> Schema:
    return plain(schema, budget) if isinstance(schema, dict) else {}


def plain(schema: Schema, budget: Budget) -> Schema:
    """Return the schema with the `NOTED` keywords moved to descriptions, and with items for each array, at all levels.

    Raises SchemaTooLarge.
    """
    budget.charge(1 + len(schema))
    out: Schema = {}
    notes: list[str] = []
    for key, value in schema.items():
        if key in NOTED:
            notes.append(note(key, value, budget))
        elif key in _SINGLE and isinstance(value, dict):
            out[key] = plain(value, budget)
        elif key in (*_LISTS, "items") and isinstance(value, list):
            out[key] = [plain(item, budget) if isinstance(item, dict) else item for item in value]
        elif key in _TABLES and isinstance(value, dict):
            out[key] = {
                n: plain(item, budget) if isinstance(item, dict) else item for n, item in value.items()
            }
        else:
            out[key] = value
    kind = schema.get("type")
    if "array" in (kind if isinstance(kind, list) else (kind,)):
        out.setdefault("items", {})
    if notes:
        describe(out, notes)
    return out


def is_strict(schema: object) -> bool:
    """Return whether all objects in the schema are closed and require all their properties, for `strict: true`."""
    return isinstance(schema, dict) and all(
        part.get("additionalProperties") is False
        and isinstance(part.get("properties"), dict)
        and set(part["properties"]) == set(part.get("required") or ())
        for part in _objects(schema)
    )


def _objects(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each schema of an object within a schema."""
    rest: list[Any] = [schema]
    while rest:
        part = rest.pop()
        if not isinstance(part, dict):
            continue
        if "properties" in part or part.get("type") == "object":
            yield part
        rest += [part[key] for key in _SINGLE if key in part]
        rest += [item for key in _LISTS if isinstance(part.get(key), list) for item in part[key]]
        rest += [item for key in _TABLES if isinstance(part.get(key), dict) for item in part[key].values()]
