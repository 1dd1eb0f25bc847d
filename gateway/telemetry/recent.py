"""What has happened lately: the last requests, and sums by account, minute and conversation, for who looks in.

Records come a batch at a time, when many wait or somebody asks; then texts are cut and what is kept is bounded: by the
numbers below, and by the configuration's accounts. No body is in a record. Everything goes by the records' own times,
so that it makes no difference when they are read.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from gateway.telemetry.access_log import Record, fields

REQUESTS = 200
"""Requests of which everything is kept that the log says."""

MINUTES = 60
"""Minutes for which sums are kept."""

CONVERSATIONS = 100
"""Conversations kept; the one that was silent for longest goes first."""

ACCOUNTS = 1000
"""Accounts kept, over reloads: more than anybody has."""

SUMS = (
    "requests",
    "failures",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
)
"""What is summed, by its name everywhere."""

FAILED = frozenset({"upstream_error", "internal_error", "refused", "shutdown"})
"""Outcomes that are failures; a client that leaves is none."""

NOT_COUNTED = ("/status", "/api/", "/v1/api/")
"""What the beginnings of paths say that is no use of a model: looking in here, and clients' telemetry."""

STEP = 1.25
"""From one limit of a first byte's time to the next."""

SHORTEST = 0.01
"""Seconds: the first limit."""

STEPS = 50
"""Limits: the last is above ten minutes."""

LIMITS = tuple(SHORTEST * STEP**step for step in range(STEPS))

MOST = 10**9
"""Tokens counted of one request: an upstream may say any number, and sums of them must stay within 64 bits."""

Sums = dict[str, int]
"""By the names in `SUMS`."""


class Minute:
    """What ended within one minute."""

    __slots__ = ("first_bytes", "sums")

    def __init__(self) -> None:
        self.sums = no_sums()
        self.first_bytes: dict[int, int] = {}
        """How many first bytes came within each limit, by its place in `LIMITS`: the first that is not below."""


class Account:
    """What one account was asked for, since the start and in each minute."""

    __slots__ = ("minutes", "total")

    def __init__(self) -> None:
        self.total = no_sums()
        self.minutes: dict[int, Sums] = {}


class Group:
    """What requests with something in common come to: the sums in the order of `SUMS`, and the last one."""

    __slots__ = ("failures", "last", "requests", "since", "tokens")

    def __init__(self, first: Record) -> None:
        self.since = first.time
        self.last = first
        self.requests = self.failures = 0
        self.tokens = [0, 0, 0, 0]

    def sums(self) -> Sums:
        """Return them by name."""
        return dict(zip(SUMS, (self.requests, self.failures, *self.tokens), strict=True))


class Recent:
    """The last requests, and sums. Times are unix seconds; minutes are those since 1970."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=REQUESTS)
        self.accounts: dict[tuple[str, str], Account] = {}
        """By upstream and account."""
        self.minutes: dict[int, Minute] = {}
        self.conversations: dict[str, dict[str, Any]] = {}
        """By their short names, the one that was silent for longest first."""

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Return the last requests as the log has them, oldest first, each with its `conversation`."""
        return [
            {**fields(one), "conversation": short_name(one.conversation) if one.conversation else ""}
            for one in self._records
        ]

    def take(self, records: Iterable[Record]) -> None:
        """Take in the records of requests that have ended.

        What many of them have in common is summed first, and written out: each costs the loop some microseconds.
        """
        groups: dict[tuple[Any, ...], Group] = {}
        talks: dict[str, Group] = {}
        first_bytes: dict[tuple[int, int], int] = {}
        for record in records:
            if record.method != "POST" or record.path.startswith(NOT_COUNTED):
                continue
            self._records.append(record)
            minute = int((record.time + record.duration) // 60)
            name = minute, record.upstream, record.account, record.outcome, record.tried
            group = groups[name] if name in groups else groups.setdefault(name, Group(record))
            _count(group, record)
            if record.first_byte is not None:
                at = minute, bisect_left(LIMITS, record.first_byte)
                first_bytes[at] = first_bytes.get(at, 0) + 1
            conversation = record.conversation
            if conversation:
                talk = talks.pop(conversation, None) or Group(record)
                talks[conversation] = talk
                _count(talk, record)
        for (minute, *_), group in groups.items():
            sums = group.sums()
            added(_kept(self.minutes, minute, Minute).sums, sums)
            self._take_accounts(group.last, sums, minute)
        for (minute, limit), count in first_bytes.items():
            kept = self.minutes.get(minute)
            if kept is not None:
                kept.first_bytes[limit] = kept.first_bytes.get(limit, 0) + count
        for talk in talks.values():
            self._take_conversation(talk)

    def hour(self, account: Account, now: float) -> Sums:
        """Return an account's sums of the last hour."""
        oldest = int(now // 60) - MINUTES
        return added(no_sums(), *(sums for minute, sums in account.minutes.items() if minute > oldest))

    def _take_accounts(self, record: Record, sums: Sums, minute: int) -> None:
        """Count requests like this one for whoever served them, and for those that failed before."""
        own, count = (record.upstream, record.account), sums["requests"]
        # Each stands there as ACCOUNT@UPSTREAM:WHAT.
        tried = [each.rpartition(":")[0].rpartition("@") for each in record.tried]
        failed = {
            (upstream, account): {"requests": count, "failures": count} for account, _, upstream in tried
        }
        if record.upstream:
            sums = {**sums, "failures": count * (own in failed or record.outcome == "upstream_error")}
            failed[own] = sums
        for key, found in failed.items():
            account = self.accounts.get(key)
            if account is None:
                if len(self.accounts) >= ACCOUNTS:
                    del self.accounts[next(iter(self.accounts))]
                account = self.accounts[key] = Account()
            added(account.total, found)
            added(_kept(account.minutes, minute, no_sums), found)

    def _take_conversation(self, talk: Group) -> None:
        last = talk.last
        name = short_name(last.conversation)
        found = self.conversations.pop(name, None)
        if found is None:
            found = {"id": name, "since": round(talk.since, 3), **no_sums()}
            if len(self.conversations) >= CONVERSATIONS:
                del self.conversations[next(iter(self.conversations))]
        told = fields(last)
        for key in ("key", "model", "wire_model", "upstream", "account"):
            found[key] = told[key]
        found["last"] = round(last.time + last.duration, 3)
        added(found, talk.sums())
        self.conversations[name] = found


def _count(group: Group, record: Record) -> None:
    """Add a request to a group."""
    group.last = record
    group.requests += 1
    if record.outcome in FAILED:
        group.failures += 1
    if record.output_tokens is not None or record.input_tokens is not None:
        counts = (
            record.input_tokens,
            record.output_tokens,
            record.cache_read_tokens,
            record.cache_creation_tokens,
        )
        tokens = group.tokens
        for at, count in enumerate(counts):
            if count:
                tokens[at] += count if count < MOST else MOST


def no_sums() -> Sums:
    """Return sums of nothing."""
    return dict.fromkeys(SUMS, 0)


def added(sums: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    """Add to sums, which are returned; what `more` has besides them is left out."""
    for each in more:
        for name in SUMS:
            sums[name] += each.get(name, 0)
    return sums


def percentile(first_bytes: dict[int, int], part: float) -> float | None:
    """Return the limit in seconds within which that part of the first bytes came; None of none."""
    left = sum(first_bytes.values()) * part
    for limit, count in sorted(first_bytes.items()):
        left -= count
        if left <= 0:
            return float(f"{SHORTEST * STEP**limit:.2g}")
    return None


def short_name(conversation: str) -> str:
    """Return what a conversation is called here: the same in every process, and nothing that leads back to it."""
    return blake2b(conversation.encode(errors="surrogatepass"), digest_size=5).hexdigest()


def _kept(minutes: dict[int, Any], minute: int, make: Any) -> Any:
    """Return what is kept for a minute; the first in a new one pushes out what is too old."""
    found = minutes.get(minute)
    if found is None:
        for old in [each for each in minutes if each <= minute - MINUTES]:
            del minutes[old]
        found = minutes[minute] = make()
        # Should the clock go back, or a request have taken hours: what is kept stays bounded.
        while len(minutes) > MINUTES:
            del minutes[min(minutes)]
    return found
