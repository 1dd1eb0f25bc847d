"""The consequences of each meaning: the table, row by row."""

import pytest

from gateway.routing.policy import NEVER, RULES, TABLE, About, Next

COOL_DOWNS = {
    "feature": [600, 600],
    "missing": [600, 600],
    "forbidden": [60, 300, 1500, 3600, 3600],
    "limit without hint": [5, 10, 20, 40, 80, 160, 300, 300],
    "server": [0, 1, 2, 4, 8, 16, 32, 60, 60],
    "login": [600, 600],
    "billing": [60, 300, 1500, 3600, 3600],
    "connect": [1, 2, 4, 8, 16, 32, 60, 60],
    "timeout": [1, 2, 4, 8, 16, 32, 60, 60],
    "failure in a 200": [1, 2, 4, 8, 16, 32, 60, 60],
    "unavailable": [1, 2, 4, 8, 16, 32, 60, 60],
    "overloaded": [0, 1, 2, 4, 8, 16, 32, 60, 60],
}


@pytest.mark.parametrize("name", RULES)
def test_cool_downs(name: str) -> None:
    expected = COOL_DOWNS.get(name, [0, 0])
    rule = RULES[name]
    assert [rule.cool_down(count) for count in range(1, len(expected) + 1)] == expected
    assert rule.cool_down(100_000) == expected[-1]


def test_the_table_is_consistent() -> None:
    assert len(RULES) == len(TABLE)
    for rule in TABLE:
        assert rule.pause == 0.0 or Next.SAME in rule.next
        assert rule.about is not About.REQUEST or rule.base == 0.0
        assert rule.alone == NEVER or rule.costs, "a refusal does not justify an early retry"
        assert not rule.operator or Next.OTHER_ACCOUNT in rule.next
