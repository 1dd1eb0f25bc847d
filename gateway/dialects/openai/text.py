"""Finds reasoning between tags and stop sequences in a response's text while it streams.

The stream may cut both anywhere, so a few characters wait until it is known what they are.
"""

from collections.abc import Sequence


class TagReader:
    """Finds reasoning between tags at the very start of a text. Later or stray tags are text."""

    __slots__ = ("_closing", "_pairs", "_pending", "over")

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        """`pairs`: opening and closing tags; if an opening one is empty, the text begins inside."""
        inside = next((closing for opening, closing in pairs if not opening), "")
        self._pairs = pairs
        self._closing = inside
        """The closing tag that the text is inside of; "" if it is outside."""
        self._pending = ""
        self.over = not pairs
        """Whether all that follows is text."""

    def feed(self, text: str) -> tuple[str, str]:
        """Add text; return the parts that are known to be reasoning and text."""
        text = self._pending + text
        self._pending = ""
        if not self._closing:
            bare = text.lstrip()
            for opening, closing in self._pairs:
                if opening and bare.startswith(opening):
                    self._closing, text = closing, bare[len(opening) :]
                    break
            else:
                if not bare or any(opening.startswith(bare) for opening, _ in self._pairs):
                    self._pending = text
                    return "", ""
                self.over = True
                return "", text
        reasoning, found, rest = text.partition(self._closing)
        if found:
            self.over = True
            return reasoning, rest
        held = overlap(reasoning, self._closing)
        self._pending = reasoning[len(reasoning) - held :] if held else ""
        return reasoning[: len(reasoning) - held], ""

    def end(self) -> tuple[str, str]:
        """Return the characters that still wait, as (reasoning, text)."""
        pending, self._pending = self._pending, ""
        return (pending, "") if self._closing and not self.over else ("", pending)


class StopCutter:
    """Ends a text before the first of some stop sequences."""

    __slots__ = ("_pending", "_stops", "found")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._pending = ""
        self.found = ""
        """The sequence that was found; from then on there is no text."""

    def feed(self, text: str) -> str:
        """Add text; return the part that is before any stop sequence."""
        if self.found:
            return ""
        text = self._pending + text
        hits = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            at, self.found = min(hits, key=lambda hit: hit[0])
            self._pending = ""
            return text[:at]
        held = max(overlap(text, stop) for stop in self._stops)
        self._pending = text[len(text) - held :] if held else ""
        return text[: len(text) - held]

    def end(self) -> str:
        """Return the characters that still wait."""
        pending, self._pending = self._pending, ""
        return pending


def overlap(text: str, mark: str) -> int:
    """Return how many characters at the end of a text may begin `mark`."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
