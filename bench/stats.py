"""Small arithmetic: percentiles of one measurement, medians and spread over rounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank in an ascending sequence: the smallest value that `share` (0..1) of them don't exceed.

    Nearest rank gives a value that was measured, never one between two. Empty: ValueError.
    """
    if not ordered:
        raise ValueError("percentile of nothing")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share {share} is not within 0..1")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle. Empty: ValueError."""
    if not values:
        raise ValueError("median of nothing")
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@dataclass(frozen=True, slots=True)
class Rounds:
    """One number over the rounds: its median, and the lowest and highest that were seen."""

    median: float
    low: float
    high: float
    count: int

    @property
    def spread(self) -> float:
        """(high - low) / median; 0 when the median is 0."""
        return (self.high - self.low) / self.median if self.median else 0.0


def over_rounds(values: Sequence[float]) -> Rounds:
    """Summarise one number's rounds. Empty: ValueError."""
    return Rounds(median(values), min(values), max(values), len(values))


def summary(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """p50, p90, p99 and max of a measurement's samples, times `scale`. Empty: no keys."""
    if not values:
        return {}
    ordered = sorted(values)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(ordered, share) * scale, 3) for name, share in shares.items()}
