"""Reads and writes JSON documents with orjson, and exactly where orjson alone would not be exact.

Reading accepts what other JSON parsers accept (lone surrogates, NaN), keeps all digits of integers, and is bounded: in
depth, in the number of values, and so in memory. Writing gives back what was read.
"""

import re
from collections.abc import Iterator
from gc import get_referents
from itertools import islice
from typing import Any

import orjson

from gateway.patterns import LazyPattern

BOM = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8, which some writers put in front of a document or a stream."""

MAX_DEPTH = 200
"""Levels of nesting. Real requests have about 12; code that recurses stays far from Python's 1,000."""

MAX_VALUES = 1_000_000
"""Objects, arrays and scalars of one document. A session of 32 MB has some 100,000."""

MAX_LENIENT = 16 * 1024 * 1024
"""Bytes of a document that only Python's own parser accepts and that is not ASCII: it needs up to nine times as
many."""

_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"

_INT64 = 2.0**63
"""From here on orjson may read an integer as a float (negative ones here, positive ones at 2**64)."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'

_VALUE = LazyPattern(
    rb'[^",\[{]*+(?:(?:%b|[\[{][ \t\r\n]*+[\]}])[^",\[{]*+){0,2}+[,\[{]|.++' % _STRING, re.DOTALL
)
"""Matches up to the next comma, or opening bracket of what is not empty: each begins a value. Between two of them are
at most two strings, or a string and an empty object or array. The rest matches as a whole."""

_PLAIN = rb'"[^"]*+"'
"""A string without escaped quotes, which is matched several times as fast."""

_NESTED = rb"[^\"{}\[\]]++|%b|[\[{](?:[^\"{}\[\]]++|%b)*+[\]}]" % (_PLAIN, _PLAIN)
"""Text that does not change the level: no string or bracket, a string, or an object or array without nesting."""

_BRACKET = LazyPattern(rb"(?:%b)*+(?:([\[{])|[\]}])" % _NESTED, re.DOTALL)
"""Matches up to the next bracket that opens a level (the group) or closes one."""


_COLON = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")

_ANY_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|%b)*+(?:([\[{])|[\]}])' % _STRING, re.DOTALL)
"""The same for any text, with escaped quotes."""

_BACKSLASH = ord("\\")

_MAX_KEYS = 32
"""Occurrences of a key that are examined one by one. Claude Code's requests have two or three: its tools take a
model."""

_MAX_BRACKETS = 200
"""Brackets that are followed to the end of an object. A tool's schema has some dozens."""


class TooLarge(ValueError):
    """The document would take more memory than any real one, so its size is the error."""


def read_document(raw: bytes) -> Any:
    """Read a document, with all digits of its integers.

    Raises ValueError with the error and its place (not UTF-8, not JSON, deeper than MAX_DEPTH), or TooLarge.
    """
    document, by_orjson = read_quickly(raw)
    return with_every_digit(document, raw) if by_orjson else document


def read_quickly(raw: bytes) -> tuple[Any, bool]:
    """Read a document without restoring digits; return it and whether orjson read it.

    If it did, integers beyond 64 bits are floats until `with_every_digit`, and nothing is NaN or infinite. If it did
    not, the document is exact. Raises ValueError as `read_document` does.
    """
    # A value takes at least two bytes, with the comma or bracket before it.
    if len(raw) > 2 * MAX_VALUES and _holds_too_many_values(raw):
        raise TooLarge(f"it holds more than {MAX_VALUES:,} values")
    by_orjson = True
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        document = _read_leniently(raw)
        by_orjson = False
    # A level at a time, by the garbage collector's walk in C, which is five times as fast as a loop over values. Types
    # need no check, since a parsed document contains only JSON's.
    level = [document]
    for _ in range(MAX_DEPTH):
        level = get_referents(*level)
        if not level:
            return document, by_orjson
    if any(isinstance(value, (dict, list)) for value in level):
        raise ValueError(_TOO_DEEP)
    return document, by_orjson


def with_every_digit(document: Any, raw: bytes) -> Any:
    """Restore the digits of integers beyond 64 bits in what orjson read from `raw`.

    Returns the same object if there are none.
    """
    if orjson.dumps(document) == raw or not _holds_huge_float(document):
        return document
    return _read_leniently(raw)


def write_document(document: object, *, finite: bool = False) -> bytes:
    """Write a document as JSON without blanks.

    UTF-8, or ASCII with escapes where orjson cannot write it (lone surrogates, integers beyond 64 bits, NaN and
    infinities). `finite`: the document has no NaN and no infinity, so that no search for them is needed.
    """
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return _write_leniently(document)
    if not finite and b"null" in written and _holds_nan(document):
        return _write_leniently(document)
    return written


def first_difference(before: Any, after: Any) -> str | None:
    """Return the path of the first difference between two documents, such as "messages.3.content"; None if they are
    equal. Keys come in the order of `before`, then those that only `after` has. "" is the document itself."""
    steps: list[str] = []
    if not _differ(before, after, steps):
        return None
    return ".".join(reversed(steps))


def _differ(before: Any, after: Any, steps: list[str]) -> bool:
    """Return whether two values differ; the path of the first difference is added to `steps`, last step first."""
    if before is after:
        return False
    if type(before) is not type(after):
        return True
    if type(before) is dict:
        for key in {**before, **after}:
            if key not in before or key not in after or _differ(before[key], after[key], steps):
                steps.append(key)
                return True
        return False
    if type(before) is list:
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            if _differ(one, other, steps):
                steps.append(str(index))
                return True
        if len(before) != len(after):
            steps.append(str(min(len(before), len(after))))
        return len(before) != len(after)
    return bool(before != after)


def compile_key(key: str) -> LazyPattern[bytes]:
    """Return a pattern for `member_values` that matches an (ASCII) key in every spelling that JSON allows.

    It matches up to the key and its value, if that is a scalar (groups 1 and 2), or up to the next opening bracket (3).
    """
    letters = [rb"(?:%b|\\u00(?i:%02x))" % (letter.encode(), ord(letter)) for letter in key]
    member = rb'"%b"[ \t\r\n]*+:[ \t\r\n]*+' % b"".join(letters)
    before = rb"(?:(?!%b)(?:%b))*+" % (member, _NESTED)
    return LazyPattern(rb'%b(?:(%b)(%b|[^",{}\[\]\s]++)?|([\[{]))?' % (before, member, _PLAIN), re.DOTALL)


def member_values(raw: bytes, key: LazyPattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each value of a key in the text of a JSON object.

    `raw` is known to be an object; `key` comes from `compile_key`. Keys of nested objects are skipped. Takes one pass,
    with Python steps only for nested brackets.
    """
    # Escaped backslashes and quotes are replaced by text of the same length, so that every quote left ends a string.
    text = raw.replace(rb"\\", b"__").replace(rb"\"", b"__")
    at = text.index(b"{") + 1
    while True:
        found = key.compiled.match(text, at)
        assert found is not None, "it matches anything"
        at = found.end()
        if found[1]:
            start = found.end(1)
            if start == at:
                at = _end_of_nested(text, at + 1)
            yield start, at
        elif found[3]:
            at = _end_of_nested(text, at)
        else:
            return


def only_key(raw: bytes, name: bytes) -> int:
    """Return the position of an object's own key, not a nested object's; -1 if it cannot be found quickly, or if the
    key may occur more than once.

    `name`: the key in quotes. `raw` must not contain a letter of it as an escape.
    """
    found = -1
    at = raw.rfind(name)
    for _ in range(_MAX_KEYS):
        before = raw.rfind(name, 0, at)
        # A quote behind a backslash is part of a string.
        colon = None if raw[at - 1] == _BACKSLASH else _COLON.match(raw, at + len(name))
        # An occurrence is the object's own if it is the only one, or if it is not nested.
        if colon is not None and ((before < 0 and found < 0) or not _is_nested(raw, colon.end())):
            if found >= 0:
                return -1
            found = at
        if before < 0:
            return found
        at = before
    return -1


def _is_nested(raw: bytes, at: int) -> bool:
    """Return whether a value at `at` is inside a nested object whose end is near."""
    depth = 0
    for bracket in islice(_ANY_BRACKET.finditer(raw, at), _MAX_BRACKETS):
        depth += 1 if bracket[1] else -1
        if depth < 0:
            return raw.find(b"}", bracket.end()) >= 0
    return False


def _end_of_nested(text: bytes, at: int) -> int:
    """Return the end of the object or array whose content begins at `at`."""
    brackets = _BRACKET.compiled.finditer(text, at)
    depth = 1
    while depth:
        found = next(brackets)
        depth += 1 if found[1] else -1
    return found.end()


def _holds_too_many_values(raw: bytes) -> bool:
    """Return whether a document has more than MAX_VALUES, without parsing it.

    Commas and opening brackets are counted everywhere, and again outside of strings only if they are too many: prose
    and code are full of them.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") < MAX_VALUES:
        return False
    return next(islice(_VALUE.compiled.finditer(raw), MAX_VALUES, None), None) is not None


def _holds_huge_float(document: object) -> bool:
    """Return whether a number may be an integer that orjson read as a float."""
    level = [document]
    while level:
        for value in level:
            if type(value) is float and abs(value) >= _INT64:
                return True
        level = get_referents(*level)
    return False


def _read_leniently(raw: bytes) -> Any:
    """Read a document with Python's own parser. Raises ValueError."""
    import json

    if len(raw) > MAX_LENIENT and not raw.isascii():
        raise TooLarge(f"it has more than {MAX_LENIENT >> 20} MiB and is not strictly JSON, or not UTF-8")
    try:
        return json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python's only other error: its limit of digits, since parsing them takes quadratic time.
        raise ValueError("it holds an integer of more than 4,300 digits") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _write_leniently(document: object) -> bytes:
    import json

    return json.dumps(document, separators=(",", ":")).encode()


def _holds_nan(document: object) -> bool:
    """Return whether a `null` written by orjson may stand for NaN or an infinity."""
    rest: list[Any] = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, float) and (value != value or abs(value) == float("inf")):
            return True
    return False
