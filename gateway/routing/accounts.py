"""The state of upstreams and accounts: requests in flight and circuit breakers; and targets, which refer to them.

The scheduler owns these objects and alone changes them. Other modules get values: see `status`.
Times are monotonic seconds that are passed in.
"""

from collections.abc import Iterator

from gateway.config import Account
from gateway.routing.circuit_breaker import TICK, TURNED_OFF, CircuitBreaker
from gateway.routing.policy import NEVER, About
from gateway.routing.rendezvous import point_of
from gateway.routing.sent import Features, no_features

MAX_MODELS = 256
"""Wire models remembered per account: without a table clients choose their names."""

FORBIDDEN_FOR = 3600.0
"""Seconds within which a second forbidden model shows that the account as a whole is refused."""

Part = tuple[str, str]
"""Wire model and feature; a feature of "" means the whole model."""


class UpstreamState:
    """The state of an upstream, shared by its accounts."""

    __slots__ = ("breaker", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.breaker: CircuitBreaker | None = None

    def __repr__(self) -> str:
        return f"<UpstreamState {self.name} {self.breaker or '[SOUND]'}>"


class AccountState:
    """The state of an account. `parts` has the breakers of wire models and their features that failed."""

    __slots__ = (
        "breaker",
        "disabled",
        "forbidden",
        "in_flight",
        "last_used",
        "limit",
        "name",
        "parts",
        "point",
        "processes",
        "refreshable",
        "requested_models",
        "upstream",
        "whole_limit",
        "wire_models",
    )

    def __init__(self, upstream: UpstreamState, config: Account, wire_models: frozenset[str]) -> None:
        self.upstream = upstream
        self.name = config.name
        self.point = point_of(f"{upstream.name}/{config.name}")
        """Its number for rendezvous hashing."""
        self.whole_limit = config.max_concurrent
        """Requests in flight at once, in all processes together; 0 sets no limit."""
        self.divide(1)
        self.refreshable = config.oauth_file is not None
        """Whether a refused token can be replaced by a fresh one."""
        self.wire_models = wire_models
        """The targets of its upstream's table; empty: any name."""
        self.breaker: CircuitBreaker | None = None
        self.parts: dict[Part, CircuitBreaker] = {}
        self.disabled = False
        """Whether the operator has turned it off, until the next reload."""
        self.forbidden: dict[str, float] = {}
        """Wire models that it may not use, and when that was found."""
        self.in_flight = 0
        self.last_used = -NEVER
        self.requested_models: set[str] = set()
        """Wire models requested so far."""

    def __repr__(self) -> str:
        parts = "".join(f" {' '.join(filter(None, part))} {breaker}" for part, breaker in self.parts.items())
        where = f"{self.upstream.name}/{self.name}"
        return f"<AccountState {where} {self.breaker or '[SOUND]'}{parts}, {self.in_flight} in flight>"

    @property
    def full(self) -> bool:
        """Return whether its limit allows no further request."""
        return 0 < self.limit <= self.in_flight

    def divide(self, processes: int) -> None:
        """Set this process's part of the limit, at least one request."""
        self.processes = processes
        """The number of processes that divide its limit."""
        self.limit = max(1, self.whole_limit // processes) if self.whole_limit > 0 else self.whole_limit
        """Requests in flight at once in this process; 0 sets no limit."""

    def part_breaker(self, wire_model: str, feature: str = "") -> CircuitBreaker:
        """Return the breaker of a wire model or of one of its features; create it for the first failure, and drop the
        oldest beyond MAX_MODELS."""
        part = wire_model, feature
        breaker = self.parts.get(part)
        if breaker is None:
            if len(self.parts) >= MAX_MODELS:
                del self.parts[next(iter(self.parts))]
            breaker = self.parts[part] = CircuitBreaker()
        return breaker

    def forbid(self, wire_model: str, now: float) -> bool:
        """Note that the account may not use a model. Return whether the whole account seems to be refused: another
        model was forbidden within FORBIDDEN_FOR."""
        self.forbidden[wire_model] = now
        self.forbidden = {name: at for name, at in self.forbidden.items() if now - at <= FORBIDDEN_FOR}
        return len(self.forbidden) > 1


class Target:
    """One way to serve a request: an account and a wire model."""

    __slots__ = ("account", "lines", "priority", "state", "upstream", "wire_model")

    def __init__(self, state: AccountState, wire_model: str, priority: int) -> None:
        self.state = state
        self.upstream = state.upstream.name
        self.account = state.name
        self.wire_model = wire_model
        self.priority = priority
        self.lines = b""
        """Header lines for responses of this target; set by the code that resolves the model."""

    def __repr__(self) -> str:
        return f"<Target {self.wire_model} on {self.state!r}>"

    def breakers(self, features: Features = no_features) -> Iterator[tuple[About, CircuitBreaker]]:
        """Yield the breakers that may block a request with these features, widest scope first."""
        state = self.state
        if state.disabled:
            yield About.ACCOUNT, TURNED_OFF
        if state.upstream.breaker is not None:
            yield About.UPSTREAM, state.upstream.breaker
        if state.breaker is not None:
            yield About.ACCOUNT, state.breaker
        if not state.parts:
            return
        breaker = state.parts.get((self.wire_model, ""))
        if breaker is not None:
            yield About.MODEL, breaker
        for name, feature in state.parts:
            if feature and name == self.wire_model and feature in features():
                yield About.FEATURE, state.parts[name, feature]

    def opens_at(
        self,
        now: float,
        features: Features = no_features,
        *,
        upstream_early: bool = False,
        model_early: bool = False,
        alone: bool = False,
    ) -> float:
        """Return when the cool-downs let a request pass; 0.0 means now.

        `upstream_early`, `model_early`: the request met the failure itself; `alone`: no other target can serve it.
        See `CircuitBreaker.opens_at`.
        """
        early = {About.UPSTREAM: upstream_early, About.MODEL: model_early}
        return max(
            (
                breaker.opens_at(now, early=early.get(about, False), alone=alone)
                for about, breaker in self.breakers(features)
            ),
            default=0.0,
        )

    def is_closed(self, now: float, features: Features, *, probe: bool) -> bool:
        """Return whether a request must not pass now. Without `probe` it may not be a probe."""
        return any(
            breaker.opens_at(now) > now + TICK or (not probe and breaker.rule is not None)
            for _, breaker in self.breakers(features)
        )

    def is_free(self, now: float, features: Features, *, probe: bool) -> bool:
        """Return whether a request may take a slot now; `probe` as in `is_closed`."""
        return not self.state.full and not self.is_closed(now, features, probe=probe)

    def feature_of(self, breaker: CircuitBreaker) -> str:
        """Return the feature of a breaker; "" if it is about something else."""
        return next((feature for (_, feature), one in self.state.parts.items() if one is breaker), "")

    def may_open_early(self, features: Features) -> bool:
        """Return whether another request may open a breaker before its time, as a probe or as one that was let in
        early."""
        return any(
            breaker.prober is not None or (breaker.rule is not None and breaker.rule.alone < NEVER)
            for _, breaker in self.breakers(features)
        )

    def free_at(self, now: float, features: Features = no_features) -> float:
        """Return when all limits are lifted, as far as is known, for a request that no other target can serve; `now` at
        the earliest."""
        return max([now, *(breaker.free_at for _, breaker in self.breakers(features))])
