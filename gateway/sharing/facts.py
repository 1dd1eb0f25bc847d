"""Facts: the merged news of all processes, equal in every process that has received the same news.

The result does not depend on the order or the repetition of news: for a cool-down the latest end counts that no `open`
has ended, for all else the latest. Only the times in the news decide, never those of arrival. Ends are cut to the
maxima of the failure table. Each kind has its own capacity, so that many of one do not displace another.
"""

from collections.abc import Iterator

from gateway.routing.circuit_breaker import PROBE_PATIENCE
from gateway.routing.conversations import BOUND_FOR, MAX_CONVERSATIONS
from gateway.routing.cure_memory import MAX_CURES, MAX_KEPT, REMEMBERED_FOR
from gateway.routing.policy import RULES
from gateway.routing.retry_after import LONGEST
from gateway.sharing.news import BOUND, COOLING, CURE, OPEN, PROBE, SIGNATURE, News, encode

AHEAD = 3600.0
"""Seconds that a sender's clock may be ahead; news from further ahead are ignored."""

SIGNATURE_FOR = 86400.0
"""Seconds that a signature is kept: another process that continues a tool round does it sooner."""

OPEN_FOR = 600.0
"""Seconds that an `open` is remembered at least, to compare it with news still on their way."""

MAX_ENDS = 16
"""Cool-downs of one thing, none of which covers another: each began later and ends earlier. Two are rare."""

ROOM = {COOLING: 4096, BOUND: MAX_CONVERSATIONS, SIGNATURE: 10_000, CURE: MAX_KEPT * MAX_CURES, PROBE: 1024}
"""Facts kept of each kind; the oldest is dropped first."""

BYTES = 4 * 1024 * 1024
"""Bytes kept of each kind."""

ENTRY = 500
"""Bytes that a fact takes in addition to its texts."""


LONGEST_OF = {
    OPEN: LONGEST,
    BOUND: BOUND_FOR,
    SIGNATURE: SIGNATURE_FOR,
    CURE: REMEMBERED_FOR,
    PROBE: PROBE_PATIENCE,
}
"""Longest validity of news in seconds, by kind; a cool-down's depends on its rule."""


def longest(news: News) -> float:
    """Return the longest validity of news, in seconds; 0.0 for a cool-down by a rule that is unknown here."""
    if news.kind != COOLING:
        return LONGEST_OF[news.kind]
    rule = RULES.get(str(news.data.get("rule")))
    if rule is None:
        return 0.0
    return LONGEST if news.data.get("hinted") is True else rule.cap


class CoolDowns:
    """The cool-downs of one thing that count, and when it was last found open."""

    __slots__ = ("cooling", "opened")

    def __init__(self) -> None:
        self.cooling: list[News] = []
        """Each began later and ends earlier than the one before."""
        self.opened: News | None = None

    def merge(self, news: News) -> bool:
        """Add news about a cool-down or its end. Return whether they change anything."""
        opened = self.opened
        if news.kind == OPEN:
            if opened is not None and opened.made >= news.made:
                return False
            self.opened = news if opened is None else news._replace(until=max(news.until, opened.until))
            self.cooling = [one for one in self.cooling if one.made > news.made]
            return True
        if (opened is not None and news.made <= opened.made) or any(
            _covers(one, news) for one in self.cooling
        ):
            return False
        kept = [one for one in self.cooling if not _covers(news, one)]
        self.cooling = sorted([*kept, news], key=lambda one: one.made)[-MAX_ENDS:]
        return True

    def prune(self, wall: float) -> bool:
        """Drop what has ended. Return whether nothing is left."""
        self.cooling = [one for one in self.cooling if one.until > wall]
        if self.opened is not None and self.opened.until <= wall:
            self.opened = None
        return self.opened is None and not self.cooling

    def news(self) -> list[News]:
        """Return the news that count."""
        return [*self.cooling, *([self.opened] if self.opened is not None else ())]


def _covers(one: News, other: News) -> bool:
    """Return whether one cool-down covers another. Of two equal ones that with the smaller frame covers."""
    if (one.made, one.until) == (other.made, other.until):
        return encode(one) <= encode(other)
    return one.made >= other.made and one.until >= other.until


def _wins(one: News, other: News) -> bool:
    """Return whether the first of two news about one thing counts: the one with the later end does."""
    if (one.until, one.made) == (other.until, other.made):
        return encode(one) <= encode(other)
    return (one.until, one.made) > (other.until, other.made)


class Facts:
    """All facts that have not ended, by kind and key. Times are unix seconds, passed in by the caller."""

    def __init__(self) -> None:
        self._ends: dict[str, CoolDowns] = {}
        self._kept: dict[str, dict[str, News]] = {kind: {} for kind in ROOM if kind != COOLING}
        self._bytes = dict.fromkeys(self._kept, 0)
        self.latest = 0.0
        """The latest `made` of all news."""

    def __repr__(self) -> str:
        counts = {COOLING: len(self._ends), **{kind: len(kept) for kind, kept in self._kept.items()}}
        return f"<Facts {', '.join(f'{count} {kind}' for kind, count in counts.items())}>"

    def merge(self, news: News, wall: float) -> News | None:
        """Add news. Return them, with a possibly shortened end, or None if they change nothing."""
        last = news.made + longest(news)
        if news.until > last:
            news = news._replace(until=last)
        if news.made > wall + AHEAD or (news.until <= wall and news.kind != OPEN):
            return None
        # Do not adopt a clock that is far ahead: other processes might then ignore this one's news.
        self.latest = max(self.latest, min(news.made, wall + AHEAD / 2))
        if news.kind not in self._kept:
            ends = self._ends.setdefault(news.key, CoolDowns())
            changed = ends.merge(news)
            self._make_room(wall)
            return news if changed else None
        kept, old = self._kept[news.kind], self._kept[news.kind].get(news.key)
        if old is not None and _wins(old, news):
            return None
        if old is not None:
            self._drop(old)
        kept[news.key] = news
        self._bytes[news.kind] += _size(news)
        while len(kept) > ROOM[news.kind] or self._bytes[news.kind] > BYTES:
            self._drop(next(iter(kept.values())))
        return news

    def cooling(self, key: str) -> list[News]:
        """Return the cool-downs of a thing that count."""
        ends = self._ends.get(key)
        return [] if ends is None else ends.cooling

    def snapshot(self, wall: float) -> list[News]:
        """Return all facts that have not ended, cool-downs first, since those save requests."""
        self._prune(wall)
        return list(self._all())

    def _all(self) -> Iterator[News]:
        for ends in self._ends.values():
            yield from ends.news()
        for kept in self._kept.values():
            yield from kept.values()

    def _prune(self, wall: float) -> None:
        self._ends = {key: ends for key, ends in self._ends.items() if not ends.prune(wall)}
        for news in [one for kept in self._kept.values() for one in kept.values() if one.until <= wall]:
            self._drop(news)

    def _make_room(self, wall: float) -> None:
        if len(self._ends) > ROOM[COOLING]:
            self._prune(wall)
        if len(self._ends) > ROOM[COOLING]:
            del self._ends[next(iter(self._ends))]

    def _drop(self, news: News) -> None:
        del self._kept[news.kind][news.key]
        self._bytes[news.kind] -= _size(news)


def _size(news: News) -> int:
    return ENTRY + len(news.key) + sum(len(value) for value in news.data.values() if isinstance(value, str))
