"""Limits the work for the schemas of one request.

Real schemas have 0.5 to 8 KiB and some hundred nodes. A schema beyond MAX_BYTES or MAX_NODES, or one whose references
multiply the work beyond MAX_WORK, is replaced by `TOO_LARGE`.
"""

from typing import Any

MAX_BYTES = 256 * 1024
"""Bytes of a schema's JSON."""

MAX_NODES = 10_000
"""Objects and arrays in a schema."""

MAX_WORK = 100_000
"""Units of work for one schema, one to three microseconds each: ten for each of MAX_NODES."""

REQUEST_WORK = 150_000
"""Units of work for all schemas of a request, about half a second: Claude Code's 18 tools take 1,500 to 2,000, and
200 tools of 100 nodes each about 70,000."""

OVERHEAD = 50
"""Units that the smallest schema costs."""

TEXT_UNIT = 256
"""Bytes of text that are copied, compared or written in the time of one unit."""

TOO_LARGE: dict[str, Any] = {
    "type": "object",
    "description": "(the schema of this object is too large to be passed on)",
}
"""Replaces a schema that cannot be cleaned. Never changed."""


class SchemaTooLarge(Exception):
    """The schema needs more work than is allowed."""


class Budget:
    """Units of work that are left."""

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_WORK) -> None:
        self.left = left

    def __repr__(self) -> str:
        return f"<Budget {self.left} units left>"

    def charge(self, units: int = 1) -> None:
        """Use up units of work. Raises SchemaTooLarge if too few are left."""
        self.left -= units
        if self.left < 0:
            raise SchemaTooLarge

    def charge_text(self, length: int) -> None:
        """Use up the units for a text of `length` bytes. Raises SchemaTooLarge."""
        self.charge(1 + length // TEXT_UNIT)


def count_nodes(value: object, most: float = float("inf")) -> int:
    """Return the number of objects and arrays in a document, shared ones each time; stops soon after `most`."""
    count = 0
    rest = [value]
    while rest and count <= most:
        one = rest.pop()
        if isinstance(one, dict):
            count += 1
            rest.extend(one.values())
        elif isinstance(one, list):
            count += 1
            rest.extend(one)
    return count
