"""The content of `/status.json`: each process's part, and their merger into one document.

Account names are shown as `server.expose` says, upstreams' messages are censored. Parts are plain JSON, so that
processes can exchange them. Times are unix seconds.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import isinf
from os import getpid
from typing import TYPE_CHECKING, Any

import orjson

from gateway import __version__
from gateway.proxy.response_headers import shown_account
from gateway.proxy.runtime import Runtime
from gateway.routing.give_up import without_keys
from gateway.routing.status import AccountStatus, CoolDown
from gateway.telemetry.access_log import encodable
from gateway.telemetry.recent import (
    CONVERSATIONS,
    MINUTES,
    REQUESTS,
    AccountSums,
    add_sums,
    no_sums,
    percentile,
)

if TYPE_CHECKING:
    from gateway.sharing.state import SharedState

Document = dict[str, Any]

KIND = "status"
"""The name under which processes exchange their parts."""

WORDS = 300
"""Characters shown of an upstream's message."""

BY_SEVERITY = ("free", "busy", "probing", "cooling", "closed")
"""Account states, most severe last: merging processes' views keeps the most severe."""


class ShownNames:
    """Account names of one configuration, as `server.expose` allows them to be shown."""

    def __init__(self, runtime: Runtime) -> None:
        self._server = runtime.config.server
        self._labels: dict[tuple[str, str], str] = {}
        for upstream in runtime.config.upstreams:
            shown = [shown_account(self._server, account.name) for account in upstream.accounts]
            counts = Counter(shown)
            for number, (account, name) in enumerate(zip(upstream.accounts, shown, strict=True), 1):
                # A name that is hidden or ambiguous becomes its number in the configuration.
                alone = name and counts[name] == 1
                label = name if alone else f"{name}#{number}"
                self._labels[upstream.name, account.name] = label

    def of(self, upstream: str, account: str) -> str:
        """Return an account's shown name, also for one that the configuration no longer has."""
        return self._labels.get((upstream, account)) or (account and shown_account(self._server, account))

    def find(self, upstream: str, label: str) -> str | None:
        """Return the name of the account with this name or shown name; None if there is none."""
        for (of, account), known in self._labels.items():
            if of == upstream and label in (account, known):
                return account
        return None

    def hide_names(self, text: str) -> str:
        """Return a text with accounts' e-mail addresses as they may be shown; upstreams know no other names."""
        if self._server.expose != "full" and "@" in text:
            for (_, account), label in self._labels.items():
                if "@" in account:
                    text = text.replace(account, label)
        return text


def part(runtime: Runtime, now: float, wall: float) -> Document:
    """Return one process's part. `now`: the loop's time; `wall`: unix time."""
    process_state, names, sharing = runtime.process_state, ShownNames(runtime), runtime.sharing
    recent = process_state.recent
    runtime.metrics.fold()
    accounts: dict[str, list[Document]] = {upstream: [] for upstream in runtime.upstreams}
    for account in runtime.scheduler.snapshot(now):
        known = recent.accounts.get((account.upstream, account.account)) or AccountSums()
        sums = {"hour": recent.hour(known, wall), "total": known.total}
        accounts[account.upstream].append({**_account(runtime, names, account, wall - now), **sums})
    cures: dict[str, list[Document]] = {upstream: [] for upstream in runtime.upstreams}
    for one in runtime.scheduler.cures.remembered(now):
        # Cures are kept for an upstream that a reload removes, since it may come back.
        if one.upstream in cures:
            cures[one.upstream].append(
                {
                    "model": encodable(one.wire_model),
                    "cure": one.cure.name,
                    "detail": _clean_words(one.cure.detail),
                    "until": _unix(one.until, wall - now),
                }
            )
    return {
        "version": __version__,
        "time": round(wall, 3),
        "started": round(process_state.started, 3),
        "processes": 1,
        "pid": getpid(),
        "workers": sharing.workers if sharing is not None else (),
        "sharing": _shared(sharing.state) if sharing is not None else None,
        "draining": runtime.draining,
        "upstreams": [
            {
                "name": name,
                "kind": client.upstream.kind,
                "url": client.upstream.base_url,
                "priority": client.upstream.priority,
                "pool": dict(zip(("active", "idle", "dialling"), client.pool.counts(), strict=True)),
                "accounts": accounts[name],
                "cures": cures[name],
            }
            for name, client in runtime.upstreams.items()
        ],
        "minutes": [
            {
                "time": minute * 60,
                **kept.sums,
                "first_bytes": {str(k): n for k, n in kept.first_bytes.items()},
            }
            for minute, kept in recent.minutes.items()
        ],
        "requests": [_request(names, request) for request in recent.requests],
        "conversations": [_named(names, each) for each in recent.conversations.values()],
    }


def _shared(state: "SharedState") -> Document:
    """Return the news sent to other processes, received from them, and lost."""
    return {"published": state.published, "received": state.received, "dropped": state.dropped}


def _account(runtime: Runtime, names: ShownNames, account: AccountStatus, offset: float) -> Document:
    upstream = runtime.upstreams[account.upstream]

    def words(cool_down: CoolDown) -> str:
        return _clean_words(names.hide_names(upstream.shown(cool_down.words)))

    last = max(
        (one for one in account.cool_downs if one.rule == account.cause),
        key=lambda one: one.until,
        default=None,
    )
    return {
        "account": names.of(account.upstream, account.account),
        "state": account.state.value,
        "disabled": account.disabled,
        "about": account.about.value if account.about is not None else None,
        "until": _unix(account.until, offset) if account.until else None,
        "cause": account.cause or None,
        "why": words(last) if last is not None else "",
        "in_flight": account.in_flight,
        "limit": account.limit or None,
        "cool_downs": [
            {
                "about": one.about.value,
                "model": encodable(one.wire_model),
                "feature": one.feature,
                "cause": one.rule,
                "why": words(one),
                "until": _unix(one.until, offset),
                "probe_at": _unix(one.probe_at, offset),
                "probing": one.probing,
            }
            for one in account.cool_downs
        ],
    }


def _request(names: ShownNames, request: Document) -> Document:
    tried = [each.rpartition(":") for each in request["tried"]]
    who = [(*each[0].rpartition("@"), each[2]) for each in tried]
    return {
        **_named(names, request),
        "tried": [f"{names.of(upstream, account)}@{upstream}:{what}" for account, _, upstream, what in who],
        "error": _clean_words(names.hide_names(request["error"])),
    }


def _named(names: ShownNames, each: Document) -> Document:
    return {**each, "account": names.of(each["upstream"], each["account"])}


def _clean_words(words: str) -> str:
    """Return a text from elsewhere: cut, and without what looks like a key."""
    return encodable(without_keys(words)[:WORDS])


def _unix(at: float, offset: float) -> float | None:
    """Return a loop's time as unix time; None for an infinite one: never, or ended early."""
    return None if isinf(at) else round(at + offset, 1)


def merge(parts: Iterable[Document]) -> Document:
    """Return one document of all processes' parts. Their order has no effect."""
    parts = sorted(parts, key=lambda each: (each["started"], each["time"]))
    now = max(each["time"] for each in parts)
    started = parts[0]["started"]
    upstreams = [_upstream(found) for found in _by(("name",), (each["upstreams"] for each in parts))]
    free = (one["state"] not in ("cooling", "closed") for each in upstreams for one in each["accounts"])
    draining = any(each["draining"] for each in parts)
    oldest = (now // 60 - MINUTES) * 60
    minutes = [one for each in parts for one in each["minutes"] if one["time"] > oldest]
    minutes.sort(key=lambda each: each["time"])
    requests = [request for each in parts for request in each["requests"]]
    requests.sort(key=lambda each: (each["time"] + each["duration"], each["request_id"]), reverse=True)
    return {
        "version": parts[-1]["version"],
        "time": now,
        "started": started,
        "uptime": round(now - started, 3),
        "processes": sum(each["processes"] for each in parts),
        "silent": _silent(parts),
        "sharing": _sharing_sums([each["sharing"] for each in parts if each["sharing"] is not None]),
        "draining": draining,
        "ready": any(free) and not draining,
        "upstreams": upstreams,
        "hour": _sum(minutes),
        "minutes": [{"time": each[0]["time"], **_sum(each)} for each in _by(("time",), [minutes])],
        "requests": requests[:REQUESTS],
        "conversations": _conversations([each["conversations"] for each in parts], now),
    }


def _silent(parts: Sequence[Document]) -> list[int]:
    """Return the workers that are alive according to all responses, but have not responded themselves."""
    living = set.intersection(*({*each["workers"]} for each in parts))
    return sorted(living - {each["pid"] for each in parts})


def _sharing_sums(found: Sequence[Document]) -> Document | None:
    """Return the sums of the processes' sharing counters; None if nothing is shared."""
    return {name: sum(each[name] for each in found) for name in found[0]} if found else None


def _by(keys: Sequence[str], lists: Iterable[Iterable[Document]]) -> list[list[Document]]:
    """Return groups of entries with equal keys, in order of their first entry."""
    found: dict[tuple[Any, ...], list[Document]] = {}
    for each in lists:
        for one in each:
            found.setdefault(tuple(one[key] for key in keys), []).append(one)
    return list(found.values())


def _upstream(found: Sequence[Document]) -> Document:
    pools = [each["pool"] for each in found]
    accounts = _by(("account",), (each["accounts"] for each in found))
    cures = _by(("model", "cure", "detail"), (each["cures"] for each in found))
    return {
        **found[0],
        "pool": {name: sum(pool[name] for pool in pools) for name in pools[0]},
        "accounts": [_one_account(each) for each in accounts],
        "cures": [max(each, key=_until) for each in cures],
    }


def _one_account(found: Sequence[Document]) -> Document:
    most = max(found, key=lambda each: (BY_SEVERITY.index(each["state"]), _until(each)))
    cool_downs = _by(("about", "model", "feature", "cause"), (each["cool_downs"] for each in found))
    limits = [each["limit"] for each in found if each["limit"] is not None]
    return {
        **most,
        "disabled": any(each["disabled"] for each in found),
        "in_flight": sum(each["in_flight"] for each in found),
        "limit": sum(limits) if limits else None,
        "cool_downs": [max(each, key=_until) for each in cool_downs],
        "hour": add_sums(no_sums(), *(each["hour"] for each in found)),
        "total": add_sums(no_sums(), *(each["total"] for each in found)),
    }


def _until(each: Mapping[str, Any]) -> float:
    until = each["until"]
    return float("inf") if until is None else float(until)


def _sum(found: Iterable[Document]) -> Document:
    """Return the sums of minutes, and percentiles of the times to first byte."""
    sums = no_sums()
    first_bytes: dict[int, int] = {}
    for each in found:
        add_sums(sums, each)
        for limit, count in each["first_bytes"].items():
            first_bytes[int(limit)] = first_bytes.get(int(limit), 0) + count
    slow = {"first_byte_p50": percentile(first_bytes, 0.5), "first_byte_p95": percentile(first_bytes, 0.95)}
    return {**sums, **slow}


def _conversations(lists: Sequence[Sequence[Document]], now: float) -> list[Document]:
    found = []
    for each in _by(("id",), lists):
        last = max(each, key=lambda one: one["last"])
        since = min(one["since"] for one in each)
        found.append({**last, "since": since, **add_sums(no_sums(), *each)})
    recent = [each for each in found if each["last"] > now - MINUTES * 60]
    return sorted(recent, key=lambda each: (each["last"], each["id"]), reverse=True)[:CONVERSATIONS]


def collect(runtime: Runtime, now: float, reply: Callable[[Iterable[Document]], None]) -> None:
    """Pass every process's part to `reply`, for `merge`: at once with one process, else soon."""
    own, sharing = part(runtime, now, time.time()), runtime.sharing
    if sharing is None:
        reply([own])
    else:
        # Parsed lazily: `merge`'s caller handles what cannot be read.
        sharing.gather(KIND, lambda parts: reply(chain([own], map(orjson.loads, filter(None, parts)))))
