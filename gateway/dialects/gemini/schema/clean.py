"""Tool and answer schemas: what JSON Schema says, in the words that Gemini's API knows.

One pass cleans any JSON Schema into the documented subset: constraints without a place in it move
into the description, `allOf` is merged, every `$ref` points into the root's `$defs`. Whatever comes in
(booleans, cycles, a hundred levels, keywords with wrong values) something valid comes out. The other,
older form is made from that in openapi.py; both are remembered by content, because an agent sends the
same tools with every request.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.dialects.gemini.schema.cycles import loosen_cycles
from gateway.dialects.gemini.schema.merge import Merger, Steps
from gateway.dialects.gemini.schema.openapi import count_nodes, to_openapi
from gateway.messages.json_documents import write_document

Schema = dict[str, Any]
Form = Literal["json", "openapi"]

CACHED = 1024
"""Schemas kept: fifty tool sets of twenty."""

CACHED_SIZE = 64 * 1024
"""Bytes of JSON above which a schema is cleaned afresh; real ones have 0.5 to 8 KiB."""

MAX_DEPTH = 64
"""Schema levels kept; deeper ones accept anything. Google's own readers stop at 100 levels of JSON, and a
level here costs three frames of Python's 1,000."""

GROWTH = 4
ROOM = 500
"""Schemas looked at for one root: GROWTH x its dicts and lists, and ROOM more. Definitions that are joined
into many places fit; ones that double with each reference do not, and accept anything where it ends."""

NOTE_LENGTH = 240
"""Characters of a constraint's value that a description repeats."""

TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})

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
"""Keywords without a place in the subset that still tell the model something."""

FLAGS = frozenset({"uniqueItems", "exclusiveMinimum", "exclusiveMaximum"})
"""Of those, the ones that say something by being true."""

STRUCTURE = frozenset({"type", "$ref", "properties", "items", "prefixItems", "anyOf", "oneOf", "enum"})
"""A member of `anyOf` without any of these is a mere condition."""

ANNOTATIONS = frozenset({"description", "title", "nullable"})


class SchemaCache:
    """Cleaned schemas by content: the newest `capacity` of them."""

    def __init__(self, capacity: int = CACHED) -> None:
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, bytes], Schema | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def parameters(self, schema: object, form: Form) -> Schema | None:
        """A tool's `input_schema`; None for one that says nothing (no parameters). Not to be changed."""
        return self._get("parameters", schema, form, _parameters)

    def answer(self, schema: object, form: Form) -> Schema:
        """The schema of a structured answer. Not to be changed."""
        return self._get("answer", schema, form, _answer) or {}

    def _get(
        self, use: str, schema: object, form: Form, make: Callable[[object, Form], Schema | None]
    ) -> Schema | None:
        content = write_document(schema)
        key = (use + form, content)
        known = self._known
        if key in known:
            known.move_to_end(key)
            return known[key]
        made = make(schema, form)
        if len(content) <= CACHED_SIZE:
            known[key] = made
            if len(known) > self._capacity:
                known.popitem(last=False)
        return made


def _parameters(schema: object, form: Form) -> Schema | None:
    cleaned = clean(schema)
    if cleaned.keys() <= {"type", "description", "title", "nullable", "additionalProperties"} or (
        not cleaned.get("properties", True) and "anyOf" not in cleaned and "oneOf" not in cleaned
    ):
        return None
    cleaned = {**cleaned, "type": "object"}
    return to_openapi(cleaned, parameters=True) if form == "openapi" else cleaned


def _answer(schema: object, form: Form) -> Schema:
    cleaned = clean(schema)
    return to_openapi(cleaned, parameters=False) if form == "openapi" else cleaned


def clean(schema: object) -> Schema:
    """The schema in the subset of JSON Schema that the API documents for `parametersJsonSchema`."""
    return _Cleaner(schema).result()


class _Cleaner:
    """One schema being cleaned. Definitions are cleaned one after the other, when something points there."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._steps = Steps(ROOM + GROWTH * count_nodes(root))
        self._merger = Merger(root, self._steps)
        self._names: dict[str, str] = {}
        """Pointer in the original -> name in `$defs`."""
        self._waiting: list[tuple[str, object]] = []
        self._inside: tuple[str, ...] = ()
        """The pointers whose targets were joined into what is being cleaned."""

    def result(self) -> Schema:
        root = self._root
        if isinstance(root, dict) and isinstance(root.get("$ref"), str):
            # Parameters must be an object themselves, not point to one.
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
        """A (sub)schema; {} accepts anything."""
        if schema is False:
            return {"description": "(no value is valid here)"}
        if not isinstance(schema, dict) or depth > MAX_DEPTH or not self._steps.take():
            return {}
        if "allOf" in schema:
            return self._merged(schema, depth)
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, depth)
        out: Schema = {}
        notes: list[str] = []
        for key, value in schema.items():
            rule = _RULES.get(key)
            if rule is not None:
                rule(self, key, value, depth + 1, out, notes)
            elif key in NOTED and _says_something(key, value):
                notes.append(_note(key, value))
        _settle(out, notes)
        if notes:
            first = out.get("description")
            out["description"] = " ".join([first, *notes] if first else notes)
        return out

    def _merged(self, schema: Mapping[str, Any], depth: int) -> Schema:
        outside = self._inside
        merged, self._inside = self._merger.merged(schema, depth, outside)
        cleaned = self.schema(merged, depth + 1)
        self._inside = outside
        return cleaned

    def _reference(self, schema: Mapping[str, Any], depth: int) -> Schema:
        """The API allows nothing beside a `$ref`: annotations go around it, anything else is merged with
        what it points to."""
        pointer = schema["$ref"]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        found, target = self._merger.resolve(pointer)
        if not found:
            rest["description"] = " ".join(filter(None, [_text(rest.get("description")), f"(see {pointer})"]))
            return self.schema(rest, depth + 1)
        beside = self.schema(rest, depth + 1)
        if not beside.keys() <= ANNOTATIONS:
            return self._merged({"allOf": [{"$ref": pointer}, rest]}, depth)
        there = {"$ref": "#/$defs/" + self._definition(pointer, target)}
        return {"anyOf": [there], **beside} if beside else there

    def _definition(self, pointer: str, target: object) -> str:
        name = self._names.get(pointer)
        if name is None:
            last = pointer.rpartition("/")[2].strip("#")
            plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in last) or "root"
            taken = set(self._names.values())
            name = next(n for n in _numbered(plain) if n not in taken)
            self._names[pointer] = name
            self._waiting.append((name, target))
        return name

    # One method a kind of keyword: (keyword, value, depth, cleaned schema so far, notes).

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
        types = list(dict.fromkeys(n.lower() for n in names if isinstance(n, str) and n.lower() in TYPES))
        if types:
            out["type"] = types[0] if len(types) == 1 else types

    def keep_enum(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if not isinstance(value, list) or "const" in out:
            return
        plain = [v for v in value if _plain(v)]
        if plain:
            out["enum"] = plain
        if len(plain) < len(value):
            notes.append(_note("enum", value))

    def const(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if _plain(value):
            out["const"] = value
        else:
            notes.append(_note("const", value))

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
            notes.append(_note(key, value))

    def named(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, dict):
            out[key] = {name: self.schema(member, depth) for name, member in value.items()}

    def names(self, key: str, value: object, depth: int, out: Schema, notes: list[str]) -> None:
        if isinstance(value, list):
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
"""What is kept, and how. `$ref`, `$defs` and `allOf` are not here: they are about the whole schema."""


def _settle(out: Schema, notes: list[str]) -> None:
    """Keywords that depend on each other, once all of them are there."""
    if "const" in out:
        out["enum"] = [out.pop("const")]
    if "required" in out:
        # The API refuses a required name that is not among the properties.
        known = out.get("properties", {})
        missing = [name for name in out["required"] if name not in known]
        if missing:
            notes.append(_note("required", missing))
        out["required"] = [name for name in out["required"] if name in known]
        if not out["required"]:
            del out["required"]


def _says_something(key: str, value: object) -> bool:
    if key == "default":
        return value is not None
    if isinstance(value, bool):
        return value and key in FLAGS
    return value is not None and value not in ({}, [], {"type": "string"})


def _plain(value: object) -> bool:
    """Whether an `enum` may hold it."""
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and abs(value) < 1e300)


def _note(key: str, value: object) -> str:
    text = value if isinstance(value, str) else write_document(value).decode()
    if len(text) > NOTE_LENGTH:
        text = text[:NOTE_LENGTH] + "…"
    return f"({key}: {text})"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _numbered(name: str) -> Any:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
