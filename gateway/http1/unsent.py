"""How much of what was written to a connection has not been taken by its peer.

The transport's own count cannot tell a slow reader from one that reads nothing: a system may take no byte for a
socket before a third of its send buffer is free again, and that buffer grows to megabytes. What a standstill means is
for the connection to say.
"""

import asyncio
import sys


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many written bytes wait: here, and, where the system tells it (Linux does), in its own buffer."""
    waiting = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is None:
        return waiting
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ

        queued = ioctl(connection.fileno(), TIOCOUTQ, bytes(4))
    except (ImportError, OSError, ValueError):
        # No such call on this system, or no socket any more.
        return waiting
    return waiting + int.from_bytes(queued, sys.byteorder)
