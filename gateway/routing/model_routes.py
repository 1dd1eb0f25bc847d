"""Requested model -> candidates: the upstreams that serve it, and its name there.

Two tables are applied, each once: the gateway's own, from a requested name to a model (perhaps on one upstream), then
each upstream's. The scheduler decides which candidate is used, and when.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gateway.config import Upstream
from gateway.messages.errors import RequestError

MAX_KEPT = 1024
"""Names whose candidates are kept; a client uses about ten, a hostile one any number."""

LONGEST_KEPT = 256
"""Characters of a name that is kept; no model's name is longer."""

NAMED = 10
"""Served models that a 404 lists."""


class Candidate(NamedTuple):
    """An upstream that serves a model, the model's name there, and the upstream's priority (0 is first)."""

    upstream: str
    wire_model: str
    priority: int


class ModelTable:
    """Names and patterns with `*`, each with a target. The best match wins, and only once.

    An exact name beats a pattern; of patterns the one with more literal characters, then the earlier.
    """

    __slots__ = ("_exact", "_patterns", "names", "patterns")

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._exact = {name: target for name, target in targets.items() if "*" not in name}
        ordered = sorted(
            (name for name in targets if "*" in name), key=lambda name: name.count("*") - len(name)
        )
        self._patterns = [(name.split("*"), targets[name]) for name in ordered]
        self.names = tuple(self._exact)
        """The exact names, in the table's order."""
        self.patterns = tuple(ordered)
        """The patterns, best first."""

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def target(self, name: str) -> str | None:
        """Return the target of a name; None if nothing matches."""
        target = self._exact.get(name)
        if target is None:
            target = next((goal for parts, goal in self._patterns if _matches(parts, name)), None)
        return target

    def targets(self) -> Iterable[str]:
        """Return all targets of the table."""
        return (*self._exact.values(), *(goal for _, goal in self._patterns))


def _matches(parts: list[str], name: str) -> bool:
    """Return whether `name` consists of the parts in order, with anything between them. Takes linear time."""
    first, last = parts[0], parts[-1]
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in parts[1:-1]:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


class ModelRoutes:
    """Resolves requested models to candidates, for one configuration."""

    __slots__ = ("_kept", "_models", "_upstreams")

    def __init__(self, models: Mapping[str, str], upstreams: Sequence[Upstream]) -> None:
        self._models = ModelTable(models)
        by_priority = sorted(upstreams, key=lambda upstream: upstream.priority)
        self._upstreams = {
            upstream.name: (upstream.priority, ModelTable(upstream.models)) for upstream in by_priority
        }
        self._kept: dict[str, tuple[Candidate, ...]] = {}

    def resolve(self, model: str) -> tuple[Candidate, ...]:
        """Return the candidates for `model`, best priority first, equal ones in the configuration's order.

        Returns the same tuple for the same name, as long as it is kept. Raise RequestError (404).
        """
        candidates = self._kept.get(model)
        if candidates is not None:
            return candidates
        candidates = self._candidates(model)
        if not candidates:
            raise self._unknown(model)
        if len(model) <= LONGEST_KEPT:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[model] = candidates
        return candidates

    def serves(self, model: str) -> bool:
        """Return whether some upstream serves a model of this name."""
        return bool(self._candidates(model))

    def exact_names(self) -> list[str]:
        """Return all model names that tables contain literally and that are served; sorted, each once."""
        names = set(self._models.names)
        for _, table in self._upstreams.values():
            names.update(table.names)
        return sorted(name for name in names if self._candidates(name))

    def wire_models(self) -> frozenset[str]:
        """Return all models that tables lead to, by their names at the upstream."""
        names: set[str] = set()
        for target in self._models.targets():
            name, slash, rest = target.partition("/")
            names.add(rest if slash and name in self._upstreams else target)
        for _, table in self._upstreams.values():
            names.update(table.targets())
        return frozenset(names)

    def _candidates(self, model: str) -> tuple[Candidate, ...]:
        target = self._models.target(model)
        if target is not None:
            name, slash, rest = target.partition("/")
            if slash and name in self._upstreams:
                return self._on(name, rest, pinned=True)
            model = target
        return tuple(candidate for name in self._upstreams for candidate in self._on(name, model))

    def _on(self, name: str, model: str, *, pinned: bool = False) -> tuple[Candidate, ...]:
        """Return the upstream as a candidate, if it serves the model.

        `pinned`: the model was given for this upstream, so that it may be one of its wire models.
        """
        priority, table = self._upstreams[name]
        wire_model = table.target(model) if table else model
        if wire_model is None and pinned and model in table.targets():
            wire_model = model
        return () if wire_model is None else (Candidate(name, wire_model, priority),)

    def _unknown(self, model: str) -> RequestError:
        served = self.exact_names()
        for table in (self._models, *(table for _, table in self._upstreams.values())):
            served += (pattern for pattern in table.patterns if pattern not in served)
        shown = model[:LONGEST_KEPT] + "..." * (len(model) > LONGEST_KEPT)
        # A lone surrogate is valid as an escape in JSON, but not in UTF-8.
        shown = shown.encode("utf-8", "backslashreplace").decode()
        if not served:
            return RequestError(404, f'model "{shown}" is not served here, and no other is')
        names = ", ".join(served[:NAMED]) + (", ..." if len(served) > NAMED else "")
        return RequestError(404, f'model "{shown}" is not served here; served are: {names}')
