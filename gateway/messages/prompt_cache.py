"""Detects lost prompt caches of conversations, by the usage in their responses.

A response says how many tokens of its prompt were read from a cache and how many were written to one. If a request
reads clearly fewer than the last one of its thread read and wrote, the cache was lost; the cause is found by comparing
the two: see `cause_of`. Sans-I/O: times are those of the records.
"""

from dataclasses import dataclass

from gateway.messages.prompt_prefix import Prefix, are_of_one_thread, common_blocks, continues, difference
from gateway.telemetry.access_log import Record

MAX_CONVERSATIONS = 1024
"""Conversations remembered; the least recently used is dropped first."""

MAX_THREADS = 16
"""Turns remembered of one conversation, two for each of its threads: an agent and a few sub-agents."""

MAX_NUMBERS = 500_000
"""Hashes remembered for all conversations: 4 MB. A long session has some 2,000."""

KEPT_FOR = 7200.0
"""Seconds after which a turn is forgotten: twice the longest life of a cache, so that its end can be reported."""

SLACK_TOKENS, SLACK_SHARE = 128, 0.05
"""How many fewer tokens may be read without counting as a loss: OpenAI's caches grow in steps of 128 tokens, and other
hosts may miss the last few blocks. Five percent of a cache read cost half a percent of the prompt."""


@dataclass(slots=True, frozen=True)
class Turn:
    """One response, and the prompt that its cache was made of."""

    prefix: Prefix
    tokens: int
    """Read from the cache and written to it."""
    time: float
    """When its request arrived."""
    begun: float
    """When its response began: before that, other requests cannot read what it writes."""
    model: str
    wire_model: str
    place: tuple[str, str]
    """Upstream and account."""
    changes: frozenset[str]
    """Names of the repairs and cures."""


class PromptCaches:
    """The last turns of each conversation."""

    __slots__ = ("_conversations", "_numbers")

    def __init__(self) -> None:
        self._conversations: dict[str, list[Turn]] = {}
        """By conversation, the least recently used first; turns from oldest to newest."""
        self._numbers = 0

    def judge(self, conversation: str, prefix: Prefix, record: Record) -> None:
        """Record what happened to the cache. A record without cache counts is not changed."""
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
            # There was no cache that could be lost.
            record.cache = "hit" if read and last is not None else "new" if turn.tokens else ""
        else:
            # A shorter prompt can read only a part of the cache, which is no loss.
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
        """Store the conversation with another turn. Of the turns that it continues, only the last is kept: a concurrent
        request may still continue that one."""
        before = [each for each in turns if continues(turn.prefix, each.prefix)]
        gone = {id(each) for each in before[:-1]}
        turns = [each for each in turns if id(each) not in gone][-MAX_THREADS + 1 :]
        turns.append(turn)
        self._conversations[conversation] = turns
        self._numbers += sum(each.prefix.size for each in turns)
        while len(self._conversations) > MAX_CONVERSATIONS or self._numbers > MAX_NUMBERS:
            self._take(next(iter(self._conversations)))


def _last_of_thread(turns: list[Turn], prefix: Prefix) -> Turn | None:
    """Return the turn that a request continues, or else the one of its thread with the longest common beginning."""
    intact = [turn for turn in turns if continues(prefix, turn.prefix)]
    if intact:
        return max(intact, key=lambda turn: (len(turn.prefix.blocks), turn.time))
    related = [turn for turn in turns if are_of_one_thread(prefix, turn.prefix)]
    return max(related, key=lambda turn: (common_blocks(prefix, turn.prefix), turn.time), default=None)


def cause_of(turn: Turn, last: Turn) -> tuple[str, str]:
    """Return the cause of a cache's loss, and the path of what changed.

    If several apply, the one counts that alone is sufficient: a cache that is too old is gone for every account; a
    different model or changed beginning from the client matches no cache anywhere; a cache belongs to an account; only
    then it may be the gateway's changes. A change behind the beginning loses only what follows it, so it comes after a
    move to another account, which loses everything.
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
