"""The upstream's programs and the load's requests for them: the names both sides of the bench share.

A request names in its model the program that the upstream plays, and in `max_tokens` how many
events a stream has. So one upstream serves every row and keeps no state between requests. The
client requests `claude-` + the wire name: a peer with a model table has something to map.
"""

import re
from typing import Literal

JSON = "bench-json"
"""A complete Message of 1 KB."""
FEW = "bench-few"
"""A stream that is whole in one write: start, a few deltas, stop. For the time to the first event."""
BURST = "bench-burst"
"""`max_tokens` events as fast as the socket takes them."""
HOLD = "bench-hold"
"""A start and one delta, then silence until the client goes away."""
PACED = "bench-paced-"
"""+ events a second. Each event carries the time it was sent."""

PACED_RATES = (10, 50)
WIRE_MODELS = (JSON, FEW, BURST, HOLD, *(f"{PACED}{rate}" for rate in PACED_RATES))

CLIENT_PREFIX = "claude-"
Translated = Literal["", "gemini", "openai"]
"""The dialect of the upstream that a peer must reach; empty for the clients' own."""

FEW_EVENTS = 5
JSON_SIZE = 1024

DELTA = b'"content_block_delta"'
"""Once in every delta of a Messages stream, with any blanks and `event:` lines that a peer writes."""
STOP = b'"message_stop"'

STAMP_DIGITS = 16
STAMP = re.compile(rb"@([0-9]{%d})@" % STAMP_DIGITS)
"""Microseconds of the system-wide monotonic clock, in the text of a paced event."""

FILLER = " the quick brown fox jumps over it"
"""Text of one event: a delta of the real API is 120 to 200 bytes with its envelope."""


def client_model(wire_model: str, *, translated: Translated = "") -> str:
    """Return the model name with which a client has `wire_model` played."""
    return CLIENT_PREFIX + (f"{translated}-" if translated else "") + wire_model


def model_table(*, translated: Translated = "") -> dict[str, str]:
    """Client name -> wire model, for the config of a peer that maps models."""
    return {client_model(name, translated=translated): name for name in WIRE_MODELS}


def paced(rate: int) -> str:
    """The wire model of a stream with `rate` events a second; the rate is one of PACED_RATES."""
    if rate not in PACED_RATES:
        raise ValueError(f"no program for {rate} events/s, only {PACED_RATES}")
    return f"{PACED}{rate}"


def stamp(microseconds: int) -> bytes:
    """The mark that STAMP reads back."""
    return b"@%0*d@" % (STAMP_DIGITS, microseconds)
