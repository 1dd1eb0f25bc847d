"""Applies other processes' news about an upstream or an account to its state here. Times are monotonic seconds.

`state` is the account that a scope names, or any account of its upstream: see `Scheduler.find`.
"""

from gateway.routing.accounts import AccountState
from gateway.routing.circuit_breaker import CircuitBreaker, SharedCoolDown
from gateway.routing.scheduler import Scheduler
from gateway.routing.status import Scope


def close(scheduler: Scheduler, state: AccountState, scope: Scope, shared: SharedCoolDown) -> None:
    """Apply a cool-down that another process has started."""
    if scope.wire_model:
        breaker = state.part_breaker(scope.wire_model, scope.feature)
    elif scope.account:
        breaker = state.breaker = state.breaker or CircuitBreaker()
        scheduler.conversations.forget(state)
    else:
        breaker = state.upstream.breaker = state.upstream.breaker or CircuitBreaker()
    breaker.merge(shared)


def open(scheduler: Scheduler, state: AccountState, scope: Scope, since: float) -> None:
    """Drop failures from before `since`, when another process was served."""
    breaker = breaker_of(state, scope)
    if breaker is None or not breaker.ended_by(since):
        return
    if scope.wire_model:
        del state.parts[scope.wire_model, scope.feature]
        state.forbidden.pop(scope.wire_model, None)
    elif scope.account:
        state.breaker = None
    else:
        state.upstream.breaker = None
    scheduler.wake()


def probe(state: AccountState, scope: Scope, until: float) -> None:
    """Wait for another process's probe, until this time at most."""
    breaker = breaker_of(state, scope)
    if breaker is not None:
        breaker.probe_remotely(until)


def breaker_of(state: AccountState, scope: Scope) -> CircuitBreaker | None:
    """Return the breaker of what a scope names."""
    if scope.wire_model:
        return state.parts.get((scope.wire_model, scope.feature))
    return state.breaker if scope.account else state.upstream.breaker
