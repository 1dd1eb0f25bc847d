"""The status of accounts as values: for readiness checks, operators and tests."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from gateway.routing.accounts import AccountState, Part, Target
from gateway.routing.circuit_breaker import TICK, TURNED_OFF, CircuitBreaker
from gateway.routing.policy import NEVER, About, Rule


class State(Enum):
    """What an account could do with a request now, for the model for which it can do most."""

    FREE = "free"
    BUSY = "busy"
    """Its slots are taken."""
    COOLING = "cooling"
    """Closed by something that passes by itself."""
    PROBING = "probing"
    """One request probes whether it works again; others wait for the result."""
    CLOSED = "closed"
    """The account itself was refused or disabled: an operator must act."""


class CoolDown(NamedTuple):
    """One cool-down. Times are monotonic seconds."""

    about: About
    rule: str
    """The row of the failure table that started it."""
    words: str
    """The upstream's message; it may contain what only an operator should see."""
    since: float
    until: float
    """When the limit is lifted, as far as is known."""
    alone_until: float
    """The same for a request that no other target can serve."""
    probe_at: float
    """When a probe may pass: `until`, or earlier."""
    probing: bool
    wire_model: str = ""
    """The model that is closed, if only one is."""
    feature: str = ""
    """The feature of that model that is closed, if only one is."""


class AccountStatus(NamedTuple):
    """One account. `about`, `until` and `cause` describe the cool-down that ends last; empty if it is open."""

    upstream: str
    account: str
    in_flight: int
    limit: int
    """Requests in flight at once; 0 sets no limit."""
    state: State
    disabled: bool
    """By the operator."""
    about: About | None
    until: float
    """Monotonic seconds; 0.0 if it is open, or disabled."""
    alone_until: float
    """The same for a request that no other target can serve: what passes by itself does not hold it back for long."""
    cause: str
    """The row of the failure table."""
    cool_downs: tuple[CoolDown, ...]
    """All cool-downs, including those that have ended without a probe, and those of single models."""

    @property
    def ready(self) -> bool:
        """Return whether it could serve some model now, or once a slot is free."""
        return self.state not in (State.COOLING, State.CLOSED)


def account_status(account: AccountState, now: float) -> AccountStatus:
    """Return the status of an account at `now` (monotonic seconds)."""
    cool_downs = [
        _cool_down(about, part, breaker, breaker.rule)
        for about, part, breaker in (
            (About.ACCOUNT, ("", ""), TURNED_OFF if account.disabled else None),
            (About.UPSTREAM, ("", ""), account.upstream.breaker),
            (About.ACCOUNT, ("", ""), account.breaker),
            *(
                (About.FEATURE if part[1] else About.MODEL, part, breaker)
                for part, breaker in account.parts.items()
            ),
        )
        if breaker is not None and breaker.rule is not None
    ]
    # Closed models close the account only if every model it may be used for is closed.
    names = account.wire_models or account.requested_models
    of_models = [one for one in cool_downs if one.about is About.MODEL and one.wire_model in names]
    shutting = [one for one in cool_downs if one.about in (About.UPSTREAM, About.ACCOUNT)]
    if names and len(of_models) == len(names):
        shutting.append(min(of_models, key=lambda one: one.probe_at))
    cooling = [one for one in shutting if now + TICK < one.probe_at]
    last = max(cooling, key=lambda one: one.until, default=None)
    if last is not None:
        state = State.CLOSED if last.about is About.ACCOUNT else State.COOLING
    elif any(one.probing for one in shutting):
        state = State.PROBING
    else:
        state = State.BUSY if account.full else State.FREE
    return AccountStatus(
        upstream=account.upstream.name,
        account=account.name,
        in_flight=account.in_flight,
        limit=account.limit,
        state=state,
        disabled=account.disabled,
        about=last.about if last is not None else None,
        until=last.until if last is not None and last.until < NEVER else 0.0,
        alone_until=max((one.alone_until for one in cooling), default=0.0),
        cause=last.rule if last is not None else "",
        cool_downs=tuple(cool_downs),
    )


def _cool_down(about: About, part: Part, breaker: CircuitBreaker, rule: Rule) -> CoolDown:
    return CoolDown(
        about=about,
        wire_model=part[0],
        feature=part[1],
        rule=rule.name,
        words=breaker.cause.message if breaker.cause is not None else "",
        since=breaker.failed_at,
        until=breaker.until,
        alone_until=breaker.free_at,
        probe_at=breaker.probe_at,
        probing=breaker.prober is not None,
    )


class Scope(NamedTuple):
    """What a cool-down closes, by names that are the same in every process."""

    upstream: str
    account: str = ""
    """Empty for all of an upstream's accounts."""
    wire_model: str = ""
    """Empty for all models."""
    feature: str = ""


def closing_breakers(account: AccountState) -> Iterator[tuple[Scope, CircuitBreaker]]:
    """Yield all breakers that close an account, with their scope."""
    upstream = account.upstream
    if upstream.breaker is not None:
        yield Scope(upstream.name), upstream.breaker
    if account.breaker is not None:
        yield Scope(upstream.name, account.name), account.breaker
    for part, breaker in account.parts.items():
        yield Scope(upstream.name, account.name, *part), breaker


def scope_of(target: Target, about: About, feature: str) -> Scope:
    """Return what a failure of this target closes, by what it is about."""
    return Scope(
        target.upstream,
        "" if about is About.UPSTREAM else target.account,
        target.wire_model if about in (About.MODEL, About.FEATURE) else "",
        feature,
    )


class Change(NamedTuple):
    """Something was closed or opened."""

    opened: bool
    about: About
    upstream: str
    rule: str
    """The row of the failure table that closed it."""
    status: int
    """The upstream's status, 0 if there was no response."""
    words: str
    """The upstream's message; to be censored before it is shown."""
    until: float
    """Monotonic seconds until which it is closed, as far as is known."""
    account: str = ""
    wire_model: str = ""
    feature: str = ""
    """What was closed or opened: see `Scope`."""


def change_of(target: Target, about: About, feature: str, breaker: CircuitBreaker, *, opened: bool) -> Change:
    """Return the change for a breaker whose cool-down has just begun or ended."""
    rule, cause = breaker.rule, breaker.cause
    return Change(
        opened=opened,
        about=about,
        **scope_of(target, about, feature)._asdict(),
        rule=rule.name if rule is not None else "",
        status=cause.status if cause is not None else 0,
        words=cause.message if cause is not None else "",
        until=breaker.until,
    )
