"""messages/protocol.py: what the gateway itself says to clients of the Messages protocol."""

import orjson

from gateway.messages.protocol import MESSAGES
from gateway.messages.sse import EventDecoder


def test_an_error_is_said_alike_in_a_body_and_in_a_stream() -> None:
    body = orjson.loads(MESSAGES.error_body(429, "slow down", "req_1"))
    (event,) = EventDecoder().feed(MESSAGES.error_event("rate_limit_error", "slow down", "req_1"))
    assert event.name == "error"
    assert orjson.loads(event.data) == body
    assert body["error"] == {"type": "rate_limit_error", "message": "slow down"}


def test_a_ping_says_nothing() -> None:
    (event,) = EventDecoder().feed(MESSAGES.ping)
    assert (event.name, orjson.loads(event.data)) == ("ping", {"type": "ping"})
