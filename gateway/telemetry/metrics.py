"""Counts for `/metrics`, gathered from the records of requests.

Records wait in a list of fixed length and are counted in batches, by one loop without a call for each: that costs a
request less than a microsecond, after its response. Each record is added to one `Series`, found by one look-up;
`exposition` computes the metrics from those at a scrape.

Labels are bounded whatever clients send: paths are those of routes, models are configured or have been served by an
upstream, and beyond a number of series all others become "other".
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gateway.telemetry.access_log import Record

BATCH = 16
"""Records that wait: counting them, and adding them to the recent ones, blocks the loop for some 50 µs."""

LAST = BATCH - 1
"""The index of the last one."""

DURATIONS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of a request's seconds: from a count of tokens to the longest stream of an agent."""

FIRST_BYTES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Upper bounds of the seconds to the first content: 20 is where Claude Code shows a banner."""

MAX_SERIES = 4096
"""Series of one kind, at most: some 100 accounts with ten models. One takes about 600 bytes."""

MAX_MODELS = 100
"""Unconfigured models that get labels, at most: a server that accepts any name could add any number."""

LONGEST = 200
"""Characters of a model's name as a label, at most; a resource name of Vertex AI has some 150."""

OTHER = "other"

NOTHING: Mapping[str, str] = {}


def other(path: str) -> str:
    """Return the label of a path that is no route."""
    return OTHER


Key = tuple[str, int, str, str, str, str]
"""The labels of a request that ended: route, status (-1 for any other), outcome, upstream, account, wire model."""

OTHERS: Key = (OTHER, -1, OTHER, OTHER, OTHER, OTHER)


@dataclass(slots=True, eq=False)
class Series:
    """Sums of requests with the same labels. `durations` and `first_bytes` count each bucket alone; the last one is
    beyond all bounds."""

    requests: int = 0
    seconds: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATIONS) + 1))
    first_seconds: float = 0.0
    first_bytes: list[int] = field(default_factory=lambda: [0] * (len(FIRST_BYTES) + 1))
    attempts: int = 0
    """Requests whose last attempt had this outcome; in the others all attempts failed, or there were none."""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0


class Metrics:
    """Counters of one process. `routes` maps paths to labels; `route_of` returns the label of any other path."""

    __slots__ = (
        "_models",
        "_named",
        "_route_of",
        "_routes",
        "also",
        "counted",
        "records",
        "series",
        "waiting",
    )

    def __init__(self, routes: Mapping[str, str] = NOTHING, route_of: Callable[[str], str] = other) -> None:
        self._routes, self._route_of = routes, route_of
        self.records: list[Record | None] = [None] * BATCH
        """The records that wait. A caller stores one at `waiting`, and calls `fold` after the last index."""
        self.waiting = 0
        self.also: Callable[[list[Record]], None] | None = None
        """Another reader of the records, called with each batch."""
        self.series: dict[Key, Series] = {}
        self.counted: dict[tuple[str, ...], int] = {}
        """Counts of rarer things, by their kind and labels."""
        self._named: frozenset[str] = frozenset()
        self._models: set[str] = set()
        """Unconfigured models that have become labels."""

    def name_models(self, names: Collection[str]) -> None:
        """Set the models that the configuration names."""
        self._named = frozenset(names)

    def fold(self) -> None:
        """Count the records that wait."""
        records, all_series = self.records, self.series
        routes, named, models = self._routes, self._named, self._models
        batch = [record for record in records[: self.waiting] if record is not None]
        records[: self.waiting] = [None] * self.waiting
        self.waiting = 0
        for record in batch:
            path, model = record.path, record.wire_model
            if model and model not in named and model not in models:
                model = self._label_of(record)
            route = routes[path] if path in routes else self._route_of(path)
            key = route, record.status, record.outcome, record.upstream, record.account, model
            series = all_series[key] if key in all_series else self._series(key)
            series.requests += 1
            tried = record.tried
            if record.attempts:
                if not tried or record.attempts > len(tried):
                    series.attempts += 1
                seconds, first = record.duration, record.first_byte
                series.seconds += seconds
                series.durations[bisect_left(DURATIONS, seconds)] += 1
                if first is not None:
                    series.first_seconds += first
                    series.first_bytes[bisect_left(FIRST_BYTES, first)] += 1
            # A count of tokens has no output and does not add to usage.
            if record.output_tokens is not None:
                series.output += record.output_tokens
                series.input += record.input_tokens or 0
                series.cache_read += record.cache_read_tokens or 0
                series.cache_creation += record.cache_creation_tokens or 0
            if tried or record.repairs or record.cache:
                self._count_more(record)
        if self.also is not None:
            self.also(batch)

    def _series(self, key: Key) -> Series:
        """Create the series of a key; beyond MAX_SERIES return that of all others."""
        if len(self.series) >= MAX_SERIES:
            key = OTHERS
        return self.series.setdefault(key, Series())

    def _label_of(self, record: Record) -> str:
        """Return the label of an unconfigured model: its name once an upstream has served it, else "other"."""
        model = record.wire_model
        if record.status >= 400 or len(self._models) >= MAX_MODELS or len(model) > LONGEST:
            return OTHER
        self._models.add(model)
        return model

    def _count_more(self, record: Record) -> None:
        """Count what few requests have: failed attempts, repairs and cures, what happened to a cache."""
        for each in record.tried:
            place, _, result = each.rpartition(":")
            account, _, upstream = place.rpartition("@")
            self._count("attempts", upstream, account, result)
        for repair in record.repairs:
            if repair.startswith("cure:"):
                self._count("cures", repair.removeprefix("cure:"))
            else:
                self._count("repairs", repair)
        if record.cache:
            verdict, _, cause = record.cache.partition(":")
            self._count("cache", verdict)
            if cause:
                self._count("broken", cause)
                self._count("lost", cause, by=record.cache_lost_tokens or 0)

    def _count(self, *key: str, by: int = 1) -> None:
        if key not in self.counted and len(self.counted) >= MAX_SERIES:
            key = (key[0], *[OTHER] * (len(key) - 1))
        self.counted[key] = self.counted.get(key, 0) + by
