"""Rows of a table that are one test: where they need no fixture, pytest would be busier with them than they are."""

import asyncio
from collections.abc import Iterable, Iterator
from inspect import iscoroutinefunction
from itertools import groupby
from typing import Any

import pytest

OF_EVERY_TEST = {"event_loop_policy"}
"""Fixtures that a plug-in gives to each test, even without its request."""


def in_one_test(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the tests, for the rows of a table together one. A row that is chosen alone, by its name, is a test."""
    for table, found in groupby(items, _table):
        rows = list(found)
        if table is None or len(rows) == 1:
            yield from rows
        else:
            parent, name = table
            yield Rows.from_parent(parent, name=name, rows=rows)


def _table(item: Any) -> tuple[pytest.Collector, str] | None:
    """Return the table that a test is a row of; None if it is not, or needs a separate run."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    marks = {mark.name for mark in item.own_markers} - {"parametrize", "asyncio"}
    fixtures = set(item.fixturenames) - item.callspec.params.keys() - OF_EVERY_TEST
    return None if marks or fixtures or item.parent is None else (item.parent, item.originalname)


def _run(test: Any, row: dict[str, Any]) -> None:
    """Run a test with a row's values; a coroutine in its own loop, in debug mode."""
    if iscoroutinefunction(test):
        with asyncio.Runner(debug=True) as runner:
            runner.run(test(**row))
    else:
        test(**row)


class Rows(pytest.Item):
    """All rows of a table. Each is tried, and each failure is reported like a test's."""

    def __init__(self, *, rows: list[Any], **fields: Any) -> None:
        super().__init__(**fields)
        self._rows = rows

    def runtest(self) -> None:
        failed, skipped = [], []
        for row in self._rows:
            try:
                _run(row.obj, row.callspec.params)
            except pytest.skip.Exception as reason:
                skipped.append(f"[{row.callspec.id}] {reason}")
            except (Exception, pytest.fail.Exception) as error:
                report = row.repr_failure(pytest.ExceptionInfo.from_exception(error))
                failed.append(f"row [{row.callspec.id}]:\n{report}")
        if failed:
            pytest.fail("\n\n".join([f"{len(failed)} of {len(self._rows)} rows", *failed]), pytrace=False)
        if skipped:
            pytest.skip(f"{len(skipped)} of {len(self._rows)} rows: {'; '.join(skipped)}")

    def reportinfo(self) -> Any:
        return (*self._rows[0].reportinfo()[:2], self.name)
