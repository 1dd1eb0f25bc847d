"""What is known of the news that have come: merged, so that whoever has heard the same knows the same.

In whatever order they came, and however often: of a cool-down the latest end counts that no `open` has ended, of
everything else the latest. Both are decided by what stands in the news, never by when they came. Ends are cut to the
maxima of the failure table. Each kind has room of its own, so that no flood of one pushes out another.
"""

from collections.abc import Iterator

from gateway.routing.circuit_breaker import PROBE_PATIENCE
from gateway.routing.conversations import BOUND_FOR, MAX_CONVERSATIONS
from gateway.routing.cure_memory import MAX_CURES, MAX_KEPT, REMEMBERED_FOR
from gateway.routing.policy import RULES
from gateway.routing.retry_after import LONGEST
from gateway.sharing.news import BOUND, COOLING, CURE, OPEN, PROBE, SIGNATURE, News, encode

AHEAD = 3600.0
"""Seconds by which a maker's clock may be ahead: beyond that its times mean nothing here."""

SIGNATURE_FOR = 86400.0
"""Seconds that a signature is kept for others: whoever takes up a tool round has done so by then."""

OPEN_FOR = 600.0
"""Seconds that an `open` is remembered at least, for news that are on their way to be judged by it."""

ENDS_TOLD = 16
"""Cool-downs of one thing of which none makes another needless: each began later and ends earlier. Two are rare."""

ROOM = {COOLING: 4096, BOUND: MAX_CONVERSATIONS, SIGNATURE: 10_000, CURE: MAX_KEPT * MAX_CURES, PROBE: 1024}
"""Facts kept of each kind; the oldest goes first."""

BYTES = 4 * 1024 * 1024
"""Bytes kept of each kind."""

ENTRY = 500
"""Bytes that a fact takes beside its texts."""


LONGEST_OF = {
    OPEN: LONGEST,
    BOUND: BOUND_FOR,
    SIGNATURE: SIGNATURE_FOR,
    CURE: REMEMBERED_FOR,
    PROBE: PROBE_PATIENCE,
}
"""Seconds that news may hold at most, but for a cool-down, whose rule says so."""


def longest(news: News) -> float:
    """Return the seconds that these news may hold at most; 0.0 for a cool-down by a rule that is not known here."""
    if news.kind != COOLING:
        return LONGEST_OF[news.kind]
    rule = RULES.get(str(news.data.get("rule")))
    if rule is None:
        return 0.0
    return LONGEST if news.data.get("hinted") is True else rule.cap


class Ends:
    """Of one thing that cools down: the cool-downs that count, and when it was last found open."""

    __slots__ = ("cooling", "opened")

    def __init__(self) -> None:
        self.cooling: list[News] = []
        """Each began later and ends earlier than the one before."""
        self.opened: News | None = None

    def merge(self, news: News) -> bool:
        """Take news of a cool-down or its end. Return whether they change anything."""
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
        self.cooling = sorted([*kept, news], key=lambda one: one.made)[-ENDS_TOLD:]
        return True

    def prune(self, wall: float) -> bool:
        """Let go of what has ended. Return whether nothing is left."""
        self.cooling = [one for one in self.cooling if one.until > wall]
        if self.opened is not None and self.opened.until <= wall:
            self.opened = None
        return self.opened is None and not self.cooling

    def news(self) -> list[News]:
        """Return everything that counts."""
        return [*self.cooling, *([self.opened] if self.opened is not None else ())]


def _covers(one: News, other: News) -> bool:
    """Return whether one cool-down makes another needless. Of equals the one whose frame comes first counts."""
    if (one.made, one.until) == (other.made, other.until):
        return encode(one) <= encode(other)
    return one.made >= other.made and one.until >= other.until


def _wins(one: News, other: News) -> bool:
    """Return whether one of two news of the same thing counts: that with the later end."""
    if (one.until, one.made) == (other.until, other.made):
        return encode(one) <= encode(other)
    return (one.until, one.made) > (other.until, other.made)


class Facts:
    """Everything that still holds, by kind and key. Times are unix seconds that are passed in."""

    def __init__(self) -> None:
        self._ends: dict[str, Ends] = {}
        self._kept: dict[str, dict[str, News]] = {kind: {} for kind in ROOM if kind != COOLING}
        self._bytes = dict.fromkeys(self._kept, 0)
        self.latest = 0.0
        """When the newest of all news was made."""

    def __repr__(self) -> str:
        counts = {COOLING: len(self._ends), **{kind: len(kept) for kind, kept in self._kept.items()}}
        return f"<Facts {', '.join(f'{count} {kind}' for kind, count in counts.items())}>"

    def merge(self, news: News, wall: float) -> News | None:
        """Take news. Return them, with the end that they may have, or None if they change nothing."""
        last = news.made + longest(news)
        if news.until > last:
            news = news._replace(until=last)
        if news.made > wall + AHEAD or (news.until <= wall and news.kind != OPEN):
            return None
        # A clock that is far ahead is believed, but not followed: others might not believe us then.
        self.latest = max(self.latest, min(news.made, wall + AHEAD / 2))
        if news.kind not in self._kept:
            ends = self._ends.setdefault(news.key, Ends())
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
        """Return all that still holds, cool-downs first: they are what saves requests."""
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
