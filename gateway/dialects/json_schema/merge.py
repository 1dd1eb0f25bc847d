"""Joins JSON Schemas: `allOf`, and a `$ref` with keywords beside it.

Works on schemas as clients sent them. The result has neither `allOf` nor a resolvable `$ref` at its top and is cleaned
afterwards like any other. This is also the only module that follows pointers. A join never widens what it can narrow
cheaply; of two keywords that cannot be combined the first stays and the second is noted in the description. Every step
is charged to a budget, and takes no longer after many joins.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.dialects.json_schema.budget import Budget
from gateway.dialects.json_schema.notes import NOTE_LENGTH, describe, note
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_list

Schema = dict[str, Any]

MAX_DEPTH = 64
"""Levels of `allOf` in `allOf`, and of references beside references."""

TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})

_POINTER_UNIT = 16
"""Characters of a pointer that are followed in the time of one unit of work: two or three names."""


class Merger:
    """Joins schemas of one root document."""

    def __init__(self, root: object, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._resolved: dict[str, tuple[bool, object]] = {}
        self.inside: set[str] = set()
        """Pointers that led to the present place: a repeated one is a cycle, and is kept as a reference."""

    def resolve(self, pointer: str) -> tuple[bool, object]:
        """Return what a `$ref` of this document points to: (found, schema).

        Chains of bare references are followed. A chain that is cyclic, leaves the document or ends at no schema is not
        found. Raises SchemaTooLarge.
        """
        chain: dict[str, None] = {}
        result: tuple[bool, object] | None = None
        while result is None:
            if pointer in self._resolved:
                result = self._resolved[pointer]
            elif pointer in chain:
                result = (False, None)
            else:
                chain[pointer] = None
                found, target = self._at(pointer)
                if not found or not isinstance(target, dict) or target.keys() != {"$ref"}:
                    result = (found, target)
                elif isinstance(target["$ref"], str):
                    pointer = target["$ref"]
                else:
                    result = (True, {})
        self._resolved.update(dict.fromkeys(chain, result))
        return result

    def merge(self, schema: Mapping[str, Any], depth: int) -> tuple[Schema, list[str]]:
        """Join all `allOf` members of a schema, and what they refer to, into it.

        Return the joined schema and the pointers that were followed. Raises SchemaTooLarge.
        """
        join = _Join(self._budget)
        followed: list[str] = []
        self._add(join, schema, depth, followed)
        return join.result(), followed

    def _add(self, join: "_Join", schema: Mapping[str, Any], depth: int, followed: list[str]) -> None:
        join.add(schema)
        for member in as_list(schema.get("allOf")):
            self._budget.charge()
            self._add_member(join, member, depth, followed)

    def _add_member(self, join: "_Join", member: object, depth: int, followed: list[str]) -> None:
        if not isinstance(member, dict) or depth > MAX_DEPTH:
            return
        pointer = member.get("$ref")
        if not isinstance(pointer, str):
            self._add(join, member, depth + 1, followed)
            return
        self._budget.charge(1 + len(member))
        rest = {key: value for key, value in member.items() if key != "$ref"}
        found, target = self.resolve(pointer)
        if not found or pointer in self.inside:
            self._add(join, rest, depth + 1, followed)
            join.notes.append(f"(see {pointer[:NOTE_LENGTH]})")
            return
        followed.append(pointer)
        self.inside.add(pointer)
        self._add_member(join, target, depth + 1, followed)
        self._add(join, rest, depth + 1, followed)
        self.inside.discard(pointer)

    def _at(self, pointer: str) -> tuple[bool, object]:
        """Follow one pointer. Return (found, schema)."""
        self._budget.charge(1 + len(pointer) // _POINTER_UNIT)
        target = self._root
        if pointer == "#":
            return True, target
        if not pointer.startswith("#/"):
            return False, None
        if "%" in pointer:
            from urllib.parse import unquote

            pointer = unquote(pointer)
        for token in pointer[2:].split("/"):
            name = token.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and len(name) < 6 and int(name) < len(target):
                target = target[int(name)]
            else:
                return False, None
        return isinstance(target, (dict, bool)), target


def join(schemas: Iterable[Mapping[str, Any]], budget: Budget) -> Schema:
    """Return a schema that requires all of `schemas`, as far as that can be expressed. Raises SchemaTooLarge."""
    joined = _Join(budget)
    for schema in schemas:
        joined.add(schema)
    return joined.result()


class _Joint(Schema):
    """A list of subschemas for one place, {"allOf": [...]}, made by a join, which may therefore extend it."""


class _Join:
    """A schema under construction, keyword by keyword. It changes only values that it made or copied itself."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._out: Schema = {}
        self._copied: set[str] = set()
        """Keywords whose value is a copy and may be changed."""
        self._texts: dict[str, None] = {}
        """Descriptions, each once."""
        self.notes: list[str] = []
        self._closed: list[int] = []
        """The number of properties of each schema that allows no others."""

    def add(self, schema: Mapping[str, Any]) -> None:
        """Join another schema, without its `allOf`."""
        self._budget.charge(1 + len(schema))
        out = self._out
        for key, value in schema.items():
            if key == "description":
                if isinstance(value, str):
                    self._texts[value] = None
            elif key == "allOf":
                continue
            elif key not in out:
                out[key] = value
            elif out[key] is not value:
                rule = _JOINS.get(key)
                if rule is None:
                    self.differ(key, value)
                else:
                    rule(self, key, value)
        if schema.get("additionalProperties") is False:
            properties = schema.get("properties")
            self._closed.append(len(properties) if isinstance(properties, dict) else 0)

    def result(self) -> Schema:
        """Return the joined schema."""
        out = self._out
        for key in self._copied & {"enum", "required"}:
            out[key] = list(out[key].values())
        if self._closed:
            # Joined literally, closed schemas with different properties would allow nothing.
            properties = out.get("properties")
            names = len(properties) if isinstance(properties, dict) else 0
            if names > min(self._closed):
                del out["additionalProperties"]
        describe(out, [*self._texts, *self.notes])
        return out

    # One method for each kind of keyword that is already present: (keyword, second value).

    def differ(self, key: str, value: object) -> None:
        """Keep the first; note the second, if it differs."""
        first, second = write_document(self._out[key]), write_document(value)
        self._budget.charge_text(len(first) + len(second))
        if first != second:
            self.notes.append(note(key, value, self._budget))

    def first(self, key: str, value: object) -> None:
        """Keep the first."""

    def types(self, key: str, value: object) -> None:
        """Keep the types that are in both."""
        first, second = self._out[key], value
        left, right = (self._known_types(names) for names in (first, second))
        if "number" in left and "integer" in right:
            left = ["integer" if name == "number" else name for name in left]
        if "number" in right and "integer" in left:
            right = ["integer" if name == "number" else name for name in right]
        common = [name for name in left if name in right]
        if not common:
            self.notes.append(note(key, value, self._budget))
        else:
            lists = isinstance(first, list) or isinstance(second, list)
            self._out[key] = common if lists else common[0]

    def _known_types(self, names: object) -> list[str]:
        listed = names if isinstance(names, list) else [names]
        self._budget.charge(len(listed))
        return list(dict.fromkeys(n.lower() for n in listed if isinstance(n, str) and n.lower() in TYPES))

    def common(self, key: str, value: object) -> None:
        """Keep the values that are in both lists."""
        known = self._by_content(key)
        second = as_list(value)
        self._budget.charge(len(second))
        common = {content for one in second if (content := _content(one)) in known}
        if common:
            self._budget.charge(len(known))
            self._out[key] = {content: one for content, one in known.items() if content in common}
        else:
            self.notes.append(note(key, value, self._budget))

    def union(self, key: str, value: object) -> None:
        """Keep the values that are in either list."""
        known = self._by_content(key)
        for one in as_list(value):
            self._budget.charge()
            known.setdefault(_content(one), one)

    def _by_content(self, key: str) -> dict[object, Any]:
        """Return the first list as content -> value; it becomes a list again at the end."""
        known = self._out[key]
        if key not in self._copied:
            self._copied.add(key)
            listed = as_list(known)
            self._budget.charge(len(listed))
            self._out[key] = {_content(one): one for one in listed}
        found: dict[object, Any] = self._out[key]
        return found

    def properties(self, key: str, value: object) -> None:
        """Keep the properties of both; join those that are in both."""
        first = self._out[key]
        if not isinstance(first, dict):
            self._out[key] = value
        elif isinstance(value, dict):
            if key not in self._copied:
                self._copied.add(key)
                self._budget.charge(len(first))
                first = self._out[key] = dict(first)
            self._budget.charge(len(value))
            for name, schema in value.items():
                known = first.get(name, schema)
                first[name] = known if known is schema else _both(known, schema)

    def both(self, key: str, value: object) -> None:
        """Require both subschemas."""
        self._out[key] = _both(self._out[key], value)

    def additional(self, key: str, value: object) -> None:
        """Require both subschemas; False allows nothing."""
        first = self._out[key]
        self._out[key] = _both(first, value) if first is not False and value is not False else False

    def larger(self, key: str, value: object) -> None:
        """Keep the higher of two lower bounds."""
        self._bound(key, value, max)

    def smaller(self, key: str, value: object) -> None:
        """Keep the lower of two upper bounds."""
        self._bound(key, value, min)

    def _bound(self, key: str, value: object, choose: Callable[[Any, Any], Any]) -> None:
        first = self._out[key]
        if not _is_number(first):
            self._out[key] = value
        elif _is_number(value):
            self._out[key] = choose(first, value)


def _both(first: object, second: object) -> object:
    """Return one subschema that requires both."""
    if isinstance(first, _Joint):
        first["allOf"].append(second)
        return first
    return _Joint(allOf=[schema for schema in (first, second) if schema is not True])


def _content(value: object) -> object:
    """Return a hashable value, equal for values that are equal in JSON."""
    if isinstance(value, str) or value is None:
        return value
    return (type(value) is bool, value) if isinstance(value, (int, float)) else write_document(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_JOINS: Mapping[str, Callable[[_Join, str, object], None]] = {
    "type": _Join.types,
    "enum": _Join.common,
    "properties": _Join.properties,
    "patternProperties": _Join.properties,
    "required": _Join.union,
    "items": _Join.both,
    "additionalProperties": _Join.additional,
    **dict.fromkeys(
        ("title", "default", "examples", "$defs", "definitions", "$schema", "$id", "$comment", "$anchor"),
        _Join.first,
    ),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _Join.larger),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _Join.smaller),
}
"""Keyword -> how two values are combined. Keywords without an entry cannot be."""
