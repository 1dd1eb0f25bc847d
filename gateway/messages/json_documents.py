"""JSON documents, read and written with orjson, and exactly where orjson alone would not be.

Reading takes what other JSON readers take (lone surrogates, NaN), never loses an integer's digits, and is bounded: in
depth, in the number of values, and so in memory. Writing gives back what was read. What a document must hold is left
to others.
"""

import re
from collections.abc import Iterator
from gc import get_referents
from itertools import islice
from typing import Any

import orjson

from gateway.patterns import Late

BOM = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8, which some writers put in front of a document or a stream."""

MAX_DEPTH = 200
"""Levels of nesting. Real requests have about 12; code that recurses stays far from Python's 1,000."""

MAX_VALUES = 1_000_000
"""Objects, arrays and scalars of one document. A session of 32 MB has some 100,000."""

MAX_LENIENT = 16 * 1024 * 1024
"""Bytes of a document outside ASCII that only Python's own reader takes: it needs up to nine times as many."""

_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"

_INT64 = 2.0**63
"""From here on orjson may read an integer as a float (negative ones here, positive ones at 2**64)."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'

_VALUE = Late(rb'[^",\[{]*+(?:(?:%b|[\[{][ \t\r\n]*+[\]}])[^",\[{]*+){0,2}+[,\[{]|.++' % _STRING, re.DOTALL)
"""Up to the next comma, or bracket that opens what is not empty: each begins a value. Between two of them are at most
two strings, or a string and an empty object or array. The rest, whatever it is, matches as a whole."""

_PLAIN = rb'"[^"]*+"'
"""A string without escaped quotes, which is found several times as fast."""

_NESTED = rb"[^\"{}\[\]]++|%b|[\[{](?:[^\"{}\[\]]++|%b)*+[\]}]" % (_PLAIN, _PLAIN)
"""What changes no level: anything but strings and brackets, a string, or an object or array that nests no further."""

_BRACKET = Late(rb"(?:%b)*+(?:([\[{])|[\]}])" % _NESTED, re.DOTALL)
"""Up to the next bracket that opens a level (the group) or closes one."""


_COLON = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")

_ANY_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|%b)*+(?:([\[{])|[\]}])' % _STRING, re.DOTALL)
"""The same for any text: escaped quotes are told from others."""

_BACKSLASH = ord("\\")

_MAX_KEYS = 32
"""Places of a key that are looked at one by one. Claude Code's requests have two or three: its tools take a model."""

_MAX_BRACKETS = 200
"""Brackets that are followed to the end of an object. A tool's schema has some dozens."""


class TooLarge(ValueError):
    """A document that would take more memory than any real one: its size is what is wrong with it."""


def read_document(raw: bytes) -> Any:
    """Read a document, with every digit of its integers.

    Raises ValueError with a message that says where: not UTF-8, not JSON, deeper than MAX_DEPTH; TooLarge.
    """
    document, by_orjson = read_quickly(raw)
    return with_every_digit(document, raw) if by_orjson else document


def read_quickly(raw: bytes) -> tuple[Any, bool]:
    """Read a document to look at; return it and whether orjson read it.

    If it did, integers beyond 64 bits are floats: `with_every_digit` gives them back. Nothing in such a document is
    NaN or infinite. If it did not, the document is exact. Raises ValueError as `read_document` does.
    """
    # A value takes two bytes at least, with the comma or bracket before it.
    if len(raw) > 2 * MAX_VALUES and _holds_too_many_values(raw):
        raise TooLarge(f"it holds more than {MAX_VALUES:,} values")
    by_orjson = True
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        document = _read_leniently(raw)
        by_orjson = False
    # A level at a time, by the garbage collector's walk in C: five times as fast as a loop over values.
    # It needs no look at types, since what was read holds nothing but what JSON has.
    level = [document]
    for _ in range(MAX_DEPTH):
        level = get_referents(*level)
        if not level:
            return document, by_orjson
    if any(isinstance(value, (dict, list)) for value in level):
        raise ValueError(_TOO_DEEP)
    return document, by_orjson


def with_every_digit(document: Any, raw: bytes) -> Any:
    """Give what orjson read from `raw` the digits that integers beyond 64 bits lost.

    Returns the same object if there are none.
    """
    if orjson.dumps(document) == raw or not _holds_huge_float(document):
        return document
    return _read_leniently(raw)


def write_document(document: object, *, finite: bool = False) -> bytes:
    """Write the document as JSON without blanks.

    UTF-8, or ASCII with escapes where orjson cannot write it (lone surrogates, integers beyond 64 bits, NaN and
    infinities). `finite`: it is known to hold no NaN and no infinity, so that no search for one is needed.
    """
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return _write_leniently(document)
    if not finite and b"null" in written and _holds_nan(document):
        return _write_leniently(document)
    return written


def first_difference(before: Any, after: Any) -> str | None:
    """Return the path of the first place where two documents differ, such as "messages.3.content"; None if they are
    the same. Keys come in the order of `before`, then those that only `after` has. "" is the document itself."""
    steps: list[str] = []
    if not _differ(before, after, steps):
        return None
    return ".".join(reversed(steps))


def _differ(before: Any, after: Any, steps: list[str]) -> bool:
    """Return whether two values differ; `steps` gets the way to the first place that does, its end first."""
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


def spelled(key: str) -> Late[bytes]:
    """Return a pattern for `member_values`: the key in each way that JSON may write its (ASCII) letters.

    It matches up to the key and its value, if that is a scalar (groups 1 and 2), or to the next bracket that opens (3).
    """
    letters = [rb"(?:%b|\\u00(?i:%02x))" % (letter.encode(), ord(letter)) for letter in key]
    member = rb'"%b"[ \t\r\n]*+:[ \t\r\n]*+' % b"".join(letters)
    before = rb"(?:(?!%b)(?:%b))*+" % (member, _NESTED)
    return Late(rb'%b(?:(%b)(%b|[^",{}\[\]\s]++)?|([\[{]))?' % (before, member, _PLAIN), re.DOTALL)


def member_values(raw: bytes, key: Late[bytes]) -> Iterator[tuple[int, int]]:
    """Find where in the text of a JSON object each value of a key of its own begins and ends.

    `raw` is known to be an object; `key` is what `spelled` made. Keys of nested objects are passed over. One pass, and
    a step of Python's only for brackets that nest.
    """
    # Escaped backslashes and quotes make room for others of the same length, so that a quote ends its string.
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
    """Return where a key is that a JSON object has; -1 if it is not soon clear which one that is, or it may have it
    more than once.

    `name`: the key in quotes. Nothing in `raw` spells a letter of it as an escape.
    """
    found = -1
    at = raw.rfind(name)
    for _ in range(_MAX_KEYS):
        before = raw.rfind(name, 0, at)
        # Behind a backslash the quote is a part of some string.
        colon = None if raw[at - 1] == _BACKSLASH else _COLON.match(raw, at + len(name))
        # What is left when all others are nested is the object's own.
        if colon is not None and ((before < 0 and found < 0) or not _is_nested(raw, colon.end())):
            if found >= 0:
                return -1
            found = at
        if before < 0:
            return found
        at = before
    return -1


def _is_nested(raw: bytes, at: int) -> bool:
    """Return whether an object that has a value at `at` soon ends, and is not the whole document."""
    depth = 0
    for bracket in islice(_ANY_BRACKET.finditer(raw, at), _MAX_BRACKETS):
        depth += 1 if bracket[1] else -1
        if depth < 0:
            return raw.find(b"}", bracket.end()) >= 0
    return False


def _end_of_nested(text: bytes, at: int) -> int:
    """Return where the object or array ends whose inside begins at `at`."""
    brackets = _BRACKET.compiled.finditer(text, at)
    depth = 1
    while depth:
        found = next(brackets)
        depth += 1 if found[1] else -1
    return found.end()


def _holds_too_many_values(raw: bytes) -> bool:
    """Return whether a document has more than MAX_VALUES, without reading it.

    Commas and opening brackets are counted wherever they are, and only if there are too many of those, outside strings:
    prose and code are full of them.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") < MAX_VALUES:
        return False
    return next(islice(_VALUE.compiled.finditer(raw), MAX_VALUES, None), None) is not None


def _holds_huge_float(document: object) -> bool:
    """Return whether some number may be an integer that orjson read as a float."""
    level = [document]
    while level:
        for value in level:
            if type(value) is float and abs(value) >= _INT64:
                return True
        level = get_referents(*level)
    return False


def _read_leniently(raw: bytes) -> Any:
    """Read a document with Python's own reader. Raises ValueError."""
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
        # The only other one: a limit of Python's, since its time to read digits is quadratic.
        raise ValueError("it holds an integer of more than 4,300 digits") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _write_leniently(document: object) -> bytes:
    import json

    return json.dumps(document, separators=(",", ":")).encode()


def _holds_nan(document: object) -> bool:
    """Return whether orjson's `null` may stand for a NaN or an infinity somewhere."""
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
