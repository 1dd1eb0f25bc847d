"""Converts `thinking` and `output_config.effort`: a table from a host's style to body fields.

A request that does not mention thinking gets no fields that turn it on or off. A forced tool call turns thinking off,
as in the Messages protocol.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.openai_traits import EFFORTS, Traits
from gateway.messages.json_values import as_dict

LOW_BUDGET = 4096
MEDIUM_BUDGET = 16384
"""Tokens of `budget_tokens` from which the effort is medium, and high; between Claude Code's own steps of 4,000,
10,000 and 31,999."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The thinking that a request asks for."""

    effort: str = ""
    """An effort that the host accepts; "" if none was given."""
    budget: int = 0
    """Tokens; 0 if none were given."""


UNASKED: Mapping[str, Mapping[str, Any]] = {"minimax": {"reasoning_split": True}}
"""Style -> the body fields for a request that does not mention thinking. MiniMax's models think in any case, and write
it both into a field and, between tags, into the text, unless they are told to split the two."""

Style = Callable[[Wish | None, Traits], Mapping[str, Any]]
"""Returns the body fields for a wish; None is the wish for no thinking."""


def thinking_fields(document: Mapping[str, Any], traits: Traits) -> Mapping[str, Any]:
    """Return the body fields for a request's thinking; those of UNASKED if it does not mention thinking."""
    thinking = as_dict(document.get("thinking"))
    mode, effort = thinking.get("type"), as_dict(document.get("output_config")).get("effort")
    style = STYLES[traits.thinking]
    if mode == "disabled" or is_forced(document.get("tool_choice")):
        return style(None, traits)
    if mode not in ("enabled", "adaptive") and not isinstance(effort, str):
        return UNASKED.get(traits.thinking, {})
    budget = thinking.get("budget_tokens") if mode == "enabled" else None
    tokens = budget if type(budget) is int and budget > 0 else 0
    word = effort if isinstance(effort, str) else _word_of(tokens) if tokens else ""
    return style(Wish(nearest(word, traits.efforts) if word else "", tokens), traits)


def nearest(word: str, efforts: tuple[str, ...]) -> str:
    """Return the word itself, or the next lower effort that the host accepts, or its lowest above `none`."""
    rank = EFFORTS.index(word) if word in EFFORTS else EFFORTS.index("high")
    lower = [known for known in efforts if known != "none" and EFFORTS.index(known) <= rank]
    return lower[-1] if lower else next((known for known in efforts if known != "none"), "")


def is_forced(choice: object) -> bool:
    """Return whether a `tool_choice` forces a call: then there can be no thinking."""
    return isinstance(choice, dict) and choice.get("type") in ("any", "tool")


def _word_of(budget: int) -> str:
    return "low" if budget < LOW_BUDGET else "medium" if budget < MEDIUM_BUDGET else "high"


def _none(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    return {}


def _effort(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    word = wish.effort if wish else "none" if "none" in traits.efforts else ""
    return {"reasoning_effort": word} if word else {}


def _openrouter(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    if wish is None:
        return {"reasoning": {"enabled": False}}
    if wish.budget:
        return {"reasoning": {"max_tokens": wish.budget}}
    return {"reasoning": {"effort": wish.effort} if wish.effort else {"enabled": True}}


def _deepseek(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    if wish is None:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled"}, **_effort(wish, traits)}


def _zai(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    return {"thinking": {"type": "enabled", "clear_thinking": False} if wish else {"type": "disabled"}}


def _moonshot(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    return {"thinking": {"type": "enabled", "keep": "all"} if wish else {"type": "disabled"}}


def _qwen(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    if wish is None:
        return {"enable_thinking": False}
    return {"enable_thinking": True, **({"thinking_budget": wish.budget} if wish.budget else {})}


def _template(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    # Templates of Qwen and GLM read the first field, those of DeepSeek the second.
    on = wish is not None
    return {"chat_template_kwargs": {"enable_thinking": on, "thinking": on}}


def _minimax(wish: Wish | None, traits: Traits) -> Mapping[str, Any]:
    return {**UNASKED["minimax"], "thinking": {"type": "adaptive" if wish else "disabled"}}


STYLES: Mapping[str, Style] = {
    "none": _none,
    "effort": _effort,
    "openrouter": _openrouter,
    "deepseek": _deepseek,
    "zai": _zai,
    "moonshot": _moonshot,
    "qwen": _qwen,
    "template": _template,
    "minimax": _minimax,
}
"""`thinking` of the traits -> the function that returns the body fields."""
