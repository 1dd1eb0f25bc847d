"""Percentiles and medians: small sequences whose results can be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import Rounds, median, over_rounds, percentile, summary

HUNDRED = [float(n) for n in range(1, 101)]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        (HUNDRED, 0.5, 50.0),
        (HUNDRED, 0.99, 99.0),
        (HUNDRED, 1.0, 100.0),
        (HUNDRED, 0.0, 1.0),
        ([7.0], 0.5, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        ([1.0, 2.0, 3.0], 0.99, 3.0),
    ],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_percentile_refuses_a_share_beyond_its_range(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile([1.0], share)


@pytest.mark.parametrize("of", [lambda: percentile([], 0.5), lambda: median([]), lambda: over_rounds([])])
def test_percentile_of_nothing(of: object) -> None:
    assert callable(of)
    with pytest.raises(ValueError, match="of nothing"):
        of()


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentile_is_a_measured_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0], 3.0), ([5.0, 1.0, 3.0], 3.0), ([4.0, 1.0, 3.0, 2.0], 2.5)]
)
def test_median(values: list[float], expected: float) -> None:
    assert median(values) == expected


def test_over_rounds() -> None:
    rounds = over_rounds([10.0, 12.0, 11.0])
    assert rounds == Rounds(median=11.0, low=10.0, high=12.0, count=3)
    assert rounds.spread == pytest.approx(2 / 11)


def test_spread_of_zero_is_zero() -> None:
    assert over_rounds([0.0, 0.0]).spread == 0.0


def test_summary_scales() -> None:
    assert summary([3.0, 1.0, 2.0], 1000) == {"p50": 2000.0, "p90": 3000.0, "p99": 3000.0, "max": 3000.0}


def test_summary_of_nothing_has_no_keys() -> None:
    assert summary([]) == {}
