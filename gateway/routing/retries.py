"""Decides what follows a failure: another account, the same once more, a wait, or giving up.

`Retries` is created for a request's first failure, or when no account is free at once. `next` returns a lease to use, a
wait, or the final error; `failed` takes each attempt's failure. `meanings` interprets failures, `policy` has what
follows, the scheduler has the accounts' state; here they are combined with the limits on attempts and waiting. The
caller sends, waits and responds:

    lease = scheduler.lease(targets, conversation, now)
    # ... the attempt failed
    retries = Retries(scheduler, targets, conversation, retry, random, Sent(document, headers))
    retries.failed(lease, failure, now, wall)
    step = retries.next(now)     # Lease: send it; Wait: ask again later; GiveUp: respond with it
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gateway.config import Retry
from gateway.routing.accounts import AccountState, Target, UpstreamState
from gateway.routing.circuit_breaker import TICK
from gateway.routing.cures import MAX_CURES, MESSAGES_CURES, Cure, FindCure, find_cure
from gateway.routing.failures import Failure, status_of
from gateway.routing.give_up import FailedAttempt, GiveUp, give_up
from gateway.routing.meanings import Meaning, meaning_of
from gateway.routing.policy import NEVER, About, Next, Rule
from gateway.routing.scheduler import Lease, Scheduler
from gateway.routing.sent import NOTHING_KNOWN, Sent

__all__ = ["Choice", "GiveUp", "Retries", "Wait"]

JITTER = 0.2
"""A wait is lengthened by up to this part of it, so that requests that failed together do not retry together. It is
never shortened: that would retry before the cool-down's end."""

ASKED_FOR, FRESH, TRIED, HELD = range(4)
"""Preference of accounts in one request: the last failure's rule wants this one again; not tried yet; tried, and its
pause is over; not tried, but its upstream was found to be overloaded by another account's attempt."""


class Wait(NamedTuple):
    """Call `next` again after this many seconds."""

    seconds: float
    for_slot: bool
    """Also call it when `Scheduler.on_free` does: another request's end may open an account earlier."""


class Choice(NamedTuple):
    """Use this account."""

    target: Target
    alone: bool
    """Whether no account is open by the cool-downs for requests that have other targets."""


class Tried(NamedTuple):
    """A failed attempt, for the log."""

    account: str
    upstream: str
    status: int
    """The response's status, or the one for no response: 502 or 504."""


class Retries:
    """Decides for one request, from its first failure on. `random` returns [0, 1)."""

    __slots__ = (
        "_avoid",
        "_charged",
        "_conversation",
        "_cured",
        "_ended",
        "_features",
        "_final",
        "_free",
        "_held",
        "_home",
        "_log",
        "_met",
        "_opens_at",
        "_over",
        "_overflow",
        "_prefer",
        "_random",
        "_refreshed",
        "_refused",
        "_retry",
        "_scheduler",
        "_sent",
        "_slot",
        "_targets",
        "_tried",
        "_wait_since",
        "_waited",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        targets: Sequence[Target],
        conversation: str,
        retry: Retry,
        random: Callable[[], float],
        sent: Sent = NOTHING_KNOWN,
    ) -> None:
        """`targets`, `conversation`: as given to `Scheduler.lease`. `retry`: the limits. `random`: for jitter. `sent`:
        the client's request."""
        self._scheduler = scheduler
        self._targets = targets
        self._conversation = conversation
        self._retry = retry
        self._random = random
        self._sent = sent
        self._features: frozenset[str] | None = None
        self._charged = 0
        """Attempts that count against the limit."""
        self._refused: set[Target] = set()
        """Accounts whose only attempt was refused at once: another attempt there counts it."""
        self._waited = 0.0
        self._wait_since = -NEVER
        self._home: AccountState | None = None
        self._overflow = False
        """Whether the conversation's own account was only full, so that the conversation stays bound to it."""
        self._log: list[FailedAttempt] = []
        self._tried: dict[Target, float] = {}
        """When an account that failed may be used again; NEVER if its rule forbids it."""
        self._held: dict[UpstreamState, Target] = {}
        """Overloaded upstreams, and the account that found it: none there is used before its pause ends, and then it is
        the first."""
        self._met: dict[str, int] = {}
        """How often this request met each rule."""
        self._prefer: Target | None = None
        self._free: Target | None = None
        """The account whose next attempt does not count: its token was refused, or there is a cure."""
        self._avoid: set[UpstreamState] = set()
        """Upstreams to avoid, by the last failure's rule."""
        self._refreshed: set[Target] = set()
        self._cured: list[tuple[str, Cure, bool]] = []
        """Cures found, for which upstream ("": for all), and whether to remember each."""
        self._final: FailedAttempt | None = None
        """A failure that ends the request, whatever other failures there were."""
        self._over = False
        """Whether no more attempts are made, though some may be left."""
        self._ended: GiveUp | None = None
        self._opens_at = NEVER
        self._slot = False

    @property
    def tried(self) -> tuple[Tried, ...]:
        """The failed attempts so far, without those that were cured."""
        return tuple(
            Tried(one.target.account, one.target.upstream, one.status)
            for one in self._log
            if one.cure is None
        )

    def has_met(self, rule: str) -> bool:
        """Return whether an attempt failed by this row of the table."""
        return rule in self._met

    # --- the next step -----------------------------------------------------------------------------

    def next(self, now: float) -> Lease | Wait | GiveUp:
        """Return the next step. A Lease must end, by `failed` or `Lease.release`, before this is called again."""
        step = self.look(now)
        return self._take(step, now) if isinstance(step, Choice) else step

    def look(self, now: float) -> Choice | Wait | GiveUp:
        """Return the next step without taking the account's slot."""
        if self._wait_since > -NEVER:
            self._waited += now - self._wait_since
            self._wait_since = -NEVER
        if self._ended is not None:
            return self._ended
        if self._over:
            return self._give_up(now)
        for alone in (False, True):
            target = self._choose(now, alone=alone)
            if target is not None:
                return Choice(target, alone)
        return self._pause(now)

    def _take(self, choice: Choice, now: float) -> Lease:
        target = choice.target
        lease = self._scheduler.take(
            target, self._conversation, self._home, self._overflow, now, self._used, alone=choice.alone
        )
        cured = [(cure, kept) for upstream, cure, kept in self._cured if upstream in ("", target.upstream)]
        if cured:
            lease.cures = tuple(dict.fromkeys((*lease.cures, *(cure for cure, _ in cured))))
            lease.fresh_cures = tuple(cure for cure, kept in cured if kept)
        if target is not self._free:
            self._free = None
            if target in self._refused:
                self._refused.discard(target)
                self._charged += 1
        return lease

    def _pause(self, now: float) -> Wait | GiveUp:
        """Wait for the account that opens first, if the budget allows it, since none is open now."""
        left = self._retry.max_wait - self._waited
        opens_in = self._opens_at - now
        if opens_in <= left:
            seconds = min(opens_in * (1.0 + JITTER * self._random()), left)
        elif self._slot and left > TICK:
            seconds = left
        else:
            return self._give_up(now)
        self._wait_since = now
        return Wait(seconds, self._slot)

    def _give_up(self, now: float) -> GiveUp:
        last = [self._final] if self._final is not None else self._log
        self._ended = give_up(self._targets, last, now, self._used)
        return self._ended

    def _used(self) -> frozenset[str]:
        """Return the features that the request uses."""
        if self._features is None:
            self._features = self._sent.features()
        return self._features

    def _choose(self, now: float, *, alone: bool) -> Target | None:
        """Return the best account that can be used now. If there is none, `_opens_at` and `_slot` say when.

        Best: by `_grade`; then on another upstream, if the last failure's rule says so; then as in `Scheduler.lease`.
        `alone`: none is open by the cool-downs for requests that have other targets.
        """
        scheduler, tried = self._scheduler, self._tried
        home = scheduler.conversations.home(self._conversation, now) if self._conversation else None
        free: list[tuple[int, bool, Target]] = []
        self._opens_at, self._slot, self._overflow, self._home = NEVER, False, False, home
        for target in self._targets:
            state = target.state
            if not self._affords(target):
                continue
            opens_at = self._target_opens_at(target, now, alone=alone)
            if opens_at > now + TICK:
                self._opens_at = min(self._opens_at, opens_at)
                self._slot = self._slot or (opens_at < NEVER and target.may_open_early(self._used))
                continue
            if state.full:
                self._slot = True
                self._overflow = self._overflow or (state is home and target not in tried)
                continue
            free.append((self._grade(target), state.upstream in self._avoid, target))
        if not free:
            return None
        best = min(one[:2] for one in free)
        among = [one[2] for one in free if one[:2] == best]
        return min(among, key=scheduler.precedence(among, self._conversation, home))

    def _affords(self, target: Target) -> bool:
        """Return whether the limit on attempts allows another one on this account."""
        return self._charged + (target in self._refused) < self._retry.max_attempts

    def _target_opens_at(self, target: Target, now: float, *, alone: bool) -> float:
        """Return when this request may use an account, by its own pauses and by all cool-downs."""
        if not self._log:
            return target.opens_at(now, self._used, alone=alone)
        upstream = target.state.upstream
        pause_ends = self._tried.get(self._held.get(upstream, target), 0.0)
        if pause_ends == NEVER or self._tried.get(target) == NEVER:
            return NEVER
        met = any(
            one.rule.about is About.UPSTREAM and one.target.state.upstream is upstream for one in self._log
        )
        opens_at = target.opens_at(
            now, self._used, upstream_early=met, model_early=target in self._tried, alone=alone
        )
        return max(pause_ends, opens_at)

    def _grade(self, target: Target) -> int:
        if target is self._prefer:
            return ASKED_FOR
        if target in self._tried:
            return TRIED
        return HELD if target.state.upstream in self._held else FRESH

    # --- results of attempts -----------------------------------------------------------------------

    def failed(
        self,
        lease: Lease,
        failure: Failure,
        now: float,
        wall: float,
        find: FindCure | None = None,
    ) -> FailedAttempt:
        """Note that an attempt failed before anything was committed, and release its lease. Return the judged failure.

        `wall`: unix seconds. `find`: finds a cure, by the upstream's dialect.
        """
        target = lease.target
        meaning = meaning_of(failure, wall, wire_model=target.wire_model, features=self._used())
        free, self._free, self._prefer = self._free, None, None
        self._avoid.clear()
        self._held.pop(target.state.upstream, None)
        cure = self._cure(lease, meaning, find or partial(find_cure, MESSAGES_CURES, failure))
        status = meaning.status or status_of(failure)
        attempt = FailedAttempt(target, failure, meaning.rule, status, meaning.hint is not None, cure)
        if cure is not None:
            self._ask_again(target, now)
        elif meaning.rule.name == "login" and target.state.refreshable and target not in self._refreshed:
            self._refreshed.add(target)
            self._ask_again(target, now)
        else:
            again = any(one.rule is meaning.rule and _same(one.target, target, meaning) for one in self._log)
            self._scheduler.failed(lease, meaning, failure, now, again=again)
            self._charge(target, meaning.rule, free=free is target)
            self._prepare_next(attempt, meaning, now)
        if meaning.rule.name == "connect":
            self._waited += now - lease.started
        self._log.append(attempt)
        lease.release()
        return attempt

    def _cure(self, lease: Lease, meaning: Meaning, find: FindCure) -> Cure | None:
        """Find a cure; None if there is none."""
        curable = meaning.about not in (About.ACCOUNT, About.UPSTREAM) and meaning.rule.name != "pairing"
        if not curable or len(self._cured) >= MAX_CURES:
            return None
        upstream = lease.target.upstream
        found = find(self._sent, lease.cures, self._scheduler.cures.never(upstream))
        if found is None:
            return None
        cure, remembered = found
        # A cure that is not remembered depends on the request, not on the host, so it holds for all upstreams.
        self._cured.append((upstream if remembered else "", cure, remembered))
        return cure

    def _ask_again(self, target: Target, now: float) -> None:
        """Use the same account again at once, without counting it."""
        self._prefer = self._free = target
        self._tried[target] = now

    def _charge(self, target: Target, rule: Rule, *, free: bool) -> None:
        """Count a failed attempt against the limit, if it took time or repeated another."""
        repeated = target in self._tried and not free
        if rule.costs or repeated:
            self._charged += 1
        else:
            self._refused.add(target)

    def _prepare_next(self, attempt: FailedAttempt, meaning: Meaning, now: float) -> None:
        """Prepare the next choice after this failure."""
        target, rule = attempt.target, meaning.rule
        upstream = target.state.upstream
        count = self._met[rule.name] = self._met.get(rule.name, 0) + 1
        again = NEVER
        if Next.RETURN in rule.next:
            self._final = attempt
            self._over = True
        elif not meaning.should_retry:
            pass
        elif Next.AFTER_COOL_DOWN in rule.next:
            again = now
        elif Next.SAME in rule.next and not (rule.once and count > 1):
            again = now + rule.pause * 2.0 ** (count - 1) * (1.0 + JITTER * self._random())
        self._tried[target] = again
        if Next.OTHER_UPSTREAM in rule.next:
            self._avoid.add(upstream)
        if Next.OTHER_ACCOUNT in rule.next:
            return
        # Other accounts of this upstream do not help: either all of it waits, or only this account is used again.
        if rule.next == (Next.OTHER_UPSTREAM,):
            self._tried.update((other, NEVER) for other in self._targets if other.state.upstream is upstream)
        elif Next.OTHER_UPSTREAM in rule.next:
            self._held[upstream] = target
        elif Next.SAME in rule.next and again < NEVER:
            self._prefer = target
        else:
            self._over = True


def _same(one: Target, other: Target, meaning: Meaning) -> bool:
    """Return whether two failures of one meaning are about the same thing."""
    if meaning.about is About.UPSTREAM:
        return one.state.upstream is other.state.upstream
    if meaning.about is About.ACCOUNT:
        return one.state is other.state
    return one is other
