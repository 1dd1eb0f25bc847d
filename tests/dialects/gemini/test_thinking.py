from typing import Any

import pytest

from gateway.dialects.gemini.thinking import thinking_config

ENABLED = {"type": "enabled", "budget_tokens": 4000}
ADAPTIVE = {"type": "adaptive", "display": "omitted"}
DISABLED = {"type": "disabled"}


def effort(value: Any) -> dict[str, Any]:
    return {"output_config": {"effort": value}}


def budget(tokens: int, shown: bool = True) -> dict[str, Any]:
    return {"includeThoughts": shown, "thinkingBudget": tokens}


def level(name: str, shown: bool = True) -> dict[str, Any]:
    return {"includeThoughts": shown, "thinkingLevel": name}


CASES: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    ("gemini-3-pro-preview", {}, None),
    ("gemini-3-pro-preview", {"thinking": None, "output_config": None}, None),
    ("gemini-3-pro-preview", {"thinking": {"type": "later"}, **effort(5)}, None),
    # a budget
    ("gemini-3-pro-preview", {"thinking": ENABLED}, budget(4000)),
    ("gemini-2.5-pro", {"thinking": ENABLED}, budget(4000)),
    ("gemini-2.5-pro", {"thinking": ENABLED, "max_tokens": 1001}, budget(1000)),
    ("gemini-2.5-pro", {"thinking": ENABLED, "max_tokens": 4001}, budget(4000)),
    ("gemini-2.5-pro", {"thinking": ENABLED, "max_tokens": 100}, budget(-1)),
    ("gemini-3-pro", {"thinking": ENABLED, "max_tokens": 1}, budget(-1)),
    ("gemini-2.5-flash", {"thinking": {**ENABLED, "budget_tokens": 31999}}, budget(24576)),
    ("gemini-2.5-flash-lite", {"thinking": {**ENABLED, "budget_tokens": 5}}, budget(512)),
    ("gemini-2.5-pro", {"thinking": {"type": "enabled"}}, budget(-1)),
    ("gemini-3-pro", {"thinking": {"type": "enabled"}}, level("high")),
    # a level
    ("gemini-3-pro", {"thinking": ADAPTIVE, **effort("low")}, level("low")),
    ("gemini-3-pro", {"thinking": ADAPTIVE, **effort("medium")}, level("medium")),
    ("gemini-4-ultra", {"thinking": ADAPTIVE, **effort("high")}, level("high")),
    ("gemini-3-pro", {"thinking": ADAPTIVE, **effort("xhigh")}, level("high")),
    ("gemini-3-pro", {"thinking": ADAPTIVE, **effort("max")}, level("high")),
    ("gemini-3-pro", {"thinking": ADAPTIVE, **effort("other")}, level("high")),
    ("gemini-3-pro", {"thinking": ADAPTIVE}, level("high")),
    ("gemini-3-pro", effort("low"), {"thinkingLevel": "low"}),
    ("models/gemini-2.5-pro", {"thinking": ADAPTIVE, **effort("low")}, budget(-1)),
    ("gemini-2.5-flash", effort("low"), {"thinkingBudget": -1}),
    # none
    ("gemini-2.5-flash", {"thinking": DISABLED}, budget(0, shown=False)),
    ("gemini-2.5-flash-lite", {"thinking": DISABLED}, budget(0, shown=False)),
    ("gemini-2.5-pro", {"thinking": DISABLED}, budget(128, shown=False)),
    ("gemini-3-pro-preview", {"thinking": DISABLED, **effort("high")}, level("low", shown=False)),
    ("gemini-3-flash-preview", {"thinking": DISABLED}, level("minimal", shown=False)),
    ("gemini-3.8-flash", {"thinking": DISABLED}, level("low", shown=False)),
    ("my-own-model", {"thinking": DISABLED}, level("low", shown=False)),
    # models that do not think
    ("gemini-2.0-flash", {"thinking": ENABLED}, None),
    ("gemma-3-27b-it", {"thinking": DISABLED}, None),
]


@pytest.mark.parametrize(("model", "document", "expected"), CASES)
def test_thinking_config(model: str, document: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert thinking_config(document, model) == expected


@pytest.mark.parametrize(
    ("model", "least", "most", "off"),
    [
        ("gemini-2.5-flash-lite", 512, 24576, 0),
        ("gemini-2.5-flash-preview-09-2025", 1, 24576, 0),
        ("gemini-2.5-pro", 128, 32768, 128),
        ("gemini-2.5-computer-use", 128, 24576, 128),
    ],
)
def test_budgets_of_a_family(model: str, least: int, most: int, off: int) -> None:
    for asked, sent in ((0, least), (least, least), (least + 1, least + 1), (most + 1, most)):
        assert thinking_config({"thinking": {**ENABLED, "budget_tokens": asked}}, model) == budget(sent)
    assert thinking_config({"thinking": {**ENABLED}, "max_tokens": least + 1}, model) == budget(least)
    assert thinking_config({"thinking": {**ENABLED}, "max_tokens": least}, model) == budget(-1)
    assert thinking_config({"thinking": DISABLED}, model) == budget(off, shown=False)
