"""The difference between two status documents, so that watching costs little.

A change holds every value that differs; of the lists in `LISTS` only the new or changed entries. Applying all
changes since a document to it gives the last document.
"""

from collections.abc import Mapping
from typing import Any

from gateway.telemetry.recent import CONVERSATIONS, MINUTES, REQUESTS

LISTS = {
    "minutes": ("time", MINUTES, False),
    "requests": ("request_id", REQUESTS, True),
    "conversations": ("id", CONVERSATIONS, True),
}
"""Lists sent by entry: the key of an entry, the most entries kept, and whether the newest comes first."""

ALWAYS = ("time", "uptime")
"""Times of the document itself: they alone make no change."""


def find_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `new` has that `old` has not; None if nothing."""
    found: dict[str, Any] = {}
    for name, value in new.items():
        if name in ALWAYS or value == old[name]:
            continue
        if name in LISTS:
            key = LISTS[name][0]
            known = {each[key]: each for each in old[name]}
            value = [each for each in value if known.get(each[key]) != each]
        found[name] = value
    return {**found, **{name: new[name] for name in ALWAYS}} if found else None


def apply_change(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with a change applied."""
    new = {**old, **change}
    for name, (key, most, newest_first) in LISTS.items():
        if name in change:
            entries = {each[key]: each for each in change[name]}
            kept = [each for each in old[name] if each[key] not in entries]
            if newest_first:
                new[name] = [*change[name], *kept][:most]
            else:
                new[name] = [*kept, *change[name]][-most:]
    return new
