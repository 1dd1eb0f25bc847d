"""How many calls the interpreter makes for one request: exact, and so held to a limit."""

import pytest

from bench.calls import CASES, Case, count


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_calls_of_a_warm_request_stay_below_the_limit(case: Case) -> None:
    trace = count(case)
    assert trace.python <= case.python
    assert trace.c <= case.c


def test_calls_are_counted_the_same_each_time() -> None:
    first, second = count(CASES[0]), count(CASES[0])
    assert first == second
    assert any(call.name.endswith("data_received") for call in first.calls)
