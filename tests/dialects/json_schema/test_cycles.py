from typing import Any

import pytest

from gateway.dialects.json_schema.cycles import loosen_cycles


def to(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def node(required: list[str], /, **properties: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return {**found, "required": required} if required else found


STRING = {"type": "string"}

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("no cycle", {"a": node(["b"], b=to("b")), "b": STRING}, {"a": node(["b"], b=to("b")), "b": STRING}),
    ("itself", {"a": node(["a", "s"], a=to("a"), s=STRING)}, {"a": node(["s"], a=to("a"), s=STRING)}),
    ("nothing left", {"a": node(["a"], a=to("a"))}, {"a": node([], a=to("a"))}),
    (
        "in a list",
        {"a": node(["l"], l={"type": "array", "items": to("a")})},
        {"a": node([], l={"type": "array", "items": to("a")})},
    ),
    (
        "deep inside",
        {"a": {"anyOf": [STRING, node(["x"], x=node(["a"], a=to("a")))]}},
        {"a": {"anyOf": [STRING, node([], x=node([], a=to("a")))]}},
    ),
    (
        "two that need each other",
        {"a": node(["b", "s"], b=to("b"), s=STRING), "b": node(["a"], a=to("a"))},
        {"a": node(["s"], b=to("b"), s=STRING), "b": node([], a=to("a"))},
    ),
    (
        "beside a cycle",
        {
            "a": node(["a", "c"], a=to("a"), c=to("c")),
            "c": node(["s"], s=STRING),
            "d": node(["a"], a=to("a")),
        },
        {"a": node(["c"], a=to("a"), c=to("c")), "c": node(["s"], s=STRING), "d": node(["a"], a=to("a"))},
    ),
    ("to nowhere", {"a": node(["x", "a"], x=to("x"), a=to("a"))}, {"a": node(["x"], x=to("x"), a=to("a"))}),
    (
        "properties with the names of keywords",
        {"a": node(["$ref", "required"], **{"$ref": to("a"), "required": STRING, "properties": STRING})},
        {"a": node(["required"], **{"$ref": to("a"), "required": STRING, "properties": STRING})},
    ),
]


@pytest.mark.parametrize(("defs", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_loosen_cycles(defs: dict[str, Any], expected: dict[str, Any]) -> None:
    loosen_cycles(defs)
    assert defs == expected
