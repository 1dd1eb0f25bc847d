"""The reading of a configuration file: applies parsers to tables and collects every mistake.

A parser takes (reading, key path, TOML value), and returns the parsed value or raises Mistake with the text of one
problem; a parser of a table or an array notes the problems of its parts itself and continues. Texts name keys, files
and environment variables, never a value of the file, so that a misplaced secret is not shown either.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

BARE_KEY = r"[A-Za-z0-9_-]+"
"""Keys that TOML allows without quotes; also the form of a command's options."""

TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number with a fraction",
    str: "a string",
    list: "an array",
    dict: "a table",
}


SYNONYMS = {
    **dict.fromkeys(("key", "token", "apikey", "auth_token", "secret"), "api_key"),
    **dict.fromkeys(("url", "endpoint", "api_base", "baseurl"), "base_url"),
    **dict.fromkeys(("bind", "listen", "address", "hostname"), "host"),
    **dict.fromkeys(("type", "protocol", "provider"), "kind"),
    **dict.fromkeys(("user", "id", "label"), "name"),
    "model": "models",
}
"""Names that other programs use for keys of this one."""


class Mistake(Exception):
    """A value of the file is wrong; the text says why, and what to write instead."""


class Reading:
    """The input of a reading, and the mistakes found so far."""

    __slots__ = ("directory", "environ", "literal_secrets", "problems", "warnings")

    def __init__(self, environ: Mapping[str, str], directory: Path) -> None:
        self.environ = environ
        self.directory = directory
        """The directory of relative file names."""
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.literal_secrets: list[str] = []
        """Key paths of secrets that are written out in the file."""

    def problem(self, path: str, text: str) -> None:
        """Note a mistake at a key path."""
        self.problems.append(printable(f"{path}: {text}"))

    def warning(self, text: str) -> None:
        """Note something that is allowed but should be known."""
        self.warnings.append(printable(text))

    def file(self, name: str) -> Path:
        """Return a file name of the configuration as a path: `~` is the home directory."""
        return self.directory / os.path.expanduser(name)


Parser = Callable[[Reading, str, Any], Any]


def printable(text: str) -> str:
    """Return the text on one line, with control characters as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def join(path: str, key: str) -> str:
    """Return the key path of `key` in the table at `path`, in TOML's syntax."""
    if not re.fullmatch(BARE_KEY, key):
        key = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{path}.{key}" if path else key


def wrong_type(wanted: str, value: object) -> Mistake:
    """Return the Mistake for a value that is not `wanted` (which describes what to write)."""
    return Mistake(f"must be {wanted}, not {TYPE_NAMES.get(type(value), 'a date or time')}")


def table(value: object) -> dict[str, Any]:
    """Return the value if it is a table. Raise Mistake."""
    if not isinstance(value, dict):
        raise wrong_type("a table", value)
    return value


def array(value: object, wanted: str = "an array") -> list[Any]:
    """Return the value if it is an array. Raise Mistake."""
    if not isinstance(value, list):
        raise wrong_type(wanted, value)
    return value


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that was probably meant, or None."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), known, n=1, cutoff=0.61)
    return close[0] if close else None


def unknown_key(key: str, known: Collection[str]) -> str:
    """Return the problem text for an unknown key."""
    meant = SYNONYMS.get(key.lower(), "")
    if meant not in known:
        meant = nearest(key, known) or ""
    if meant:
        return f'unknown key; did you mean "{meant}"?'
    return "unknown key; known here: " + ", ".join(sorted(known))


def read_table(reading: Reading, path: str, value: object, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """Read a table with known keys; return its values by key. A key that is absent or wrong is left out."""
    found: dict[str, Any] = {}
    for key, item in table(value).items():
        where = join(path, key)
        parser = parsers.get(key)
        if parser is None:
            reading.problem(where, unknown_key(key, parsers))
            continue
        try:
            found[key] = parser(reading, where, item)
        except Mistake as mistake:
            reading.problem(where, str(mistake))
    return found


def table_of(check_key: Callable[[str], object], parser: Parser) -> Parser:
    """Return a parser for a table with free keys, in the file's order; `check_key` raises Mistake."""

    def parse(reading: Reading, path: str, value: object) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in table(value).items():
            where = join(path, key)
            try:
                check_key(key)
                found[key] = parser(reading, where, item)
            except Mistake as mistake:
                reading.problem(where, str(mistake))
        return found

    return parse


def array_of(parser: Parser) -> Parser:
    """Return a parser for an array of like items; its value is a tuple of those without mistakes."""

    def parse(reading: Reading, path: str, value: object) -> tuple[Any, ...]:
        found: list[Any] = []
        for index, item in enumerate(array(value)):
            where = f"{path}[{index}]"
            try:
                found.append(parser(reading, where, item))
            except Mistake as mistake:
                reading.problem(where, str(mistake))
        return tuple(found)

    return parse
