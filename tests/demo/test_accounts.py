"""The accounts of an embedded upstream and the rate limit of the first."""

import pytest

from gateway.demo.accounts import ACCOUNTS, EVERY, LIMITED, PAUSE, RateLimit


def test_the_first_account_is_the_limited_one_and_another_is_not() -> None:
    first, *others = ACCOUNTS.values()

    assert first == LIMITED
    assert others


def test_a_refusal_is_too_long_to_be_waited_for() -> None:
    assert PAUSE > 2


@pytest.mark.parametrize(("key", "refused"), [(LIMITED, 2), ("demo-2", 0)])
def test_every_few_requests_of_one_key_are_refused(key: str, refused: int) -> None:
    limit = RateLimit()

    answers = [limit.refuses(key) for _ in range(2 * EVERY)]

    assert answers.count(True) == refused
    assert not answers[0]


def test_requests_with_another_key_are_not_counted() -> None:
    limit = RateLimit()
    for _ in range(EVERY - 1):
        limit.refuses(LIMITED)

    assert not limit.refuses("demo-2")
    assert limit.refuses(LIMITED)
