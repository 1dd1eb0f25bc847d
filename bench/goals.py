"""The gateway's goals, as a table; each goal is reached or missed by the medians of a run.

Times are held against the bare relay `floor` in the same run: the ratio of one Python program to another is the
same on any machine, which that to a program in C is not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench import calls
from bench.results import Results

SUBJECT = "gateway"
REFERENCE = "floor"


@dataclass(frozen=True, slots=True)
class Goal:
    """`measure` gives the number that must not pass `limit`; None when the run has no data for it."""

    text: str
    measure: Callable[[Results], float | None]
    limit: float
    at_least: bool = False

    def judge(self, results: Results) -> "Judged":
        """Hold the medians against the limit."""
        value = self.measure(results)
        if value is None:
            return Judged(self, None, "no data")
        reached = value >= self.limit if self.at_least else value <= self.limit
        return Judged(self, value, "reached" if reached else "missed")


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal, the number of this run, and `reached`, `missed` or `no data`."""

    goal: Goal
    value: float | None
    verdict: str


def _ratio(
    row: str, case: str, metric: str, reference: tuple[str, str] | None = None
) -> Callable[[Results], float | None]:
    """Return what gives the subject's median over the reference's, which may stand in another row or case."""
    reference_row, reference_case = reference or (row, case)

    def measure(results: Results) -> float | None:
        mine = results.value(row, case, SUBJECT, metric)
        other = results.value(reference_row, reference_case, REFERENCE, metric)
        return mine / other if mine is not None and other else None

    return measure


def _of_gemini(name: str) -> Callable[[Results], float | None]:
    """Return what gives the subject's CPU an event from OpenAI's dialect over that from Gemini's."""

    def measure(results: Results) -> float | None:
        openai, gemini = (
            results.value("translate", f"{kind} {name}", SUBJECT, "cpu_us") for kind in ("openai", "gemini")
        )
        return openai / gemini if openai is not None and gemini else None

    return measure


def _value(row: str, case: str, metric: str) -> Callable[[Results], float | None]:
    return lambda results: results.value(row, case, SUBJECT, metric)


def _difference(row: str, case: str, metric: str, base: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        high = results.value(row, case, SUBJECT, metric)
        low = results.value(row, case, SUBJECT, base)
        return high - low if high is not None and low is not None else None

    return measure


def _late_or_lost(row: str, case: str) -> Callable[[Results], float | None]:
    """The worst round counts: one lost event in one round is a lost event."""

    def measure(results: Results) -> float | None:
        late = results.rounds(row, case, SUBJECT, "late")
        lost = results.rounds(row, case, SUBJECT, "lost")
        return late.high + lost.high if late and lost else None

    return measure


GOALS = (
    Goal(
        "small: CPU a request at 16 connections, x floor, at most", _ratio("small", "16 conn", "cpu_us"), 1.8
    ),
    Goal("small: p50 at 1 connection, x floor, at most", _ratio("small", "1 conn", "p50_us"), 1.6),
    Goal("ttft: CPU of a small streamed request, x floor, at most", _ratio("ttft", "small", "cpu_us"), 2.0),
    Goal(
        "agent: CPU a request at 16 connections, x floor, at most", _ratio("agent", "16 conn", "cpu_us"), 1.25
    ),
    Goal("paced 200 x 50/s: CPU an event, x floor, at most", _ratio("paced", "200 x 50/s", "cpu_us"), 1.25),
    Goal(
        "paced 200 x 50/s: CPU an event, translated from Gemini, x floor relaying, at most",
        _ratio("translate", "gemini 200 x 50/s", "cpu_us", ("paced", "200 x 50/s")),
        1.6,
    ),
    Goal(
        "paced 200 x 50/s: CPU an event, from OpenAI, x from Gemini, at most",
        _of_gemini("200 x 50/s"),
        1.25,
    ),
    Goal("1,000 streams: events late or lost, at most", _late_or_lost("paced", "1000 x 10/s"), 0.0),
    *(
        Goal(f"calls of a {case.name} request, {kind}, at most", _value(calls.ROW, case.name, metric), limit)
        for case in calls.CASES
        for kind, metric, limit in (("Python", "python_calls", case.python), ("C", "c_calls", case.c))
    ),
    Goal("idle RSS, MB, at most", _value("footprint", "process", "rss_idle_mb"), 30.0),
    Goal(
        "1,000 streams opened together add, MB, at most",
        _difference("footprint", "process", "rss_1000_mb", "rss_idle_mb"),
        12.0,
    ),
    Goal("start to the first /healthz, ms, at most", _value("footprint", "process", "start_ms"), 150.0),
)
