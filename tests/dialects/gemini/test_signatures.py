import pytest

from gateway.dialects.gemini.signatures import MARK, Signatures, add_mark, remove_mark


@pytest.mark.parametrize(
    ("signature", "expected"),
    [(add_mark("abc"), "abc"), (MARK, ""), ("abc", ""), ("", ""), (None, ""), (5, ""), ("Gemini:x", "")],
)
def test_unmarked(signature: object, expected: str) -> None:
    assert remove_mark(signature) == expected


def test_calls_and_texts_are_remembered() -> None:
    signatures = Signatures()
    assert signatures.of_text("hello") == ""
    signatures.remember_call("toolu_1", "a")
    signatures.remember_text("hello\n", "b")
    assert signatures.of_call("toolu_1") == "a"
    assert signatures.of_call("hello") == ""
    assert signatures.of_text(" hello") == "b"
    assert signatures.of_text("hell") == ""
