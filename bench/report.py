"""A run's results as Markdown: the goals, then one table a row.

A number is the median over the rounds; behind it, half the distance between the lowest and the
highest round in per cent of the median. Ratios are of medians.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.goals import GOALS, REFERENCE, SUBJECT
from bench.results import Results

BASELINES = (REFERENCE, "nginx")
"""Peers that others are shown in ratio to."""
FULL = 0.97
"""A core busier than this limited the measurement."""


@dataclass(frozen=True, slots=True)
class Column:
    """A metric as a table shows it. `compared`: its ratios to the baselines get columns too."""

    metric: str
    title: str
    digits: int = 0
    compared: bool = False


_TIMES = (Column("p50_us", "p50 us", compared=True), Column("p99_us", "p99 us"))
_CLOSED_LOOP = (
    *_TIMES,
    Column("rate", "req/s", compared=True),
    Column("cpu_us", "CPU us/req", 1, compared=True),
)
_EVENTS = (Column("rate", "events/s", compared=True), Column("cpu_us", "CPU us/event", 2, compared=True))
_PACED = (
    Column("p50_us", "delay p50 us"),
    Column("p99_us", "delay p99 us", compared=True),
    Column("cpu_us", "CPU us/event", 2, compared=True),
    Column("first_p50_us", "first event p50 us", compared=True),
    Column("late", "late"),
    Column("lost", "lost"),
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "small": _CLOSED_LOOP,
    "agent": _CLOSED_LOOP,
    "ttft": (*_TIMES, Column("cpu_us", "CPU us/req", 1, compared=True)),
    "burst": _EVENTS,
    "paced": _PACED,
    "translate": (*_EVENTS, *_TIMES),
    "workers": _CLOSED_LOOP,
    "calls": (Column("python_calls", "Python calls"), Column("c_calls", "C calls")),
    "footprint": (
        Column("start_ms", "start ms", compared=True),
        Column("rss_idle_mb", "RSS idle MB", 1, compared=True),
        Column("rss_500_mb", "500 streams MB", 1),
        Column("rss_1000_mb", "1,000 streams MB", 1),
        Column("disk_mb", "disk MB", 1),
    ),
}
ABOUT: dict[str, str] = {
    "small": "A 2 KB request, a 1 KB JSON response, in a closed loop.",
    "agent": "A coding agent's request of 150 KB, a 1 KB JSON response, in a closed loop.",
    "ttft": "A streamed response on one connection: from the request to its first event.",
    "burst": "64 streams of 500 events, each written as soon as the last is out.",
    "paced": "Streams at a fixed rate: from the upstream's write of an event to its arrival.",
    "translate": "The burst, and 200 x 50/s, from a Gemini and from an OpenAI upstream to Messages events.",
    "workers": "64 connections in a closed loop, 200 streams of 50 events/s: one process, or two that share or not.",
    "calls": "Functions that the interpreter calls for one warm request, in Python and in C: exact.",
    "footprint": "A fresh process: start to the first 200, memory, files on disk.",
}


def table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    rows = [[cell.replace("|", "\\|") for cell in line] for line in (header, *lines)]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def number(value: float, digits: int) -> str:
    """With thousands separated, so that magnitudes show."""
    return f"{value:,.{digits}f}"


def cell(results: Results, place: tuple[str, str], peer: str, column: Column) -> str:
    """Median and spread of a metric; "" when this case has no such metric."""
    rounds = results.rounds(*place, peer, column.metric)
    if rounds is None:
        return ""
    text = number(rounds.median, column.digits)
    return f"{text} ±{rounds.spread * 50:.0f} %" if rounds.count > 1 and rounds.median else text


def ratio(results: Results, place: tuple[str, str], peer: str, metric: str, baseline: str) -> str:
    """`metric` of the peer over the baseline's, "" when either is missing."""
    mine = results.value(*place, peer, metric)
    other = results.value(*place, baseline, metric)
    if mine is None or not other or peer == baseline:
        return ""
    return f"{mine / other:.2f}"


def row_table(results: Results, row: str) -> str:
    """All cases of a row, peers below one another, reasons in place of missing numbers."""
    places = [place for place in results.places() if place[0] == row]
    columns = [
        column
        for column in COLUMNS[row]
        if any(results.rounds(*place, peer, column.metric) for place in places for peer in results.peers())
    ]
    compared = [
        (column, baseline)
        for column in columns
        if column.compared
        for baseline in BASELINES
        if any(results.rounds(*place, baseline, column.metric) for place in places)
    ]
    header = ["case", "peer", *(column.title for column in columns)]
    header += [f"{column.title.rpartition(' ')[0] or column.title} / {name}" for column, name in compared]
    lines = []
    for place in places:
        for peer in results.peers():
            cells = [cell(results, place, peer, column) for column in columns]
            cells += [ratio(results, place, peer, column.metric, name) for column, name in compared]
            if any(cells):
                lines.append([place[1], peer + _mark(results, place, peer), *cells])
    return table(header, lines) if lines else ""


def _mark(results: Results, place: tuple[str, str], peer: str) -> str:
    """A star where not the peer was the limit but the bench itself."""
    busy = results.value(*place, peer, "peer_busy")
    return " *" if place[0] == "burst" and busy is not None and busy < FULL and peer != "direct" else ""


def notes(results: Results, row: str) -> list[str]:
    """Why a peer has no number, or what went wrong on the way to one."""
    found: dict[str, None] = {}
    for place in results.places():
        if place[0] == row:
            for peer in results.peers():
                problem = results.problem(*place, peer)
                if problem:
                    where = f"{peer}, {place[1]}" if results.rounds(*place, peer, "rate") else peer
                    found[f"- {where}: {problem}"] = None
    return list(found)


def goals_table(results: Results) -> str:
    """Every goal with this run's number and a verdict."""
    lines = []
    for judged in (goal.judge(results) for goal in GOALS):
        value = "" if judged.value is None else f"{judged.value:.2f}"
        lines.append([judged.goal.text, f"{judged.goal.limit:g}", value, judged.verdict])
    return table(["goal", "limit", "measured", "verdict"], lines)


def markdown(results: Results) -> str:
    """The whole report."""
    environment = results.environment
    parts = ["# Measurements", ""]
    parts += [f"- {name}: {value}" for name, value in environment.items()]
    if SUBJECT in results.peers():
        parts += ["", "## Goals", "", goals_table(results)]
    for row in dict.fromkeys(row for row, _ in results.places()):
        parts += ["", f"## {row}", "", ABOUT[row]]
        made = row_table(results, row)
        if made:
            parts += ["", made]
        if " * |" in made:
            parts += ["", "\\* the peer's core was not full: the bench's own was the limit, see CPU."]
        remarks = notes(results, row)
        if remarks:
            parts += ["", *remarks]
    return "\n".join(parts) + "\n"
