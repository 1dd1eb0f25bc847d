"""HeadTemplate: the last head of a connection, to recognise similar ones.

A client sends the same twenty lines with every request of a session, and an upstream's response heads differ little. A
head that `grammar` and h11 have accepted is kept as lines with holes. The constant lines are compared as bytes. The
holes are values that differ between messages, or must not be kept: Content-Length, credentials, ids, dates, limits.
They are read from every head, by patterns stricter than `grammar` and h11. So a head that fits has the same meaning as
the accepted one, except for its holes.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Generic, Self, TypeVar

Field = tuple[bytes, bytes]
Facts = TypeVar("Facts")

MAX_HEAD = 8 * 1024
"""Bytes of a head that is kept, at most; those of real clients and hosts have up to 3 KiB."""

CREDENTIALS = (
    *(b"authorization", b"proxy-authorization", b"x-api-key", b"x-goog-api-key"),
    *(b"cookie", b"set-cookie"),
)

VARYING = (
    *(b"date", b"age", b"etag", b"retry-after", b"server-timing", b"x-envoy-upstream-service-time"),
    *(b"request-id", b"x-request-id", b"x-client-request-id", b"traceparent", b"tracestate", b"cf-ray"),
    *(
        b"anthropic-ratelimit-%b-%b" % (kind, part)
        for kind in (b"requests", b"tokens", b"input-tokens", b"output-tokens", b"unified")
        for part in (b"limit", b"remaining", b"reset")
    ),
)
"""Fields whose values differ between messages."""

DECIDING = frozenset((b"transfer-encoding", b"connection", b"host", b"expect"))
"""Fields that determine a message's framing or destination: never a hole."""

HOLES = frozenset((b"content-length", *CREDENTIALS, *VARYING))

SECRET_NAMES = re.compile(rb"auth|key|token|secret|cookie|passw|credential|signature|referer").search
SECRET_VALUES = re.compile(
    rb'bearer |basic |[ :="]sk-|aizasy|key=|token=|secret=|password=', re.IGNORECASE
).search
"""Match names and values that indicate a secret: such a field is a hole, too."""

_PLAIN = bytes(range(0x20, 0x7F))
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch


class HeadTemplate(Generic[Facts]):
    """The constant lines of an accepted head, and the places of its holes."""

    __slots__ = (
        "_constant",
        "_count",
        "_fields",
        "_holes",
        "_pick_constant",
        "_pick_holes",
        "_places",
        "facts",
        "hole_names",
        "holes",
        "known",
        "length",
        "length_at",
    )

    def __init__(
        self, lines: Sequence[bytes], places: Sequence[int], fields: Sequence[Field], facts: Facts
    ) -> None:
        """Keep `lines`, except for the fields at `places`, of which only the names are kept."""
        self.facts = facts
        """What the constant lines say about the message."""
        self._count = len(lines)
        self._pick_holes = _picker([at + 1 for at in places])
        self._pick_constant = _picker([at for at in range(len(lines)) if at - 1 not in places])
        self._constant = self._pick_constant(lines)
        prefixes = [lines[at + 1].partition(b": ")[0] + b": " for at in places]
        self._holes = [(hole, prefix, len(prefix)) for hole, prefix in enumerate(prefixes)]
        self._places = tuple(places)
        self._fields = [
            (name, b"") if at in places else (name, value) for at, (name, value) in enumerate(fields)
        ]
        self.holes = {at: hole for hole, at in enumerate(places)}
        """Index of a field -> index of the hole with its value."""
        self.hole_names = frozenset(fields[at][0] for at in places)
        self.length_at = next((at for at in places if fields[at][0] == b"content-length"), -1)
        """Index of Content-Length among the fields; -1 if there is none."""
        self.length = self.holes.get(self.length_at, -1)
        """Index of the hole with its value; -1 if there is none."""
        self.known: object = None
        """What the application derived from the constant lines alone."""

    def __repr__(self) -> str:
        return f"<HeadTemplate [{len(self._fields)} fields, {len(self._places)} holes]>"

    @classmethod
    def learn(cls, raw: bytes, fields: Sequence[Field], facts: Facts) -> Self | None:
        """Return the template of an accepted head; None if it has none.

        `raw`: the head with its blank line; `fields`: its parsed fields, one for each line; `facts`: what both say
        about the message, except for Content-Length.
        """
        lines = raw.split(b"\r\n")
        # The start line is kept unchanged, and its query may contain a key.
        if len(raw) > MAX_HEAD or SECRET_VALUES(lines[0]) is not None:
            return None
        places = []
        for at, (name, value) in enumerate(fields):
            if name in HOLES or SECRET_NAMES(name) is not None or SECRET_VALUES(value) is not None:
                plain = value and not value.translate(None, _PLAIN)
                if not plain or lines[at + 1].partition(b": ")[2] != value or name in DECIDING:
                    return None
                places.append(at)
        return cls(lines, places, fields, facts)

    def match(self, raw: bytes) -> list[bytes] | None:
        """Return the values in the holes of a head; None if it does not fit."""
        lines = raw.split(b"\r\n")
        if len(lines) != self._count or self._pick_constant(lines) != self._constant:
            return None
        values = list(self._pick_holes(lines))
        for hole, prefix, size in self._holes:
            line = values[hole]
            value = values[hole] = line[size:]
            # Leave an empty value, or one with surrounding blanks, to the other tier.
            if line[:size] != prefix or not value or value[0] == 0x20 or value[-1] == 0x20:
                return None
        if b"".join(values).translate(None, _PLAIN):
            return None
        if self.length >= 0 and _LENGTH(values[self.length]) is None:
            return None
        return values

    def fields(self, values: Sequence[bytes]) -> list[Field]:
        """Return all fields of a head with these values in its holes."""
        fields = self._fields.copy()
        for at, value in zip(self._places, values, strict=True):
            fields[at] = (fields[at][0], value)
        return fields


def _picker(places: Sequence[int]) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    """Return a function that picks the lines at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda lines: tuple(lines[place] for place in places)
