"""One client request's way through the accounts: every decision, from the first choice to the last word.

A `Plan` is asked `next`, and says: try this, wait so long, or stop. It is told how each attempt went. What
a failure means stands in `failure.TABLE`; who is healthy, in the scheduler; here the two meet the limits on
attempts and waiting. Sending, sleeping and answering are the caller's: after a Try exactly one of `failed`,
`succeeded` (then `broke` or `done`) or `done` must follow. What a GiveUp tells the client: see `outcome`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.config import Retry
from gateway.routing.circuit_breaker import NEVER, TICK, CircuitBreaker
from gateway.routing.failures import Failure, FailureKind, Next, Scope, Verdict, judge
from gateway.routing.give_up import FailedAttempt, GiveUp, give_up
from gateway.routing.model_routes import Candidate
from gateway.routing.scheduler import Scheduler, Target, UpstreamState

__all__ = ["GiveUp", "Plan", "Try", "Wait"]

JITTER = 0.2
"""A wait gets up to this part longer, so that requests that failed together do not come back together.
Never shorter: at the end of a cool-down, early is too early."""

ASKED_FOR, FRESH, TRIED, HELD = range(4)
"""Grades of accounts in one request: the last failure's rule wants it again; not tried yet; tried, and its
pause is over; not tried, but on an upstream where another account was told that all of it is overloaded."""


class Try(NamedTuple):
    """Send the request to this account; its slot is taken."""

    upstream: str
    account: str
    wire_model: str
    attempt: int
    """Counts the attempts of this request, from 1."""
    without_thinking: bool
    """A signature was refused: send the history without thinking."""
    refresh: bool
    """The account's token was refused: get a fresh one first."""


class Wait(NamedTuple):
    """Ask again after this many seconds."""

    seconds: float
    for_slot: bool
    """Ask also when `Scheduler.on_free` calls: an account is full, or being probed by another request."""


class Plan:
    """Decides for one request. `now` is monotonic seconds, `wall` unix seconds, `random` gives [0, 1)."""

    __slots__ = (
        "_avoid",
        "_conversation",
        "_ended",
        "_final",
        "_free",
        "_held",
        "_left",
        "_log",
        "_met",
        "_opens_at",
        "_option",
        "_options",
        "_over",
        "_overflow",
        "_prefer",
        "_probed",
        "_random",
        "_refresh",
        "_refreshed",
        "_retry",
        "_scheduler",
        "_slot",
        "_started",
        "_stripped",
        "_tried",
        "_wait_since",
        "_waited",
        "attempts",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        candidates: Sequence[Candidate],
        conversation: str,
        retry: Retry,
        random: Callable[[], float],
    ) -> None:
        """`conversation` must hold the client's key name as well; "" for none."""
        self._scheduler = scheduler
        self._options = scheduler.options(candidates)
        self._conversation = conversation
        self._retry = retry
        self._random = random
        self.attempts = 0
        """Requests sent so far, those that do not count against the limit included."""
        self._left = retry.max_attempts
        self._waited = 0.0
        self._wait_since = -NEVER
        self._option: Target | None = None
        """Who is being tried: its slot is taken."""
        self._probed: tuple[CircuitBreaker, ...] = ()
        self._started = 0.0
        self._overflow = False
        """The conversation's own account was only full: it stays bound there."""
        self._log: list[FailedAttempt] = []
        self._tried: dict[Target, float] = {}
        """When an account that failed may be asked again; never, if its rule says so."""
        self._held: dict[UpstreamState, Target] = {}
        """Upstreams that are overloaded, and the account that met it: nobody there is asked before its
        pause ends, and then it is the first."""
        self._met: dict[str, int] = {}
        """How often this request met a rule."""
        self._prefer: Target | None = None
        self._free: Target | None = None
        """Who may be tried once more without counting: a signature or a token was refused."""
        self._avoid: UpstreamState | None = None
        self._refresh: Target | None = None
        self._refreshed: set[Target] = set()
        self._stripped = False
        self._final: FailedAttempt | None = None
        """The failure that ends everything, whatever else was met."""
        self._over = False
        """No more attempts, though some may be left."""
        self._ended: GiveUp | None = None
        self._opens_at = NEVER
        self._slot = False

    @property
    def failures(self) -> list[tuple[str, Failure]]:
        """(account, failure) of every failed attempt, in order."""
        return [(attempt.option.account.config.name, attempt.failure) for attempt in self._log]

    # --- what to do --------------------------------------------------------------------------------

    def next(self, now: float) -> Try | Wait | GiveUp:
        """The next step. After a Try it must not be asked before the attempt has been reported."""
        if self._option is not None:
            raise RuntimeError("the attempt before this one was not reported")
        if self._wait_since > -NEVER:
            self._waited += now - self._wait_since
            self._wait_since = -NEVER
        if self._ended is not None:
            return self._ended
        if self._over or (self._left <= 0 and self._free is None):
            return self._stop(now)
        option = self._choose(now)
        if option is not None:
            return self._try(option, now)
        return self._pause(now)

    def _try(self, option: Target, now: float) -> Try:
        scheduler, conversation, account = self._scheduler, self._conversation, option.account
        if conversation and scheduler.bound(conversation, now) is None:
            # Requests that a client sends at the same time belong together before the first succeeds.
            scheduler.bind(conversation, account, now)
        self._probed = scheduler.take(option, now, self)
        self._option = option
        self._started = now
        self.attempts += 1
        self._left -= option is not self._free
        self._free = None
        refresh = option is self._refresh
        self._refresh = None
        return Try(
            account.upstream.name,
            account.config.name,
            option.wire_model,
            self.attempts,
            self._stripped,
            refresh,
        )

    def _pause(self, now: float) -> Wait | GiveUp:
        """Nobody can be asked now: wait for whoever is first, if the budget allows."""
        left = self._retry.max_wait - self._waited
        opens_in = self._opens_at - now
        if opens_in <= left:
            seconds = min(opens_in * (1.0 + JITTER * self._random()), left)
        elif self._slot and left > TICK:
            seconds = left
        else:
            return self._stop(now)
        self._wait_since = now
        return Wait(seconds, self._slot)

    def _stop(self, now: float) -> GiveUp:
        last = [self._final] if self._final is not None else self._log
        self._ended = give_up(self._options, last, now)
        return self._ended

    def _choose(self, now: float) -> Target | None:
        """The best account that can be asked now. If there is none, `_opens_at` and `_slot` tell when.

        Best: by `_grade`; then on another upstream, if the last failure asks for that; then by priority; then
        the conversation's own; then fewest requests in flight, least recently used.
        """
        scheduler, tried = self._scheduler, self._tried
        home = scheduler.bound(self._conversation, now) if self._conversation else None
        best = None
        best_rank: tuple[int, bool, int, bool, int, float] | None = None
        self._opens_at, self._slot, self._overflow = NEVER, False, False
        only = self._free if self._left <= 0 else None
        for option in self._options if only is None else (only,):
            account = option.account
            opens_at = self._option_opens_at(option, now)
            if opens_at > now + TICK:
                self._opens_at = min(self._opens_at, opens_at)
                self._slot = self._slot or (opens_at < NEVER and option.probed())
                continue
            if account.full:
                self._slot = True
                self._overflow = self._overflow or (account is home and option not in tried)
                continue
            rank = (
                self._grade(option) if tried else FRESH,
                account.upstream is self._avoid,
                option.priority,
                account is not home,
                account.in_flight,
                account.last_used,
            )
            if best_rank is None or rank < best_rank:
                best, best_rank = option, rank
        return best

    def _option_opens_at(self, option: Target, now: float) -> float:
        """When this request may ask an account: its own pauses, and everybody's cool-downs."""
        if not self._log:
            return option.opens_at(now)
        upstream = option.account.upstream
        pause_ends = self._tried.get(self._held.get(upstream, option), 0.0)
        if pause_ends == NEVER or self._tried.get(option) == NEVER:
            return NEVER
        met = any(
            attempt.rule.scope is Scope.UPSTREAM and attempt.option.account.upstream is upstream
            for attempt in self._log
        )
        opens_at = option.opens_at(now, upstream_early=met, model_early=option in self._tried)
        return max(pause_ends, opens_at)

    def _grade(self, option: Target) -> int:
        if option is self._prefer:
            return ASKED_FOR
        if option in self._tried:
            return TRIED
        return HELD if option.account.upstream in self._held else FRESH

    # --- how it went -------------------------------------------------------------------------------

    def failed(self, now: float, wall: float, failure: Failure) -> None:
        """The attempt failed before anything was committed. Frees its slot."""
        option = self._release()
        refreshable = option.account.config.oauth_file is not None and option not in self._refreshed
        verdict = judge(failure, wall, refreshable=refreshable, stripped=self._stripped)
        self._scheduler.failed(option, verdict, failure, now, self._started)
        attempt = FailedAttempt(option, failure, verdict.rule)
        self._log.append(attempt)
        self._go_on(attempt, verdict, now)
        self._scheduler.wake()

    def _go_on(self, attempt: FailedAttempt, verdict: Verdict, now: float) -> None:
        """What the next choice must know of this failure."""
        option, rule = attempt.option, verdict.rule
        upstream = option.account.upstream
        count = self._met[rule.name] = self._met.get(rule.name, 0) + 1
        self._prefer = self._avoid = None
        self._held.pop(upstream, None)
        again = NEVER
        if Next.RETURN in rule.next:
            self._final = attempt
            self._over = True
        elif Next.SIGNATURE in rule.next:
            self._stripped = True
            self._prefer = self._free = option
            again = now
        elif Next.REFRESH in rule.next:
            # The first one is free; with several accounts whose logins have ended, the limit holds.
            self._free = None if self._refreshed else option
            self._refreshed.add(option)
            self._prefer = self._refresh = option
            again = now
        elif Next.AFTER_COOL_DOWN in rule.next:
            again = now
        elif Next.SAME in rule.next and not (rule.once and count > 1):
            again = now + rule.pause * 2.0 ** (count - 1) * (1.0 + JITTER * self._random())
        self._tried[option] = again
        if Next.OTHER_UPSTREAM in rule.next:
            self._avoid = upstream
        if Next.SAME in rule.next and Next.OTHER_ACCOUNT not in rule.next:
            # No other account of this upstream is of use: either all of it waits, or it is this one or none.
            if Next.OTHER_UPSTREAM in rule.next:
                self._held[upstream] = option
            elif again < NEVER:
                self._prefer = option
            else:
                self._over = True

    def answered(self, now: float) -> None:
        """The head of a 2xx has come. Others who wait for this attempt as a probe need wait no longer."""
        for health in self._probed:
            health.answered(now, self)
        if self._probed:
            self._scheduler.wake()

    def succeeded(self, now: float) -> None:
        """The answer is committed. The slot stays taken until `done` or `broke`."""
        option = self._attempt()
        scheduler, account = self._scheduler, option.account
        scheduler.succeeded(option, self._started)
        if self._conversation:
            keep = scheduler.bound(self._conversation, now) if self._overflow else None
            scheduler.bind(self._conversation, keep or account, now)
        if self._probed:
            for health in self._probed:
                health.leave(self)
            self._probed = ()
            scheduler.wake()

    def broke(self, now: float, wall: float, failure: Failure | None) -> None:
        """A committed answer ended badly. An error event cools down as its type says. Frees the slot."""
        option = self._release()
        if failure is not None:
            verdict = judge(failure, wall, stripped=True)
            if failure.kind in (FailureKind.STATUS, FailureKind.STREAM_ERROR):
                self._scheduler.failed(option, verdict, failure, now, self._started)
            self._log.append(FailedAttempt(option, failure, verdict.rule))
        self._scheduler.wake()

    def done(self, now: float) -> None:
        """The request has ended or was given up, in whatever phase. Frees the slot; may be called again."""
        if self._option is not None:
            self._release()
            self._scheduler.wake()

    def _attempt(self) -> Target:
        if self._option is None:
            raise RuntimeError("no attempt is under way")
        return self._option

    def _release(self) -> Target:
        option = self._attempt()
        self._scheduler.release(option, self._probed, self)
        self._option = None
        self._probed = ()
        return option
