import pytest

from gateway.dialects.gemini.families import Family, family
from tests.fakes.gemini.models import ABILITIES

LOW_TO_HIGH = ("low", "medium", "high")
ALL = ("minimal", *LOW_TO_HIGH)


@pytest.mark.parametrize("model", ABILITIES)
@pytest.mark.parametrize("prefix", ["", "models/", "publishers/google/models/"])
def test_documented_models(model: str, prefix: str) -> None:
    can, known = ABILITIES[model], family(prefix + model.upper())
    assert known.levels == can.levels
    for ability in (known.ids, known.signatures, known.media_in_results, known.form_beside_tools):
        assert ability is can.signs
    assert known.has_budget is (can.budget is not None)
    if can.budget:
        assert (known.least, known.most) == can.budget
        assert known.off == (0 if can.off else known.least)
    if not model.startswith("gemma-4"):
        assert known.max_output == can.output


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        ("gemini-3.9-flash", LOW_TO_HIGH),
        ("gemini-3.10-pro", LOW_TO_HIGH),
        ("gemini-4-ultra", LOW_TO_HIGH),
        ("gemini-20-pro", LOW_TO_HIGH),
        ("gemini-flash-latest", LOW_TO_HIGH),
        ("my-own-model", LOW_TO_HIGH),
        ("tunedModels/x", LOW_TO_HIGH),
        ("gemini-3-flash", ALL),
        ("gemini-3.5-flash-preview-09-2026", ALL),
    ],
)
def test_tomorrows_models_are_of_the_newest_family(model: str, levels: tuple[str, ...]) -> None:
    assert family(model) == family("gemini-4")._replace(levels=levels)
    assert family(model).signatures


@pytest.mark.parametrize(
    "model", ["gemini-1.5-pro", "gemini-2-flash", "gemini-2.0-flash-001", "learnlm-2.0", "gemma-3n"]
)
def test_old_ones_do_not_think(model: str) -> None:
    assert family(model) == Family(max_output=8192)
