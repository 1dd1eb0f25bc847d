"""Token counts, found in what upstreams send.

Lenient: nothing here ever raises. Which bytes to look at, and when, is left to the caller; `Record.take_usage` decides
which of the counts are to be believed.
"""

import orjson


def usage_of_message_start(data: bytes) -> object:
    """Return the `usage` in the data of a `message_start` event; None without one."""
    try:
        return orjson.loads(data)["message"]["usage"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None


def usage_of_json_body(body: bytes) -> object:
    """Return the `usage` of a whole message; also of the data of a `message_delta` event, whose counts are running
    totals, so that the last one stands. None without one."""
    try:
        return orjson.loads(body)["usage"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
