"""Binds sockets to one port for several processes, before any of them has a loop; and sets options of sockets.

Bound sockets do not listen yet: the server that gets one does that.
"""

import socket
import sys
from contextlib import ExitStack

BALANCED = sys.platform == "linux"
"""Whether the kernel distributes connections among sockets with SO_REUSEPORT. Elsewhere all processes accept from one
socket; of 16 connections opened together one of two processes then often gets all."""

PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds of silence before the first probe (the second name is the one on macOS), seconds between probes, and how many
may be lost: a peer that is gone is noticed after 90 s. Routers at home forget a silent connection after 60 s, and those
of clouds after 2 to 6 minutes; a model may think for longer."""


def probe_when_silent(sock: socket.socket) -> None:
    """Have the system probe a silent connection, so that routers do not forget it, and the loss of its peer is noticed.

    Connections accepted from a listening socket inherit this. Raises OSError.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PROBES.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def bind_sockets(host: str, port: int, count: int) -> list[tuple[socket.socket, ...]]:
    """Bind sockets for each of `count` processes, one for each address of `host`. Raises OSError.

    A socket that a parent keeps open outlives the process that listens on it: connections in its queue wait for the
    next process.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    columns = []
    with ExitStack() as opened:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            # Without SO_REUSEPORT first, so that a port in use is noticed, even if another gateway uses it.
            one = opened.enter_context(_bind(family, address, shared=False))
            column = [one] * count
            if BALANCED:
                address = one.getsockname()
                column = [opened.enter_context(_bind(family, address, shared=True)) for _ in range(count)]
                # Not before, so that no other process gets the port in between.
                one.close()
            columns.append(column)
        opened.pop_all()
    return list(zip(*columns, strict=True))


def _bind(family: int, address: tuple[str | int | bytes, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
