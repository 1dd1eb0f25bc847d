"""The verdicts: what a conversation's last response had cached, what the next one read, and why it was less."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import prompt_cache
from gateway.messages.prompt_cache import MAX_THREADS, PromptCaches
from gateway.messages.prompt_prefix import Prefix, prefix_of
from gateway.telemetry.access_log import Record
from tests.messages.samples import assistant, history, text, user

LONG = {"type": "ephemeral", "ttl": "1h"}
TOOLS = [{"name": "a"}, {"name": "b"}]

Verdict = tuple[str, int | None, str]
HIT: Verdict = ("hit", None, "")
NEW: Verdict = ("new", None, "")
NOTHING: Verdict = ("", None, "")


def turn(number: int, task: str = "do it", **changes: Any) -> Prefix:
    """Return the prompt of a thread after `number` rounds."""
    rounds = [
        message for at in range(number) for message in (assistant(f"{task} {at}"), user(f"go {task} {at}"))
    ]
    fields: dict[str, Any] = {"tools": TOOLS, "system": [text("You."), text("Monday.")], **changes}
    first = user(text(fields.pop("reminder", "a reminder"), cache_control=fields.pop("mark", {})), text(task))
    return prefix_of(history(first, *rounds, **fields))


def record(read: int | None, written: int | None = 0, *, time: float = 0.0, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "model": "claude",
        "wire_model": "glm",
        "upstream": "up",
        "account": "a@x",
        "cache_read_tokens": read,
        "cache_creation_tokens": written,
        "input_tokens": 10,
    }
    return Record(time, **{**fields, **changes})


class Session:
    """One conversation's requests, one after the other."""

    def __init__(self) -> None:
        self.caches = PromptCaches()

    def judged(self, prefix: Prefix, record: Record, conversation: str = "c") -> Verdict:
        self.caches.judge(conversation, prefix, record)
        return record.cache, record.cache_lost_tokens, record.cache_changed_at


def begun(read: int = 0, written: int = 50_000, **changes: Any) -> Session:
    session = Session()
    assert session.judged(turn(1, mark=changes.pop("mark", {})), record(read, written, **changes)) == NEW
    return session


def test_a_conversation_that_grows() -> None:
    session = begun()
    assert session.judged(turn(2), record(50_000, 900, time=60.0)) == HIT
    assert session.judged(turn(3), record(50_900, 700, time=120.0)) == HIT


@pytest.mark.parametrize(
    ("last", "read", "verdict"),
    [
        # Less than 5 % or 128 tokens is not clearly less.
        (50_000, 47_500, HIT),
        (50_000, 47_499, ("lost:evicted", 2_501, "")),
        (2_000, 1_872, HIT),
        (2_000, 1_871, ("lost:evicted", 129, "")),
        (128, 0, HIT),
        (129, 0, ("lost:evicted", 129, "")),
    ],
)
def test_threshold_of_a_lost_prefix(last: int, read: int, verdict: Verdict) -> None:
    session = begun(written=last)
    assert session.judged(turn(2), record(read, last - read + 500, time=9.0)) == verdict


CAUSES: list[tuple[dict[str, Any], Prefix, dict[str, Any], str, str]] = [
    ({}, turn(2), {"time": 301.0}, "expired", ""),
    ({}, turn(2), {"time": 300.0}, "evicted", ""),
    ({"mark": LONG}, turn(2), {"time": 3600.0}, "evicted", ""),
    ({"mark": LONG}, turn(2), {"time": 3601.0}, "expired", ""),
    ({}, turn(2), {"account": "b@x"}, "moved", ""),
    ({}, turn(2), {"upstream": "other", "wire_model": "gpt"}, "moved", ""),
    ({}, turn(2), {"model": "opus", "wire_model": "glm-5"}, "model", ""),
    ({}, turn(2), {"wire_model": "glm-5"}, "model", ""),
    ({}, turn(2), {"repairs": ("tool_ids",)}, "repair", ""),
    ({}, turn(2, tools=TOOLS[:1]), {}, "changed", "tools.1"),
    ({}, turn(2, system=[text("You."), text("Tuesday.")]), {}, "changed", "system.1"),
    ({}, turn(2, reminder="another"), {}, "changed", "messages.0.content.0"),
    ({}, turn(2, thinking={"type": "adaptive"}), {}, "changed", "thinking"),
    # Several hold: see `cause_of`.
    ({}, turn(2, tools=TOOLS[:1]), {"time": 301.0, "model": "x", "account": "b@x"}, "expired", ""),
    ({}, turn(2, tools=TOOLS[:1]), {"model": "x", "account": "b@x"}, "model", ""),
    ({}, turn(2, tools=TOOLS[:1]), {"account": "b@x", "repairs": ("a",)}, "changed", "tools.1"),
    ({}, turn(2, reminder="another"), {"account": "b@x"}, "moved", ""),
    ({}, turn(2, reminder="another"), {"repairs": ("a",)}, "changed", "messages.0.content.0"),
]


@pytest.mark.parametrize(("before", "prefix", "changes", "cause", "path"), CAUSES, ids=range(len(CAUSES)))
def test_each_cause(
    before: dict[str, Any], prefix: Prefix, changes: dict[str, Any], cause: str, path: str
) -> None:
    session = begun(**before)
    changes = {"time": 10.0, **changes}
    assert session.judged(prefix, record(1_000, 50_000, **changes)) == (f"lost:{cause}", 49_000, path)
    # The current prompt counts from then on.
    assert session.judged(prefix, record(51_000, 0, **{**changes, "time": changes["time"] + 9.0})) == HIT


@pytest.mark.parametrize(("repairs", "verdict"), [((), "lost:changed"), (("attribution",), "lost:evicted")])
def test_an_attribution_line_counts_where_it_is_sent(repairs: tuple[str, ...], verdict: str) -> None:
    def billed(number: int) -> Prefix:
        line = text(f"x-anthropic-billing-header: cch={number};")
        return turn(number, system=[line, text("You.")])

    session = Session()
    assert session.judged(billed(1), record(0, 50_000, repairs=repairs)) == NEW
    # A host that leaves it out itself reads all the same.
    assert session.judged(billed(2), record(50_000, 500, time=1.0, repairs=repairs)) == HIT
    found = session.judged(billed(3), record(0, 51_000, time=2.0, repairs=repairs))
    assert found[0] == verdict
    assert found[2] == ("system.0" if verdict == "lost:changed" else "")


def test_sub_agents_titles_and_a_compaction_lose_nothing() -> None:
    session = begun()
    agent = {"tools": TOOLS[:1], "system": "You look."}
    assert session.judged(turn(0, "look", **agent), record(0, 9_000, time=1.0)) == NEW
    assert session.judged(turn(0, "find", **agent), record(8_000, 1_000, time=2.0)) == NEW
    assert session.judged(turn(1, "look", **agent), record(9_000, 500, time=3.0)) == HIT
    assert session.judged(turn(1, "find", **agent), record(9_000, 500, time=4.0)) == HIT
    # A title without tools, by another model.
    assert (
        session.judged(turn(0, "title", tools=[], system="T"), record(0, 0, time=5.0, model="h")) == NOTHING
    )
    assert session.judged(turn(2), record(50_000, 900, time=6.0)) == HIT
    # The summary takes the place of all messages.
    assert session.judged(turn(0, "a summary"), record(20_000, 3_000, time=7.0)) == NEW
    assert session.judged(turn(1, "a summary"), record(23_000, 300, time=8.0)) == HIT


def test_a_request_beside_the_thread_and_one_that_goes_back() -> None:
    session = begun()
    beside = prefix_of(
        history(
            user(text("a reminder"), text("do it")),
            assistant("do it 0"),
            user("go do it 0"),
            user("suggest"),
            tools=TOOLS,
            system=[text("You."), text("Monday.")],
        )
    )
    assert session.judged(beside, record(50_000, 9_000, time=1.0)) == HIT
    assert session.judged(turn(2), record(50_000, 900, time=2.0)) == HIT
    assert session.judged(turn(9), record(50_900, 90_000, time=3.0)) == HIT
    # Back to the second turn: a prefix that is not sent is not lost.
    assert session.judged(turn(2), record(50_800, 0, time=4.0)) == HIT


def test_concurrent_requests_lose_nothing() -> None:
    session = Session()
    assert session.judged(turn(1), record(0, 50_000, time=1.0, first_byte=3.0)) == NEW
    assert session.judged(turn(1), record(0, 50_000, time=3.9)) == NEW
    assert session.judged(turn(2), record(0, 50_000, time=4.0)) == ("lost:evicted", 50_000, "")


def test_hosts_without_cache_write_counts() -> None:
    session = Session()
    assert session.judged(turn(1), record(None, None)) == NOTHING
    # A host that caches automatically reports what it read, and never what it wrote.
    assert session.judged(turn(1), record(0, None)) == NOTHING
    assert session.judged(turn(2), record(0, 0)) == NOTHING
    assert session.judged(turn(3), record(5_000, None)) == HIT
    lost = record(0, None, input_tokens=6_000)
    assert session.judged(turn(4), lost) == ("lost:evicted", 5_000, "")
    assert session.judged(turn(5), record(None, 700)) == NEW
    assert session.judged(turn(5), record(5_000, 0, input_tokens=None), "another") == NEW


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    session = begun()
    for number in range(2 * MAX_THREADS):
        session.judged(turn(0, f"task {number}"), record(0, 100, time=1.0))
    # The first thread is forgotten, the last is not.
    assert session.judged(turn(2), record(0, 50_000, time=2.0)) == NEW
    assert session.judged(turn(1, f"task {2 * MAX_THREADS - 1}"), record(100, 0, time=2.0)) == HIT
    # Entries too old to be explained are dropped, too.
    assert session.judged(turn(3), record(0, 50_000, time=7_203.0)) == NEW

    monkeypatch.setattr(prompt_cache, "MAX_CONVERSATIONS", 2)
    for name in ("c", "d", "c", "e"):
        session.judged(turn(4), record(50_000, 0, time=7_204.0), name)
    assert session.judged(turn(4), record(50_000, 0, time=7_204.0), "c") == HIT
    assert session.judged(turn(4), record(50_000, 0, time=7_204.0), "d") == NEW

    monkeypatch.setattr(prompt_cache, "MAX_NUMBERS", 30)
    assert session.judged(turn(40), record(0, 9_000), "large") == NEW
    assert session.judged(turn(40), record(0, 9_000), "large") == NEW


counts = st.none() | st.integers(0, 10_000)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), counts, counts, counts), max_size=12))
def test_lost_tokens_are_at_most_the_prefix(
    steps: list[tuple[int, str, int | None, int | None, int | None]],
) -> None:
    session = Session()
    most = 0
    for number, task, read, written, input in steps:
        seen = record(read, written, input_tokens=input)
        verdict, lost, _ = session.judged(turn(number, task), seen)
        assert (lost is not None) is verdict.startswith("lost:")
        assert verdict in ("", "hit", "new", "lost:evicted", "lost:changed")
        assert 0 < (lost or 1) <= max(most, 1)
        most = max(most, (read or 0) + (written or 0))
