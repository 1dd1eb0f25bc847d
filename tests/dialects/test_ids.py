import random
import re

import pytest

from gateway.dialects.ids import new_id


def test_new_id() -> None:
    rng = random.Random(1)
    ids = {new_id("toolu_", rng.random) for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch("toolu_[A-Za-z0-9]{24}", id) for id in ids)


@pytest.mark.parametrize(("value", "letter"), [(0.0, "A"), (0.9999999999, "9")])
def test_new_id_uses_the_whole_alphabet(value: float, letter: str) -> None:
    assert new_id("x_", lambda: value) == "x_" + letter * 24
