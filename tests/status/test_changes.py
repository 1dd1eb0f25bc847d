"""An earlier document with the changes applied is the last document."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.status.changes import LISTS, apply_change, find_changes
from gateway.telemetry.recent import MINUTES, REQUESTS

EMPTY: dict[str, Any] = {"time": 0, "uptime": 0, "ready": True, "upstreams": []} | {
    name: [] for name in LISTS
}


def test_nothing_but_the_time_is_no_change() -> None:
    assert find_changes(EMPTY, {**EMPTY, "time": 1, "uptime": 1}) is None


def test_a_change_has_the_differences() -> None:
    one, two = {"request_id": "1", "status": 200}, {"request_id": "2", "status": 200}
    old = {**EMPTY, "requests": [one]}
    new = {**EMPTY, "requests": [two, one], "time": 2, "ready": False}
    assert find_changes(old, new) == {"requests": [two], "ready": False, "time": 2, "uptime": 0}


Story = list[tuple[int, int, bool]]
STORIES = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=90), max_size=8
)


@given(STORIES)
def test_changes_lead_to_the_last_document(stories: list[Story]) -> None:
    """As a gateway's documents follow each other: requests and minutes come, conversations come and come again."""
    shown = document = EMPTY
    talks: dict[str, dict[str, Any]] = {}
    count = minute = 0
    for story in stories:
        requests, minutes = list(document["requests"]), list(document["minutes"])
        for passed, who, ready in story:
            count += 1
            minute += passed
            requests.insert(0, {"request_id": str(count)})
            if not minutes or minutes[-1]["time"] != minute:
                minutes.append({"time": minute, "requests": 0})
            minutes[-1] = {**minutes[-1], "requests": minutes[-1]["requests"] + 1}
            talk = talks.pop(str(who), {"id": str(who), "requests": 0})
            talks[str(who)] = {**talk, "requests": talk["requests"] + 1}
            document = {**document, "ready": ready, "time": count, "uptime": count}
        document = {**document, "requests": requests[:REQUESTS], "minutes": minutes[-MINUTES:]}
        document["conversations"] = list(talks.values())[::-1]
        change = find_changes(shown, document)
        assert (change is None) is (not story)
        if change is not None:
            shown = apply_change(shown, change)
        assert shown == document
