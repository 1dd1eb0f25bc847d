"""Definitions that lead back to themselves, as a tree's nodes do.

Some readers unroll such a cycle to a limited depth, and only where it goes through a property that is not
required; anything else they refuse. Works on the definitions of a cleaned schema, in linear time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def loosen_cycles(defs: Schema) -> None:
    """Take the properties that close a cycle out of `required`. Changes the definitions."""
    to = {name: [other for other in _targets(schema) if other in defs] for name, schema in defs.items()}
    for circle in _circles(to):
        for name in circle:
            _loosen(defs[name], circle)


def _circles(to: Mapping[str, list[str]]) -> Iterator[set[str]]:
    """Yield each largest set of definitions that all lead to each other, if they lead anywhere (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: dict[str, None] = {}
    """Visited definitions that belong to no set yet."""
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
    """Return the definitions that a cleaned schema points to, at any depth."""
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
    """Loosen a schema and all inside it; returns whether a reference in it leads into the circle."""
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
