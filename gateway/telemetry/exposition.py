"""Metrics in Prometheus' formats: the families, snapshots of processes, their merger, and the text.

A snapshot is plain JSON: each family's name with its series, each of which has its labels' values and a number. A
histogram's number is a list: the count of each bucket alone, then that beyond the last, then the sum.
"""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from operator import add
from typing import Any, Literal, NamedTuple

import orjson

from gateway.telemetry.metrics import DURATIONS, FIRST_BYTES, OTHER, Metrics

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

Snapshot = dict[str, Any]
"""`process`, its name, and `families`: name -> [[labels' values, number], ...]."""

Gauges = Mapping[str, Mapping[tuple[str, ...], float]]
"""Family -> labels' values -> number: values that are read at the time of a scrape."""


class Family(NamedTuple):
    """One metric. `of_all` combines the numbers of two processes."""

    type: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()
    of_all: Callable[[float, float], float] = add
    bounds: tuple[float, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "gateway_requests_total": Family(
        "counter", "Requests that ended, by route, status and outcome.", ("route", "status", "outcome")
    ),
    "gateway_request_duration_seconds": Family(
        "histogram",
        "Seconds from a request's head to the end of its response, for those that an upstream was asked.",
        ("upstream", "model"),
        bounds=DURATIONS,
    ),
    "gateway_time_to_first_byte_seconds": Family(
        "histogram",
        "Seconds from a request's head to the first content of its response.",
        ("upstream", "model"),
        bounds=FIRST_BYTES,
    ),
    "gateway_attempts_total": Family(
        "counter",
        "Requests to upstreams, by what came of them: ok, canceled, failed (midway), unreached, or a status.",
        ("upstream", "account", "result"),
    ),
    "gateway_tokens_total": Family(
        "counter",
        "Tokens that upstreams reported: input (without cache), output, cache_read, cache_creation.",
        ("upstream", "model", "kind"),
    ),
    "gateway_prompt_cache_total": Family(
        "counter",
        "Responses by what became of their conversation's prompt cache: hit, new, lost.",
        ("verdict",),
    ),
    "gateway_prompt_cache_broken_total": Family(
        "counter", "Prompt caches that were lost, by cause.", ("cause",)
    ),
    "gateway_prompt_cache_lost_tokens_total": Family(
        "counter", "Tokens that were in a prompt cache and had to be paid for again, by cause.", ("cause",)
    ),
    "gateway_repairs_total": Family("counter", "Requests that a repair changed.", ("repair",)),
    "gateway_cures_total": Family("counter", "Requests that a cure changed.", ("cure",)),
    "gateway_account_available": Family(
        "gauge",
        "1 if the account could be asked now or when a slot is free, else 0; of several processes the least.",
        ("upstream", "account"),
        min,
    ),
    "gateway_account_cooldown_seconds": Family(
        "gauge",
        "Seconds until the account is asked again, 0 if it is; of several processes the most.",
        ("upstream", "account"),
        max,
    ),
    "gateway_in_flight": Family("gauge", "Requests of clients that are being served, this one not counted."),
    "gateway_connections": Family(
        "gauge",
        "Open connections: side client or upstream, state active, idle or dialling.",
        ("side", "state"),
    ),
    "gateway_sharing_dropped_total": Family(
        "counter", "News for other processes that were lost: the way was full, or could not be read."
    ),
    "gateway_build_info": Family(
        "info", "Versions of the gateway and of Python.", ("version", "python"), max
    ),
    "process_cpu_seconds_total": Family("counter", "Processor time, all processes together."),
    "process_resident_memory_bytes": Family("gauge", "Memory in use, all processes together."),
    "process_virtual_memory_bytes": Family("gauge", "Address space in use, all processes together."),
    "process_open_fds": Family("gauge", "Open descriptors, all processes together."),
    "process_max_fds": Family("gauge", "Descriptors that a process may open; of several the least.", (), min),
    "process_start_time_seconds": Family(
        "gauge", "Unix time of the start; of several processes the first.", (), min
    ),
}
"""All families, in the order in which they are rendered."""


def snapshot(process: str, metrics: Metrics, gauges: Gauges, shown: Callable[[str], str]) -> Snapshot:
    """Return all numbers of a process. `shown` returns an account's name as clients may see it."""
    metrics.fold()
    found = _Numbers()

    def label(account: str) -> str:
        return OTHER if account == OTHER else shown(account)

    for (route, status, outcome, upstream, account, model), one in metrics.series.items():
        found.add(
            "gateway_requests_total", (route, str(status) if status >= 0 else OTHER, outcome), one.requests
        )
        if upstream:
            place = upstream, model
            found.add("gateway_request_duration_seconds", place, [*one.durations, one.seconds])
            found.add("gateway_time_to_first_byte_seconds", place, [*one.first_bytes, one.first_seconds])
            if one.attempts:
                result = outcome if outcome in ("ok", "canceled", OTHER) else "failed"
                found.add("gateway_attempts_total", (upstream, label(account), result), one.attempts)
            for kind in ("input", "output", "cache_read", "cache_creation"):
                found.add("gateway_tokens_total", (*place, kind), getattr(one, kind))
    for (word, *labels), number in metrics.counted.items():
        if word == "attempts":
            labels[1] = label(labels[1])
        found.add(COUNTED[word], tuple(labels), number)
    for name, series in gauges.items():
        for values, value in series.items():
            found.add(name, values, value)
    return found.snapshot(process)


COUNTED = {
    "attempts": "gateway_attempts_total",
    "repairs": "gateway_repairs_total",
    "cures": "gateway_cures_total",
    "cache": "gateway_prompt_cache_total",
    "broken": "gateway_prompt_cache_broken_total",
    "lost": "gateway_prompt_cache_lost_tokens_total",
}
"""The first elements of keys in `Metrics.counted`, and their families."""


class _Numbers:
    """Series by family and labels; numbers with the same labels are combined by `join`, by default added."""

    def __init__(self) -> None:
        self._families: dict[str, dict[tuple[str, ...], Any]] = {}

    def add(
        self, name: str, labels: tuple[str, ...], number: Any, join: Callable[[float, float], float] = add
    ) -> None:
        series = self._families.setdefault(name, {})
        known = series.get(labels)
        if known is None:
            series[labels] = number
        elif isinstance(number, list):
            series[labels] = [one + other for one, other in zip(known, number, strict=True)]
        else:
            series[labels] = join(known, number)

    def snapshot(self, process: str) -> Snapshot:
        families = {
            name: [[list(labels), number] for labels, number in series.items()]
            for name, series in self._families.items()
        }
        return {"process": process, "families": families}


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return several processes' numbers as one snapshot. Of two snapshots of one process the first counts."""
    found = _Numbers()
    processes: dict[str, None] = {}
    for each in snapshots:
        if each["process"] in processes:
            continue
        processes[each["process"]] = None
        for name, series in each["families"].items():
            for labels, number in series:
                found.add(name, tuple(labels), number, FAMILIES[name].of_all)
    return found.snapshot(next(iter(processes), ""))


def keep_counters(snapshot: Snapshot) -> Snapshot:
    """Return the part of an ended process's snapshot that still counts: counters, not gauges."""
    families = {
        name: series
        for name, series in snapshot["families"].items()
        if FAMILIES[name].type in ("counter", "histogram")
    }
    return {**snapshot, "families": families}


def read_snapshot(data: bytes) -> Snapshot | None:
    """Return the snapshot that another process sent; None if it is malformed or of another version."""
    try:
        found = orjson.loads(data)
        sound = type(found["process"]) is str and all(
            _is_sound(FAMILIES[name], labels, number)
            for name, series in found["families"].items()
            for labels, number in series
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if sound else None


def _is_sound(family: Family, labels: Any, number: Any) -> bool:
    numbers = number if family.type == "histogram" else [number]
    return (
        type(labels) is list
        and len(labels) == len(family.labels)
        and all(type(label) is str for label in labels)
        and type(numbers) is list
        and (family.type != "histogram" or len(numbers) == len(family.bounds) + 2)
        and all(type(one) in (int, float) and isfinite(one) for one in numbers)
    )


def render(snapshot: Snapshot, *, openmetrics: bool) -> bytes:
    """Return the text of a snapshot, in either format."""
    lines: list[str] = []
    for name, family in FAMILIES.items():
        series = snapshot["families"].get(name)
        if series is None:
            continue
        title, type, help = name, family.type, family.help
        if openmetrics:
            title = name.removesuffix("_total").removesuffix("_info")
            help = help.replace('"', r"\"")
        elif type == "info":
            type = "gauge"
        lines += (f"# HELP {title} {help}", f"# TYPE {title} {type}")
        for values, number in series:
            labels = [
                f'{label}="{_escape(value)}"' for label, value in zip(family.labels, values, strict=True)
            ]
            if family.type == "histogram":
                lines += _histogram(name, labels, family.bounds, number)
            else:
                lines.append(f"{name}{_braced(labels)} {number}")
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _histogram(
    name: str, labels: list[str], bounds: tuple[float, ...], numbers: list[float]
) -> Iterable[str]:
    total: float = 0
    for bound, number in zip((*map(str, bounds), "+Inf"), numbers[:-1], strict=True):
        total += number
        within = f'le="{bound}"'
        yield f"{name}_bucket{_braced([*labels, within])} {total}"
    yield f"{name}_sum{_braced(labels)} {numbers[-1]}"
    yield f"{name}_count{_braced(labels)} {total}"


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def wants_openmetrics(accept: bytes | None) -> bool:
    """Return whether an Accept field prefers OpenMetrics 1.0.0 to plain text."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in (accept or b"").decode("latin-1").lower().split(","):
        type, *parameters = (word.strip() for word in part.split(";"))
        found = dict(parameter.partition("=")[::2] for parameter in parameters)
        if type not in best or found.get("version", "1.0.0").strip('"') not in ("1.0.0", "0.0.4"):
            continue
        try:
            best[type] = max(best[type], float(found.get("q", "1")))
        except ValueError:
            continue
    return best["application/openmetrics-text"] > best["text/plain"]
