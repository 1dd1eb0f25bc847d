from typing import Any

import pytest

from gateway.dialects.gemini.families import family
from gateway.dialects.gemini.thinking import thinking_config
from tests.fakes.gemini.models import ABILITIES, ability
from tests.fakes.gemini.rules import check_thinking

ENABLED = {"type": "enabled", "budget_tokens": 4000}
ADAPTIVE = {"type": "adaptive", "display": "omitted"}
DISABLED = {"type": "disabled"}

PRO_3, PRO, FLASH, NEW_FLASH = (
    "gemini-3-pro-preview",
    "gemini-3.1-pro-preview",
    "gemini-3-flash-preview",
    "gemini-3.8-flash",
)


def enabled(budget: Any, **more: Any) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}, **more}


def effort(value: Any, **more: Any) -> dict[str, Any]:
    return {"output_config": {"effort": value}, **more}


def budget(tokens: int, shown: bool = True) -> dict[str, Any]:
    return {"includeThoughts": shown, "thinkingBudget": tokens}


def level(name: str, shown: bool = True) -> dict[str, Any]:
    return {"includeThoughts": shown, "thinkingLevel": name}


CASES: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    # no thinking, or an unknown one: the least
    (PRO, {}, level("low", shown=False)),
    (PRO, {"thinking": None, "output_config": None}, level("low", shown=False)),
    (PRO, {"thinking": {"type": "later"}, "output_config": {"effort": None}}, level("low", shown=False)),
    (FLASH, {}, level("minimal", shown=False)),
    (NEW_FLASH, {}, level("low", shown=False)),
    ("gemma-4-31b-it", {}, level("minimal", shown=False)),
    ("gemini-2.5-flash", {}, budget(0, shown=False)),
    ("gemini-2.5-pro", {"max_tokens": 64}, budget(128, shown=False)),
    # disabled
    ("gemini-2.5-flash", {"thinking": DISABLED}, budget(0, shown=False)),
    ("gemini-2.5-flash-lite", {"thinking": DISABLED}, budget(0, shown=False)),
    ("gemini-2.5-pro", {"thinking": DISABLED}, budget(128, shown=False)),
    (PRO_3, effort("high", thinking=DISABLED), level("low", shown=False)),
    (FLASH, {"thinking": DISABLED}, level("minimal", shown=False)),
    # a budget, for families that have one
    ("gemini-2.5-pro", enabled(4000), budget(4000)),
    ("gemini-2.5-pro", enabled(4000.0), budget(4000)),
    ("gemini-2.5-pro", enabled(4000, max_tokens=1001), budget(1000)),
    ("gemini-2.5-pro", enabled(4000, max_tokens=4001), budget(4000)),
    ("gemini-2.5-pro", enabled(4000, max_tokens=100), budget(-1)),
    ("gemini-2.5-flash", enabled(31999), budget(24576)),
    ("gemini-2.5-flash-lite", enabled(5), budget(512)),
    ("gemini-2.5-pro", {"thinking": {"type": "enabled"}}, budget(-1)),
    # the same as a level, for the others
    (PRO, enabled(1), level("low")),
    (PRO, enabled(4096), level("low")),
    (PRO, enabled(4097), level("medium")),
    (PRO, enabled(16384), level("medium")),
    (PRO, enabled(16385), level("high")),
    (PRO, {"thinking": {"type": "enabled"}}, level("high")),
    (PRO_3, enabled(4096), level("low")),
    (PRO_3, enabled(10000), level("high")),
    ("gemma-4-31b-it", enabled(1), level("high")),
    # adaptive, and effort alone
    (PRO, effort("low", thinking=ADAPTIVE), level("low")),
    (PRO, effort("medium", thinking=ADAPTIVE), level("medium")),
    (PRO_3, effort("medium", thinking=ADAPTIVE), level("high")),
    ("gemini-4-ultra", effort("high", thinking=ADAPTIVE), level("high")),
    (PRO, effort("xhigh", thinking=ADAPTIVE), level("high")),
    (PRO, effort("max", thinking=ADAPTIVE), level("high")),
    (PRO, effort("other", thinking=ADAPTIVE), level("high")),
    (PRO, {"thinking": ADAPTIVE}, level("high")),
    (PRO, effort("low"), level("low", shown=False)),
    ("gemini-2.5-pro", effort("low", thinking=ADAPTIVE), budget(-1)),
    ("gemini-2.5-flash", effort("low"), budget(-1, shown=False)),
    # models that do not think
    ("gemini-2.0-flash", enabled(4000), None),
    ("gemma-3-27b-it", {"thinking": DISABLED}, None),
]


@pytest.mark.parametrize(("model", "document", "expected"), CASES)
def test_thinking_config(model: str, document: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert thinking_config(document, family(model)) == expected


THINKINGS = [
    {},
    {"thinking": DISABLED},
    {"thinking": ADAPTIVE},
    *map(effort, ("low", "medium", "high", "max")),
]
BUDGETS = [enabled(n, max_tokens=most) for n in (1, 127, 5000, 20000, 100_000) for most in (1, 600, 64_000)]


@pytest.mark.parametrize("model", ABILITIES)
def test_google_takes_it(model: str) -> None:
    for document in [*THINKINGS, *BUDGETS]:
        check_thinking(thinking_config(document, family(model)), ability(model))


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
    kind = family(model)
    for wanted, sent in ((1, least), (least, least), (least + 1, least + 1), (most + 1, most)):
        assert thinking_config(enabled(wanted), kind) == budget(sent)
    assert thinking_config(enabled(4000, max_tokens=least + 1), kind) == budget(least)
    assert thinking_config(enabled(4000, max_tokens=least), kind) == budget(-1)
    assert thinking_config({"thinking": DISABLED}, kind) == budget(off, shown=False)
