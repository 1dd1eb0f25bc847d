"""Cyclic definitions, such as a tree's nodes.

Some parsers unroll a cycle to a limited depth, and only if it contains a property that is not required; they refuse all
others. Works on the definitions of a cleaned schema, in linear time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def loosen_cycles(defs: Schema) -> None:
    """Remove the properties that close a cycle from `required`. Changes the definitions."""
    to = {name: [other for other in _targets(schema) if other in defs] for name, schema in defs.items()}
    for circle in _circles(to):
        for name in circle:
            _loosen(defs[name], circle)


def _circles(to: Mapping[str, list[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected sets of definitions that contain a cycle (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: dict[str, None] = {}
    """Visited definitions that belong to no set so far."""
    for start in to:
        if start in order:
            continue
        order[start] = low[start] = len(order)
        path[start] = None
        walk = [(start, iter(to[start]))]
        while walk:
            name, rest = walk[-1]
            for other in rest:
                if other not in order:
                    order[other] = low[other] = len(order)
                    path[other] = None
                    walk.append((other, iter(to[other])))
                    break
                if other in path:
                    low[name] = min(low[name], order[other])
            else:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[name])
                if low[name] == order[name]:
                    circle = set()
                    while name not in circle:
                        circle.add(path.popitem()[0])
                    if len(circle) > 1 or name in to[name]:
                        yield circle


def _targets(schema: object) -> set[str]:
    """Return the definitions that a cleaned schema refers to, at any depth."""
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


def _loosen(schema: object, circle: set[str]) -> bool:
    """Loosen a schema and all inside it; return whether it refers to a definition in the circle."""
    if isinstance(schema, list):
        return sum(_loosen(inner, circle) for inner in schema) > 0
    if not isinstance(schema, dict):
        return False
    reference = schema.get("$ref")
    found = isinstance(reference, str) and reference.removeprefix("#/$defs/") in circle
    closing: set[str] = set()
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            closing = {name for name, inner in value.items() if _loosen(inner, circle)}
        else:
            found = _loosen(value, circle) or found
    if closing and "required" in schema:
        schema["required"] = [name for name in schema["required"] if name not in closing]
        if not schema["required"]:
            del schema["required"]
    return found or bool(closing)
