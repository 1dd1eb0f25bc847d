"""Connects to a name: all its addresses compete, so that a silent one does not hold up the others.

A network may offer IPv6 and not carry it; then the first address never responds, and the second one does at once.
"""

import asyncio
import socket
from itertools import zip_longest
from typing import Any

NEXT_AFTER = 0.25
"""Seconds that an address gets before the next one is tried, too (RFC 8305, 5)."""


def host_for_lookup(host: str) -> Any:
    """Return an ASCII host as bytes, so that the loop looks it up without the codec for international names, which
    takes half a megabyte and 5 ms to load; any other host unchanged."""
    return host.encode() if host.isascii() else host


async def connected_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of `host` that responds. Raises OSError."""
    loop = asyncio.get_running_loop()
    lookup = host_for_lookup(host)
    try:
        # An address needs no thread.
        found = socket.getaddrinfo(lookup, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(lookup, port, type=socket.SOCK_STREAM)
    preferred = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    left = [each for pair in zip_longest(preferred, others) for each in pair if each is not None]
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        while left or attempts:
            if left:
                family, _, protocol, _, address = left.pop(0)
                attempts.add(loop.create_task(_connect(family, protocol, address)))
            patience = NEXT_AFTER if left else None
            done, _ = await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                attempts.discard(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                failure = failure or error
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close)
    assert failure is not None
    raise failure


async def _connect(family: int, protocol: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that is not needed."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
