"""What is known of upstreams and accounts: requests in flight, circuit breakers, and what a request may ask for.

The scheduler owns these objects and is the only one that changes them. Others get values: see `status`.
Times are monotonic seconds that are passed in.
"""

from collections.abc import Iterator

from gateway.config import Account
from gateway.routing.circuit_breaker import TICK, TURNED_OFF, CircuitBreaker
from gateway.routing.policy import NEVER, About
from gateway.routing.rendezvous import point_of
from gateway.routing.sent import Features, no_features

MAX_MODELS = 256
"""Wire models remembered per account: without a table their names are the client's to choose."""

FORBIDDEN_FOR = 3600.0
"""Seconds within which a second model that an account may not use shows that it is the account that is refused."""

Part = tuple[str, str]
"""Wire model and feature; "" for all that is asked of the model."""


class UpstreamState:
    """One upstream as all of its accounts share it."""

    __slots__ = ("breaker", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.breaker: CircuitBreaker | None = None

    def __repr__(self) -> str:
        return f"<UpstreamState {self.name} {self.breaker or '[SOUND]'}>"


class AccountState:
    """One account. `parts` holds the breakers of wire models, and of features with them, that failed."""

    __slots__ = (
        "asked",
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
        "upstream",
        "whole_limit",
        "wire_models",
    )

    def __init__(self, upstream: UpstreamState, config: Account, wire_models: frozenset[str]) -> None:
        self.upstream = upstream
        self.name = config.name
        self.point = point_of(f"{upstream.name}/{config.name}")
        """What stands for it in rendezvous hashing."""
        self.processes = 1
        """Among how many its limit is divided."""
        self.breaker: CircuitBreaker | None = None
        self.parts: dict[Part, CircuitBreaker] = {}
        self.disabled = False
        """The operator has turned it off, until the next reload."""
        self.forbidden: dict[str, float] = {}
        """Wire models that it may not use, and since when."""
        self.in_flight = 0
        self.last_used = -NEVER
        self.asked: set[str] = set()
        """Wire models asked for so far."""
        self.configure(config, wire_models)

    def configure(self, config: Account, wire_models: frozenset[str]) -> None:
        """Take over what the configuration says, at the start and with a reload."""
        self.whole_limit = config.max_concurrent
        """Requests in flight at once, in all processes that divide them; 0 sets no limit."""
        self.divide(self.processes)
        self.refreshable = config.oauth_file is not None
        """Whether a refused token can be replaced by another."""
        self.disabled = False
        self.wire_models = wire_models
        """What its upstream's table leads to; empty: any name."""

    def __repr__(self) -> str:
        parts = "".join(f" {' '.join(filter(None, part))} {breaker}" for part, breaker in self.parts.items())
        where = f"{self.upstream.name}/{self.name}"
        return f"<AccountState {where} {self.breaker or '[SOUND]'}{parts}, {self.in_flight} in flight>"

    @property
    def full(self) -> bool:
        """Return whether one more request is one too many."""
        return 0 < self.limit <= self.in_flight

    def divide(self, processes: int) -> None:
        """Take this process's part of the limit, one request at least."""
        self.processes = processes
        self.limit = max(1, self.whole_limit // processes) if self.whole_limit > 0 else self.whole_limit
        """Requests in flight at once, in this process; 0 sets no limit."""

    def part_breaker(self, wire_model: str, feature: str = "") -> CircuitBreaker:
        """Return the breaker of a wire model, or of a feature with it; a new one if none has failed. The oldest makes
        room."""
        part = wire_model, feature
        breaker = self.parts.get(part)
        if breaker is None:
            if len(self.parts) >= MAX_MODELS:
                del self.parts[next(iter(self.parts))]
            breaker = self.parts[part] = CircuitBreaker()
        return breaker

    def forbid(self, wire_model: str, now: float) -> bool:
        """Note that the account may not use a model. Return whether that has become a habit: another model was refused
        within the hour."""
        self.forbidden[wire_model] = now
        self.forbidden = {name: at for name, at in self.forbidden.items() if now - at <= FORBIDDEN_FOR}
        return len(self.forbidden) > 1


class Target:
    """One way to serve a request: an account, and the wire model it would be asked for."""

    __slots__ = ("account", "lines", "priority", "state", "upstream", "wire_model")

    def __init__(self, state: AccountState, wire_model: str, priority: int) -> None:
        self.state = state
        self.upstream = state.upstream.name
        self.account = state.name
        self.wire_model = wire_model
        self.priority = priority
        self.lines = b""
        """Header lines of a response that this target gave, rendered once by whoever resolved the model."""

    def __repr__(self) -> str:
        return f"<Target {self.wire_model} on {self.state!r}>"

    def breakers(self, features: Features = no_features) -> Iterator[tuple[About, CircuitBreaker]]:
        """Yield the breakers that could be in the way of a request with these features, widest scope first."""
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

        `upstream_early`, `model_early`: the request has met the failure itself; `alone`: nothing else can serve it.
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

    def is_shut(self, now: float, features: Features, *, probe: bool) -> bool:
        """Return whether a request must not pass now. Without `probe` it must not be the probe either."""
        return any(
            breaker.opens_at(now) > now + TICK or (not probe and breaker.rule is not None)
            for _, breaker in self.breakers(features)
        )

    def is_free(self, now: float, features: Features, *, probe: bool) -> bool:
        """Return whether a request may take a slot now; `probe` as in `is_shut`."""
        return not self.state.full and not self.is_shut(now, features, probe=probe)

    def feature_of(self, breaker: CircuitBreaker) -> str:
        """Return the feature that a breaker is about; "" for all else."""
        return next((feature for (_, feature), one in self.state.parts.items() if one is breaker), "")

    def may_open_early(self, features: Features) -> bool:
        """Return whether another request may end what is in the way before its time: as a probe, or because it was
        let in early."""
        return any(
            breaker.prober is not None or (breaker.rule is not None and breaker.rule.alone < NEVER)
            for _, breaker in self.breakers(features)
        )

    def free_at(self, now: float, features: Features = no_features) -> float:
        """Return when every limit is really lifted, as far as is known, for a request that nothing else can serve;
        `now` at the earliest."""
        return max([now, *(breaker.free_at for _, breaker in self.breakers(features))])
