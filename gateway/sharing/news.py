"""News: facts with an end that processes tell each other, and their encoding in a frame.

A frame comes from a socket or a store that others may write to: `decode` never raises, and returns None for all that is
not valid. `facts` merges news, `state` applies them. Bodies and keys are never in news.
"""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from gateway.messages.json_values import as_dict, json_in

VERSION = 1
"""Version of the frame; others are not read."""

COOLING, OPEN, BOUND, SIGNATURE, CURE, PROBE = "cooling", "open", "bound", "signature", "cure", "probe"

KINDS = frozenset({COOLING, OPEN, BOUND, SIGNATURE, CURE, PROBE})

MAX_FRAME = 64 * 1024
"""Bytes of a frame: a signature has up to a few thousand, everything else a few hundred."""

MAX_KEY = 4096
"""Characters of a key: the names of an upstream, an account, a model (which a client chose) and a feature."""

MAX_DATA = 16
"""Entries of `data`."""

LAST_TIME = 1e11
"""Unix seconds: the year 5138. A later time is a mistake."""

Value = str | int | float | bool | None


class News(NamedTuple):
    """One fact. Times are unix seconds of the process that made it."""

    kind: str
    """One of KINDS."""
    key: str
    """What it is about: equal in every process; see `key_of`."""
    until: float
    """When it ends."""
    made: float
    """When it was made: an `open` ends older cool-downs. Later than anything its process had received."""
    data: Mapping[str, Value] = {}
    """Further values; small, flat, and only those that the kind's receiver reads."""

    def __repr__(self) -> str:
        """Show it without its data, which may be a signature."""
        return f"<News {self.kind} {self.key} until {self.until:.3f}, made {self.made:.3f}>"


def key_of(*names: str) -> str:
    """Return the key for these names, outermost first; "" means all of that level."""
    return orjson.dumps([name.encode("utf-8", "replace").decode() for name in names]).decode()


def names_in(key: str, count: int) -> tuple[str, ...] | None:
    """Return the `count` names that a key was made of; None if it has another form."""
    names = json_in(key)
    if isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def encode(news: News) -> bytes:
    """Return the frame of news; b"" if `decode` would not accept it."""
    try:
        frame = orjson.dumps({"v": VERSION, **news._asdict()})
    except orjson.JSONEncodeError:
        return b""
    return frame if decode(frame) is not None else b""


def decode(frame: bytes) -> News | None:
    """Return the news in a frame; None for another version, an unknown kind, malformed or too large data."""
    if len(frame) > MAX_FRAME:
        return None
    document = as_dict(json_in(frame))
    if document.get("v") != VERSION or document.get("v") is True:
        return None
    kind, key, data = document.get("kind"), document.get("key"), document.get("data")
    until, made = _moment(document.get("until")), _moment(document.get("made"))
    if not isinstance(kind, str) or kind not in KINDS or until is None or made is None:
        return None
    if not isinstance(key, str) or len(key) > MAX_KEY or not isinstance(data, dict) or len(data) > MAX_DATA:
        return None
    for value in data.values():
        if value is not None and not isinstance(value, str | int | float):
            return None
    return News(kind, key, until, made, data)


def _moment(value: object) -> float | None:
    """Return a time that can be one, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= LAST_TIME:
        return None
    return float(value)
