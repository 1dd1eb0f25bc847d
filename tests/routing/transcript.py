"""Reads transcripts: the outcomes of requests and the decisions that follow, a line for each step.

A cast names the accounts: `A B` are two accounts of one upstream, `A / B` two upstreams of one priority,
`A | F` an upstream with a fallback. `A:2` takes two requests at once, `A*` logs in with OAuth.

A line is `time request [outcome] [-> what comes next]`. A request comes into being when it is first named;
`r@talk` belongs to the conversation `talk`. Outcomes: `ok`, `done`, `responded`, `broke ...`, or a failure:
a status (with headers: `429 retry-after=2`), `connect`, `timeout`, `empty`, `signature`, `error TYPE`, or a name of
`RESPONSES`.
What comes next: an account (`A`, `A stripped`), `wait 0.25`, `wait 20 slot`, or
`stop 429 A after=30` (status, whose failure, retry-after), `final` when the client must not try again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from gateway.config import Account, Retry, Secret, Upstream
from gateway.routing.accounts import Target
from gateway.routing.cures import WITHOUT_THINKING
from gateway.routing.failures import Failure, FailureKind, Headers
from gateway.routing.model_routes import Candidate
from gateway.routing.retries import GiveUp, Retries, Wait
from gateway.routing.scheduler import Lease, Scheduler
from gateway.routing.sent import Sent

WALL = 1_800_000_000.0
"""Unix time when the monotonic clock shows 0."""

MODEL = "m"

DOCUMENT = {
    "model": "claude",
    "max_tokens": 9,
    "metadata": {"user_id": "u"},
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}]},
        {"role": "user", "content": [{"type": "image", "source": {}}]},
    ],
}
"""The document of every request in a transcript."""

SENT = Sent(DOCUMENT)

RESPONSES = {
    "signature": (400, "messages.1.content.0: Invalid `signature` in `thinking` block"),
    "spent": (400, "Your credit balance is too low to access the Anthropic API."),
    "product": (403, "API key not allowed for this API"),
    "model": (404, f"model: {MODEL}"),
    "file": (404, "File not found: file_gone"),
    "blind": (404, "No endpoints found that support image input"),
    "metadata": (400, "metadata: Extra inputs are not permitted"),
    "user_id": (400, "metadata.user_id: String should match pattern '^[a-z]+$'"),
    "loading": (503, "Loading model"),
}
"""Refusals whose words count."""


KINDS = {
    "empty": FailureKind.INCOMPLETE,
    "unusable": FailureKind.UNUSABLE,
    "contentless": FailureKind.EMPTY,
    "page": FailureKind.NO_MESSAGE,
}


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
    if kind == "timeout":
        return Failure(kind=FailureKind.CONNECT, status=504, message="no response in 300 s")
    if kind == "tokenless":
        return Failure(kind=FailureKind.REFRESH, status=401, message="no token")
    if kind in KINDS:
        return Failure(kind=KINDS[kind])
    if kind in RESPONSES:
        status, message = RESPONSES[kind]
        return refused(status, message)
    if kind == "error":
        return Failure(kind=FailureKind.STREAM_ERROR, type=rest[0], message="failed in the stream")
    if "billing" in rest:
        return Failure(kind=FailureKind.STATUS, status=int(kind), type="billing_error")
    headers = tuple(
        (name.encode(), value.encode()) for name, _, value in (word.partition("=") for word in rest)
    )
    return refused(int(kind), f"failed with {kind}", headers)


def refused(status: int, message: str, headers: Headers = ()) -> Failure:
    """Return an error response with this message."""
    body = orjson.dumps({"type": "error", "error": {"message": message}})
    return Failure(kind=FailureKind.STATUS, status=status, headers=headers, body=body, message=message)


def describe(step: Lease | Wait | GiveUp) -> str:
    """A step as transcripts write it."""
    if isinstance(step, Lease):
        changed = "".join(f" {cure.name}" for cure in step.cures)
        return step.target.account + changed.replace(WITHOUT_THINKING.name, "stripped")
    if isinstance(step, Wait):
        return f"wait {step.seconds:g}" + " slot" * step.for_slot
    after = "" if step.retry_after is None else f" after={step.retry_after}"
    return f"stop {step.status} {step.account or '-'}{after}" + " final" * step.final


class Request:
    """One request as a forwarder drives it: a lease first, `Retries` from the first failure on."""

    def __init__(
        self,
        scheduler: Scheduler,
        targets: Sequence[Target],
        conversation: str = "",
        retry: Retry | None = None,
        random: Callable[[], float] = lambda: 0.0,
        sent: Sent = SENT,
    ) -> None:
        self.scheduler = scheduler
        self.sent = sent
        self.targets = targets
        self.conversation = conversation
        self.retry = retry or Retry()
        self.random = random
        self._lease: Lease | None = None
        self._retries: Retries | None = None

    @property
    def lease(self) -> Lease:
        """The lease given last."""
        assert self._lease is not None
        return self._lease

    @property
    def retries(self) -> Retries:
        """The request's retries, made when they are first needed."""
        if self._retries is None:
            self._retries = Retries(
                self.scheduler, self.targets, self.conversation, self.retry, self.random, self.sent
            )
        return self._retries

    def next(self, now: float) -> Lease | Wait | GiveUp:
        """Return the next step."""
        step: Lease | Wait | GiveUp | None = None
        if self._retries is None:
            step = self.scheduler.lease(self.targets, self.conversation, now, self.sent.features)
        if step is None:
            step = self.retries.next(now)
        if isinstance(step, Lease):
            self._lease = step
        return step

    def failed(self, now: float, failure: Failure) -> None:
        """The attempt failed before anything was committed."""
        self.retries.failed(self.lease, failure, now, WALL + now)

    def report(self, now: float, outcome: Sequence[str]) -> None:
        """Apply an outcome, in a transcript's words, to the attempt."""
        match outcome:
            case ["ok"]:
                self.lease.succeeded(now)
            case ["done"]:
                self.lease.release()
            case ["responded"]:
                self.lease.responded(now)
            case ["broke", *words]:
                self.scheduler.broke(self.lease, failure(words) if words else None, now, WALL + now)
            case words:
                self.failed(now, failure(words))


class Stage:
    """A cast and the requests that were named so far. `random` is the jitter: none unless given."""

    def __init__(
        self, names: str, retry: Retry | None = None, random: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.upstreams = cast(names)
        self.scheduler = Scheduler(self.upstreams)
        self.targets = self.scheduler.targets(candidates(self.upstreams))
        self.retry = retry
        self.random = random
        self.requests: dict[str, Request] = {}

    def play(self, transcript: str) -> None:
        """Assert that every line with `->` names the next step."""
        for line in transcript.strip().splitlines():
            done, arrow, expected = (part.strip() for part in line.partition("->"))
            time, named, *outcome = done.split()
            now = float(time)
            name, _, conversation = named.partition("@")
            if name not in self.requests:
                self.requests[name] = Request(
                    self.scheduler, self.targets, conversation, self.retry, self.random
                )
            request = self.requests[name]
            if outcome:
                request.report(now, outcome)
            if arrow:
                assert describe(request.next(now)) == expected, f"at: {line.strip()}\n{self.scheduler!r}"
