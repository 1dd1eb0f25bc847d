"""Counts the bytes written to a connection that its peer has not received.

The transport's own count cannot distinguish a slow reader from one that reads nothing: a system may accept no byte for
a socket before a third of its send buffer is free again, and that buffer grows to megabytes.
"""

import asyncio
import sys


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return the number of unsent bytes: here, and, if the system reports them (Linux does), in its own buffer."""
    waiting = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is None:
        return waiting
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ

        queued = ioctl(connection.fileno(), TIOCOUTQ, bytes(4))
    except (ImportError, OSError, ValueError):
        # The system has no such call, or the socket is closed.
        return waiting
    return waiting + int.from_bytes(queued, sys.byteorder)
