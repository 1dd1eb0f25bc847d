"""Finds fields that a refusal names: `tools.3.custom.defer_loading` is `tools.*.defer_loading` in the document."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.patterns import LazyPattern

ESSENTIAL = frozenset(
    {
        "content",
        "data",
        "id",
        "input",
        "input_schema",
        "max_tokens",
        "messages",
        "model",
        "name",
        "role",
        "signature",
        "source",
        "text",
        "tool_use_id",
        "type",
    }
)
"""Fields that cannot be left out without changing the request's meaning."""

CLIENTS_OWN = frozenset({"input", "input_schema"})
"""Fields whose content the client's tools define, and not the protocol."""

DEEPEST = 8
"""Steps of a path, at most. Blocks in tool results in messages need six."""

LONGEST = 200
"""Characters of a path, at most."""

_INDEX = LazyPattern(r"\d+")
_BRACKETS = LazyPattern(r"\[(\d+|\*)\]")


def find_fields(document: Mapping[str, Any], named: str) -> tuple[str, ...]:
    """Return the paths of a field that a refusal names, with `*` for elements of lists.

    A step that the document lacks is skipped: validators insert a block's kind there. A bare name is searched
    everywhere except in what belongs to the client's tools. Essential fields are never returned.
    """
    steps = [step for step in _BRACKETS.compiled.sub(r".\1", named[:LONGEST]).strip(".").split(".") if step][
        :DEEPEST
    ]
    if not steps or steps[-1] in ESSENTIAL:
        return ()
    found = {path for path in _resolve(document, steps) if not CLIENTS_OWN.intersection(path)}
    if not found and len(steps) == 1:
        found = set(_search(document, steps[0], DEEPEST))
    return tuple(sorted(".".join(path) for path in found))


def _resolve(value: Any, steps: list[str]) -> set[tuple[str, ...]]:
    """Return the paths of the steps from a value; for a list, from all of its elements."""
    if not steps:
        return {()}
    step, rest = steps[0], steps[1:]
    if isinstance(value, list):
        if _INDEX.compiled.fullmatch(step) or step == "*":
            steps = rest
        return {("*", *path) for element in value for path in _resolve(element, steps)} if steps else set()
    if not isinstance(value, dict):
        return set()
    found = {(step, *path) for path in _resolve(value[step], rest)} if step in value else set()
    return found or (_resolve(value, rest) if rest else set())


def _search(value: Any, name: str, depth: int) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all fields of this name."""
    if not depth:
        return
    if isinstance(value, list):
        for path in {path for element in value for path in _search(element, name, depth - 1)}:
            yield ("*", *path)
    elif isinstance(value, dict):
        if name in value:
            yield (name,)
        for key, inner in value.items():
            if key not in CLIENTS_OWN:
                yield from ((key, *path) for path in _search(inner, name, depth - 1))
