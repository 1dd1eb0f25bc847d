"""Token counts, read out of what upstreams send.

Lenient: a count that is missing, negative or of an odd type is unknown, and nothing here ever raises.
Which bytes to look at, and when, is left to the caller.
"""

from typing import Any, NamedTuple

import orjson


class Usage(NamedTuple):
    """Tokens of one answer; None where it was not said."""

    input: int | None = None
    """Neither read from nor written to a cache."""
    output: int | None = None
    cache_read: int | None = None
    cache_creation: int | None = None

    def updated(self, later: "Usage") -> "Usage":
        """With what `later` says in place of what was said before."""
        return Usage(
            self.input if later.input is None else later.input,
            self.output if later.output is None else later.output,
            self.cache_read if later.cache_read is None else later.cache_read,
            self.cache_creation if later.cache_creation is None else later.cache_creation,
        )


UNKNOWN = Usage()


def usage_of(usage: object) -> Usage:
    """The counts of a `usage` object."""
    if not isinstance(usage, dict):
        return UNKNOWN
    return Usage(
        _count(usage.get("input_tokens")),
        _count(usage.get("output_tokens")),
        _count(usage.get("cache_read_input_tokens")),
        _count(usage.get("cache_creation_input_tokens")),
    )


def usage_of_message_start(data: bytes) -> Usage:
    """The counts in the data of a `message_start` event."""
    message = _object(data).get("message")
    return usage_of(message.get("usage")) if isinstance(message, dict) else UNKNOWN


def usage_of_message_delta(data: bytes) -> Usage:
    """The counts in the data of a `message_delta` event: running totals, so that the last one stands."""
    return usage_of(_object(data).get("usage"))


def usage_of_json_body(body: bytes) -> Usage:
    """The counts in a whole answer that was not streamed."""
    return usage_of(_object(body).get("usage"))


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
