"""Translation of `thinking` and effort, style by style."""

from typing import Any

import pytest

from gateway.config.openai_traits import EFFORTS, WORDS
from gateway.dialects.openai.thinking import STYLES, nearest, thinking_fields
from tests.fakes.openai.host import traits_of

ADAPTIVE = {"thinking": {"type": "adaptive"}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 31999}}
EFFORT = {"output_config": {"effort": "max"}}
OFF = {"thinking": {"type": "disabled"}}

STYLED: dict[str, list[Any]] = {
    "none": [{}, {}, {}, {}],
    "effort": [{}, {"reasoning_effort": "high"}, {"reasoning_effort": "max"}, {"reasoning_effort": "none"}],
    "openrouter": [
        {"reasoning": {"enabled": True}},
        {"reasoning": {"max_tokens": 31999}},
        {"reasoning": {"effort": "max"}},
        {"reasoning": {"enabled": False}},
    ],
    "deepseek": [
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
        {"thinking": {"type": "disabled"}},
    ],
    "zai": [{"thinking": {"type": "enabled", "clear_thinking": False}}] * 3
    + [{"thinking": {"type": "disabled"}}],
    "moonshot": [{"thinking": {"type": "enabled", "keep": "all"}}] * 3 + [{"thinking": {"type": "disabled"}}],
    "qwen": [
        {"enable_thinking": True},
        {"enable_thinking": True, "thinking_budget": 31999},
        {"enable_thinking": True},
        {"enable_thinking": False},
    ],
    "template": [{"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}] * 3
    + [{"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}],
    "minimax": [{"reasoning_split": True, "thinking": {"type": "adaptive"}}] * 3
    + [{"reasoning_split": True, "thinking": {"type": "disabled"}}],
}


@pytest.mark.parametrize("style", STYLES)
def test_styles(style: str) -> None:
    traits = traits_of("", thinking=style, efforts=EFFORTS)
    assert [thinking_fields(document, traits) for document in (ADAPTIVE, BUDGET, EFFORT, OFF)] == STYLED[
        style
    ]
    # MiniMax thinks in any case, and writes it into the text unless a parameter splits the two.
    unasked = {"reasoning_split": True} if style == "minimax" else {}
    assert thinking_fields({}, traits) == unasked
    assert thinking_fields({"thinking": {"type": "novel"}, "output_config": "x"}, traits) == unasked


def test_every_style_has_its_word() -> None:
    assert tuple(STYLES) == WORDS["thinking"]


@pytest.mark.parametrize("choice", ["any", "tool"])
def test_a_forced_call_is_made_without_thinking(choice: str) -> None:
    traits = traits_of("", thinking="deepseek")
    document = {**ADAPTIVE, "tool_choice": {"type": choice, "name": "x"}}
    assert thinking_fields(document, traits) == {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    ("budget", "word"), [(1024, "low"), (4095, "low"), (4096, "medium"), (16383, "medium"), (16384, "high")]
)
def test_budgets_as_efforts(budget: int, word: str) -> None:
    document = {"thinking": {"type": "enabled", "budget_tokens": budget}}
    assert thinking_fields(document, traits_of("", thinking="effort")) == {"reasoning_effort": word}


@pytest.mark.parametrize(
    ("word", "efforts", "expected"),
    [
        ("max", ("low", "medium", "high"), "high"),
        ("xhigh", ("none", "low", "max"), "low"),
        ("low", ("none", "high"), "high"),
        ("medium", ("none", "high"), "high"),
        ("novel", ("low", "high"), "high"),
        ("low", ("none",), ""),
    ],
)
def test_the_nearest_lower_word_that_the_host_takes(
    word: str, efforts: tuple[str, ...], expected: str
) -> None:
    assert nearest(word, efforts) == expected


def test_no_thinking_parameter_for_hosts_that_cannot_turn_it_off() -> None:
    assert thinking_fields(OFF, traits_of("", thinking="effort")) == {}
