"""The results of a run: read from JSON lines or collected as they come, looked up by their place."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.measure import Measurement
from bench.stats import Rounds, over_rounds


@dataclass(slots=True)
class Results:
    """All measurements of one run, and the notes about the machine."""

    environment: dict[str, Any] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)

    @classmethod
    def read(cls, lines: Iterable[str]) -> "Results":
        """The inverse of the lines a run writes. ValueError for a line of another kind."""
        results = cls()
        for line in lines:
            fields = json.loads(line)
            kind = fields.pop("type", None)
            if kind == "run":
                results.environment = fields
            elif kind == "measurement":
                results.measurements.append(Measurement(**fields))
            else:
                raise ValueError(f"not a line of results: {line[:80]}")
        return results

    def places(self) -> list[tuple[str, str]]:
        """(row, case) in the order they were measured."""
        return list(dict.fromkeys((m.row, m.case) for m in self.measurements))

    def peers(self) -> list[str]:
        """Names in the order they first appeared."""
        return list(dict.fromkeys(m.peer for m in self.measurements))

    def rounds(self, row: str, case: str, peer: str, metric: str) -> Rounds | None:
        """One number over its rounds; None when no round has it."""
        values = [
            m.values[metric]
            for m in self.measurements
            if (m.row, m.case, m.peer) == (row, case, peer) and metric in m.values
        ]
        return over_rounds(values) if values else None

    def value(self, row: str, case: str, peer: str, metric: str) -> float | None:
        """The median over the rounds; None when no round has it."""
        rounds = self.rounds(row, case, peer, metric)
        return rounds.median if rounds else None

    def problem(self, row: str, case: str, peer: str) -> str:
        """Return the first problem of any round; "" without one."""
        for m in self.measurements:
            if (m.row, m.case, m.peer) == (row, case, peer) and m.problem:
                return m.problem
        return ""
