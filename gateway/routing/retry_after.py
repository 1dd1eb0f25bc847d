"""Reads every form in which an upstream says how long a limit lasts.

`read_hint` reads headers, Google's error details and OpenRouter's inner headers. Free text is not searched for numbers,
and what cannot be parsed is no hint. The clock is passed in; results are seconds from then, never negative.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.messages.json_values import as_dict, dicts_in, json_in
from gateway.patterns import LazyPattern

Headers = Sequence[tuple[bytes, bytes]]

LONGEST = 366 * 86400.0
"""Seconds: a year. A longer hint is a mistake, and a date computed from it would overflow."""

UNKNOWN_DAY = 3600.0
"""Seconds for a daily quota without a known reset: it may be near, so it is probed hourly."""

_NUMBER = LazyPattern(r"[0-9]{1,15}(?:\.[0-9]{0,18})?")
_DURATION_PART = LazyPattern(r"([0-9]{1,15}(?:\.[0-9]{1,18})?)(h|ms|m|s|us|µs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH = r"(?P<month>[A-Z][a-z]{2})"
_HTTP_DATES = tuple(
    LazyPattern(form, re.ASCII)
    for form in (
        rf"[A-Z][a-z]{{2}}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"[A-Z][a-z]{{5,8}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)
"""The three date formats of RFC 9110, section 5.6.7."""

_BUCKET = LazyPattern(r"anthropic-ratelimit-(.+)-(reset|remaining|status)")
_RESET = LazyPattern(r"x-ratelimit-reset(-.+)?")

_UNIX_MILLISECONDS = 1e12
"""From here on a number is a moment in milliseconds: as a duration in seconds it would be 30,000 years."""


def read_hint(headers: Headers, body: bytes, wall: float, *, type: str = "") -> float | None:
    """Return the seconds from `wall` (unix seconds) until the limit is lifted; None if nothing says so.

    Headers (lower-case names) precede the body's details, except for a daily quota's reset: the short delays that are
    sent along with one are known to be wrong. `type`: the error's.
    """
    stated = _of_headers(
        {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in headers}, wall, type
    )
    if stated is None:
        stated = _of_headers(_inner_headers(body), wall, type)
    delay, reset, daily = _google(body, wall)
    if daily:
        hint = max(UNKNOWN_DAY, stated or 0.0, delay or 0.0) if reset is None else reset
    elif stated is not None:
        hint = stated
    else:
        known = _longer(delay, reset)
        if known is None:
            return None
        hint = known
    return min(max(hint, 0.0), LONGEST)


def _of_headers(values: Mapping[str, str], wall: float, type: str) -> float | None:
    """Return the seconds of the first readable header among `retry-after-ms`, `retry-after`,
    `anthropic-ratelimit-*-reset` and `x-ratelimit-reset-*`."""
    milliseconds = _number(values.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    after = values.get("retry-after", "")
    seconds = _number(after)
    if seconds is not None:
        return seconds
    moment = http_date(after, wall)
    if moment is None:
        moment = _anthropic_reset(values)
    return _openai_reset(values, wall, type) if moment is None else moment - wall


def _anthropic_reset(values: Mapping[str, str]) -> float | None:
    """Return the latest reset (unix seconds) of the exhausted limits; if none says whether it is, of those that do not
    say.

    A limit with something left did not refuse the request. The overage's counts only if no other is exhausted: it ends
    long after the window that a plan's users wait for.
    """
    limits: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        bucket = _BUCKET.compiled.fullmatch(name)
        if bucket is not None:
            limits.setdefault(bucket[1], {})[bucket[2]] = value
    used_up: dict[str, float] = {}
    silent: list[float] = []
    for name, limit in limits.items():
        reset = _moment(limit.get("reset", ""))
        if reset is None:
            continue
        if limit.get("remaining") == "0" or limit.get("status") == "rejected":
            used_up[name] = reset
        elif "remaining" not in limit and "status" not in limit:
            silent.append(reset)
    first = [reset for name, reset in used_up.items() if not name.endswith("overage")]
    return max(first or used_up.values() or silent, default=None)


def _openai_reset(values: Mapping[str, str], wall: float, type: str) -> float | None:
    """Return the seconds until the reset of the exhausted bucket, or of the one that the error's type names.

    Values are Go durations ("6m0s"), seconds, or unix milliseconds (OpenRouter, whose bucket has no name). Only
    positive ones count, since Azure sends -1.
    """
    longest = None
    for name, value in values.items():
        bucket = _RESET.compiled.fullmatch(name)
        if bucket is None:
            continue
        kind = bucket[1] or ""
        if values.get(f"x-ratelimit-remaining{kind}") != "0" and (not kind or kind[1:] != type):
            continue
        number = _number(value)
        seconds = duration(value) if number is None else number
        if seconds is not None and seconds > _UNIX_MILLISECONDS:
            seconds = seconds / 1000 - wall
        if seconds is not None and seconds > 0.0:
            longest = _longer(longest, seconds)
    return longest


def _inner_headers(body: bytes) -> dict[str, str]:
    """Return the headers of the inner host's response, which OpenRouter puts into the error's metadata."""
    if b'"metadata"' not in body:
        return {}
    headers = as_dict(as_dict(_error(body).get("metadata")).get("headers"))
    return {name.lower(): str(value) for name, value in headers.items()}


def _google(body: bytes, wall: float) -> tuple[float | None, float | None, bool]:
    """Return (retry delay, time until the quota's reset, whether it is a daily quota) from Google's details."""
    delay = reset = None
    daily = False
    for detail in dicts_in(_error(body).get("details")) if b"google.rpc." in body else ():
        kind = str(detail.get("@type", "")).rpartition("/")[2]
        if kind == "google.rpc.RetryInfo":
            delay = _longer(delay, duration(detail.get("retryDelay")))
        elif kind == "google.rpc.ErrorInfo":
            metadata = as_dict(detail.get("metadata"))
            reset = _longer(reset, duration(metadata.get("quotaResetDelay")))
            moment = _moment(metadata.get("quotaResetTimeStamp"))
            reset = _longer(reset, None if moment is None else moment - wall)
            daily = daily or _says_daily(metadata.get("quota_limit"))
        elif kind == "google.rpc.QuotaFailure":
            daily = daily or any(
                _says_daily(one.get("quotaId")) for one in dicts_in(detail.get("violations"))
            )
    return delay, reset, daily


def _error(body: bytes) -> dict[str, Any]:
    """Return the `error` object of a body, or of the first item of a list; {} if there is none."""
    document = json_in(body)
    if isinstance(document, list) and document:
        document = document[0]
    return as_dict(as_dict(document).get("error"))


def _says_daily(name: object) -> bool:
    """Return whether a quota's name (`...PerDayPerProject...`) is that of a daily one."""
    return "perday" in re.sub("[-_ ]", "", str(name)).lower()


def _longer(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return max(one, other)


def duration(value: object) -> float | None:
    """Return the seconds of `"1.5s"`, `"2h21m5.2s"`, `"500ms"` or `{"seconds": 1, "nanos": 5}`; None otherwise."""
    if isinstance(value, dict):
        seconds, nanos = _number(value.get("seconds", 0)), _number(value.get("nanos", 0))
        return None if seconds is None or nanos is None or not value else seconds + nanos * 1e-9
    if not isinstance(value, str):
        return None
    text = value.strip()
    parts = list(_DURATION_PART.compiled.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts)


def _number(value: object) -> float | None:
    """Return an unsigned number given as text or JSON number; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return float(str(value)) if _NUMBER.compiled.fullmatch(str(value)) else None


def _moment(value: object) -> float | None:
    """Return the unix seconds of an RFC 3339 time or of a number of unix seconds; None otherwise."""
    number = _number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def http_date(text: str, wall: float) -> float | None:
    """Return the unix seconds of an HTTP date in any of its three forms; None otherwise.

    `wall` determines the century of a two-digit year: none is more than 50 years ahead.
    """
    found = next(filter(None, (form.compiled.fullmatch(text) for form in _HTTP_DATES)), None)
    if found is None or found["month"] not in _MONTHS:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        latest = datetime.fromtimestamp(wall, UTC).year + 50
        year += 2000 if 2000 + year <= latest else 1900
    month = _MONTHS.index(found["month"]) + 1
    clock = int(found["hour"]), int(found["minute"]), min(int(found["second"]), 59)
    try:
        return datetime(year, month, int(found["day"]), *clock, tzinfo=UTC).timestamp()
    except ValueError:
        return None
