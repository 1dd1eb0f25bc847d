"""JSON documents, read and written with orjson, and exactly where orjson alone would not be.

Reading takes what other JSON readers take (lone surrogates, NaN) and never loses an integer's digits.
Writing gives back what was read. What a document must hold is left to others.
"""

from typing import Any

import orjson

MAX_DEPTH = 200
"""Levels of nesting. Real requests have about 12; code that recurses stays far from Python's 1,000."""

_PADDING = 254 - MAX_DEPTH
"""orjson writes 254 levels and refuses more: in this many lists, a document may have MAX_DEPTH."""

_INT64 = 2.0**63
"""From here on orjson may read an integer as a float (negative ones here, positive ones at 2**64)."""


def read_document(raw: bytes) -> tuple[Any, bool]:
    """A document, and whether `raw` is byte for byte what orjson writes for it (then it has no blanks
    between tokens, no escape that could be left out and no key twice: what most clients send).

    Raises ValueError with a message that says where: not UTF-8, not JSON, deeper than MAX_DEPTH.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        document = _read_leniently(raw)
        _inspect(document)
        return document, False
    if _is_canonical(document, raw):
        return document, True
    if _inspect(document):
        document = _read_leniently(raw)
    return document, False


def write_document(document: object) -> bytes:
    """The document as JSON without blanks: UTF-8, or ASCII with escapes where orjson cannot write it
    (lone surrogates, integers beyond 64 bits, NaN and infinities)."""
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return _write_leniently(document)
    if b"null" in written and _holds_nan(document):
        return _write_leniently(document)
    return written


def _is_canonical(document: object, raw: bytes) -> bool:
    """One pass of orjson's writer proves three things at once, five times as fast as a look at every
    value would: no level too deep, no digit lost, no key twice."""
    for _ in range(_PADDING):
        document = [document]
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return False
    return len(written) == len(raw) + 2 * _PADDING and written.startswith(raw, _PADDING)


def _inspect(document: object) -> bool:
    """Whether a number may be an integer that orjson read as a float. Raises ValueError if too deep."""
    suspicious = False
    level: list[Any] = [[document]]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            for value in container.values() if isinstance(container, dict) else container:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
                elif kind is float and abs(value) >= _INT64:
                    suspicious = True
        if not below:
            return suspicious
        level = below
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


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
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None


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
