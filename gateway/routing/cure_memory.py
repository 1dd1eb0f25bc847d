"""The cures that upstreams are known to need, applied from the start to later requests."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.config import Upstream
from gateway.routing.cures import Cure

REMEMBERED_FOR = 3600.0
"""Seconds. One refusal an hour, which comes at once, is the price of noticing that a host has changed."""

MAX_KEPT = 256
"""Pairs of upstream and wire model for which cures are remembered; the oldest is dropped first."""

MAX_CURES = 16
"""Cures remembered for each: their details contain what clients send."""

Place = tuple[str, str]
"""Upstream and wire model."""

NOTHING: Mapping[str, tuple[Cure, ...]] = {}


class Remembered(NamedTuple):
    """A cure that is applied from the start, for reports."""

    upstream: str
    wire_model: str
    """Empty for all of an upstream's models: the configuration states the cure."""
    cure: Cure
    until: float
    """Monotonic seconds."""


class CureMemory:
    """Cures by upstream and wire model. Times are monotonic seconds."""

    __slots__ = ("_always", "_never", "active", "kept", "publish")

    def __init__(self) -> None:
        self.active = False
        """Whether there is anything to apply, so that requests can skip the look-up."""
        self.kept: dict[Place, dict[Cure, float]] = {}
        """Until when each cure is remembered."""
        self.publish: Callable[[str, str, Cure], None] | None = None
        """Publishes each learnt cure to other processes; None if there are none."""
        self._always: Mapping[str, tuple[Cure, ...]] = NOTHING
        self._never: Mapping[str, frozenset[str]] = {}

    def configure(self, upstreams: Sequence[Upstream]) -> None:
        """Apply the configuration: cures that are always applied to an upstream, and those that never are."""
        always = {upstream.name: stated_cures(upstream) for upstream in upstreams}
        self._always = {name: cures for name, cures in always.items() if cures}
        self._never = {upstream.name: frozenset(upstream.no_cures) for upstream in upstreams}
        self.active = self.active or bool(self._always)

    def adopt(self, old: "CureMemory") -> None:
        """Take over after a reload what `old` has learnt, and what requests in progress still teach it."""
        self.kept = old.kept
        self.active = self.active or bool(self.kept)

    def never(self, upstream: str) -> frozenset[str]:
        """Return the names of the cures that are turned off."""
        return self._never.get(upstream, frozenset())

    def known(self, upstream: str, wire_model: str, now: float) -> tuple[Cure, ...]:
        """Return the cures to apply from the start."""
        learnt = self.kept.get((upstream, wire_model), {})
        never = self.never(upstream)
        lasting = (cure for cure, until in learnt.items() if now < until and cure.name not in never)
        return tuple(dict.fromkeys((*self._always.get(upstream, ()), *lasting)))

    def learn(self, upstream: str, wire_model: str, cures: Sequence[Cure], now: float) -> None:
        """Remember cures with which an upstream has served a request, and publish them."""
        for cure in cures:
            self.store(upstream, wire_model, cure, now + REMEMBERED_FOR, now)
            if self.publish is not None:
                self.publish(upstream, wire_model, cure)

    def store(self, upstream: str, wire_model: str, cure: Cure, until: float, now: float) -> None:
        """Remember a cure that this or another process has learnt."""
        place = upstream, wire_model
        learnt = self.kept.pop(place, {})
        lasting = {one: end for one, end in learnt.items() if now < end}
        lasting[cure] = max(until, lasting.pop(cure, until))
        self.kept[place] = dict([*lasting.items()][-MAX_CURES:])
        self.active = True
        if len(self.kept) > MAX_KEPT:
            del self.kept[next(iter(self.kept))]

    def forget(self, upstream: str = "") -> None:
        """Forget an upstream's learnt cures (all upstreams' without a name); the configuration's stay."""
        for place in list(self.kept):
            if upstream in ("", place[0]):
                del self.kept[place]

    def remembered(self, now: float) -> tuple[Remembered, ...]:
        """Return all cures that are applied from the start."""
        always = [
            Remembered(upstream, "", cure, float("inf"))
            for upstream, cures in self._always.items()
            for cure in cures
        ]
        learnt = [
            Remembered(upstream, wire_model, cure, until)
            for (upstream, wire_model), cures in self.kept.items()
            for cure, until in cures.items()
            if now < until
        ]
        return (*always, *learnt)


def stated_cures(upstream: Upstream) -> tuple[Cure, ...]:
    """Return the cures that the configuration states for an upstream."""
    cures = [Cure(name) for name in upstream.cures]
    if upstream.drop_betas:
        cures.append(Cure("betas", ",".join(upstream.drop_betas)))
    if upstream.drop_fields:
        cures.append(Cure("fields", ",".join(upstream.drop_fields)))
    return tuple(cures)
