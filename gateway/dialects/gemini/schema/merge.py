"""JSON Schemas joined into one: `allOf`, and a `$ref` with keywords beside it.

Works on schemas as the client wrote them; what comes out has neither `allOf` nor a resolvable `$ref`
at its top and is cleaned afterwards like any other. Also the one place that follows pointers. A join
never widens what it can narrow cheaply; where two keywords cannot be one, the first stays and the
second is told in the description.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.messages.json_documents import write_document

Schema = dict[str, Any]

MAX_DEPTH = 64
"""Levels of `allOf` in `allOf`, and of references that lead to references."""


class Steps:
    """A number of steps that may be taken, so that no schema can cost more than it should."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> bool:
        """Use one step; False when none is left."""
        self.left -= 1
        return self.left >= 0


class Merger:
    """Joins the schemas of one root document."""

    def __init__(self, root: object, steps: Steps) -> None:
        self._root = root
        self._steps = steps

    def resolve(self, pointer: str) -> tuple[bool, object]:
        """What a `$ref` of this document points to: (found, schema). Chains of bare references are
        followed; one that runs in a circle, leaves the document or names no schema is not found."""
        for _ in range(MAX_DEPTH):
            found, target = self._at(pointer)
            if not found:
                return False, None
            if not isinstance(target, dict) or target.keys() != {"$ref"}:
                return True, target
            if not isinstance(target["$ref"], str):
                return True, {}
            pointer = target["$ref"]
        return False, None

    def merged(
        self, schema: Mapping[str, Any], depth: int, inside: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...]]:
        """The schema with every `allOf` member, and what those point to, joined into it; and `inside` with
        the pointers that were followed.

        `inside` are those that led to this place: one of them again is a circle, and is only named.
        """
        out = {key: value for key, value in schema.items() if key != "allOf"}
        followed = inside
        members = schema.get("allOf")
        for member in members if isinstance(members, list) else ():
            if not isinstance(member, dict) or depth > MAX_DEPTH or not self._steps.take():
                continue
            within = inside
            pointer = member.get("$ref")
            if isinstance(pointer, str):
                found, target = self.resolve(pointer)
                rest = {key: value for key, value in member.items() if key != "$ref"}
                if not found or pointer in inside:
                    member = join(rest, {"description": f"(see {pointer})"})
                else:
                    within = (*inside, pointer)
                    member = {"allOf": [target, rest]}
            member, more = self.merged(member, depth + 1, within)
            out = join(out, member)
            followed = (*followed, *more[len(inside) :])
        return out, followed

    def _at(self, pointer: str) -> tuple[bool, object]:
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


def join(first: Schema, second: Mapping[str, Any]) -> Schema:
    """A schema that asks for both, as far as one can be written."""
    out = dict(first)
    untold: list[str] = []
    for key, value in second.items():
        if key not in out:
            out[key] = value
        elif out[key] != value or type(out[key]) is not type(value):
            rule = _JOINS.get(key)
            joined = rule(out[key], value) if rule else None
            if joined is None:
                untold.append(f"({key}: {write_document(value).decode()})")
            else:
                out[key] = joined
    _settle_additional(out, first, second)
    if untold:
        known = out.get("description")
        out["description"] = " ".join([known, *untold] if isinstance(known, str) else untold)
    return out


def _settle_additional(out: Schema, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Closed schemas that each name their own properties would, joined to the letter, allow nothing."""
    if out.get("additionalProperties") is False:
        closed = first if first.get("additionalProperties") is False else second
        if out.get("properties") != closed.get("properties"):
            del out["additionalProperties"]


def _both(a: object, b: object) -> object:
    """Two subschemas for one place."""
    return {"allOf": [s for s in (a, b) if s is not True]}


def _properties(a: object, b: object) -> object:
    if not isinstance(a, dict) or not isinstance(b, dict):
        return a if isinstance(a, dict) else b
    out = dict(a)
    for name, schema in b.items():
        out[name] = schema if name not in out or out[name] == schema else _both(out[name], schema)
    return out


def _union(a: object, b: object) -> object:
    left, right = (v if isinstance(v, list) else [] for v in (a, b))
    return left + [value for value in right if value not in left]


def _intersection(a: object, b: object) -> object | None:
    left, right = (v if isinstance(v, list) else [v] for v in (a, b))
    if "number" in left and "integer" in right:
        left = ["integer" if value == "number" else value for value in left]
    if "number" in right and "integer" in left:
        right = ["integer" if value == "number" else value for value in right]
    common = [value for value in left if value in right]
    if not common:
        return None
    return common if isinstance(a, list) or isinstance(b, list) else common[0]


def _larger(a: object, b: object) -> object | None:
    return max(a, b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else None


def _smaller(a: object, b: object) -> object | None:
    return min(a, b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else None


def _texts(a: object, b: object) -> object:
    return " ".join(text for text in (a, b) if isinstance(text, str))


def _first(a: object, b: object) -> object:
    return a


_JOINS: Mapping[str, Callable[[object, object], object | None]] = {
    "type": _intersection,
    "enum": _intersection,
    "properties": _properties,
    "patternProperties": _properties,
    "required": _union,
    "items": _both,
    "additionalProperties": lambda a, b: _both(a, b) if a is not False and b is not False else False,
    "description": _texts,
    "title": _first,
    "default": _first,
    "examples": _first,
    "$defs": _first,
    "definitions": _first,
    "$schema": _first,
    "$id": _first,
    "$comment": _first,
    "$anchor": _first,
    "minimum": _larger,
    "exclusiveMinimum": _larger,
    "minLength": _larger,
    "minItems": _larger,
    "minProperties": _larger,
    "maximum": _smaller,
    "exclusiveMaximum": _smaller,
    "maxLength": _smaller,
    "maxItems": _smaller,
    "maxProperties": _smaller,
}
"""Keyword -> how two values become one; None, or no entry: they cannot."""
