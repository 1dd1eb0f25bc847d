"""Nothing that a client or an upstream sends takes more time or memory than its size: twice the input, twice the work.

Counted as tests/support/growth.py says. Each package registers its rows in a module `growth.py` in its folder of tests.
"""

from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.growth import Counted, Row, grows

TESTS = Path(__file__).parent
GATEWAY = TESTS.parent / "gateway"


def packages() -> dict[str, list[Row]]:
    """The rows of each package that has some, by its path."""
    found: dict[str, list[Row]] = {}
    for path in sorted(TESTS.rglob("growth.py")):
        package = path.parent.relative_to(TESTS)
        if package.name != "support":
            found[package.as_posix()] = import_module(f"tests.{'.'.join(package.parts)}.growth").ROWS
    return found


PACKAGES = packages()


@pytest.mark.parametrize("package", PACKAGES)
def test_work_grows_with_the_input_and_no_faster(package: str) -> None:
    rows = PACKAGES[package]
    assert [complaint for row in rows for complaint in grows(row)] == []


def test_each_dialect_has_rows() -> None:
    dialects = [path.parent for path in (GATEWAY / "dialects").glob("*/__init__.py")]
    missing = {f"dialects/{dialect.name}" for dialect in dialects} - PACKAGES.keys()
    assert not missing, f"no rows in tests/{'/growth.py, tests/'.join(sorted(missing))}/growth.py"


def test_rows_have_unique_names() -> None:
    names = [row.name for rows in PACKAGES.values() for row in rows]
    assert len({*names}) == len(names)


# Examples for the counting: each of these is quadratic in a different way.


def loops(values: list[int]) -> None:
    for _ in values:
        for _ in values:
            pass


def searches(values: list[int]) -> None:
    for value in values:
        values.index(value)


def compares(values: list[int]) -> None:
    names = [Counted(value) for value in values]
    for name in names:
        assert name in names


def copies(values: list[int]) -> None:
    out: list[int] = []
    for value in values:
        out = [*out, value]


def keeps(values: list[int]) -> None:
    kept: defaultdict[int, Any] = defaultdict(list)
    for value in values:
        kept[value] = list(values)


def inserts(values: list[int]) -> None:
    out: list[int] = []
    for value in values:
        out.insert(0, value)


def scans(text: str) -> None:
    import re

    assert not re.search("a+b", text)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (Row("", loops, lambda n: list(range(n))), {"steps"}),
        (Row("", searches, lambda n: list(range(n)), size=300), {"steps"}),
        (Row("", compares, lambda n: list(range(n))), {"steps"}),
        (Row("", copies, lambda n: list(range(n)), size=300), {"bytes"}),
        (Row("", keeps, lambda n: list(range(n)), size=300), {"bytes", "peak"}),
        (Row("", inserts, lambda n: list(range(n)), size=2000), {"steps"}),
        (Row("", scans, lambda n: "a" * n, in_c=500), {"ms"}),
        (Row("", sorted, lambda n: list(range(n))), set()),
    ],
    ids=["loops", "searches", "compares", "copies", "keeps", "inserts", "scans", "linear"],
)
def test_faster_growth_is_found(row: Row, what: set[str]) -> None:
    found = grows(row)
    assert {word for word in ("steps", "bytes", "peak", "ms") if any(word in line for line in found)} == what
