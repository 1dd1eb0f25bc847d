"""Looks at the soaked gateway from outside: memory, descriptors; and asks the upstream for its tally."""

import contextlib
import http.client
import json
import os
from typing import Any

from bench.processes import Child, members, resident_bytes


def resident(child: Child) -> int:
    """RSS in bytes."""
    return resident_bytes(child.session)


def descriptors(child: Child) -> int:
    """Open descriptors of all its processes."""
    total = 0
    for pid in members(child.session):
        with contextlib.suppress(OSError):
            total += len(os.listdir(f"/proc/{pid}/fd"))
    return total


def tally(port: int) -> dict[str, Any]:
    """What the upstream counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/tally")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()
