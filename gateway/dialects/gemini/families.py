"""The abilities of model families, and their differences.

A model's family follows from the numbers in its name, so that later models work, too: one that the table does not know
is treated as one of the newest family, with the values that all its members accept.
"""

from typing import NamedTuple

from gateway.patterns import LazyPattern

MAX_OUTPUT = 65_536
"""Limit of output tokens of Gemini models since 2.5."""

OLD_MAX_OUTPUT = 8_192
"""The same for Gemini 2.0 and earlier, and for Gemma 3."""


class Family(NamedTuple):
    """One family's abilities. Budgets and outputs are in tokens."""

    levels: tuple[str, ...] = ()
    """The values of `thinkingLevel`, lowest first; empty: the family has no levels."""
    has_budget: bool = False
    """Whether it thinks by a `thinkingBudget`."""
    least: int = 0
    most: int = 0
    off: int = 0
    """The budget for no thinking, or the least that is possible."""
    ids: bool = False
    """Whether calls and results have ids."""
    signatures: bool = False
    """Whether thoughts, calls and texts have signatures."""
    media_in_results: bool = False
    """Whether a function's response may contain images and documents."""
    form_beside_tools: bool = False
    """Whether a request may have both tools and a schema for its output."""
    ends_with_user: bool = False
    """Whether Vertex AI refuses a history that ends with the model."""
    max_output: int = MAX_OUTPUT


def _levels(*levels: str) -> Family:
    """Return a family of Gemini 3 and later."""
    return Family(
        levels=levels,
        ids=True,
        signatures=True,
        media_in_results=True,
        form_beside_tools=True,
        ends_with_user=True,
    )


_NO_THINKING = Family(max_output=OLD_MAX_OUTPUT)
_NEWEST = _levels("low", "medium", "high")

FAMILIES: tuple[tuple[str, Family], ...] = (
    (r"gemini-2\.5-flash-lite", Family(has_budget=True, least=512, most=24_576, off=0)),
    (r"gemini-2\.5-flash-(image|preview-image)", Family(max_output=32_768)),
    (r"gemini-2\.5-flash", Family(has_budget=True, least=1, most=24_576, off=0)),
    (r"gemini-2\.5-pro", Family(has_budget=True, least=128, most=32_768, off=128)),
    (r"gemini-2\.5", Family(has_budget=True, least=128, most=24_576, off=128)),
    (r"gemini-[12]\b|learnlm", _NO_THINKING),
    (r"gemini-3-pro", _levels("low", "high")),
    (r"gemini-3(\.[156])?-flash", _levels("minimal", "low", "medium", "high")),
    (r"gemma-4", Family(levels=("minimal", "high"))),
    (r"gemma", _NO_THINKING),
    (r"", _NEWEST),
)
"""Regular expression for the beginning of the wire model's name -> family; the first match counts."""

_MATCHES = tuple((LazyPattern(pattern), family) for pattern, family in FAMILIES)


def family(wire_model: str) -> Family:
    """Return a model's family."""
    name = wire_model.rpartition("/")[2].lower()
    return next(family for pattern, family in _MATCHES if pattern.compiled.match(name))
