"""Reads transcripts: what happened to requests, and what their plans said, a line for each step.

A cast names the accounts: `A B` are two accounts of one upstream, `A / B` two upstreams of one priority,
`A | F` an upstream with a fallback. `A:2` takes two requests at once, `A*` logs in with OAuth.

A line is `time request [outcome] [-> what next says]`. A request comes into being when it is first named;
`r@talk` belongs to the conversation `talk`. Outcomes: `ok`, `done`, `answered`, `broke ...`, or a failure:
a status (with headers: `429 retry-after=2`), `connect`, `empty`, `signature`, `error TYPE`.
What next says: an account (`A`, `A stripped`, `A refresh`), `wait 0.25`, `wait 20 slot`, or
`stop 429 A after=30` (status, whose failure, retry-after), `final` when the client must not try again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.config import Account, Retry, Secret, Upstream
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.model_routes import Candidate
from gateway.routing.retries import GiveUp, Plan, Try, Wait
from gateway.routing.scheduler import Scheduler

WALL = 1_800_000_000.0
"""Unix time when the monotonic clock shows 0."""

MODEL = "m"


def cast(text: str) -> list[Upstream]:
    """The upstreams of a cast, named after their first account in lower case."""
    upstreams = []
    for priority, level in enumerate(text.split("|")):
        for accounts in level.split("/"):
            made = tuple(_account(word) for word in accounts.split())
            name = made[0].name.lower()
            upstreams.append(
                Upstream(
                    name=name,
                    kind="anthropic",
                    base_url="https://upstream.example",
                    priority=priority,
                    accounts=made,
                )
            )
    return upstreams


def _account(word: str) -> Account:
    name, _, limit = word.rstrip("*").partition(":")
    if word.endswith("*"):
        return Account(name=name, oauth_file=Path("token.json"), max_concurrent=int(limit or 0))
    return Account(name=name, api_key=Secret("sk"), max_concurrent=int(limit or 0))


def candidates(upstreams: Sequence[Upstream]) -> tuple[Candidate, ...]:
    """Every upstream, for one model."""
    return tuple(Candidate(upstream.name, MODEL, upstream.priority) for upstream in upstreams)


def failure(words: Sequence[str]) -> Failure:
    """The failure that an outcome's words stand for."""
    kind, *rest = words
    if kind == "connect":
        return Failure(kind=FailureKind.CONNECT, message="connection refused")
    if kind == "empty":
        return Failure(kind=FailureKind.INCOMPLETE)
    if kind == "signature":
        return Failure(kind=FailureKind.STATUS, status=400, message="Invalid `signature` in `thinking` block")
    if kind == "error":
        return Failure(kind=FailureKind.STREAM_ERROR, type=rest[0], message="said in the stream")
    if "billing" in rest:
        return Failure(kind=FailureKind.STATUS, status=int(kind), type="billing_error")
    headers = tuple(
        (name.encode(), value.encode()) for name, _, value in (word.partition("=") for word in rest)
    )
    return Failure(kind=FailureKind.STATUS, status=int(kind), headers=headers, message=f"said with {kind}")


def told(step: Try | Wait | GiveUp) -> str:
    """What `next` said, as transcripts write it."""
    if isinstance(step, Try):
        return step.account + " stripped" * step.without_thinking + " refresh" * step.refresh
    if isinstance(step, Wait):
        return f"wait {step.seconds:g}" + " slot" * step.for_slot
    after = "" if step.retry_after is None else f" after={step.retry_after}"
    return f"stop {step.status} {step.account or '-'}{after}" + " final" * step.final


class Stage:
    """A cast and the requests that were named so far. `random` is the jitter: none unless given."""

    def __init__(
        self, names: str, retry: Retry | None = None, random: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.upstreams = cast(names)
        self.scheduler = Scheduler(self.upstreams)
        self.retry = retry or Retry()
        self.random = random
        self.plans: dict[str, Plan] = {}

    def play(self, transcript: str) -> None:
        """Assert that every line with `->` says what next says."""
        for line in transcript.strip().splitlines():
            done, arrow, expected = (part.strip() for part in line.partition("->"))
            time, request, *outcome = done.split()
            now = float(time)
            name, _, conversation = request.partition("@")
            if name not in self.plans:
                self.plans[name] = Plan(
                    self.scheduler, candidates(self.upstreams), conversation, self.retry, self.random
                )
            plan = self.plans[name]
            if outcome:
                self._report(plan, now, outcome)
            if arrow:
                assert told(plan.next(now)) == expected, f"at: {line.strip()}\n{self.scheduler!r}"

    @staticmethod
    def _report(plan: Plan, now: float, outcome: Sequence[str]) -> None:
        wall = WALL + now
        match outcome:
            case ["ok"]:
                plan.succeeded(now)
            case ["done"]:
                plan.done(now)
            case ["answered"]:
                plan.answered(now)
            case ["broke", *words]:
                plan.broke(now, wall, failure(words) if words else None)
            case words:
                plan.failed(now, wall, failure(words))
