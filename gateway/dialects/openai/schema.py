"""Schemas of tools and of structured output, as chat.completions hosts take them.

They pass as they are but for the root, which must be an object with properties. `plain` is for servers that
compile a grammar: what their compilers refuse becomes part of the description.
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
"""Keywords on which llama.cpp's grammar compiler, and others made like it, give up."""

_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "unevaluatedProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_TABLES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Where a schema holds schemas: one, a list of them, a table of them by name."""

_CHOICES = frozenset({"anyOf", "oneOf", "allOf", "$ref"})


class Schemas:
    """The schemas of one request, within its budget."""

    def __init__(self, style: str, cache: SchemaCache, warn: Callable[[str], None]) -> None:
        """`style` is the trait `schema`."""
        self._style = style
        self._cache = cache
        self._warn = warn
        self._budget = Budget(REQUEST_WORK)

    def parameters(self, schema: object) -> Schema:
        """Return a tool's `input_schema` as a function's `parameters`. Not to be changed."""
        rooted = schema if _is_rooted(schema) else self._cleaned("openai root", schema, _rooted)
        return self._styled(without_dialect(rooted))

    def output(self, schema: object) -> Schema:
        """Return the schema of a structured output. Not to be changed."""
        return self._styled(without_dialect(schema))

    def _styled(self, schema: Schema) -> Schema:
        return schema if self._style == "full" else self._cleaned("openai plain", schema, _plain)

    def _cleaned(self, use: str, schema: object, clean: Clean) -> Schema:
        return self._cache.get(use, schema, clean, self._budget, self._warn) or {}


def without_dialect(schema: object) -> Schema:
    """Return the schema without the name of its dialect."""
    given = as_dict(schema)
    return {key: value for key, value in given.items() if key != "$schema"} if "$schema" in given else given


def _is_rooted(schema: object) -> bool:
    """Whether the root is already an object with properties, as hosts want it, and no choice between several."""
    return (
        isinstance(schema, dict)
        and schema.get("type") == "object"
        and isinstance(schema.get("properties"), dict)
        and _CHOICES.isdisjoint(schema)
    )


def _rooted(schema: object, budget: Budget) -> Schema:
    """Return the schema with such a root. Raises SchemaTooLarge."""
    given: Schema = dict(as_dict(schema))
    merger = Merger(schema, budget)
    pointer = given.pop("$ref", None)
    target = merger.resolve(pointer)[1] if isinstance(pointer, str) else None
    given = {**target, **given} if isinstance(target, dict) else given
    if "allOf" in given:
        joined, _ = merger.merged(given, 0)
        given = {**{key: given[key] for key in ("$defs", "definitions") if key in given}, **joined}
    for key in ("anyOf", "oneOf"):
        if key in given:
            _join(given, given.pop(key), budget)
    given["type"] = "object"
    if not isinstance(given.get("properties"), dict):
        given["properties"] = {}
    return given


def _join(root: Schema, members: object, budget: Budget) -> None:
    """Join the properties of the root's alternatives into it; none of theirs is required."""
    properties: dict[str, Any] = {}
    for member in dicts_in(members):
        found = as_dict(member.get("properties"))
        budget.charge(1 + len(found))
        properties.update(found)
    root["properties"] = {**properties, **as_dict(root.get("properties"))}


def _plain(schema: object, budget: Budget) -> Schema:
    return plain(schema, budget) if isinstance(schema, dict) else {}


def plain(schema: Schema, budget: Budget) -> Schema:
    """Return the schema with the keywords of `NOTED` in descriptions, at every level. Raises SchemaTooLarge."""
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
    if notes:
        describe(out, notes)
    return out


def is_strict(schema: object) -> bool:
    """Whether each object in the schema is closed and requires all its properties, as `strict: true` demands."""
    return isinstance(schema, dict) and all(
        part.get("additionalProperties") is False
        and isinstance(part.get("properties"), dict)
        and set(part["properties"]) == set(part.get("required") or ())
        for part in _objects(schema)
    )


def _objects(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give each schema within that is one of objects."""
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
