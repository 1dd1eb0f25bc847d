"""A cache of cleaned schemas by content: an agent sends the same tools with every request.

Bounded in number and in bytes. A cached schema uses up as much of a request's budget as its cleaning did, so that a
request is encoded to the same bytes whether its schemas are cached or not.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.dialects.json_schema.budget import (
    MAX_BYTES,
    MAX_NODES,
    MAX_WORK,
    OVERHEAD,
    TOO_LARGE,
    Budget,
    SchemaTooLarge,
    count_nodes,
)
from gateway.messages.json_documents import write_document

Schema = dict[str, Any]
Clean = Callable[[object, Budget], Schema | None]

CACHED = 1024
"""Schemas kept: fifty sets of twenty tools."""

CACHED_BYTES = 8 * 1024 * 1024
"""Bytes kept in all."""

GROWTH = 10
"""Bytes of memory for a byte of JSON as dictionaries and strings; 6 to 12 were measured."""


class SchemaCache:
    """Cleaned schemas by the original's content and the use."""

    def __init__(self, capacity: int = CACHED, max_bytes: int = CACHED_BYTES) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._known: OrderedDict[tuple[str, bytes], _Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<SchemaCache {len(self._known)} schemas, {self._bytes} bytes>"

    def get(
        self, use: str, schema: object, clean: Clean, budget: Budget, warn: Callable[[str], None]
    ) -> Schema | None:
        """Return `clean(schema, ...)`, or TOO_LARGE if that takes more work than is allowed for a schema or left of
        the request's `budget`.

        `use` names everything but the schema that the result depends on. `warn` is called for a schema that is too
        large. The result is shared: callers must not change it.
        """
        if budget.left < OVERHEAD:
            return _too_large(warn)
        content = write_document(schema)
        key = (use, content)
        entry = self._known.get(key)
        if entry is not None:
            self._known.move_to_end(key)
        elif len(content) <= MAX_BYTES and count_nodes(schema, MAX_NODES) <= MAX_NODES:
            entry = _clean(schema, clean, min(MAX_WORK, budget.left))
            # A result that the request's budget cut short is not valid for other requests.
            if entry.cleaned is not TOO_LARGE or entry.cost >= MAX_WORK:
                self._keep(key, entry)
        else:
            entry = _Entry(TOO_LARGE, 0, 0)
        fits = entry.cost <= budget.left
        budget.left = budget.left - entry.cost if fits else 0
        return entry.cleaned if fits and entry.cleaned is not TOO_LARGE else _too_large(warn)

    def _keep(self, key: tuple[str, bytes], entry: "_Entry") -> None:
        size = len(key[1]) + entry.size
        if size > self._max_bytes // 4:
            return
        self._known[key] = entry
        self._bytes += size
        while len(self._known) > self._capacity or self._bytes > self._max_bytes:
            (_, content), oldest = self._known.popitem(last=False)
            self._bytes -= len(content) + oldest.size


def _too_large(warn: Callable[[str], None]) -> Schema:
    warn("a schema is too large to be translated: sent as one that takes any object")
    return TOO_LARGE


class _Entry(NamedTuple):
    cleaned: Schema | None
    cost: int
    """Units of work."""
    size: int
    """Bytes of memory, estimated."""


def _clean(schema: object, clean: Clean, most: int) -> _Entry:
    work = Budget(most)
    try:
        work.charge(OVERHEAD)
        cleaned = clean(schema, work)
    except SchemaTooLarge:
        return _Entry(TOO_LARGE, most, 0)
    return _Entry(cleaned, most - work.left, GROWTH * len(write_document(cleaned)))
