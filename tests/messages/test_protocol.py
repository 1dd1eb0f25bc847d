"""messages/protocol.py: the gateway's own errors and pings for clients of the Messages protocol."""

import orjson

from gateway.messages.protocol import MESSAGES
from gateway.messages.sse import EventDecoder


def test_error_body_and_error_event_are_alike() -> None:
    body = orjson.loads(MESSAGES.error_body(429, "slow down", "req_1"))
    (event,) = EventDecoder().feed(MESSAGES.error_event("rate_limit_error", "slow down", "req_1"))
    assert event.name == "error"
    assert orjson.loads(event.data) == body
    assert body["error"] == {"type": "rate_limit_error", "message": "slow down"}


def test_ping_event() -> None:
    (event,) = EventDecoder().feed(MESSAGES.ping)
    assert (event.name, orjson.loads(event.data)) == ("ping", {"type": "ping"})
