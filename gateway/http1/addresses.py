"""Connects to a name: all its addresses compete, so that a silent one does not hold up the others.

A network may offer IPv6 and not carry it; then the first address never responds, and the second one does at once.
"""

import asyncio
import socket
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from gateway.http1.sockets import probe_when_silent

NEXT_AFTER = 0.25
"""Seconds that an address gets before the next one is tried, too (RFC 8305, 5)."""


def host_for_lookup(host: str) -> Any:
    """Return an ASCII host as bytes, so that the loop looks it up without the codec for international names, which
    takes half a megabyte and 5 ms to load; any other host unchanged."""
    return host.encode() if host.isascii() else host


async def connected_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of `host` that responds. Raises OSError."""
    loop = asyncio.get_running_loop()
    left = await _addresses(host, port)
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        while left or attempts:
            if left:
                attempts.add(loop.create_task(_connect(*left.pop(0))))
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


async def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Return family and address of each way to a host, the preferred family and the other one by turns."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            # An address is not looked up, which would take a thread.
            socket.inet_pton(family, host)
            return [(family, (host, port))]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host_for_lookup(host), port, type=socket.SOCK_STREAM)
    preferred = [(each[0], each[4]) for each in found if each[0] == found[0][0]]
    others = [(each[0], each[4]) for each in found if each[0] != found[0][0]]
    return [each for pair in zip_longest(preferred, others) for each in pair if each is not None]


async def _connect(family: int, address: Any) -> socket.socket:
    # With the protocol's number the loop turns off Nagle's delays.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        probe_when_silent(sock)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host_for_lookup(address[0]), *address[1:]))
    except BaseException:
        sock.close()
        raise
    return sock


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that is not needed."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
