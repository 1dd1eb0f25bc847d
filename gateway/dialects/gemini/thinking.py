"""What `thinking` and `output_config.effort` mean to each family of Gemini models.

The families differ in how thinking is turned down: a budget in tokens (2.5), a level (3 and later), not
at all (2.0 and before). The table holds what Google documents; a model that it does not know is taken for
one of the newest family, with the values that every member of it accepts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Family:
    """One family's ways to think. Budgets are tokens."""

    uses: str
    """"budget", "level" or "" (does not think)."""
    least: int = 0
    most: int = 0
    off: int = 0
    """The budget for no thinking, or for as little as there can be."""
    lowest: str = "low"
    """The level for no thinking, or for as little as there can be."""


_NO_THINKING = Family("")

FAMILIES: tuple[tuple[str, Family], ...] = (
    ("gemini-2.5-flash-lite", Family("budget", least=512, most=24576, off=0)),
    ("gemini-2.5-flash", Family("budget", least=1, most=24576, off=0)),
    ("gemini-2.5-pro", Family("budget", least=128, most=32768, off=128)),
    ("gemini-2.5", Family("budget", least=128, most=24576, off=128)),
    ("gemini-2.0", _NO_THINKING),
    ("gemini-1", _NO_THINKING),
    ("gemma", _NO_THINKING),
    ("learnlm", _NO_THINKING),
    ("gemini-3-flash", Family("level", lowest="minimal")),
    ("gemini-3.1-flash", Family("level", lowest="minimal")),
    ("gemini-3.5-flash", Family("level", lowest="minimal")),
    ("gemini-3.6-flash", Family("level", lowest="minimal")),
    ("", Family("level", lowest="low")),
)
"""Beginning of the wire model -> family, first match."""

LEVELS: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""`output_config.effort` -> `thinkingLevel`."""

DEFAULT_EFFORT = "high"
"""What the Messages API takes when `thinking` is adaptive and no effort is named."""

DYNAMIC = -1
"""The budget with which the model decides."""


def family(wire_model: str) -> Family:
    """The family that a model belongs to."""
    name = wire_model.rpartition("/")[2].lower()
    return next(family for prefix, family in FAMILIES if name.startswith(prefix))


def thinking_config(document: Mapping[str, Any], wire_model: str) -> dict[str, Any] | None:
    """`generationConfig.thinkingConfig` for a request; None when it says nothing about thinking."""
    thinking = document.get("thinking")
    output = document.get("output_config")
    mode = thinking.get("type") if isinstance(thinking, dict) else None
    effort = output.get("effort") if isinstance(output, dict) else None
    if mode not in ("enabled", "adaptive", "disabled"):
        mode = None
    if mode is None and not isinstance(effort, str):
        return None
    kind = family(wire_model)
    if not kind.uses:
        return None
    if mode == "disabled":
        least = {"thinkingBudget": kind.off} if kind.uses == "budget" else {"thinkingLevel": kind.lowest}
        return {"includeThoughts": False, **least}
    config: dict[str, Any] = {"includeThoughts": True} if mode else {}
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) and mode == "enabled" else None
    if isinstance(budget, int):
        config["thinkingBudget"] = _fitting(budget, document.get("max_tokens"), kind)
    elif kind.uses == "budget":
        config["thinkingBudget"] = DYNAMIC
    else:
        named = effort if isinstance(effort, str) else DEFAULT_EFFORT
        config["thinkingLevel"] = LEVELS.get(named, DEFAULT_EFFORT)
    return config


def _fitting(budget: int, max_tokens: object, kind: Family) -> int:
    """The budget within the family's bounds and below `max_tokens`; where both cannot be, dynamic."""
    if kind.uses == "budget":
        budget = max(kind.least, min(budget, kind.most))
    if isinstance(max_tokens, int) and budget >= max_tokens:
        budget = max_tokens - 1
    return budget if budget >= max(kind.least, 1) else DYNAMIC
