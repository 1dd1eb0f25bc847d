"""Rows that form one test: each is run, and each that fails is reported by its name."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.rows import Rows


def divide(by: int) -> None:
    assert 6 // by == 3


async def divide_later(by: int) -> None:
    divide(by)


@pytest.mark.parametrize("test", [divide, divide_later])
def test_each_failing_row_is_reported(test: Callable[[int], Any], request: pytest.FixtureRequest) -> None:
    rows = [
        SimpleNamespace(
            obj=test,
            callspec=SimpleNamespace(params={"by": by}, id=f"by {by}"),
            repr_failure=lambda info: info.type.__name__,
        )
        for by in (0, 2, 3)
    ]
    with pytest.raises(pytest.fail.Exception) as failed:
        Rows.from_parent(request.node.parent, name="divide", rows=rows).runtest()
    assert failed.value.msg == "2 of 3 rows\n\nrow [by 0]:\nZeroDivisionError\n\nrow [by 3]:\nAssertionError"
    Rows.from_parent(request.node.parent, name="divide", rows=rows[1:2]).runtest()
