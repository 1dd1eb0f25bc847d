"""The report of a soak, as Markdown."""

import re
from collections import Counter
from dataclasses import dataclass, field

from bench.report import table
from bench.stats import median
from tests.soak.client import Outcome
from tests.soak.scenarios import SCENARIOS, Scenario

ALLOWED = {scenario.name: scenario.outcomes for scenario in SCENARIOS}
MAX_EXAMPLES = 20
MB = 1_000_000
EDGE_SAMPLES = 5
"""The median of this many samples stands for a begin or an end."""
FAULT = re.compile(r"^Traceback \(most recent call last\)|^[0-9T:.-]+Z error: ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Usage:
    """The gateway's use at one moment."""

    seconds: float
    resident: int
    descriptors: int


@dataclass(slots=True)
class Soak:
    """Everything counted during a soak."""

    seed: int
    warm_share: float
    seconds: float = 0.0
    died: bool = False
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexplained: int = 0
    examples: list[str] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    reached: int = 0
    """Requests that reached the upstream."""
    overstayed: int = 0
    """Streams of it that went on to their end although their reader had left."""
    faults: int = 0
    """Tracebacks, and lines of level error, in the gateway's log."""
    log_lines: int = 0

    def note(self, scenario: Scenario, outcome: Outcome) -> None:
        """Count one outcome; one that its scenario doesn't name is unexplained."""
        self.outcomes[scenario.name, outcome.word] += 1
        if outcome.word not in scenario.outcomes:
            self.unexplained += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(f"{scenario.name}: {outcome.word} {outcome.detail}".strip())

    def log(self, text: str) -> None:
        """Look through the gateway's log."""
        self.log_lines = text.count("\n")
        self.faults = len(FAULT.findall(text))

    @property
    def well(self) -> bool:
        """Nothing happened that needs an explanation."""
        return not (self.died or self.unexplained or self.faults)


def drift(soak: Soak) -> dict[str, tuple[float, float, float]]:
    """Name -> (after the warm-up, at the end of the traffic, in the quiet after it)."""
    warm = [u for u in soak.usage if soak.warm_share * soak.seconds <= u.seconds <= soak.seconds]
    if not warm:
        return {}
    first, last, quiet = warm[:EDGE_SAMPLES], warm[-EDGE_SAMPLES:], soak.usage[-1]
    return {
        "RSS, MB": (
            median([u.resident for u in first]) / MB,
            median([u.resident for u in last]) / MB,
            quiet.resident / MB,
        ),
        "descriptors": (
            median([u.descriptors for u in first]),
            median([u.descriptors for u in last]),
            quiet.descriptors,
        ),
    }


def markdown(soak: Soak) -> str:
    """The report."""
    total = soak.outcomes.total()
    rate = total / soak.seconds if soak.seconds else 0.0
    parts = [
        "# Soak",
        "",
        f"- seed {soak.seed}, {soak.seconds:.0f} s, {total:,} requests, {rate:.0f} a second",
        f"- unexplained: {soak.unexplained}",
        f"- gateway: {'died' if soak.died else 'alive at the end'}, {soak.log_lines:,} log lines, "
        f"{soak.faults} tracebacks and errors",
        f"- upstream: {soak.reached:,} requests, {soak.overstayed} unread streams continued to their end",
        "",
        "## Outcomes by kind",
        "",
        _kinds(soak),
        "",
        "## Outcomes of each scenario",
        "",
        _outcomes(soak),
        "",
        "## Drift",
        "",
        _drift(soak),
    ]
    if soak.examples:
        parts += ["", "## Unexplained", "", *(f"- {example}" for example in soak.examples)]
    return "\n".join(parts) + "\n"


def _kinds(soak: Soak) -> str:
    kinds: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    for (name, outcome), count in soak.outcomes.items():
        kinds[outcome] += count
        if outcome not in ALLOWED[name]:
            strange[outcome] += count
    lines = [[kind, f"{count:,}", f"{strange[kind]:,}"] for kind, count in kinds.most_common()]
    return table(["outcome", "count", "unexplained"], lines)


def _outcomes(soak: Soak) -> str:
    lines = [
        [name, outcome, f"{count:,}", "yes" if outcome in ALLOWED[name] else "NO"]
        for (name, outcome), count in sorted(soak.outcomes.items())
    ]
    return table(["scenario", "outcome", "count", "explained"], lines)


def _drift(soak: Soak) -> str:
    lines = [
        [name, f"{first:.1f}", f"{last:.1f}", f"{last - first:+.1f}", f"{quiet:.1f}"]
        for name, (first, last, quiet) in drift(soak).items()
    ]
    return table(["", "after warm-up", "at the end", "drift", "in the quiet after"], lines)
