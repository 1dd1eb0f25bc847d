"""Converts tool and output schemas to the subset of JSON Schema that Gemini's API documents.

One pass converts any schema: constraints that the subset lacks move into the description, `allOf` is merged, every
`$ref` points into the root's `$defs`. The result is always valid, whatever the input: booleans, cycles, a hundred
levels, keywords with wrong values. openapi.py makes the older form from it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.dialects.gemini.schema.openapi import parameters_to_openapi, to_openapi
from gateway.dialects.json_schema.budget import REQUEST_WORK, TOO_LARGE, Budget
from gateway.dialects.json_schema.cache import Clean, SchemaCache
from gateway.dialects.json_schema.cycles import loosen_cycles
from gateway.dialects.json_schema.merge import TYPES, Merger
from gateway.dialects.json_schema.notes import NOTE_LENGTH, describe, note

Schema = dict[str, Any]
Form = Literal["json", "openapi"]

MAX_DEPTH = 64
"""Levels of a schema that are kept; deeper ones accept anything. Google's own parsers stop at 100 levels of JSON, and a
level here takes three frames of Python's 1,000."""

LONGEST_NAME = 64
"""Characters of a definition's name."""

NOTED = frozenset(
    {
        "additionalItems",
        "contains",
        "contentEncoding",
        "contentMediaType",
        "default",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "examples",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if",
        "maxContains",
        "maxLength",
        "maxProperties",
        "minContains",
        "minLength",
        "minProperties",
        "multipleOf",
        "not",
        "pattern",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""Keywords outside of the subset that still inform the model."""

FLAGS = frozenset({"uniqueItems", "exclusiveMinimum", "exclusiveMaximum"})
"""Those of them that have a meaning only if they are true."""

STRUCTURE = frozenset({"type", "$ref", "properties", "items", "prefixItems", "anyOf", "oneOf", "enum"})
"""A member of `anyOf` without any of these is only a condition."""

ANNOTATIONS = frozenset({"description", "title", "nullable"})


class Schemas:
    """Converts the schemas of one request to one of the API's two forms."""

    def __init__(self, cache: SchemaCache, form: Form, warn: Callable[[str], None]) -> None:
        """`warn` is called for a schema that is too large to be translated."""
        self.form = form
        self._cache = cache
        self._budget = Budget(REQUEST_WORK)
        self._warn = warn

    def parameters(self, schema: object) -> Schema | None:
        """Return the converted `input_schema` of a tool; None if it has no parameters. Callers must not change it.

        For one that is too large: TOO_LARGE, or None in the older form, which has no object without properties.
        """
        return self._get(_older_parameters if self.form == "openapi" else _parameters, schema)

    def output(self, schema: object) -> Schema | None:
        """Return the converted schema of structured output; None for any JSON. Callers must not change it."""
        if self.form == "json":
            return self._get(clean, schema)
        found = self._get(_older_output, schema)
        return None if found is TOO_LARGE else found

    def _get(self, clean: Clean, schema: object) -> Schema | None:
        return self._cache.get(clean.__name__, schema, clean, self._budget, self._warn)


def _parameters(schema: object, budget: Budget) -> Schema | None:
    cleaned = clean(schema, budget)
    if cleaned.keys() <= {"type", "description", "title", "nullable", "additionalProperties"} or (
        not cleaned.get("properties", True) and "anyOf" not in cleaned and "oneOf" not in cleaned
    ):
        return None
    return {**cleaned, "type": "object"}


def _older_parameters(schema: object, budget: Budget) -> Schema | None:
    cleaned = _parameters(schema, budget)
    return None if cleaned is None else parameters_to_openapi(cleaned, budget)


def _older_output(schema: object, budget: Budget) -> Schema:
    return to_openapi(clean(schema, budget), budget)


def clean(schema: object, budget: Budget) -> Schema:
    """Return the schema in the subset of JSON Schema that the API documents for `parametersJsonSchema`.

    Raises SchemaTooLarge when that costs more than `budget`.
    """
    return _Cleaner(schema, budget).result()


class _Cleaner:
    """Cleans one schema. Definitions are cleaned one after the other, when a reference to them is found."""

    def __init__(self, root: object, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._merger = Merger(root, budget)
        self._names: dict[str, str] = {}
        """Pointer in the original -> name in `$defs`."""
        self._numbers: dict[str, int] = {}
        """A definition's plain name -> how many have it; the keys are all names in use."""
        self._waiting: list[tuple[str, object]] = []

    def result(self) -> Schema:
        """Return the cleaned schema."""
        root = self._root
        if isinstance(root, dict) and isinstance(root.get("$ref"), str):
            # Parameters must be an object themselves, not a reference to one.
            root = {"allOf": [root]}
        cleaned = self.schema(root, 0)
        defs: Schema = {}
        while self._waiting:
            name, target = self._waiting.pop()
            defs[name] = self.schema(target, 0)
        if defs:
            cleaned["$defs"] = dict(sorted(defs.items()))
            loosen_cycles(defs)
        return cleaned

    def schema(self, schema: object, depth: int) -> Schema:
        """Return a cleaned (sub)schema; {} accepts anything."""
        self._budget.charge()
        if schema is False:
            return {"description": "(no value is valid here)"}
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return {}
        if "allOf" in schema:
            return self._merged(schema, depth)
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, depth)
        out: Schema = {}
        notes: list[str] = []
        self._budget.charge(len(schema))
        for key, value in schema.items():
            rule = _RULES.get(key)
            if rule is not None:
                rule(self, key, value, depth + 1, out, notes)
            elif key in NOTED and _says_something(key, value):
                notes.append(self.note(key, value))
        self._settle(out, notes)
        describe(out, notes)
        return out

    def note(self, key: str, value: object) -> str:
        """Return a keyword that the subset lacks as text."""
        return note(key, value, self._budget)

    def _merged(self, schema: Mapping[str, Any], depth: int) -> Schema:
        merged, followed = self._merger.merge(schema, depth)
        inside = self._merger.inside
        entered = [pointer for pointer in followed if pointer not in inside]
        inside.update(entered)
        cleaned = self.schema(merged, depth + 1)
        inside.difference_update(entered)
        return cleaned

    def _reference(self, schema: Mapping[str, Any], depth: int) -> Schema:
        """Clean a schema with a `$ref`.

        The API allows nothing beside one: annotations are put around it, anything else is merged with the referenced
        schema.
        """
        pointer = schema["$ref"]
        self._budget.charge(len(schema))
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        found, target = self._merger.resolve(pointer)
        if not found:
            describe(rest, [f"(see {pointer[:NOTE_LENGTH]})"])
            return self.schema(rest, depth + 1)
        if not rest.keys() & RESTRICTIONS:
            there = {"$ref": "#/$defs/" + self._definition(pointer, target)}
            beside = self.schema(rest, depth + 1)
            return {"anyOf": [there], **beside} if beside else there
        return self._merged({"allOf": [{"$ref": pointer}, rest]}, depth)

    def _definition(self, pointer: str, target: object) -> str:
        """Return the name in `$defs` for a pointer's target."""
        name = self._names.get(pointer)
        if name is None:
            last = pointer.rpartition("/")[2].strip("#")[:LONGEST_NAME]
            plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in last) or "root"
            self._budget.charge(1 + len(plain) // 8)
            name = plain
            while name in self._numbers:
                self._budget.charge()
                self._numbers[plain] += 1
                name = f"{plain}_{self._numbers[plain]}"
            self._numbers[name] = 1
            self._names[pointer] = name
            self._waiting.append((name, target))
        return name

    def _settle(self, out: Schema, notes: list[str]) -> None:
        """Adjust keywords that depend on each other, after all have been added."""
        if "const" in out:
            out["enum"] = [out.pop("const")]
        if "required" in out:
            # The API refuses a required name that is not a property.
            known = out.get("properties", {})
            missing = [name for name in out["required"] if name not in known]
            if missing:
                notes.append(self.note("required", missing))
            out["required"] = [name for name in out["required"] if name in known]
            if not out["required"]:
                del out["required"]

    # One method for each kind of keyword: (keyword, value, depth, cleaned schema so far, notes).

    def keep_text(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, str):
            out[key] = value

    def keep_flag(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, bool):
            out[key] = value

    def keep_number(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
            out[key] = value

    def keep_count(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**53:
            out[key] = int(value)

    def keep_type(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        self._budget.charge(len(names))
        types = list(dict.fromkeys(n.lower() for n in names if isinstance(n, str) and n.lower() in TYPES))
        if types:
            out["type"] = types[0] if len(types) == 1 else types

    def keep_enum(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if not isinstance(value, list) or "const" in out:
            return
        self._budget.charge(len(value))
        # The API refuses an empty string.
        plain = [v for v in value if _plain(v) and v != ""]
        if plain:
            out["enum"] = plain
        if len(plain) < len(value):
            notes.append(self.note("enum", value))

    def const(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if _plain(value) and value != "":
            out["const"] = value
        else:
            notes.append(self.note("const", value))

    def one(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, list):  # older drafts' way to write a tuple
            self.many("prefixItems", value, depth, out, notes)
        elif isinstance(value, dict) or (key == "additionalProperties" and isinstance(value, bool)):
            out[key] = self.schema(value, depth) if isinstance(value, dict) else value

    def many(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if not isinstance(value, list):
            return
        members = [self.schema(member, depth) for member in value if isinstance(member, (dict, bool))]
        if any(STRUCTURE & member.keys() for member in members):
            out[key] = members
        elif members:
            notes.append(self.note(key, value))

    def named(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, dict):
            out[key] = {name: self.schema(member, depth) for name, member in value.items()}

    def names(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, list):
            self._budget.charge(len(value))
            out[key] = list(dict.fromkeys(name for name in value if isinstance(name, str)))


_Rule = Callable[[_Cleaner, str, object, int, Schema, list[str]], None]

_RULES: Mapping[str, _Rule] = {
    "type": _Cleaner.keep_type,
    "description": _Cleaner.keep_text,
    "title": _Cleaner.keep_text,
    "format": _Cleaner.keep_text,
    "const": _Cleaner.const,
    "enum": _Cleaner.keep_enum,
    "items": _Cleaner.one,
    "prefixItems": _Cleaner.many,
    "properties": _Cleaner.named,
    "required": _Cleaner.names,
    "additionalProperties": _Cleaner.one,
    "anyOf": _Cleaner.many,
    "oneOf": _Cleaner.many,
    "minItems": _Cleaner.keep_count,
    "maxItems": _Cleaner.keep_count,
    "minimum": _Cleaner.keep_number,
    "maximum": _Cleaner.keep_number,
    "nullable": _Cleaner.keep_flag,
}
"""Keyword -> its handler. `$ref`, `$defs` and `allOf` concern the whole schema and are handled elsewhere."""

RESTRICTIONS = frozenset({*_RULES, "allOf"}) - ANNOTATIONS
"""Keywords that are not allowed around a `$ref`."""


def _says_something(key: str, value: object) -> bool:
    if key == "default":
        return value is not None
    if isinstance(value, bool):
        return value and key in FLAGS
    return value is not None and value not in ({}, [], {"type": "string"})


def _plain(value: object) -> bool:
    """Return whether `enum` may contain this value."""
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and abs(value) < 1e300)
