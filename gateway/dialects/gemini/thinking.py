"""Converts `thinking` and `output_config.effort` for each family of Gemini models.

The Messages protocol's default is no thinking, so a request that does not mention it gets the least that the family
can do: thoughts would use up a small `max_tokens`.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.gemini.families import Family
from gateway.messages.json_values import as_dict

LOW_BUDGET = 4_096
MEDIUM_BUDGET = 16_384
"""Budgets up to these are `low` and `medium`, larger ones `high`: Claude Code asks for 1,024 to 31,999."""

ORDER = ("minimal", "low", "medium", "high")

EFFORTS: Mapping[str, str] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""`output_config.effort` -> `thinkingLevel`."""

DEFAULT_EFFORT = "high"
"""The Messages API's default if thinking is on."""

DYNAMIC = -1
"""The budget that lets the model decide."""


def thinking_config(document: Mapping[str, Any], kind: Family) -> dict[str, Any] | None:
    """Return `generationConfig.thinkingConfig` for a request; None for a family without thinking."""
    if not kind.levels and not kind.has_budget:
        return None
    thinking = as_dict(document.get("thinking"))
    mode, effort = thinking.get("type"), as_dict(document.get("output_config")).get("effort")
    is_on = mode in ("enabled", "adaptive")
    if mode == "disabled" or (not is_on and not isinstance(effort, str)):
        least: dict[str, Any] = (
            {"thinkingBudget": kind.off} if kind.has_budget else {"thinkingLevel": kind.levels[0]}
        )
        return {"includeThoughts": False, **least}
    config: dict[str, Any] = {"includeThoughts": is_on}
    budget = thinking.get("budget_tokens") if mode == "enabled" else None
    if kind.has_budget:
        config["thinkingBudget"] = DYNAMIC if budget is None else _fit_budget(budget, document, kind)
    elif budget is not None:
        wanted = "low" if budget <= LOW_BUDGET else "medium" if budget <= MEDIUM_BUDGET else "high"
        config["thinkingLevel"] = _level(wanted, kind)
    else:
        config["thinkingLevel"] = _level(EFFORTS.get(str(effort), DEFAULT_EFFORT), kind)
    return config


def _level(wanted: str, kind: Family) -> str:
    """Return the level, or the next higher one of the family; all families have `high`."""
    return next(level for level in ORDER[ORDER.index(wanted) :] if level in kind.levels)


def _fit_budget(budget: float, document: Mapping[str, Any], kind: Family) -> int:
    """Return the budget within the family's bounds and below `max_tokens`; DYNAMIC if that is impossible."""
    fitting = max(kind.least, min(int(budget), kind.most))
    most = document.get("max_tokens")
    if most is not None and fitting >= most:
        fitting = int(most) - 1
    return fitting if fitting >= max(kind.least, 1) else DYNAMIC
