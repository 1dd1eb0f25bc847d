"""Scheduler: owns the accounts' slots, cool-downs and conversations, and gives requests accounts.

A request takes a `Lease`: the slot of the best account that is free now. If the first attempt succeeds nothing else is
needed; `retries` decides what follows a failure. All requests share one Scheduler. Sans-I/O: times are monotonic
seconds that are passed in, and requests that wait for a slot leave a callback.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from gateway.config import Upstream
from gateway.routing.accounts import MAX_MODELS, AccountState, Target, UpstreamState
from gateway.routing.choice import Precedence, Ranked, choose_if_all_free, precedence
from gateway.routing.circuit_breaker import TICK, CircuitBreaker
from gateway.routing.conversations import Conversations
from gateway.routing.cure_memory import CureMemory
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.lease import Lease as Lease
from gateway.routing.meanings import Meaning, meaning_of
from gateway.routing.model_routes import Candidate
from gateway.routing.policy import RULES, About
from gateway.routing.sent import Features, no_features
from gateway.routing.status import (
    AccountStatus,
    Change,
    Scope,
    account_status,
    change_of,
    closing_breakers,
    scope_of,
)

UNREACHED = ("connect", "timeout")
"""Rows of failures that any response proves to be over."""

News = Callable[[Literal["cooling", "open", "probe"], Scope, CircuitBreaker], None]
"""Called with changes of a breaker that other processes should know."""

NO_RESPONSE = (FailureKind.CONNECT, FailureKind.REFRESH)
"""Kinds of failed attempts to which the upstream did not respond."""


class Scheduler:
    """The state of all accounts. Made from the configuration's upstreams; a reload keeps it by `adopt`."""

    __slots__ = ("_accounts", "_waiting", "conversations", "cures", "on_change", "on_news")

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._accounts: dict[tuple[str, str], AccountState] = {}
        """By (upstream, account name), in the configuration's order."""
        for upstream in upstreams:
            shared = UpstreamState(upstream.name)
            wire_models = frozenset(upstream.models.values())
            for account in upstream.accounts:
                self._accounts[upstream.name, account.name] = AccountState(shared, account, wire_models)
        self.conversations = Conversations()
        self.cures = CureMemory()
        self.cures.configure(upstreams)
        self.on_change: Callable[[Change], None] = lambda change: None
        """Called when something is closed or opened."""
        self.on_news: News | None = None
        """Publishes changes to other processes, also a longer cool-down and a probe. None if there are none."""
        self._waiting: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Scheduler {list(self._accounts.values())}>"

    def adopt(self, old: "Scheduler") -> None:
        """Take over the state of `old` for accounts with the same upstream and name; call it before the first use.

        Requests in progress with `old` are counted in the same objects. An account's own cool-down (login, billing)
        becomes half open: operators reload after they have corrected something.
        """
        upstreams = {state.upstream.name: state.upstream for state in old._accounts.values()}
        for key, new in self._accounts.items():
            state = old._accounts.get(key)
            if state is None:
                new.upstream = upstreams.get(key[0], new.upstream)
                continue
            state.whole_limit, state.refreshable = new.whole_limit, new.refreshable
            state.divide(state.processes)
            state.wire_models, state.disabled = new.wire_models, False
            if state.breaker is not None:
                state.breaker.half_open()
            self._accounts[key] = state
        self.conversations = old.conversations
        self.cures.adopt(old.cures)
        self._waiting = old._waiting

    def precedence(
        self, free: Iterable[Target], conversation: str, home: AccountState | None
    ) -> Callable[[Target], Precedence]:
        """Return the sort key of targets, of which `free` could be used now; see `choice.precedence`."""
        return precedence(free, conversation if self.on_news is not None else "", home)

    def find(self, scope: Scope) -> AccountState | None:
        """Return the account that a scope names, or any account of its upstream; None if it is not configured."""
        if scope.account:
            return self._accounts.get((scope.upstream, scope.account))
        return next((one for one in self._accounts.values() if one.upstream.name == scope.upstream), None)

    def divide(self, processes: int) -> None:
        """Use this process's part of all accounts' limits."""
        for state in self._accounts.values():
            state.divide(processes)

    def targets(self, candidates: Sequence[Candidate]) -> tuple[Target, ...]:
        """Return all accounts of the candidates' upstreams, best priority first, else in the given order."""
        found = [
            Target(account, candidate.wire_model, candidate.priority)
            for candidate in candidates
            for account in self._accounts.values()
            if account.upstream.name == candidate.upstream
        ]
        return tuple(sorted(found, key=lambda target: target.priority))

    # --- choice ------------------------------------------------------------------------------------

    def lease(
        self,
        targets: Sequence[Target],
        conversation: str,
        now: float,
        features: Features = no_features,
        *,
        probe: bool = True,
    ) -> Lease | None:
        """Take the slot of the best account that can be used now; None if there is none.

        `targets`: in the order that `targets` returns. Best: see `choice`. `conversation` must include the name of the
        client's key; "" for none. `features` returns what the request uses; called only if that matters. Without
        `probe` an account that needs a probe is left to other requests.
        """
        home = self.conversations.home(conversation, now) if conversation else None
        best: Target | None = None
        overflow = False
        for target in targets:
            state = target.state
            if best is not None and target.priority > best.priority:
                break
            if (
                state.disabled
                or state.upstream.breaker is not None
                or state.breaker is not None
                or state.parts
            ) and target.is_closed(now, features, probe=probe):
                continue
            if 0 < state.limit <= state.in_flight:
                overflow = overflow or state is home
                continue
            if state is home:
                best = target
                break
            if (
                best is None
                or state.in_flight < best.state.in_flight
                or (state.in_flight == best.state.in_flight and state.last_used < best.state.last_used)
            ):
                best = target
        if best is None:
            return None
        expected = False
        if self.on_news is not None and conversation and best.state is not home:
            peers = [target for target in targets if target.priority == best.priority]
            free = [target for target in peers if target.is_free(now, features, probe=probe)]
            best = min(free, key=self.precedence(free, conversation, home))
            expected = home is None and best is choose_if_all_free(targets, conversation)
        return self.take(best, conversation, home, overflow, now, features, expected=expected)

    def rank(
        self, targets: Sequence[Target], conversation: str, now: float, features: Features = no_features
    ) -> tuple[Ranked, ...]:
        """Return the targets in the order in which `lease` would take them: free ones, full ones, shut ones."""
        home = self.conversations.home(conversation, now) if conversation else None
        ranked = []
        for target in targets:
            opens_at = target.opens_at(now, features)
            shut = [one for _, one in target.breakers(features) if one.opens_at(now) > now + TICK]
            rule = max((one.until, one.rule.name) for one in shut if one.rule is not None)[1] if shut else ""
            opens_at = opens_at if shut else 0.0
            ranked.append(Ranked(target, opens_at, rule, target.state.full, target.state is home))
        free = (one.target for one in ranked if one.opens_at == 0.0 and not one.full)
        order = self.precedence(free, conversation, home)
        return tuple(sorted(ranked, key=lambda place: (place.opens_at, place.full, *order(place.target))))

    def take(
        self,
        target: Target,
        conversation: str,
        home: AccountState | None,
        overflow: bool,
        now: float,
        features: Features = no_features,
        *,
        alone: bool = False,
        expected: bool = False,
    ) -> Lease:
        """Take this target's slot.

        `home`: the account that the conversation is bound to; without one it is bound here for now, so that a client's
        concurrent first requests stay together. `overflow`: its home is only full. `alone`: no other target can serve
        the request. `expected`: see `Conversations.bind`.
        """
        state = target.state
        if conversation and home is None:
            self.conversations.bind(conversation, state, now, proven=False, expected=expected)
        state.in_flight += 1
        state.last_used = now
        if target.wire_model not in state.requested_models and len(state.requested_models) < MAX_MODELS:
            state.requested_models.add(target.wire_model)
        lease = Lease(self, target, conversation, overflow, now)
        if self.cures.active:
            lease.cures = self.cures.known(target.upstream, target.wire_model, now)
        if state.upstream.breaker is not None or state.breaker is not None or state.parts:
            for about, breaker in target.breakers(features):
                if breaker.enter(now, lease, alone=alone):
                    lease.probes = *lease.probes, breaker
                    if self.on_news is not None:
                        self.on_news("probe", scope_of(target, about, target.feature_of(breaker)), breaker)
        return lease

    # --- waiting -----------------------------------------------------------------------------------

    def on_free(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called once when a slot gets free, a probe ends, or a success opens something. Return a
        function that cancels it."""
        token = object()
        self._waiting[token] = callback

        def take_back() -> None:
            self._waiting.pop(token, None)

        return take_back

    def wake(self) -> None:
        """Call all waiting callbacks, in order."""
        for token in tuple(self._waiting):
            callback = self._waiting.pop(token, None)
            if callback is not None:
                callback()

    # --- results of attempts -----------------------------------------------------------------------

    def failed(
        self, lease: Lease, meaning: Meaning, failure: Failure, now: float, *, again: bool = False
    ) -> None:
        """Count a failure, and start the cool-down of its meaning. `again`: its request met the same one before."""
        target = lease.target
        state, upstream, about = target.state, target.state.upstream, meaning.about
        shared = upstream.breaker
        if shared is not None and failure.kind not in NO_RESPONSE and shared.ended_by(lease.started):
            if shared.rule is not None and shared.rule.name in UNREACHED:
                self._opened(target, About.UPSTREAM, "", shared)
            if shared.forget(*UNREACHED):
                upstream.breaker = None
        if about is About.REQUEST:
            return
        if meaning.rule.name == "forbidden" and state.forbid(target.wire_model, now):
            meaning = Meaning(RULES["billing"])
            about = meaning.about
        if about is About.UPSTREAM:
            upstream.breaker = breaker = upstream.breaker or CircuitBreaker()
        elif about is About.ACCOUNT:
            state.breaker = breaker = state.breaker or CircuitBreaker()
            self.conversations.forget(state)
        else:
            breaker = state.part_breaker(target.wire_model, meaning.feature)
        was, times = breaker.rule, (breaker.until, breaker.probe_at)
        breaker.fail(meaning, failure, now, lease.started, again=again)
        if was is None and breaker.rule is not None:
            self.on_change(change_of(target, about, meaning.feature, breaker, opened=False))
        if self.on_news is not None and times != (breaker.until, breaker.probe_at):
            self.on_news("cooling", scope_of(target, about, meaning.feature), breaker)
        self.conversations.unbind_unproven(lease.conversation, state)

    def broke(self, lease: Lease, failure: Failure | None, now: float, wall: float) -> None:
        """Note that a committed response ended badly, and release the lease. An error event is judged by its type; a
        broken connection says nothing about later ones. `wall`: unix seconds."""
        if failure is not None and failure.kind in (FailureKind.STATUS, FailureKind.STREAM_ERROR):
            meaning = meaning_of(failure, wall, wire_model=lease.target.wire_model)
            self.failed(lease, meaning, failure, now)
        lease.release()

    def mend(self, lease: Lease) -> bool:
        """Drop the breakers that a lease's success proves to be over: those of failures before it began. Return
        whether that opens anything."""
        target, started = lease.target, lease.started
        state, upstream = target.state, target.state.upstream
        ended: list[tuple[About, str, CircuitBreaker]] = []
        if upstream.breaker is not None and upstream.breaker.ended_by(started):
            ended.append((About.UPSTREAM, "", upstream.breaker))
            upstream.breaker = None
        if state.breaker is not None and state.breaker.ended_by(started):
            ended.append((About.ACCOUNT, "", state.breaker))
            state.breaker = None
        for part, breaker in list(state.parts.items()):
            # A feature is proven to work only by a request that was let in as its probe.
            served = part == (target.wire_model, "") or breaker in lease.probes
            if served and breaker.ended_by(started):
                ended.append((About.FEATURE if part[1] else About.MODEL, part[1], breaker))
                del state.parts[part]
        state.forbidden.pop(target.wire_model, None)
        opened = [(about, feature, breaker) for about, feature, breaker in ended if breaker.rule is not None]
        for about, feature, breaker in opened:
            self._opened(target, about, feature, breaker)
        return bool(opened)

    def _opened(self, target: Target, about: About, feature: str, breaker: CircuitBreaker) -> None:
        self.on_change(change_of(target, about, feature, breaker, opened=True))
        if self.on_news is not None:
            self.on_news("open", scope_of(target, about, feature), breaker)

    # --- for an operator ---------------------------------------------------------------------------

    def reopen(self, upstream: str = "", account: str = "") -> None:
        """End all cool-downs and forget all failures of an upstream or one of its accounts (all upstreams' without a
        name), since an operator knows that all is well. For a whole upstream also forget its learnt cures."""
        for state in self._accounts.values():
            if upstream in ("", state.upstream.name) and account in ("", state.name):
                if self.on_news is not None:
                    for scope, breaker in closing_breakers(state):
                        self.on_news("open", scope, breaker)
                state.breaker = state.upstream.breaker = None
                state.parts.clear()
                state.forbidden.clear()
        if not account:
            self.cures.forget(upstream)
        self.wake()

    def disable(self, upstream: str, account: str, disabled: bool = True) -> None:
        """Use an account no more until it is enabled again or the next reload; requests in progress continue."""
        self._accounts[upstream, account].disabled = disabled
        self.wake()

    def snapshot(self, now: float) -> tuple[AccountStatus, ...]:
        """Return the status of all accounts, in the configuration's order."""
        return tuple(account_status(account, now) for account in self._accounts.values())
