"""What became of a conversation's prompt cache, told by the usage that its responses report.

A response says how many tokens of its prompt were read from a cache and how many were written to one. If a request
reads clearly less than the last one of its thread had read and written, the cache was lost, and why is found by
comparing the two: see `cause_of`. Sans-I/O: times are those of the records.
"""

from dataclasses import dataclass

from gateway.messages.prompt_prefix import Prefix, are_of_one_thread, continues, difference, shared
from gateway.telemetry.access_log import Record

MAX_CONVERSATIONS = 1024
"""Conversations remembered; the least recently used goes first."""

MAX_THREADS = 16
"""Turns remembered of one conversation, two for each of its threads: an agent and a few sub-agents beside it."""

MAX_NUMBERS = 500_000
"""Hashes remembered of all conversations: 4 MB. A long session has some 2,000."""

KEPT_FOR = 7200.0
"""Seconds after which a turn is forgotten: the longest life of a cache, and as long again to tell that it is over."""

SLACK_TOKENS, SLACK_SHARE = 128, 0.05
"""How much less may be read without a loss: OpenAI's caches grow in steps of 128 tokens, and on other hosts the last
few blocks are found or not. Five percent of a cache read cost half a percent of the prompt."""


@dataclass(slots=True, frozen=True)
class Turn:
    """One response, and what its cache was made of."""

    prefix: Prefix
    tokens: int
    """Read from the cache and written to it."""
    time: float
    """When its request came."""
    begun: float
    """When its response began: before that nobody can read what it writes."""
    model: str
    wire_model: str
    place: tuple[str, str]
    """Upstream and account."""
    changes: frozenset[str]
    """The repairs and cures."""


class PromptCaches:
    """The last turns of each conversation."""

    __slots__ = ("_conversations", "_numbers")

    def __init__(self) -> None:
        self._conversations: dict[str, list[Turn]] = {}
        """By conversation, the least recently used first; of one, the oldest turn first."""
        self._numbers = 0

    def judge(self, conversation: str, prefix: Prefix, record: Record) -> None:
        """Note in a record what became of the cache. One whose response told nothing of a cache is left as it is."""
        read, written = record.cache_read_tokens, record.cache_creation_tokens
        if read is None and written is None:
            return
        read, written = read or 0, written or 0
        turns = [turn for turn in self._take(conversation) if record.time - turn.time < KEPT_FOR]
        turn = Turn(
            prefix,
            read + written,
            record.time,
            record.time + (record.first_byte or 0.0),
            record.model,
            record.wire_model,
            (record.upstream, record.account),
            frozenset(record.repairs),
        )
        last = _last_of_thread([each for each in turns if each.begun <= record.time], prefix)
        if last is None or last.tokens == 0:
            # Nothing was there to lose.
            record.cache = "hit" if read and last is not None else "new" if turn.tokens else ""
        else:
            # What a shorter prompt cannot hold, it cannot lose.
            most = min(last.tokens, read + written + (record.input_tokens or 0))
            if most - read > max(SLACK_TOKENS, SLACK_SHARE * most):
                cause, record.cache_changed_at = cause_of(turn, last)
                record.cache = f"lost:{cause}"
                record.cache_lost_tokens = most - read
            else:
                record.cache = "hit"
        self._keep(conversation, turns, turn)

    def _take(self, conversation: str) -> list[Turn]:
        turns = self._conversations.pop(conversation, [])
        self._numbers -= sum(turn.prefix.size for turn in turns)
        return turns

    def _keep(self, conversation: str, turns: list[Turn], turn: Turn) -> None:
        """Put the conversation back with another turn. Of those that it goes on from, only the last stays: a request
        beside the thread may still go on from there."""
        before = [each for each in turns if continues(turn.prefix, each.prefix)]
        gone = {id(each) for each in before[:-1]}
        turns = [each for each in turns if id(each) not in gone][-MAX_THREADS + 1 :]
        turns.append(turn)
        self._conversations[conversation] = turns
        self._numbers += sum(each.prefix.size for each in turns)
        while len(self._conversations) > MAX_CONVERSATIONS or self._numbers > MAX_NUMBERS:
            self._take(next(iter(self._conversations)))


def _last_of_thread(turns: list[Turn], prefix: Prefix) -> Turn | None:
    """Return the turn that a request goes on from; else the one of its thread that shares most with it."""
    intact = [turn for turn in turns if continues(prefix, turn.prefix)]
    if intact:
        return max(intact, key=lambda turn: (len(turn.prefix.blocks), turn.time))
    related = [turn for turn in turns if are_of_one_thread(prefix, turn.prefix)]
    return max(related, key=lambda turn: (shared(prefix, turn.prefix), turn.time), default=None)


def cause_of(turn: Turn, last: Turn) -> tuple[str, str]:
    """Return why a cache was lost, and the path of what changed.

    Where several hold, the one counts without which the others would have made no difference: nothing is left of a
    cache that is too old, whoever is asked; a client's other model or changed beginning matches no cache anywhere; a
    cache is an account's own; and only then may it be the gateway's changes. A change behind the beginning loses no
    more than what follows it, so that it comes after a move, which loses all.
    """
    if turn.time - last.time > last.prefix.lives:
        return "expired", ""
    if turn.model != last.model:
        return "model", ""
    path = difference(turn.prefix, last.prefix)
    if path.startswith(("tools", "system")):
        return "changed", path
    if turn.place != last.place:
        return "moved", ""
    if turn.wire_model != last.wire_model:
        return "model", ""
    if path:
        return "changed", path
    if turn.changes != last.changes:
        return "repair", ""
    if turn.prefix.billing != last.prefix.billing and "attribution" not in turn.changes:
        return "changed", "system.0"
    return "evicted", ""
