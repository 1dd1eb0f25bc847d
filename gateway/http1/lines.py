"""Header lines that come again and again, so that a head made of them needs no pass of h11.

A client sends the same twenty lines with every request of a session. What `strict` and h11 made of such a
line is kept here. That is sound because a line means the same in any head: one that goes on in the next
line is refused. Two kinds of field are never kept. Those that decide what the message is, or whose, are
read afresh and counted in every head. Those that hold a secret, or another value in every message, have
no place in a memory. For each of them stands a pattern here, narrower than what `strict` and h11 accept;
a head with a line that is neither known nor of such a pattern takes the long way through both.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Field = tuple[bytes, bytes]
Judge = Callable[[bytes], "re.Match[bytes] | None"]
_Key = TypeVar("_Key")
_Entry = TypeVar("_Entry")

MAX_LINES = 1024
"""Some forty kinds of client. When it is full, all is dropped: learning anew costs one pass of h11 for
each kind, while an order of last use would cost every line of every head."""

MAX_LINE = 1024
"""Bytes of a line that is kept. The longest of real clients, ten beta names, has some 350."""

_ANY = rb"[!-~](?:[ -~]*[!-~])?"
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS = rb"(?:%b\.){3}%b" % (_OCTET, _OCTET)
_PORT = rb"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_NAME = rb"(?:[0-9A-Za-z-]{1,40}\.){0,4}[A-Za-z][0-9A-Za-z-]{0,40}"

JUDGED: dict[bytes, bytes] = {
    b"host": rb"(?:127\.0\.0\.1|localhost|%b|%b)(?::(?:%b))?" % (_ADDRESS, _NAME, _PORT),
    b"content-length": rb"0|[1-9][0-9]{0,17}",
    b"transfer-encoding": rb"chunked",
    b"connection": rb"keep-alive|Keep-Alive|close",
    b"expect": rb"100-continue",
}
"""Fields that decide what a message is -> the values that need no second look. One of each at most."""

CREDENTIALS = (
    *(b"authorization", b"proxy-authorization", b"x-api-key", b"x-goog-api-key"),
    *(b"cookie", b"set-cookie"),
)

VARYING = (
    *(b"upgrade", b"trailer", b"te"),
    *(b"date", b"age", b"etag", b"retry-after", b"server-timing", b"x-envoy-upstream-service-time"),
    *(b"request-id", b"x-request-id", b"x-client-request-id", b"traceparent", b"tracestate", b"cf-ray"),
    *(
        b"anthropic-ratelimit-%b-%b" % (kind, part)
        for kind in (b"requests", b"tokens", b"input-tokens", b"output-tokens", b"unified")
        for part in (b"limit", b"remaining", b"reset")
    ),
)
"""Fields about the connection, and those that say something else in every message."""

SECRET_NAMES = (
    b"auth",
    b"key",
    b"token",
    b"secret",
    b"cookie",
    b"passw",
    b"credential",
    b"signature",
    b"referer",
)
SECRET_VALUES = (
    *(b"bearer ", b"basic ", b" sk-", b":sk-", b"=sk-", b'"sk-', b"aizasy"),
    *(b"key=", b"token=", b"secret=", b"password="),
)
"""Whatever a field is called, a line is not kept if its name or its value speaks of a secret like this."""

_PATTERNS = dict.fromkeys(CREDENTIALS + VARYING, _ANY) | JUDGED
values: dict[bytes, Judge] = {name: re.compile(pattern).fullmatch for name, pattern in _PATTERNS.items()}
"""What judges the values of fields that are read afresh, by name."""
_afresh: dict[bytes, tuple[bytes, Judge, bool]] = {
    spelling: (name, judge, name in JUDGED)
    for name, judge in values.items()
    for spelling in (name, name.title())
}
"""A name as it is mostly spelled -> the name, what judges its value, whether it is of JUDGED."""

_read: dict[bytes, Field] = {}
_written: dict[Field, bytes] = {}


def read(lines: Sequence[bytes]) -> tuple[list[Field], dict[bytes, bytes]] | None:
    """The fields of some lines, and those of JUDGED among them by name. None: take the long way."""
    fields: list[Field] = []
    judged: dict[bytes, bytes] = {}
    add, recall = fields.append, _read.get
    for line in lines:
        known = recall(line)
        if known is None:
            spelling, _, value = line.partition(b": ")
            how = _afresh.get(spelling) or _afresh.get(spelling.lower())
            if how is None:
                return None
            name, judge, counts = how
            if judge(value) is None:
                return None
            if counts:
                if name in judged:
                    return None
                judged[name] = value
            known = (name, value)
        add(known)
    if b"content-length" in judged and b"transfer-encoding" in judged:
        return None
    return fields, judged


def write(fields: Sequence[Field]) -> tuple[list[bytes], dict[bytes, bytes]] | None:
    """The lines of some fields, Host first, and those of JUDGED by name. None: take the long way."""
    lines: list[bytes] = []
    judged: dict[bytes, bytes] = {}
    add, recall = lines.append, _written.get
    for field in fields:
        line = recall(field)
        if line is None:
            name, value = field
            judge = values.get(name)
            if judge is None or judge(value) is None:
                return None
            line = name + b": " + value + b"\r\n"
            if name in JUDGED:
                if name in judged:
                    return None
                judged[name] = value
                if name == b"host":
                    lines.insert(0, line)
                    continue
        add(line)
    if b"content-length" in judged and b"transfer-encoding" in judged:
        return None
    return lines, judged


def remember_read(lines: Iterable[bytes], fields: Iterable[Field]) -> None:
    """Keep what `strict` and h11 made of these lines."""
    for line, field in zip(lines, fields, strict=True):
        _keep(_read, line, field, line, field[0])


def remember_written(fields: Iterable[Field], lines: Iterable[bytes]) -> None:
    """Keep the lines of these fields, which `strict` and h11 let pass."""
    for field, line in zip(fields, lines, strict=True):
        _keep(_written, field, line, line, field[0].lower())


def _keep(memory: dict[_Key, _Entry], key: _Key, entry: _Entry, line: bytes, name: bytes) -> None:
    if key in memory or not may_be_kept(line, name):
        return
    if len(memory) >= MAX_LINES:
        memory.clear()
    memory[key] = entry


def may_be_kept(line: bytes, name: bytes) -> bool:
    """Whether a line with a field of this name has a place in a memory."""
    return not (
        len(line) > MAX_LINE
        or name in values
        or any(map(name.__contains__, SECRET_NAMES))
        or any(map(line.lower().__contains__, SECRET_VALUES))
    )
