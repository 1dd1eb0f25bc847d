"""What families of models can do, and where they differ.

A model's family is read from the numbers in its name, so that tomorrow's models work today: a model that the
table does not know is taken for one of the newest family, with the values that every member of it accepts.
"""

from dataclasses import dataclass

from gateway.patterns import Late

MAX_OUTPUT = 65_536
"""Tokens of output that Gemini models since 2.5 can write."""

OLD_MAX_OUTPUT = 8_192
"""Those of Gemini 2.0 and before, and of Gemma 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family's abilities. Budgets and outputs are tokens."""

    levels: tuple[str, ...] = ()
    """The values of `thinkingLevel`, the lowest first; none: it does not think by levels."""
    has_budget: bool = False
    """It thinks by a `thinkingBudget`."""
    least: int = 0
    most: int = 0
    off: int = 0
    """The budget for no thinking, or for as little as there can be."""
    ids: bool = False
    """Calls and results carry ids."""
    signatures: bool = False
    """Thoughts, calls and texts carry signatures."""
    media_in_results: bool = False
    """A function's response may hold images and documents."""
    form_beside_tools: bool = False
    """A schema for the output may stand beside tools."""
    ends_with_user: bool = False
    """Vertex AI refuses a history that ends with the model."""
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
"""Beginning of the wire model's name, as a regular expression -> family, first match."""

_MATCHES = tuple((Late(pattern), family) for pattern, family in FAMILIES)


def family(wire_model: str) -> Family:
    """Return the family that a model belongs to."""
    name = wire_model.rpartition("/")[2].lower()
    return next(family for pattern, family in _MATCHES if pattern.compiled.match(name))
