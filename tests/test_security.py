"""SECURITY.md names code and tests: all of them exist."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

TABLE = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][2:]


def named(pattern: str) -> list[Any]:
    """Return the pattern's matches: texts, or tuples of its groups."""
    return re.findall(pattern, "\n".join(TABLE))


def found(name: str) -> Any:
    """Return the object with a dotted name below `gateway`. Raises if there is none."""
    parts = name.split(".")
    module = parts[:1]
    while (ROOT / "gateway" / "/".join(module)).is_dir():
        module = parts[: len(module) + 1]
    thing: Any = import_module(".".join(["gateway", *module]))
    for part in parts[len(module) :]:
        thing = getattr(thing, part)
    return thing


def test_every_threat_has_a_defence_and_a_test() -> None:
    assert len(TABLE) > 10
    for line in TABLE:
        _, threat, response, shown, _ = line.split("|")
        assert threat.strip()
        assert response.strip()
        assert "::test_" in shown


def test_the_code_exists() -> None:
    names = named(r"`([a-z_0-9]+(?:\.[A-Za-z_0-9]+)+)`")
    assert len(names) > 15
    assert all(found(name) is not None for name in names)


def test_the_tests_exist() -> None:
    tests = named(r"`([a-z0-9_/]+\.py)::(test_\w+)`")
    assert len(tests) > 15
    for file, name in tests:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), name
