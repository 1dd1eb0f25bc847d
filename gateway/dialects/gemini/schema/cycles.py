"""Definitions that lead back to themselves, as a tree's nodes do.

The API unrolls such a cycle to a limited depth, and only where it goes through a property that is not
required; anything else it refuses. Works on the definitions of a cleaned schema (schema.py).
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def loosen_cycles(defs: Schema) -> None:
    """Take the properties that close a cycle out of `required`. Changes the definitions."""
    to = {name: _targets(schema) for name, schema in defs.items()}
    reach = {name: _reach(name, to) for name in defs}
    for name, schema in defs.items():
        if name in reach[name]:
            back = {other for other in defs if other == name or name in reach[other]}
            _loosen(schema, back)


def _reach(start: str, to: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    rest = list(to[start])
    while rest:
        name = rest.pop()
        if name not in seen:
            seen.add(name)
            rest.extend(to.get(name, ()))
    return seen


def _targets(schema: object) -> set[str]:
    """The definitions that a cleaned schema points to, at any depth."""
    found: set[str] = set()
    rest = [schema]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.add(value["$ref"].removeprefix("#/$defs/"))
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return found


def _loosen(schema: object, back: set[str]) -> None:
    """`back`: the definitions from which a reference leads to this one again."""
    rest = [schema]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, dict):
            rest.extend(value.values())
            required, properties = value.get("required"), value.get("properties")
            if isinstance(required, list) and isinstance(properties, dict):
                kept = [name for name in required if not back & _targets(properties.get(name))]
                if kept:
                    value["required"] = kept
                else:
                    del value["required"]
