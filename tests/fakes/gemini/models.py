"""Features of each model, as Google documents them: names here are written out, no family is guessed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ability:
    """Of one model. Tokens where numbers are."""

    levels: tuple[str, ...] = ()
    budget: tuple[int, int] | None = None
    """Least and most."""
    off: bool = False
    """A budget of 0 is taken."""
    signs: bool = True
    """Signs calls and thoughts, wants call ids, takes media in function responses and JSON beside tools."""
    output: int = 65_536


ABILITIES = {
    "gemini-3.8-flash": Ability(("low", "medium", "high")),
    "gemini-3.7-flash": Ability(("low", "medium", "high")),
    "gemini-3.6-flash": Ability(("minimal", "low", "medium", "high")),
    "gemini-3.5-flash": Ability(("minimal", "low", "medium", "high")),
    "gemini-3.1-pro-preview": Ability(("low", "medium", "high")),
    "gemini-3.1-flash-lite": Ability(("minimal", "low", "medium", "high")),
    "gemini-3-pro-preview": Ability(("low", "high")),
    "gemini-3-flash-preview": Ability(("minimal", "low", "medium", "high")),
    "gemini-2.5-pro": Ability(budget=(128, 32_768), signs=False),
    "gemini-2.5-flash": Ability(budget=(1, 24_576), off=True, signs=False),
    "gemini-2.5-flash-lite": Ability(budget=(512, 24_576), off=True, signs=False),
    "gemini-2.0-flash": Ability(signs=False, output=8_192),
    "gemma-3-27b-it": Ability(signs=False, output=8_192),
    "gemma-4-31b-it": Ability(("minimal", "high"), signs=False, output=32_768),
}

LISTED = ("gemini-3.8-flash", "gemini-3.1-pro-preview", "gemini-2.5-pro")
"""Models in the model list."""

INPUT_LIMIT = 1_048_576


def ability(model: str) -> Ability:
    """Of a model; one that is not in the table is of the newest kind."""
    return ABILITIES.get(model.rpartition("/")[2], Ability(("low", "medium", "high")))
