"""The features of a request that a refusal may be about."""

from typing import Any

import pytest

from gateway.routing.sent import Sent, no_features


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


FEATURES: list[tuple[dict[str, Any], str, set[str]]] = [
    ({}, "", set()),
    ({"messages": "hi"}, "", set()),
    ({"messages": [7, {"content": "hi"}, {"content": [7, {"type": 7}]}]}, "", set()),
    (user({"type": "text"}), "", set()),
    (user({"type": "image"}), "", {"images"}),
    (user({"type": "document"}), "", {"documents"}),
    (user({"type": "audio"}), "", {"audio"}),
    (
        user({"type": "tool_result", "content": [{"type": "image"}, {"type": "document"}]}),
        "",
        {"images", "documents"},
    ),
    ({"speed": "fast"}, "", {"fast"}),
    ({"speed": "standard"}, "fast-mode-2026-02-01", set()),
    ({}, "context-1m-2025-08-07", {"context-1m"}),
    ({}, "other, context-1m-2025-08-07", {"context-1m"}),
]


@pytest.mark.parametrize(("document", "betas", "features"), FEATURES)
def test_features(document: dict[str, Any], betas: str, features: set[str]) -> None:
    assert Sent(document, [(b"anthropic-beta", betas.encode())]).features() == features


def test_nested_blocks_are_bounded() -> None:
    block: dict[str, Any] = {"type": "image"}
    for _ in range(1000):
        block = {"type": "tool_result", "content": [block]}
    assert Sent(user(block)).features() == set()


def test_betas_of_several_fields() -> None:
    headers = [(b"anthropic-beta", b"a, b"), (b"x", b"c"), (b"anthropic-beta", b",d ,")]
    assert Sent({}, headers).betas() == ("a", "b", "d")


def test_tools_that_are_objects() -> None:
    assert list(Sent({"tools": [{"name": "a"}, 7]}).tools()) == [{"name": "a"}]
    assert list(Sent({"tools": {}}).tools()) == []


def test_nothing_is_known() -> None:
    assert no_features() == frozenset()
