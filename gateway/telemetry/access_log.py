"""The log: one line for each request when it ends, and lines about the gateway itself.

Lines are text for people or JSON for machines. A value that a client chose can neither start a new line nor look
like another field. Callers never pass bodies or credentials. `log_writer` does the writing.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

Format = Literal["text", "json"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""Lines of requests have level "info"."""

LONGEST = 300
"""Characters shown of one value; a client can send a model's name as long as a request."""

MAX_ONCE = 1000
"""Different messages remembered as logged; beyond that a message may be repeated."""

_MARKS = r"[!#-<>-\[\]-~]"

PLAIN = re.compile(rf"(?:{_MARKS}{{1,{LONGEST}}}\n){{2}}(?:{_MARKS}{{0,{LONGEST}}}\n){{4}}")
"""Matches method and path, then key, two models and account, a line each, if none needs quotes or escapes: one
match covers nearly every request."""

KILOBYTES_FROM, MEGABYTES_FROM = 10_000, 10_000_000
"""Bytes from which kB and MB are used: up to four digits stand before the point."""


COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
"""Keys of a `usage` object."""


class Place(NamedTuple):
    """What was closed or opened; an empty field means all."""

    upstream: str
    account: str = ""
    model: str = ""
    """The wire model."""
    feature: str = ""


@dataclass(slots=True, eq=False)
class Record:
    """One request, filled in while it is served. Times are seconds; None and "" mean unknown."""

    time: float
    """Unix time at which it began."""
    request_id: str = ""
    key: str = ""
    """The name of the client's key, never the key."""
    method: str = ""
    path: str = ""
    """Without the query."""
    model: str = ""
    """As the client sent it."""
    wire_model: str = ""
    upstream: str = ""
    account: str = ""
    attempts: int = 0
    tried: tuple[str, ...] = ()
    """Accounts that failed before the last one, each as `ACCOUNT:WHAT`: a status or a word such as `timeout`."""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    duration: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    estimated: bool = False
    """Whether some counts are estimates because the upstream did not report them."""
    cache: str = ""
    """What happened to the conversation's prompt cache: "hit", "new" or "lost:CAUSE"; "" if unknown."""
    cache_lost_tokens: int | None = None
    """Tokens that were in the cache and were not read from it."""
    cache_changed_at: str = ""
    """The path of the first difference to the conversation's last request, if that lost the cache."""
    repairs: tuple[str, ...] = ()
    outcome: str = ""
    """"ok", "canceled", "upstream_error", ..."""
    error: str = ""
    """A short text about what finally went wrong."""
    conversation: str = ""
    """The conversation it belongs to: a key for counting, logged nowhere."""

    def take_usage(self, usage: object) -> None:
        """Store the counts of a `usage` object; one that is missing, negative or of a wrong type changes nothing."""
        if type(usage) is not dict:
            return
        # No helper function: four calls for each request would cost more than all the rest.
        input, output, read, creation = map(usage.get, COUNTS)
        if type(input) is int and input >= 0:
            self.input_tokens = input
        if type(output) is int and output >= 0:
            self.output_tokens = output
        if type(read) is int and read >= 0:
            self.cache_read_tokens = read
        if type(creation) is int and creation >= 0:
            self.cache_creation_tokens = creation


def text(record: Record, stamp: str) -> str:
    """Return the line for people, without a line end. `stamp`: its start, as `timestamp` formats it."""
    key, method, path, account = record.key, record.method, record.path, record.account
    model, wire = record.model, record.wire_model
    if not PLAIN.fullmatch(f"{method}\n{path}\n{key}\n{model}\n{wire}\n{account}\n"):
        method, path = as_word(method), as_word(path)
        key, account, model, wire = (value and as_word(value) for value in (key, account, model, wire))
    line = f"{stamp} {record.request_id} {key or '-'} {method} {path}"
    if model:
        line += f" {model} -> {wire}" if wire and wire != model else f" {model}"
    if record.upstream:
        line += f" {record.upstream}/{account}"
    line += f" {record.status} {record.outcome}"
    if record.attempts > 1:
        line += f" attempts={record.attempts}"
    if record.tried:
        line += f" tried={as_word(','.join(record.tried))}"
    size_in, size_out, first, took = record.bytes_in, record.bytes_out, record.first_byte, record.duration
    line += f" in={size_in}B" if size_in < KILOBYTES_FROM else f" in={_size(size_in)}"
    line += f" out={size_out}B" if size_out < KILOBYTES_FROM else f" out={_size(size_out)}"
    if first is not None:
        line += f" first={first * 1000:.1f}ms" if first < 1 else f" first={first:.2f}s"
    line += f" took={took * 1000:.1f}ms" if took < 1 else f" took={took:.2f}s"
    if record.input_tokens is not None:
        line += f" input={record.input_tokens}"
    if record.output_tokens is not None:
        line += f" output={record.output_tokens}"
    if record.cache_read_tokens is not None:
        line += f" cache_read={record.cache_read_tokens}"
    if record.cache_creation_tokens is not None:
        line += f" cache_creation={record.cache_creation_tokens}"
    if record.estimated:
        line += " usage=estimated"
    if record.cache:
        line += f" cache={record.cache}"
        if record.cache_lost_tokens is not None:
            line += f" lost={record.cache_lost_tokens}"
        if record.cache_changed_at:
            line += f" at={record.cache_changed_at}"
    if record.repairs:
        line += f" repairs={','.join(record.repairs)}"
    if record.error:
        line += f" error={_quote(record.error)}"
    return line


def json_line(record: Record) -> str:
    """Return the line for machines, without a line end. It always has every field."""
    return orjson.dumps(fields(record)).decode()


def fields(record: Record) -> dict[str, Any]:
    """Return a request's log fields by name; texts are cut, and safe for JSON."""
    first = record.first_byte
    return {
        "time": round(record.time, 3),
        "request_id": record.request_id,
        "key": _short(record.key),
        "method": _short(record.method),
        "path": _short(record.path),
        "model": _short(record.model),
        "wire_model": _short(record.wire_model),
        "upstream": record.upstream,
        "account": _short(record.account),
        "attempts": record.attempts,
        "tried": [_short(each) for each in record.tried],
        "status": record.status,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "first_byte": None if first is None else round(first, 3),
        "duration": round(record.duration, 3),
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cache_read_tokens": record.cache_read_tokens,
        "cache_creation_tokens": record.cache_creation_tokens,
        "estimated": record.estimated,
        "cache": record.cache,
        "cache_lost_tokens": record.cache_lost_tokens,
        "cache_changed_at": record.cache_changed_at,
        "repairs": record.repairs,
        "outcome": record.outcome,
        "error": _short(record.error),
    }


def message_line(format: Format, level: str, message: str, now: float, **fields: Any) -> str:
    """Return a line about the gateway itself. `fields` appear in JSON only: the message contains them, too."""
    if format == "text":
        return f"{timestamp(now)} {level}: {_escape(message)}"
    found = {name: _short(value) if isinstance(value, str) else value for name, value in fields.items()}
    document = {"time": round(now, 3), "level": level, "message": encodable(message), **found}
    return orjson.dumps(document).decode()


class AccessLog:
    """Formats lines at or above a level. `write` gets each without its line end; `clock` returns unix time; `flush`
    is called after a line that should be written at once."""

    __slots__ = (
        "_clock",
        "_flush",
        "_level",
        "_requests",
        "_said",
        "_second",
        "_second_text",
        "_write",
        "format",
    )

    def __init__(
        self,
        write: Callable[[str], None],
        format: Format = "text",
        level: str = "info",
        clock: Callable[[], float] = time.time,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._write = write
        self.format: Format = format
        self._level = LEVELS[level]
        self._requests = self.enabled("info")
        self._clock = clock
        self._flush = flush
        self._said: set[str] = set()
        # Many requests end in one second: its timestamp is formatted once.
        self._second = -1
        self._second_text = ""

    def enabled(self, level: str) -> bool:
        """Return whether this level is logged: check before building a costly message."""
        return LEVELS[level] >= self._level

    def log(self, record: Record) -> None:
        """Log a request that has ended."""
        if not self._requests:
            return
        if self.format == "json":
            self._write(json_line(record))
            return
        milliseconds = int(record.time * 1000)
        second = milliseconds // 1000
        if second != self._second:
            self._second, self._second_text = second, _seconds(second)
        self._write(text(record, f"{self._second_text}.{milliseconds % 1000:03d}Z"))

    def debug(self, message: str, *, once: bool = False) -> None:
        """Log for somebody who looks for a fault: choices, cool-downs, cures, connections."""
        self._log_message("debug", message, once)

    def info(self, message: str, *, once: bool = False) -> None:
        """Log normal operation."""
        self._log_message("info", message, once)

    def warning(self, message: str, *, once: bool = False) -> None:
        """Log what an operator should know. `once`: only the first time."""
        self._log_message("warning", message, once)

    def error(self, message: str, *, once: bool = False) -> None:
        """Log what an operator must mend."""
        self._log_message("error", message, once)

    def log_closed(
        self, place: Place, *, about: str, rule: str, status: int = 0, words: str = "", seconds: float
    ) -> None:
        """Log that a place is not used for `seconds`.

        `about` is what the failure was about, `rule` the row of the failure table, `status` the response's, 0 without
        one, and `words` the upstream's message, censored by the caller.
        """
        until = self._clock() + seconds
        line = f"closed {_format_place(place)} about={about} rule={as_word(rule)}"
        line += f" status={status}" if status else ""
        line += f" until={timestamp(until)}"
        line += f" error={_quote(words)}" if words else ""
        more: dict[str, Any] = {
            "about": about,
            "rule": rule,
            "status": status,
            "until": round(until, 3),
            "error": words,
        }
        # A limited model is normal operation; a closed account or upstream deserves a look.
        level = "warning" if about in ("account", "upstream") else "info"
        self._log_message(level, line, event="closed", **place._asdict(), **more)

    def log_opened(self, place: Place) -> None:
        """Log that a closed place has served a request and is used again."""
        self._log_message("info", f"opened {_format_place(place)}", event="opened", **place._asdict())

    def _log_message(self, level: str, message: str, once: bool = False, **fields: Any) -> None:
        if LEVELS[level] < self._level:
            return
        if once:
            if message in self._said:
                return
            if len(self._said) >= MAX_ONCE:
                self._said.clear()
            self._said.add(message)
        self._write(message_line(self.format, level, message, self._clock(), **fields))
        if LEVELS[level] >= LEVELS["warning"]:
            self._flush()


def timestamp(unix: float) -> str:
    """Return a unix time in UTC with milliseconds: `2026-01-31T08:05:00.250Z`."""
    milliseconds = int(unix * 1000)
    return f"{_seconds(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def _seconds(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))


def _size(count: int) -> str:
    return f"{count / 1e3:.1f}kB" if count < MEGABYTES_FROM else f"{count / 1e6:.1f}MB"


def _format_place(place: Place) -> str:
    shown = f"{place.upstream}/{as_word(place.account)}" if place.account else place.upstream
    shown += f" model={as_word(place.model)}" if place.model else ""
    return f"{shown} feature={place.feature}" if place.feature else shown


def as_word(value: str) -> str:
    """Return a value as one word, quoted if it has other characters."""
    if value.isprintable() and 0 < len(value) <= LONGEST and not any(mark in value for mark in ' "\\='):
        return value
    return _quote(value)


def _quote(value: str) -> str:
    shown = _cut(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escape(shown)}"'


def _escape(value: str) -> str:
    """Return a value with line ends, control characters and invisible ones as escapes."""
    if value.isprintable():
        return value
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii") for mark in value
    )


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else value[:LONGEST] + "..."


def _short(value: str) -> str:
    return encodable(_cut(value))


def encodable(value: str) -> str:
    """Return a value with lone surrogates escaped, which JSON in UTF-8 cannot hold."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
