from typing import Any

import pytest

from gateway.dialects.json_schema.budget import MAX_BYTES, MAX_NODES, MAX_WORK, OVERHEAD, TOO_LARGE, Budget
from gateway.dialects.json_schema.cache import SchemaCache

LARGE = "a schema is too large to be translated: sent as one that takes any object"


class Cleaner:
    """Copies a schema for a fixed price and counts its calls."""

    def __init__(self, price: int = 10) -> None:
        self.price = price
        self.calls = 0
        self.warnings: list[str] = []

    def __call__(self, schema: Any, budget: Budget) -> Any:
        self.calls += 1
        budget.charge(self.price)
        return dict(schema)

    def get(self, cache: SchemaCache, schema: object, budget: Budget | None = None, use: str = "x") -> Any:
        return cache.get(use, schema, self, budget or Budget(), self.warnings.append)


def test_the_same_content_is_cleaned_once() -> None:
    cache, clean = SchemaCache(), Cleaner()
    found = clean.get(cache, {"a": 1})
    assert clean.get(cache, {"a": 1}) is found
    assert clean.get(cache, {"a": 1}, use="y") is not found
    assert (clean.calls, len(cache), clean.warnings) == (2, 2, [])


def test_the_least_recently_used_goes() -> None:
    cache, clean = SchemaCache(2), Cleaner()
    one = clean.get(cache, {"title": "1"})
    clean.get(cache, {"title": "2"})
    assert clean.get(cache, {"title": "1"}) is one
    clean.get(cache, {"title": "3"})
    assert clean.get(cache, {"title": "1"}) is one
    assert (clean.calls, len(cache)) == (3, 2)


def test_bytes_are_bounded() -> None:
    cache, clean = SchemaCache(max_bytes=100_000), Cleaner()
    for n in range(50):
        clean.get(cache, {f"t{n}": "x" * 1000})
    assert 5 <= len(cache) <= 10
    clean.get(cache, {"t": "x" * 10_000})
    assert clean.get(cache, {"t": "x" * 10_000}) is not clean.get(cache, {"t": "x" * 10_000})
    assert "bytes>" in repr(cache)


@pytest.mark.parametrize(
    "schema",
    [{"description": "x" * MAX_BYTES}, {"anyOf": [{}] * MAX_NODES}],
    ids=["too many bytes", "too many nodes"],
)
def test_a_schema_that_is_too_large_is_not_looked_at(schema: dict[str, Any]) -> None:
    cache, clean = SchemaCache(), Cleaner()
    assert clean.get(cache, schema) == TOO_LARGE
    assert (clean.calls, clean.warnings, len(cache)) == (0, [LARGE], 0)


def test_a_schema_that_costs_too_much_is_tried_once() -> None:
    cache, clean = SchemaCache(), Cleaner(MAX_WORK)
    budget = Budget(3 * MAX_WORK)
    for left in (2 * MAX_WORK, MAX_WORK, 0, 0):
        assert clean.get(cache, {}, budget) == TOO_LARGE
        assert budget.left == left
    assert clean.calls == 1
    assert clean.warnings == [LARGE] * 4


def test_a_request_is_encoded_alike_with_a_warm_cache_and_a_cold_one() -> None:
    def of_a_request(cache: SchemaCache) -> tuple[list[Any], int]:
        clean, budget = Cleaner(30), Budget(4 * OVERHEAD + 3 * 30 + 10)
        return [clean.get(cache, {"n": n}, budget) for n in range(5)], budget.left

    warm = SchemaCache()
    first, again, cold = (of_a_request(cache) for cache in (warm, warm, SchemaCache()))
    assert first == again == cold
    assert first == ([{"n": 0}, {"n": 1}, {"n": 2}, TOO_LARGE, TOO_LARGE], 0)
    found = Cleaner().get(warm, {"n": 4})
    assert found == {"n": 4}, "what another request had no budget for is cleaned for this one"
