"""Every size and timeout of the HTTP edge, each with the reason for its number.

Sizes are bytes, times are seconds. The configuration can change each of them by its name here.
"""

from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB


class Limits(NamedTuple):
    """Limits of one connection. Field names are the configuration's keys in `[server]`."""

    max_request_line: int = 8 * KIB
    """nginx and Apache allow 8 KiB; a longer request line is a 414."""

    max_head: int = 32 * KIB
    """nginx's four large buffers of 8 KiB; a client with ten beta names sends about 1 KiB."""

    max_body: int = 64 * MIB
    """The API's own limit is 32 MB, but a compaction request may exceed it on its way here; so twice that."""

    header_timeout: float = 10.0
    """From accept, or from a head's first byte, to its end; a client on loopback needs a millisecond."""

    body_timeout: float = 30.0
    """Silence inside a request body: a lost packet's retransmissions fit, a slow-loris does not."""

    keep_alive_timeout: float = 75.0
    """nginx's default; clients that pool connections drop them earlier."""

    max_connections: int = 1024
    """The usual soft limit on descriptors; a client needs about 15."""

    write_timeout: float = 60.0
    """The client reads nothing while bytes wait for it: nginx's send_timeout."""

    linger_timeout: float = 2.0
    """How long the rest of a refused body is read and discarded, so that a reset does not lose the response."""

    linger_bytes: int = 8 * MIB
    """How much of a refused body is read and discarded."""

    connect_timeout: float = 10.0
    """TCP and TLS to an upstream: three SYN retransmissions (1 + 2 + 4 s) fit."""

    first_byte_timeout: float = 300.0
    """Silence before a streamed response's head; clients themselves wait up to 360 s for it."""

    first_byte_timeout_complete: float = 600.0
    """The same for a response that is not streamed: the SDKs' own default request timeout."""

    idle_timeout: float = 300.0
    """Silence inside an upstream's body; clients give up after 300 s between bytes."""

    pool_idle_timeout: float = 60.0
    """Below the 65 to 75 s after which common servers close an idle connection themselves."""

    pool_max_idle: int = 32
    """Idle connections kept per origin for more than a second: more than one agent and its sub-agents open at once."""

    drain_timeout: float = 30.0
    """How long open requests may continue after SIGTERM."""

    high_water: int = 64 * KIB
    """Bytes waiting for a slow reader before the other side is paused (asyncio's own default)."""
