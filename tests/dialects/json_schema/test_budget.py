import pytest

from gateway.dialects.json_schema.budget import TEXT_UNIT, Budget, SchemaTooLarge, count_nodes


def test_count_nodes() -> None:
    assert count_nodes({"a": [1, {"b": []}], "c": "x"}) == 4
    assert count_nodes([[], [], [], []], 2) == 3


def test_charges_end_at_nothing() -> None:
    budget = Budget(5)
    budget.charge()
    budget.charge_text(TEXT_UNIT)
    assert repr(budget) == "<Budget 2 units left>"
    budget.charge(2)
    with pytest.raises(SchemaTooLarge):
        budget.charge()
