"""Walking tables: key paths, unknown keys, wrong types, and going on after a mistake."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config.reading import (
    Mistake,
    Reading,
    array_of,
    join,
    nearest,
    printable,
    read_table,
    table_of,
    unknown_key,
    wrong_type,
)


def number(reading: Reading, path: str, value: Any) -> int:
    if not isinstance(value, int):
        raise Mistake("must be a number")
    return value


def no_blanks(key: str) -> None:
    if " " in key:
        raise Mistake("has a blank")


@pytest.fixture
def reading() -> Reading:
    return Reading({}, Path("/etc/gateway"))


def test_a_table_returns_valid_entries_and_notes_mistakes(reading: Reading) -> None:
    table = {"port": 1, "prot": 2, "size": "x", "zzz": 3}
    assert read_table(reading, "server", table, {"port": number, "size": number}) == {"port": 1}
    assert reading.problems == [
        'server.prot: unknown key; did you mean "port"?',
        "server.size: must be a number",
        "server.zzz: unknown key; known here: port, size",
    ]


def test_a_value_that_is_no_table(reading: Reading) -> None:
    with pytest.raises(Mistake, match="must be a table, not an array"):
        table_of(no_blanks, number)(reading, "models", [])
    with pytest.raises(Mistake, match="must be a table, not a string"):
        read_table(reading, "server", "", {})


def test_a_table_with_free_keys_keeps_their_order(reading: Reading) -> None:
    table = {"z": 1, "a b": 2, "a": 3, "c": None}
    assert list(table_of(no_blanks, number)(reading, "models", table).items()) == [("z", 1), ("a", 3)]
    assert reading.problems == ['models."a b": has a blank', "models.c: must be a number"]


def test_an_array_notes_the_index_of_a_mistake(reading: Reading) -> None:
    assert array_of(number)(reading, "list", [1, "x", 2]) == (1, 2)
    assert reading.problems == ["list[1]: must be a number"]
    with pytest.raises(Mistake, match="must be an array, not a string"):
        array_of(number)(reading, "list", "1")


@pytest.mark.parametrize(
    ("path", "key", "joined"),
    [
        ("", "server", "server"),
        ("server", "host", "server.host"),
        ("models", "claude-3.5-*", 'models."claude-3.5-*"'),
        ("models", 'a"b\\c', 'models."a\\"b\\\\c"'),
        ("models", "", 'models.""'),
    ],
)
def test_key_paths_are_written_as_toml_writes_them(path: str, key: str, joined: str) -> None:
    assert join(path, key) == joined


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "must be a word, not true or false"),
        (1, "must be a word, not a whole number"),
        (1.5, "must be a word, not a number with a fraction"),
        ("", "must be a word, not a string"),
        ([], "must be a word, not an array"),
        ({}, "must be a word, not a table"),
        (object(), "must be a word, not a date or time"),
    ],
)
def test_wrong_types_are_named(value: object, text: str) -> None:
    assert str(wrong_type("a word", value)) == text


def test_the_nearest_known_word() -> None:
    assert nearest("Anthorpic", ["anthropic", "gemini"]) == "anthropic"
    assert nearest("xyz", ["anthropic", "gemini"]) is None
    assert unknown_key("a", []) == "unknown key; known here: "


@pytest.mark.parametrize(
    ("key", "known", "meant"),
    [("Token", ["api_key"], "api_key"), ("url", ["base_url", "x"], "base_url"), ("bind", ["host"], "host")],
)
def test_other_programs_names_of_keys(key: str, known: list[str], meant: str) -> None:
    assert unknown_key(key, known) == f'unknown key; did you mean "{meant}"?'
    assert unknown_key(key, ["zzz"]) == "unknown key; known here: zzz"


def test_problems_and_warnings_stay_on_one_line(reading: Reading) -> None:
    reading.problem("models.\x1b[2J", "line\nline")
    reading.warning("bell \x07, \u2028, caf\xe9")
    assert reading.problems == ["models.\\x1b[2J: line\\nline"]
    assert reading.warnings == ["bell \\x07, \\u2028, caf\xe9"]
    assert printable("plain") == "plain"


def test_file_names_start_beside_the_configuration(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert reading.file("cert.pem") == Path("/etc/gateway/cert.pem")
    assert reading.file("/run/cert.pem") == Path("/run/cert.pem")
    assert reading.file("~/cert.pem") == Path("/home/me/cert.pem")
