"""News: facts with an end that one process tells the others, and the frame in which they travel.

A frame comes from a socket or a store that others may write to: `decode` never raises, and what it cannot vouch for
is None. What becomes of news is decided in `facts`, what they do here in `state`. Bodies and keys are never news.
"""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from gateway.messages.json_values import as_dict, json_in

VERSION = 1
"""Of the frame; a frame of another one is not understood."""

COOLING, OPEN, BOUND, SIGNATURE, CURE, PROBE = "cooling", "open", "bound", "signature", "cure", "probe"

KINDS = frozenset({COOLING, OPEN, BOUND, SIGNATURE, CURE, PROBE})

MAX_FRAME = 64 * 1024
"""Bytes of a frame: a signature has up to a few thousand, everything else a few hundred."""

MAX_KEY = 4096
"""Characters of a key: names of an upstream, an account, a model and a feature, of which a client chose the third."""

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
    """What it is about, the same in every process: see `key_of`."""
    until: float
    """When it ends by itself."""
    made: float
    """When it was made: `open` ends what is older. Never earlier than anything its maker had heard of."""
    data: Mapping[str, Value] = {}
    """What else is known; small, flat, and only what the kind's receiver reads."""

    def __repr__(self) -> str:
        """Name it without its data: a signature is nobody's to read."""
        return f"<News {self.kind} {self.key} until {self.until:.3f}, made {self.made:.3f}>"


def key_of(*names: str) -> str:
    """Return the key for what these names lead to, outermost first; "" for what is not narrowed down."""
    return orjson.dumps([name.encode("utf-8", "replace").decode() for name in names]).decode()


def names_in(key: str, count: int) -> tuple[str, ...] | None:
    """Return the `count` names of which a key was made, None if it was not made so."""
    names = json_in(key)
    if isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def encode(news: News) -> bytes:
    """Return the frame of news; b"" for what `decode` would not take, which is not worth sending."""
    try:
        frame = orjson.dumps({"v": VERSION, **news._asdict()})
    except orjson.JSONEncodeError:
        return b""
    return frame if decode(frame) is not None else b""


def decode(frame: bytes) -> News | None:
    """Return the news in a frame; None for another version, an unknown kind, junk, and what is too large."""
    if len(frame) > MAX_FRAME:
        return None
    told = as_dict(json_in(frame))
    if told.get("v") != VERSION or told.get("v") is True:
        return None
    kind, key, data = told.get("kind"), told.get("key"), told.get("data")
    until, made = _moment(told.get("until")), _moment(told.get("made"))
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
