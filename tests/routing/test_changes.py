"""The notifications of closing and opening: one for each change, never one a request."""

import pytest

from gateway.routing.status import Change
from tests.routing.transcript import Stage


def describe(change: Change) -> str:
    """`closed account a/A billing until 60 (400)`."""
    where = "/".join(filter(None, (change.upstream, change.account)))
    parts = [
        "opened" if change.opened else "closed",
        change.about.value,
        where,
        change.wire_model,
        change.feature,
        change.rule,
        f"until {change.until:g}",
        f"({change.status})",
    ]
    return " ".join(filter(None, parts))


STORIES = {
    "an account": (
        "A B",
        """
        00 q       -> A
        00 q spent -> B
        00 q ok
        60 r       -> A
        60 r ok
        """,
        ["closed account a/A billing until 60 (400)", "opened account a/A billing until 60 (400)"],
    ),
    "a model, for which the probe fails": (
        "A",
        """
        00 q                    -> A
        00 q 429 retry-after=30 -> stop 429 A after=30
        30 r                    -> A
        31 r 429 retry-after=30 -> stop 429 A after=30
        61 s                    -> A
        62 s ok
        """,
        ["closed model a/A m limit until 30 (429)", "opened model a/A m limit until 61 (429)"],
    ),
    "an upstream": (
        "A B",
        """
        0 q         -> A
        0 q connect -> B
        0 q connect -> wait 0.25 slot
        1 r         -> A
        1 r 400     -> stop 400 A
        """,
        ["closed upstream a connect until 1 (0)", "opened upstream a connect until 1 (0)"],
    ),
    "a feature": (
        "A",
        """
        0 q          -> A
        0 q blind    -> A images
        0 q blind    -> stop 404 A final
        600 r        -> A
        600 r ok
        601 s        -> A
        """,
        [
            "closed feature a/A m images feature until 600 (404)",
            "opened feature a/A m images feature until 600 (404)",
        ],
    ),
    "failures that only count": ("A", "0 q -> A\n0 q 500 -> wait 0.5\n0.5 q -> A\n0.5 q ok", []),
    "a request's own fault": ("A", "0 q -> A\n0 q 400 -> stop 400 A", []),
}


@pytest.mark.parametrize("name", STORIES)
def test_each_change_is_published_once(name: str) -> None:
    names, transcript, expected = STORIES[name]
    stage = Stage(names)
    changes: list[Change] = []
    stage.scheduler.on_change = changes.append
    stage.play(transcript)
    assert [describe(change) for change in changes] == expected


def test_a_change_has_the_upstreams_words() -> None:
    stage = Stage("A")
    changes: list[Change] = []
    stage.scheduler.on_change = changes.append
    stage.play("0 q -> A\n0 q spent -> stop 503 A final")
    assert changes[0].words.startswith("Your credit balance is too low")
