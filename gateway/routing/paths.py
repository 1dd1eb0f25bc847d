"""Fields that a refusal names, found in what was sent: `tools.3.custom.defer_loading` is `tools.*.defer_loading`."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.patterns import Late

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
"""Fields without which a request is another one: never left out."""

CLIENTS_OWN = frozenset({"input", "input_schema"})
"""Fields that hold what the client's tools define: nothing in them is the protocol's."""

DEEPEST = 8
"""Steps of a path. Blocks in tool results in messages need six."""

LONGEST = 200
"""Characters of a path that is looked for."""

_INDEX = Late(r"\d+")
_BRACKETS = Late(r"\[(\d+|\*)\]")


def find_fields(document: Mapping[str, Any], named: str) -> tuple[str, ...]:
    """Return where the field that a refusal names stands in the document, with `*` for an element of a list.

    A step that is not in the document is passed over: validators name the kind of a block there. A bare name is looked
    for everywhere outside what belongs to the client's tools. Nothing essential is ever returned.
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
    """Return the paths that the steps lead to from a value; for a list, those from all of its elements."""
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
