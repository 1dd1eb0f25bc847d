"""Patterns that are compiled when they are first needed."""

from gateway.patterns import LazyPattern


def test_a_pattern_shows_its_text() -> None:
    assert repr(LazyPattern("a+")) == "<LazyPattern 'a+'>"
    assert repr(LazyPattern(b"a+")) == "<LazyPattern b'a+'>"
