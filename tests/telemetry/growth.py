"""Rows for tests/test_growth.py: records of requests, read late."""

from collections.abc import Callable
from typing import Any

from gateway.telemetry.access_log import Record
from gateway.telemetry.recent import Recent
from tests.support.growth import Counted, Row


def records(**made: Callable[[int], Any]) -> Callable[[int], list[Record]]:
    """Records that differ in these fields."""

    def make(n: int) -> list[Record]:
        return [
            Record(
                1_800_000_000.0 + at,
                method="POST",
                path="/v1/messages",
                upstream="up",
                **{name: value(at) for name, value in made.items()},
            )
            for at in range(n)
        ]

    return make


def read(records: list[Record]) -> None:
    recent = Recent()
    recent.take(records)


ROWS = [
    Row("records of many conversations", read, records(conversation=lambda at: f"c{at}"), size=100),
    Row("records of many accounts", read, records(account=lambda at: Counted(f"a{at}")), size=100),
    Row("records of many minutes", read, records(duration=lambda at: 60.0 * at), size=100),
    Row("a record that failed often", read, lambda n: [_tried(n)], size=100),
]


def _tried(n: int) -> Record:
    (record,) = records(tried=lambda _: tuple(f"a{at}@up:500" for at in range(n)))(1)
    return record
