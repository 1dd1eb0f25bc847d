"""Unsent bytes: in the transport, and in the kernel's send queue where the system reports it."""

import asyncio
import socket
import sys
from typing import Any

import pytest

from gateway.http1.unsent import unsent_bytes
from tests.support.loops import settle
from tests.support.wire import Wire

MUCH = 32 * 1024 * 1024
"""More than a system keeps for one connection."""


class Connection(Wire):
    """A transport with a socket, or with something in its place."""

    def __init__(self, connection: object) -> None:
        super().__init__()
        self.waiting = 7
        self.connection = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.connection if name == "socket" else default


def test_without_a_socket_the_transport_counts() -> None:
    assert unsent_bytes(Connection(None)) == 7


def test_a_closed_socket_has_no_unsent_bytes() -> None:
    with socket.socket() as closed:
        pass
    assert unsent_bytes(Connection(closed)) == 7


def test_a_file_without_a_send_queue() -> None:
    with open(__file__, "rb") as file:
        assert unsent_bytes(Connection(file)) == 7


def test_a_system_without_send_queue_size(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setitem(sys.modules, "termios", None)
        ours.send(b"hello")
        assert unsent_bytes(Connection(ours)) == 7


async def test_unsent_bytes_fall_while_the_peer_reads() -> None:
    """Also where the transport cannot write, which is its purpose. Only Linux is known to report the queue."""
    supported = sys.platform == "linux"
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"x" * MUCH)
        await settle()
        before = unsent_bytes(transport), transport.get_write_buffer_size()
        theirs.recv(512 * 1024, socket.MSG_WAITALL)
        await settle()
        after = unsent_bytes(transport), transport.get_write_buffer_size()
        assert (before[0] > before[1] > 0) == supported
        assert before[0] > after[0] > 0 or not supported
        transport.abort()
        await settle()
