"""Token counts in upstreams' responses.

Nothing here raises an error. The caller decides which bytes to read, and when; `Record.take_usage` rejects counts that
are not plausible.
"""

import orjson


def usage_of_message_start(data: bytes) -> object:
    """Return the `usage` in the data of a `message_start` event; None without one."""
    try:
        return orjson.loads(data)["message"]["usage"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None


def usage_of_json_body(body: bytes) -> object:
    """Return the `usage` of a whole message, or of the data of a `message_delta` event, whose counts are running
    totals, so that the last one counts. None without one."""
    try:
        return orjson.loads(body)["usage"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
