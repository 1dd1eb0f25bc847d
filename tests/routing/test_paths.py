"""Fields named by a refusal, found in the document."""

import pytest

from gateway.routing.paths import find_fields

DOCUMENT = {
    "model": "m",
    "max_tokens": 9,
    "context_management": {"edits": []},
    "thinking": {"type": "adaptive", "block_binding": {"x": 1}},
    "output_config": {"effort": "low"},
    "tools": [
        {"name": "a", "input_schema": {"properties": {"strict": {}, "defer_loading": {}}}},
        {"name": "b", "defer_loading": True, "input_schema": {"type": "object"}},
    ],
    "messages": [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "yes", "citations": [], "cache_control": {"type": "e", "ttl": "1h"}},
                {"type": "tool_use", "id": "t", "name": "b", "input": {"caller": 1}, "caller": {}},
            ],
        },
    ],
}

FOUND = [
    ("context_management", ["context_management"]),
    ("output_config.effort", ["output_config.effort"]),
    ("tools.1.defer_loading", ["tools.*.defer_loading"]),
    ("tools.3.custom.defer_loading", ["tools.*.defer_loading"]),
    ("tools[1].defer_loading", ["tools.*.defer_loading"]),
    ("tools.*.defer_loading", ["tools.*.defer_loading"]),
    ("tools.defer_loading", ["tools.*.defer_loading"]),
    ("thinking.adaptive.block_binding", ["thinking.block_binding"]),
    ("messages.1.content.0.text.cache_control.ttl", ["messages.*.content.*.cache_control.ttl"]),
    ("messages.1.content.0.text.citations", ["messages.*.content.*.citations"]),
    # a bare name
    ("defer_loading", ["tools.*.defer_loading"]),
    ("effort", ["output_config.effort"]),
    ("ttl", ["messages.*.content.*.cache_control.ttl"]),
    ("caller", ["messages.*.content.*.caller"]),
    # not sent
    ("unheard_of", []),
    ("tools.1.strict", []),
    ("strict", []),
    ("messages.1.content.9.nothing", []),
    ("tools.1", []),
    ("tools.1.name.first", []),
    # essential
    *(
        (name, [])
        for name in ("model", "messages", "max_tokens", "tools.1.input_schema", "messages.1.content")
    ),
    *((f"messages.1.content.0.{name}", []) for name in ("type", "text")),
    # the tools' own
    ("tools.0.input_schema.properties.strict", []),
    ("messages.1.content.1.input.caller", []),
    # no path
    ("", []),
    (".", []),
    ("x." * 1000, []),
]


@pytest.mark.parametrize(("named", "paths"), FOUND)
def test_find_fields(named: str, paths: list[str]) -> None:
    assert find_fields(DOCUMENT, named) == tuple(paths)


def test_search_depth_is_bounded() -> None:
    inner: dict[str, object] = {"x": 1}
    for _ in range(1000):
        inner = {"deeper": inner}
    assert find_fields(inner, "x") == ()
