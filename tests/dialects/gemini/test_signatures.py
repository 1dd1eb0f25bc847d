import random
import re

import pytest

from gateway.dialects.gemini.signatures import MARK, SignatureStore, marked, new_id, unmarked


def test_new_id() -> None:
    rng = random.Random(1)
    ids = {new_id("toolu_", rng.random) for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch("toolu_[A-Za-z0-9]{24}", id) for id in ids)


@pytest.mark.parametrize(("value", "letter"), [(0.0, "A"), (0.9999999999, "9")])
def test_new_id_uses_the_whole_alphabet(value: float, letter: str) -> None:
    assert new_id("x_", lambda: value) == "x_" + letter * 24


@pytest.mark.parametrize(
    ("signature", "expected"),
    [(marked("abc"), "abc"), (MARK, ""), ("abc", ""), ("", ""), (None, ""), (5, ""), ("Gemini:x", "")],
)
def test_unmarked(signature: object, expected: str) -> None:
    assert unmarked(signature) == expected


def test_calls_and_texts_are_remembered() -> None:
    store = SignatureStore()
    assert store.of_text("hello") == ""
    store.remember_call("toolu_1", "a")
    store.remember_text("hello\n", "b")
    assert store.of_call("toolu_1") == "a"
    assert store.of_call("hello") == ""
    assert store.of_text(" hello") == "b"
    assert store.of_text("hell") == ""
    assert repr(store) == "<SignatureStore 1 calls, 1 texts>"


def test_the_newest_win() -> None:
    store = SignatureStore(2)
    for id in ("1", "2", "1", "3"):
        store.remember_call(id, "s" + id)
    assert [store.of_call(id) for id in ("1", "2", "3")] == ["s1", "", "s3"]
    store.remember_call("1", "again")
    assert store.of_call("1") == "again"
    for text in ("a", "b", "c"):
        store.remember_text(text, "s" + text)
    assert [store.of_text(text) for text in "abc"] == ["", "sb", "sc"]


def test_ten_thousand_by_default() -> None:
    store = SignatureStore()
    for n in range(10_001):
        store.remember_call(str(n), "s")
    assert store.of_call("0") == ""
    assert store.of_call("1") == "s"
