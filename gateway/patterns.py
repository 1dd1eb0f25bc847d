"""Regular expressions that are compiled when they are first used."""

import re
from functools import cached_property
from typing import AnyStr, Generic


class LazyPattern(Generic[AnyStr]):
    """A pattern that few requests need. Compiling takes up to a millisecond, which the start need not wait for."""

    def __init__(self, text: AnyStr, flags: int = 0) -> None:
        self.text: AnyStr = text
        self._flags = flags

    def __repr__(self) -> str:
        return f"<LazyPattern {self.text!r}>"

    @cached_property
    def compiled(self) -> re.Pattern[AnyStr]:
        """Return the compiled pattern."""
        return re.compile(self.text, self._flags)

    def search(self, text: AnyStr) -> re.Match[AnyStr] | None:
        """Find it anywhere in a text."""
        return self.compiled.search(text)


def any_of(*words: str) -> LazyPattern[str]:
    """Return a case-insensitive pattern that matches any of `words` (regular expressions)."""
    return LazyPattern("|".join(words), re.IGNORECASE)
