"""The log: one line for each request when it ends, and lines about the gateway itself.

As text for people or as JSON for machines. Values that a client chose can neither start a line of their own
nor look like another field. What is said is the caller's choice: bodies and credentials are never given here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import orjson

from gateway.telemetry.usage import Usage

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""Request lines are "info"."""

LONGEST = 300
"""Characters shown of one value; a model's name can be as long as a request."""

MAX_ONCE = 1000
"""Different messages remembered as said; past that they are said again."""


@dataclass(slots=True, eq=False)
class Record:
    """One request, filled in while it is served. Times are seconds; None and "" are unknown."""

    time: float
    """Unix time of its beginning."""
    request_id: str = ""
    key: str = ""
    """The name of the client's key, never the key."""
    method: str = ""
    path: str = ""
    """Without the query."""
    model: str = ""
    """As the client asked for it."""
    wire_model: str = ""
    upstream: str = ""
    account: str = ""
    attempts: int = 0
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    duration: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    repairs: tuple[str, ...] = ()
    outcome: str = ""
    """"ok", "canceled", "upstream_error", ..."""
    error: str = ""
    """What went wrong, in short."""

    def take_usage(self, usage: Usage) -> None:
        """Note the counts that `usage` knows; the rest stays."""
        known = Usage(
            self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_creation_tokens
        ).updated(usage)
        self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_creation_tokens = known


def text(record: Record) -> str:
    """The line for people, without a line end."""
    asked, wire = record.model, record.wire_model
    model = way = attempts = first = ""
    if asked:
        model = f" {_word(asked)} -> {_word(wire)}" if wire and wire != asked else f" {_word(asked)}"
    if record.upstream:
        way = f" {record.upstream}/{_word(record.account)}"
    if record.attempts > 1:
        attempts = f" attempts={record.attempts}"
    if record.first_byte is not None:
        first = f" first={_duration(record.first_byte)}"
    line = (
        f"{_clock(record.time)} {record.request_id} {_word(record.key or '-')} {_word(record.method)} "
        f"{_word(record.path)}{model}{way} {record.status} {record.outcome}{attempts} "
        f"in={_size(record.bytes_in)} out={_size(record.bytes_out)}{first} took={_duration(record.duration)}"
    )
    if record.input_tokens is not None:
        line += f" input={record.input_tokens}"
    if record.output_tokens is not None:
        line += f" output={record.output_tokens}"
    if record.cache_read_tokens is not None:
        line += f" cache_read={record.cache_read_tokens}"
    if record.cache_creation_tokens is not None:
        line += f" cache_creation={record.cache_creation_tokens}"
    if record.repairs:
        line += " repairs=" + ",".join(record.repairs)
    if record.error:
        line += " error=" + _quoted(record.error)
    return line


def json_line(record: Record) -> bytes:
    """The line for machines, without a line end: every field, always, under its own name."""
    return orjson.dumps(
        {
            "time": record.time,
            "request_id": record.request_id,
            "key": _valid(record.key),
            "method": _valid(record.method),
            "path": _valid(record.path),
            "model": _valid(record.model),
            "wire_model": _valid(record.wire_model),
            "upstream": record.upstream,
            "account": _valid(record.account),
            "attempts": record.attempts,
            "status": record.status,
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "first_byte": record.first_byte,
            "duration": record.duration,
            "input_tokens": record.input_tokens,
            "output_tokens": record.output_tokens,
            "cache_read_tokens": record.cache_read_tokens,
            "cache_creation_tokens": record.cache_creation_tokens,
            "repairs": record.repairs,
            "outcome": record.outcome,
            "error": _valid(record.error),
        }
    )


class AccessLog:
    """Writes lines at or above a level. `write` gets each without its line end; `clock` gives unix time."""

    __slots__ = ("_clock", "_format", "_level", "_said", "_write")

    def __init__(
        self,
        write: Callable[[str], None],
        format: Literal["text", "json"] = "text",
        level: str = "info",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._format = format
        self._level = LEVELS[level]
        self._clock = clock
        self._said: set[str] = set()

    def enabled(self, level: str) -> bool:
        """Whether a message of this level would be written: ask before building a costly one."""
        return LEVELS[level] >= self._level

    def log(self, record: Record) -> None:
        """A request has ended."""
        if self.enabled("info"):
            self._write(json_line(record).decode() if self._format == "json" else text(record))

    def debug(self, message: str, *, once: bool = False) -> None:
        """For whoever looks for a fault."""
        self._message("debug", message, once)

    def info(self, message: str, *, once: bool = False) -> None:
        """What happened, as it should."""
        self._message("info", message, once)

    def warning(self, message: str, *, once: bool = False) -> None:
        """What an operator should know. `once`: said only the first time."""
        self._message("warning", message, once)

    def error(self, message: str, *, once: bool = False) -> None:
        """What an operator must mend."""
        self._message("error", message, once)

    def _message(self, level: str, message: str, once: bool) -> None:
        if not self.enabled(level):
            return
        if once:
            if message in self._said:
                return
            if len(self._said) >= MAX_ONCE:
                self._said.clear()
            self._said.add(message)
        now = self._clock()
        if self._format == "json":
            line = orjson.dumps({"time": now, "level": level, "message": _valid(message)}).decode()
        else:
            line = f"{_clock(now)} {level}: {_escaped(message)}"
        self._write(line)


def _clock(unix: float) -> str:
    """UTC with milliseconds: `2026-01-31T08:05:00.250Z`."""
    milliseconds = int(unix * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=8)
def _second(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else f"{seconds:.2f}s"


def _size(count: int) -> str:
    """Bytes in the unit that leaves up to four digits before the point."""
    if count < 10_000:
        return f"{count}B"
    if count < 10_000_000:
        return f"{count / 1000:.1f}kB"
    return f"{count / 1_000_000:.1f}MB"


def _word(value: str) -> str:
    """A field's value; the same few come again and again."""
    return _known_field(value) if len(value) <= LONGEST else _field(value)


def _field(value: str) -> str:
    """One word: quoted where it would not look like one."""
    if value.isprintable() and 0 < len(value) <= LONGEST and not any(mark in value for mark in ' "\\='):
        return value
    return _quoted(value)


_known_field = lru_cache(maxsize=256)(_field)


def _quoted(value: str) -> str:
    shown = _cut(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(shown)}"'


def _escaped(value: str) -> str:
    """Without line ends, terminal controls, invisible marks: as escapes."""
    if value.isprintable():
        return value
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii") for mark in value
    )


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else value[:LONGEST] + "..."


def _valid(value: str) -> str:
    """Short, and without halves of surrogate pairs, which JSON in UTF-8 cannot hold."""
    value = _cut(value)
    if value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()
