"""Sockets for several processes: one port, and never another's."""

import asyncio
import select
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway.http1 import sockets as binding
from gateway.http1.sockets import bind_sockets
from tests.support.loops import PATIENCE
from tests.support.spawned import unused_port


@pytest.fixture(params=[True, False], ids=["a socket each", "one for all"])
def balanced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both kinds of system: on Linux both can be had."""
    monkeypatch.setattr(binding, "BALANCED", request.param)
    return bool(request.param)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def close(sockets: list[tuple[socket.socket, ...]]) -> None:
    for column in sockets:
        for sock in column:
            sock.close()


def test_all_sockets_have_one_port(balanced: bool) -> None:
    sockets = bind_sockets("127.0.0.1", 0, 3)
    assert [len(each) for each in sockets] == [1, 1, 1]
    assert len({each[0].getsockname() for each in sockets}) == 1
    assert len({each[0] for each in sockets}) == (3 if balanced else 1)
    assert not any(each[0].get_inheritable() for each in sockets)
    close(sockets)


def test_a_given_port(balanced: bool, taken: int) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        bind_sockets("127.0.0.1", taken, 2)


def test_a_port_that_another_gateway_shares(balanced: bool) -> None:
    theirs = bind_sockets("127.0.0.1", 0, 2)
    for (sock,) in theirs:
        sock.listen()
    with pytest.raises(OSError, match="Address already in use"):
        bind_sockets("127.0.0.1", theirs[0][0].getsockname()[1], 2)
    close(theirs)


def both(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """A name with an address of either family, each of them twice."""
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [six, four, four, six])


def test_a_hostname_with_two_addresses(balanced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    both(monkeypatch, 0)
    sockets = bind_sockets("localhost", 0, 2)
    names = [[sock.getsockname()[0] for sock in each] for each in sockets]
    assert names == [["::1", "127.0.0.1"]] * 2
    close(sockets)


def test_every_address_of_either_family(balanced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with unused_port() as port:
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", port))
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::", port, 0, 0))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [six, four])
        sockets = bind_sockets("everywhere", port, 2)
    assert [[sock.getsockname()[1] for sock in each] for each in sockets] == [[port, port]] * 2
    # Else the first would take the second's connections.
    assert all(each[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for each in sockets)
    close(sockets)


def test_bind_failure_of_one_address_closes_the_others(
    balanced: bool, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Sockets bound before the failure are closed: an open one would be a warning, and so an error."""
    both(monkeypatch, taken)
    with pytest.raises(OSError, match="Address already in use"):
        bind_sockets("localhost", taken, 2)


def test_the_kernel_balances_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "BALANCED", True)
    sockets = bind_sockets("127.0.0.1", 0, 2)
    for (sock,) in sockets:
        sock.listen()
    clients = [socket.create_connection(sockets[0][0].getsockname()) for _ in range(64)]
    accepted: Counter[socket.socket] = Counter()
    while accepted.total() < 64 and (
        ready := select.select([sock for (sock,) in sockets], [], [], PATIENCE)[0]
    ):
        for sock in ready:
            sock.accept()[0].close()
            accepted[sock] += 1
    assert accepted.total() == 64
    assert min(accepted[sock] for (sock,) in sockets) >= 8
    for client in clients:
        client.close()
    close(sockets)


async def test_a_bound_socket_serves_a_loop(balanced: bool) -> None:
    sockets = bind_sockets("127.0.0.1", 0, 1)
    server = await asyncio.start_server(lambda _, writer: writer.close(), sock=sockets[0][0])
    reader, writer = await asyncio.open_connection(*sockets[0][0].getsockname())
    assert await reader.read() == b""
    writer.close()
    server.close()
    await server.wait_closed()
