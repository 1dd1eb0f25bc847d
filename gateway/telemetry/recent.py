"""Recent history for the status page: the last requests, and sums by account, minute and conversation.

Records are taken in batches, when many wait or the status is requested. Everything kept is bounded by the numbers
below and by the configuration's accounts. No record holds a body. All times are the records' own, so that it makes no
difference when they are taken.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from gateway.telemetry.access_log import Record, fields

REQUESTS = 200
"""Requests kept with all their log fields."""

MINUTES = 60
"""Minutes for which sums are kept."""

CONVERSATIONS = 100
"""Conversations kept; the one that was idle for longest is dropped first."""

ACCOUNTS = 1000
"""Accounts kept over reloads: more than any configuration has."""

SUMS = (
    "requests",
    "failures",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
)
"""The names of the sums."""

FAILED = frozenset({"upstream_error", "internal_error", "refused", "shutdown"})
"""Outcomes that are failures; a client's leaving is none."""

NOT_COUNTED = ("/status", "/api/", "/v1/api/")
"""Prefixes of paths that use no model: this status, and clients' telemetry."""

STEP = 1.25
"""The ratio of one limit of a first byte's time to the one before."""

SHORTEST = 0.01
"""Seconds: the first limit."""

STEPS = 50
"""The number of limits: the last is above ten minutes."""

LIMITS = tuple(SHORTEST * STEP**step for step in range(STEPS))

MOST = 10**9
"""Tokens counted for one request, at most: an upstream may send any number, and sums must fit into 64 bits."""

Sums = dict[str, int]
"""By the names of `SUMS`."""


class MinuteSums:
    """Requests that ended within one minute."""

    __slots__ = ("first_bytes", "sums")

    def __init__(self) -> None:
        self.sums = no_sums()
        self.first_bytes: dict[int, int] = {}
        """Number of first bytes by the index in `LIMITS` of the first limit that is not below their time."""


class AccountSums:
    """Sums of one account, since the start and for each minute."""

    __slots__ = ("minutes", "total")

    def __init__(self) -> None:
        self.total = no_sums()
        self.minutes: dict[int, Sums] = {}


class Group:
    """Sums of requests with something in common, in the order of `SUMS`, and the last request."""

    __slots__ = ("failures", "last", "requests", "since", "tokens")

    def __init__(self, first: Record) -> None:
        self.since = first.time
        self.last = first
        self.requests = self.failures = 0
        self.tokens = [0, 0, 0, 0]

    def sums(self) -> Sums:
        """Return the sums by name."""
        return dict(zip(SUMS, (self.requests, self.failures, *self.tokens), strict=True))


class Recent:
    """The last requests, and sums. Times are unix seconds; minutes are counted from 1970."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=REQUESTS)
        self.accounts: dict[tuple[str, str], AccountSums] = {}
        """By upstream and account."""
        self.minutes: dict[int, MinuteSums] = {}
        self._talks: dict[str, Group] = {}
        """By conversation, the longest idle first."""

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Return the last requests' log fields, oldest first, each with its `conversation`."""
        return [
            {**fields(one), "conversation": short_name(one.conversation) if one.conversation else ""}
            for one in self._records
        ]

    @property
    def conversations(self) -> dict[str, dict[str, Any]]:
        """Return what the status shows of each conversation, by its short name, the longest idle first."""
        shown = {}
        for conversation, talk in self._talks.items():
            last, name = talk.last, short_name(conversation)
            values = fields(last)
            shown[name] = {
                "id": name,
                "since": round(talk.since, 3),
                **talk.sums(),
                **{key: values[key] for key in ("key", "model", "wire_model", "upstream", "account")},
                "last": round(last.time + last.duration, 3),
            }
        return shown

    def take(self, records: Iterable[Record]) -> None:
        """Add the records of requests that have ended.

        Records of a batch are grouped first: each call costs the loop time that a request may wait for.
        """
        talks = self._talks
        groups: dict[tuple[Any, ...], Group] = {}
        first_bytes: dict[tuple[int, int], int] = {}
        for record in records:
            if record.method != "POST" or record.path.startswith(NOT_COUNTED):
                continue
            self._records.append(record)
            minute = int((record.time + record.duration) // 60)
            name = minute, record.upstream, record.account, record.outcome, record.tried
            group = groups[name] if name in groups else groups.setdefault(name, Group(record))
            counted = [group]
            if record.first_byte is not None:
                at = minute, bisect_left(LIMITS, record.first_byte)
                first_bytes[at] = first_bytes.get(at, 0) + 1
            conversation = record.conversation
            if conversation:
                talk = talks.pop(conversation, None) or Group(record)
                talks[conversation] = talk
                counted.append(talk)
                if len(talks) > CONVERSATIONS:
                    del talks[next(iter(talks))]
            _count(record, counted)
        for (minute, *_), group in groups.items():
            sums = group.sums()
            add_sums(_kept(self.minutes, minute, MinuteSums).sums, sums)
            self._take_accounts(group.last, sums, minute)
        for (minute, limit), count in first_bytes.items():
            kept = self.minutes.get(minute)
            if kept is not None:
                kept.first_bytes[limit] = kept.first_bytes.get(limit, 0) + count

    def hour(self, account: AccountSums, now: float) -> Sums:
        """Return an account's sums of the last hour."""
        oldest = int(now // 60) - MINUTES
        return add_sums(no_sums(), *(sums for minute, sums in account.minutes.items() if minute > oldest))

    def _take_accounts(self, record: Record, sums: Sums, minute: int) -> None:
        """Add a group to the account that served it and to those that failed before."""
        own, count = (record.upstream, record.account), sums["requests"]
        # Each entry reads ACCOUNT@UPSTREAM:WHAT.
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
                account = self.accounts[key] = AccountSums()
            add_sums(account.total, found)
            add_sums(_kept(account.minutes, minute, no_sums), found)


def _count(record: Record, groups: Iterable[Group]) -> None:
    """Add a request to groups."""
    failed = record.outcome in FAILED
    counts: tuple[int | None, ...] = ()
    if record.output_tokens is not None or record.input_tokens is not None:
        counts = (
            record.input_tokens,
            record.output_tokens,
            record.cache_read_tokens,
            record.cache_creation_tokens,
        )
    for group in groups:
        group.last = record
        group.requests += 1
        group.failures += failed
        for at, count in enumerate(counts):
            if count:
                group.tokens[at] += count if count < MOST else MOST


def no_sums() -> Sums:
    """Return sums of zero."""
    return dict.fromkeys(SUMS, 0)


def add_sums(sums: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    """Add the sums of `more` to `sums` and return it; other keys are ignored."""
    for each in more:
        for name in SUMS:
            sums[name] += each.get(name, 0)
    return sums


def percentile(first_bytes: dict[int, int], part: float) -> float | None:
    """Return the limit in seconds within which this part of the first bytes came; None without any."""
    left = sum(first_bytes.values()) * part
    for limit, count in sorted(first_bytes.items()):
        left -= count
        if left <= 0:
            return float(f"{SHORTEST * STEP**limit:.2g}")
    return None


def short_name(conversation: str) -> str:
    """Return a conversation's short name: equal in every process, and not reversible."""
    return blake2b(conversation.encode(errors="surrogatepass"), digest_size=5).hexdigest()


def _kept(minutes: dict[int, Any], minute: int, make: Any) -> Any:
    """Return a minute's entry; make it if it is new, and drop what is too old."""
    found = minutes.get(minute)
    if found is None:
        for old in [each for each in minutes if each <= minute - MINUTES]:
            del minutes[old]
        found = minutes[minute] = make()
        # The clock may go back, and a request may take hours: what is kept stays bounded.
        while len(minutes) > MINUTES:
            del minutes[min(minutes)]
    return found
