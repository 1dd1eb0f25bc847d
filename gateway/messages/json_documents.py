"""JSON documents, read and written with orjson, and exactly where orjson alone would not be.

Reading takes what other JSON readers take (lone surrogates, NaN) and never loses an integer's digits.
Writing gives back what was read. What a document must hold is left to others.
"""

from gc import get_referents
from typing import Any

import orjson

MAX_DEPTH = 200
"""Levels of nesting. Real requests have about 12; code that recurses stays far from Python's 1,000."""

_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"

_INT64 = 2.0**63
"""From here on orjson may read an integer as a float (negative ones here, positive ones at 2**64)."""


def read_document(raw: bytes) -> Any:
    """A document, with every digit of its integers.

    Raises ValueError with a message that says where: not UTF-8, not JSON, deeper than MAX_DEPTH.
    """
    document, by_orjson = read_quickly(raw)
    return with_every_digit(document, raw) if by_orjson else document


def read_quickly(raw: bytes) -> tuple[Any, bool]:
    """A document to look at, and whether orjson read it.

    If it did, integers beyond 64 bits are floats: `with_every_digit` gives them back. Nothing in such a document is
    NaN or infinite. If it did not, the document is exact. Raises ValueError as `read_document` does.
    """
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
    """What orjson read from `raw`, with the digits that integers beyond 64 bits lost; the same object if
    there are none."""
    if orjson.dumps(document) == raw or not _holds_huge_float(document):
        return document
    return _read_leniently(raw)


def write_document(document: object, *, finite: bool = False) -> bytes:
    """The document as JSON without blanks: UTF-8, or ASCII with escapes where orjson cannot write it
    (lone surrogates, integers beyond 64 bits, NaN and infinities).

    `finite`: it is known to hold no NaN and no infinity, so that nobody has to look for one.
    """
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return _write_leniently(document)
    if not finite and b"null" in written and _holds_nan(document):
        return _write_leniently(document)
    return written


def _holds_huge_float(document: object) -> bool:
    """Whether some number may be an integer that orjson read as a float."""
    level = [document]
    while level:
        for value in level:
            if type(value) is float and abs(value) >= _INT64:
                return True
        level = get_referents(*level)
    return False


def _read_leniently(raw: bytes) -> Any:
    import json

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
    """Whether orjson's `null` may stand for a NaN or an infinity somewhere."""
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
