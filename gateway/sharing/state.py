"""This process's shared state: what it publishes, and how it applies others' news.

Sans-I/O: clocks are passed in; a transport sets `publish`, calls `receive`, and sends `snapshot` to processes that join
later. No request waits for it: the scheduler decides by what it knows, which news only change.
"""

from collections.abc import Callable, Mapping
from functools import partial

from gateway.dialects.signature_store import SignatureStore
from gateway.patterns import LazyPattern
from gateway.routing import remote
from gateway.routing.accounts import AccountState
from gateway.routing.circuit_breaker import CAUSE_LENGTH, PROBE_PATIENCE, CircuitBreaker, SharedCoolDown
from gateway.routing.conversations import BOUND_FOR
from gateway.routing.cure_memory import REMEMBERED_FOR
from gateway.routing.cures import Cure
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.policy import MAX_DOUBLINGS, RULES, About
from gateway.routing.rendezvous import point_of
from gateway.routing.scheduler import Scheduler
from gateway.routing.status import Scope
from gateway.sharing.facts import OPEN_FOR, SIGNATURE_FOR, Facts
from gateway.sharing.news import BOUND, COOLING, CURE, OPEN, PROBE, SIGNATURE, News, Value, key_of, names_in

STEP = 1e-6
"""Seconds between two news of one process, and after the latest received: a float of unix seconds is that precise."""

POINT = LazyPattern(r"[0-9a-f]{16}")
"""A conversation's point in rendezvous hashing, 64 bits."""

MAX_DETAIL = 1024
"""Characters of a cure's detail; longer ones are not shared."""


class SharedState:
    """One process's part of the shared state. `now`: monotonic seconds; `wall`: unix seconds."""

    def __init__(self, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._now = now
        self._wall = wall
        self.facts = Facts()
        self._scheduler: Scheduler | None = None
        self._stores: Mapping[str, SignatureStore] = {}
        self._censor: Callable[[str, str], str] = lambda upstream, words: words
        self._share_limits = False
        self._workers = self._processes = 1
        self.publish: Callable[[News], None] = lambda news: None
        """Sends news to others; set by a transport, and never blocks."""
        self.published = 0
        self.received = 0
        self.dropped = 0
        """News that a transport could not send or read."""
        self.ignored = 0
        """News without effect: known already, ended, or about what is not configured here."""

    def __repr__(self) -> str:
        return (
            f"<SharedState {self.facts!r}, published {self.published}, received {self.received}, "
            f"dropped {self.dropped}, ignored {self.ignored}>"
        )

    def attach(
        self,
        scheduler: Scheduler,
        stores: Mapping[str, SignatureStore],
        censor: Callable[[str, str], str],
        *,
        share_limits: bool,
    ) -> None:
        """Publish from now on what these learn, and apply what other processes learn to them.

        `stores`: signatures, by names that are equal in all processes. `censor` removes secrets from an upstream's
        message. `share_limits`: each process uses its part of `max_concurrent`.
        """
        self._scheduler, self._stores, self._censor = scheduler, stores, censor
        scheduler.on_news = self._publish_breaker
        scheduler.conversations.publish = self._publish_binding
        scheduler.cures.publish = self._publish_cure
        for name, store in stores.items():
            store.publish = partial(self._publish_signature, name)
        self._share_limits = share_limits
        self._divide()

    # --- the number of processes --------------------------------------------------------------------

    @property
    def processes(self) -> int:
        """The known number of processes that share the accounts."""
        return max(self._workers, self._processes)

    @processes.setter
    def processes(self, count: int) -> None:
        """Set the number that a store reports: that of all machines."""
        self._processes = count
        self._divide()

    @property
    def workers(self) -> int:
        """The number of processes with the same parent."""
        return self._workers

    @workers.setter
    def workers(self, count: int) -> None:
        self._workers = count
        self._divide()

    def _divide(self) -> None:
        if self._scheduler is not None:
            self._scheduler.divide(max(1, self.processes) if self._share_limits else 1)

    # --- publishing ---------------------------------------------------------------------------------

    def snapshot(self) -> list[News]:
        """Return all facts that have not ended."""
        return self.facts.snapshot(self._wall())

    def _publish(self, kind: str, key: str, seconds: float, data: Mapping[str, Value]) -> None:
        made = max(self._wall(), self.facts.latest + STEP)
        news = self.facts.merge(News(kind, key, made + seconds, made, data), made)
        if news is not None:
            self.published += 1
            self.publish(news)

    def _publish_breaker(self, what: str, scope: Scope, breaker: CircuitBreaker) -> None:
        """Publish that something cools down, was found open, or is being probed."""
        left = breaker.until - self._now()
        if what == PROBE:
            self._publish(PROBE, key_of(*scope), PROBE_PATIENCE, {})
        elif what == OPEN:
            self._publish(OPEN, key_of(*scope), max(OPEN_FOR, left), {})
        else:
            assert breaker.rule is not None
            assert breaker.cause is not None
            data: dict[str, Value] = {
                "rule": breaker.rule.name,
                "failures": breaker.failures.get(breaker.rule.name, 1),
                "hinted": breaker.hinted,
                "kind": breaker.cause.kind.value,
                "status": breaker.cause.status,
                "type": breaker.cause.type[:CAUSE_LENGTH],
                "words": self._censor(scope.upstream, breaker.cause.message),
            }
            self._publish(COOLING, key_of(*scope), left, data)

    def _publish_binding(self, point: int, account: AccountState) -> None:
        where: dict[str, Value] = {"upstream": account.upstream.name, "account": account.name}
        self._publish(BOUND, f"{point:016x}", BOUND_FOR, where)

    def _publish_signature(self, store: str, key: str, signature: str) -> None:
        self._publish(SIGNATURE, key_of(store, key), SIGNATURE_FOR, {"value": signature})

    def _publish_cure(self, upstream: str, wire_model: str, cure: Cure) -> None:
        detail = self._censor(upstream, cure.detail)
        if detail == cure.detail and len(detail) <= MAX_DETAIL:
            # The detail may be longer than a key, so the key has its hash.
            key = key_of(upstream, wire_model, cure.name, f"{point_of(detail):016x}")
            self._publish(CURE, key, REMEMBERED_FOR, {"detail": detail})

    # --- receiving ----------------------------------------------------------------------------------

    def receive(self, news: News) -> None:
        """Apply another process's news; their order and repetition have no effect."""
        self.received += 1
        wall = self._wall()
        merged = self.facts.merge(news, wall)
        if merged is None or self._scheduler is None or not self._apply(merged, self._scheduler, wall):
            self.ignored += 1

    def _apply(self, news: News, scheduler: Scheduler, wall: float) -> bool:
        """Apply news to the scheduler; return False if they are about nothing that is configured here."""
        now = self._now()
        # News from a clock that is ahead count as made now, and hold as long as they were meant to.
        until = now + news.until - max(news.made, wall)
        match news.kind:
            case "signature":
                return self._apply_signature(news)
            case "cure":
                return _apply_cure(scheduler, news, until, now)
            case "bound":
                return _apply_bound(scheduler, news, until, now)
        names = names_in(news.key, len(Scope._fields))
        scope = None if names is None else Scope(*names)
        account = None if scope is None else scheduler.find(scope)
        if scope is None or account is None:
            return False
        if news.kind == PROBE:
            remote.probe(account, scope, until)
            return True
        if news.kind == OPEN:
            remote.open(scheduler, account, scope, self._since(news, wall, now))
        cooling = self.facts.cooling(news.key)
        if cooling:
            last = max(cooling, key=lambda one: one.until)
            shared = _cool_down(
                last,
                scope,
                self._since(cooling[-1], wall, now),
                now + last.until - max(last.made, wall),
            )
            if shared is None:
                return False
            remote.close(scheduler, account, scope, shared)
        return True

    @staticmethod
    def _since(news: News, wall: float, now: float) -> float:
        """Return when news were made, in monotonic seconds."""
        return now - max(0.0, wall - news.made)

    def _apply_signature(self, news: News) -> bool:
        names, value = names_in(news.key, 2), news.data.get("value")
        if names is None or names[0] not in self._stores or not isinstance(value, str):
            return False
        self._stores[names[0]].store(names[1], value)
        return True


def _apply_cure(scheduler: Scheduler, news: News, until: float, now: float) -> bool:
    names, detail = names_in(news.key, 4), news.data.get("detail")
    if names is None or scheduler.find(Scope(names[0])) is None or not isinstance(detail, str):
        return False
    if len(detail) > MAX_DETAIL:
        return False
    scheduler.cures.store(names[0], names[1], Cure(names[2], detail), until, now)
    return True


def _apply_bound(scheduler: Scheduler, news: News, until: float, now: float) -> bool:
    account = scheduler.find(Scope(str(news.data.get("upstream")), str(news.data.get("account"))))
    # Only the form that `_publish_binding` writes is a valid point.
    if account is None or not POINT.compiled.fullmatch(news.key):
        return False
    scheduler.conversations.bind_remotely(int(news.key, 16), account, now, until)
    return True


def _cool_down(news: News, scope: Scope, since: float, until: float) -> SharedCoolDown | None:
    """Return the cool-down that news tell of; None if their rule does not apply to what they name."""
    data = news.data
    rule = RULES.get(str(data.get("rule")))
    about = About.FEATURE if scope.feature else About.MODEL if scope.wire_model else About.ACCOUNT
    failures, status = data.get("failures"), data.get("status")
    try:
        kind = FailureKind(data.get("kind"))
    except ValueError:
        return None
    if rule is None or rule.about is not (about if scope.account else About.UPSTREAM):
        return None
    cause = Failure(
        kind=kind,
        status=status if isinstance(status, int) else 0,
        message=str(data.get("words", ""))[:CAUSE_LENGTH],
        type=str(data.get("type", ""))[:CAUSE_LENGTH],
    )
    return SharedCoolDown(
        rule,
        min(max(failures, 1), MAX_DOUBLINGS) if isinstance(failures, int) else 1,
        since,
        until,
        data.get("hinted") is True,
        cause,
    )
