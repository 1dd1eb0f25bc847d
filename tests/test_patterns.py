"""Patterns that are compiled when they are first needed."""

from gateway.patterns import Late


def test_a_pattern_shows_its_text() -> None:
    assert repr(Late("a+")) == "<Late 'a+'>"
    assert repr(Late(b"a+")) == "<Late b'a+'>"
