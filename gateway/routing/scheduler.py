"""The accounts' state: requests in flight, cool-downs, and which conversation lives where.

One owner for all of it, shared by every request's `Plan`, which makes the decisions. Sans-I/O: times are
monotonic seconds that are passed in, and who waits for a slot leaves a callback.
"""

from collections.abc import Callable, Iterator, Sequence

from gateway.config import Account, Upstream
from gateway.routing.circuit_breaker import NEVER, TICK, CircuitBreaker
from gateway.routing.failures import Failure, FailureKind, Scope, Verdict
from gateway.routing.model_routes import Candidate

MAX_CONVERSATIONS = 4096
"""Bindings kept; the least recently used goes first."""

BOUND_FOR = 3600.0
"""Seconds after its last use that a binding counts: no prompt cache lives longer."""

MAX_MODELS = 256
"""Wire models remembered per account: without a table their names are the client's to choose."""

MAX_TUPLES = 1024
"""Candidate tuples whose options are kept: as many as `routes` keeps names."""


class UpstreamState:
    """One upstream as all of its accounts share it."""

    __slots__ = ("health", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.health: CircuitBreaker | None = None

    def __repr__(self) -> str:
        return f"<UpstreamState {self.name} {self.health or '[SOUND]'}>"


class AccountState:
    """One account. `models` holds the health of wire models that failed."""

    __slots__ = (
        "asked",
        "config",
        "health",
        "in_flight",
        "last_used",
        "models",
        "upstream",
        "wire_models",
    )

    def __init__(self, upstream: UpstreamState, config: Account, wire_models: frozenset[str]) -> None:
        self.upstream = upstream
        self.config = config
        self.wire_models = wire_models
        """What its upstream's table leads to; empty: any name."""
        self.health: CircuitBreaker | None = None
        self.models: dict[str, CircuitBreaker] = {}
        self.in_flight = 0
        self.last_used = -NEVER
        self.asked: set[str] = set()
        """Wire models asked for so far."""

    def __repr__(self) -> str:
        models = "".join(f" {name} {health}" for name, health in self.models.items())
        where = f"{self.upstream.name}/{self.config.name}"
        return f"<AccountState {where} {self.health or '[SOUND]'}{models}, {self.in_flight} in flight>"

    @property
    def full(self) -> bool:
        """Whether one more request is one too many."""
        return 0 < self.config.max_concurrent <= self.in_flight


class Target:
    """One way to serve a request: an account, and the wire model it would be asked for."""

    __slots__ = ("account", "priority", "wire_model")

    def __init__(self, account: AccountState, wire_model: str, priority: int) -> None:
        self.account = account
        self.wire_model = wire_model
        self.priority = priority

    def __repr__(self) -> str:
        return f"<Target {self.wire_model} on {self.account!r}>"

    def healths(self) -> Iterator[CircuitBreaker]:
        """What has failed and would be in the way, widest scope first."""
        account = self.account
        for health in (account.upstream.health, account.health, account.models.get(self.wire_model)):
            if health is not None:
                yield health

    def opens_at(self, now: float, *, upstream_early: bool = False, model_early: bool = False) -> float:
        """When the cool-downs let a request pass; 0.0 means now."""
        account = self.account
        latest = 0.0
        if account.upstream.health is not None:
            latest = account.upstream.health.opens_at(now, early=upstream_early)
        if account.health is not None:
            latest = max(latest, account.health.opens_at(now))
        if account.models and self.wire_model in account.models:
            latest = max(latest, account.models[self.wire_model].opens_at(now, early=model_early))
        return latest

    def free_at(self, now: float) -> float:
        """When every limit is really lifted, as far as is known; `now` at the earliest."""
        return max([now, *(health.until for health in self.healths())])

    def probed(self) -> bool:
        """Whether a probe is under way on it."""
        return any(health.prober is not None for health in self.healths())


class Scheduler:
    """Every account's state. Made of the configuration's upstreams; outlives it through `adopt`."""

    __slots__ = ("_bindings", "_options", "_waiting", "accounts")

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.accounts: dict[tuple[str, str], AccountState] = {}
        """By (upstream, account name), in the configuration's order."""
        for upstream in upstreams:
            shared = UpstreamState(upstream.name)
            wire_models = frozenset(upstream.models.values())
            for account in upstream.accounts:
                self.accounts[upstream.name, account.name] = AccountState(shared, account, wire_models)
        self._bindings: dict[str, tuple[AccountState, float]] = {}
        self._options: dict[tuple[Candidate, ...], tuple[Target, ...]] = {}
        self._waiting: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Scheduler {list(self.accounts.values())}>"

    def adopt(self, old: "Scheduler") -> None:
        """Go on where `old` was, for accounts with the same upstream and name; call before the first use.

        Requests under way with `old` go on counting in the same places. An account's own cool-down
        (login, billing) becomes half open: a reload is how an operator says that something was mended.
        """
        upstreams = {state.upstream.name: state.upstream for state in old.accounts.values()}
        for key, new in self.accounts.items():
            state = old.accounts.get(key)
            if state is None:
                new.upstream = upstreams.get(key[0], new.upstream)
                continue
            state.config = new.config
            state.wire_models = new.wire_models
            if state.health is not None:
                state.health.half_open()
            self.accounts[key] = state
        self._bindings = old._bindings
        self._waiting = old._waiting

    def options(self, candidates: Sequence[Candidate]) -> tuple[Target, ...]:
        """Every account of the candidates' upstreams, best priority first, else in the given order."""
        key = tuple(candidates)
        known = self._options.get(key)
        if known is None:
            found = [
                Target(account, candidate.wire_model, candidate.priority)
                for candidate in key
                for account in self.accounts.values()
                if account.upstream.name == candidate.upstream
            ]
            known = tuple(sorted(found, key=lambda option: option.priority))
            if len(self._options) >= MAX_TUPLES:
                self._options.clear()
            self._options[key] = known
        return known

    # --- slots -------------------------------------------------------------------------------------

    def take(self, option: Target, now: float, who: object) -> tuple[CircuitBreaker, ...]:
        """A request goes to this account. Returns what it is the probe of."""
        account = option.account
        account.in_flight += 1
        account.last_used = now
        if option.wire_model not in account.asked and len(account.asked) < MAX_MODELS:
            account.asked.add(option.wire_model)
        if account.upstream.health is None and account.health is None and not account.models:
            return ()
        return tuple(health for health in option.healths() if health.enter(now, who))

    def release(self, option: Target, probed: Sequence[CircuitBreaker], who: object) -> None:
        """The request has ended, in whatever way. Call `wake` when all of it is noted."""
        option.account.in_flight -= 1
        for health in probed:
            health.leave(who)

    def on_free(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called once when a slot gets free or a probe ends; returns what takes it back."""
        token = object()
        self._waiting[token] = callback

        def take_back() -> None:
            self._waiting.pop(token, None)

        return take_back

    def wake(self) -> None:
        """Call everyone who waits, in the order they came."""
        if not self._waiting:
            return
        for token in tuple(self._waiting):
            callback = self._waiting.pop(token, None)
            if callback is not None:
                callback()

    # --- what attempts tell ------------------------------------------------------------------------

    def failed(self, option: Target, verdict: Verdict, failure: Failure, now: float, started: float) -> None:
        """An attempt begun at `started` failed: count it, and cool down what the verdict says."""
        account, upstream = option.account, option.account.upstream
        shared = upstream.health
        # Any answer shows that the upstream can be reached.
        reached = failure.kind is not FailureKind.CONNECT and shared is not None and shared.ended_by(started)
        if reached and shared is not None and shared.forget("connect"):
            upstream.health = None
        scope = verdict.rule.scope
        if scope is Scope.UPSTREAM:
            upstream.health = health = upstream.health or CircuitBreaker()
        elif scope is Scope.ACCOUNT:
            account.health = health = account.health or CircuitBreaker()
        elif scope is Scope.MODEL:
            health = self._model_health(account, option.wire_model)
        else:
            return
        health.fail(verdict, failure, now, started)

    @staticmethod
    def _model_health(account: AccountState, wire_model: str) -> CircuitBreaker:
        health = account.models.get(wire_model)
        if health is None:
            if len(account.models) >= MAX_MODELS:
                del account.models[next(iter(account.models))]
            health = account.models[wire_model] = CircuitBreaker()
        return health

    def succeeded(self, option: Target, started: float) -> None:
        """An attempt begun at `started` succeeded: its upstream, account and model are sound."""
        account = option.account
        upstream = account.upstream
        if upstream.health is not None and upstream.health.ended_by(started):
            upstream.health = None
        if account.health is not None and account.health.ended_by(started):
            account.health = None
        if account.models:
            health = account.models.get(option.wire_model)
            if health is not None and health.ended_by(started):
                del account.models[option.wire_model]

    # --- conversations -----------------------------------------------------------------------------

    def bound(self, conversation: str, now: float) -> AccountState | None:
        """The account that a conversation lives on."""
        binding = self._bindings.get(conversation)
        if binding is None or now - binding[1] > BOUND_FOR:
            return None
        return binding[0]

    def bind(self, conversation: str, account: AccountState, now: float) -> None:
        """A conversation lives on this account, and was used now."""
        bindings = self._bindings
        bindings.pop(conversation, None)
        bindings[conversation] = (account, now)
        if len(bindings) > MAX_CONVERSATIONS:
            del bindings[next(iter(bindings))]

    # --- for an operator ---------------------------------------------------------------------------

    def ready(self, now: float, shown: Callable[[str], str] = str) -> tuple[bool, float | None, str]:
        """(whether some account could serve a request now, else the earliest time, and the reason).

        Accounts that are only busy count as ready. The text names rules, and accounts as `shown` has them.
        """
        if not self.accounts:
            return False, None, "no account is configured"
        earliest = NEVER
        reasons = []
        for account in self.accounts.values():
            until, reason = self._shut_until(account, now)
            if until <= now:
                return True, None, ""
            earliest = min(earliest, until)
            reasons.append(f"{account.upstream.name}/{shown(account.config.name)}: {reason}")
        return False, earliest, "every account is cooling down: " + "; ".join(reasons)

    @staticmethod
    def _shut_until(account: AccountState, now: float) -> tuple[float, str]:
        """When an account can serve some model again, and the rule behind it; a past time for now."""
        shut = [health for health in (account.upstream.health, account.health) if health is not None]
        names = account.wire_models or account.asked
        models = [account.models[name] for name in names if name in account.models]
        if names and len(models) == len(names):
            shut.append(min(models, key=lambda health: health.probe_at))
        cooling = [health for health in shut if health.rule is not None and now + TICK < health.probe_at]
        if not cooling:
            return -NEVER, ""
        last = max(cooling, key=lambda health: health.until)
        return last.until, last.rule.name if last.rule is not None else ""
