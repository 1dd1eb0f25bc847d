"""Sockets that systemd hands over, and notifications to it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import systemd
from tests.support.spawned import CONFIG, PATIENCE, ROOT, Spawned, get, spawned

ME = os.getpid()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch, listening: socket.socket) -> int:
    """One listening socket at the first descriptor of the handover; gives its port."""
    monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", os.dup(listening.fileno()))
    port: int = listening.getsockname()[1]
    return port


def test_sockets_are_taken_once(handed: int) -> None:
    os.set_inheritable(systemd.FIRST_DESCRIPTOR, True)
    environ = {"LISTEN_PID": str(ME), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "OTHER": "x"}
    (sock,) = systemd.sockets(environ, ME)
    with sock:
        assert sock.getsockname() == ("127.0.0.1", handed)
        assert not sock.get_inheritable()
    assert environ == {"OTHER": "x"}
    assert systemd.sockets(environ, ME) == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": str(ME + 1), "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(ME)},
        {"LISTEN_PID": str(ME), "LISTEN_FDS": "x"},
        {"LISTEN_PID": str(ME), "LISTEN_FDS": "0"},
    ],
)
def test_no_sockets_for_this_process(environ: dict[str, str]) -> None:
    assert systemd.sockets(environ, ME) == []
    assert environ == {}


@pytest.mark.parametrize("kind", ["file", "closed", "udp", "unix", "not listening"])
def test_unusable_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as idle, open(tmp_path / "f", "w") as file:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        udp = socket.socket(type=socket.SOCK_DGRAM)
        known = {"file": file.fileno(), "udp": udp.fileno(), "unix": unix.fileno(), "closed": udp.fileno()}
        descriptor = known.get(kind, idle.fileno())
        if kind == "closed":
            udp.close()
        monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", descriptor)
        with pytest.raises(
            systemd.HandoverError, match=f"^systemd: descriptor {descriptor} is not a "
        ) as raised:
            systemd.sockets({"LISTEN_PID": str(ME), "LISTEN_FDS": "1"}, ME)
        udp.close()
    reasons = {"file": "Socket operation on non-socket", "closed": "Bad file descriptor"}
    assert str(raised.value).endswith(reasons.get(kind, "TCP socket that listens"))


@pytest.mark.parametrize(
    ("hosts", "place"),
    [
        (["127.0.0.1"], "127.0.0.1"),
        (["127.0.0.1", "0.0.0.0"], "0.0.0.0"),
        (["0.0.0.0", "127.0.0.1"], "0.0.0.0"),
        (["127.0.0.2", "::1"], "127.0.0.2"),
        (["::1", "::"], "::"),
    ],
)
def test_the_address_is_the_most_public_one(hosts: list[str], place: str) -> None:
    opened = [
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        for host in hosts
    ]
    host, port = systemd.public_address(opened)
    assert (host, port) == (place, opened[hosts.index(place)].getsockname()[1])
    for sock in opened:
        sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of `$NOTIFY_SOCKET`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        yield sock


@pytest.mark.parametrize(("state", "text"), [("ready", "READY=1"), ("stopping", "STOPPING=1")])
def test_systemd_notifications(manager: socket.socket, state: str, text: str) -> None:
    systemd.notify(manager.getsockname(), state)
    assert manager.recv(100) == text.encode()


def test_reload_notification_has_its_time(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    systemd.notify(manager.getsockname(), "reloading")
    first, second = manager.recv(100).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_an_abstract_address() -> None:
    name = f"gateway-test-{ME}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        systemd.notifier("@" + name, lambda line: None)("ready")
        assert sock.recv(100) == b"READY=1"


def test_a_closed_notify_socket_is_no_error(tmp_path: Path) -> None:
    lines: list[str] = []
    systemd.notifier(str(tmp_path / "none"), lines.append)("stopping")
    assert lines == [
        "systemd was not reached to report that the gateway is stopping: No such file or directory"
    ]


# Whole processes.


@pytest.mark.parametrize("workers", [1, 2])
def test_service_start_reload_and_stop(tmp_path: Path, manager: socket.socket, workers: int) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    with spawned(tmp_path, "--workers", str(workers), environ=environ) as gateway:
        assert manager.recv(100) == b"READY=1"
        assert get(gateway.port, "/healthz") == 200
        gateway.signal("HUP")
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1"
        gateway.config.write_text("broken")
        gateway.signal("HUP")
        assert manager.recv(100).startswith(b"RELOADING=1\n")
        assert manager.recv(100) == b"READY=1"
        gateway.signal("TERM")
        assert manager.recv(100) == b"STOPPING=1"
        err = gateway.wait()
    assert gateway.process.returncode == 0
    assert err.count("info: the configuration was reloaded") == 1
    assert err.count("the configuration was not reloaded") == 1


def activated(config: Path, make: str, *arguments: str) -> list[str]:
    """A command that becomes `gateway serve` with the descriptor that `make` evaluates to handed over."""
    code = (
        "import os, socket, sys\n"
        f"given = {make}\n"
        "os.dup2(given, 3)\n"
        "os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'gateway', 'serve', *sys.argv[1:]])"
    )
    config.write_text(CONFIG)
    return [sys.executable, "-c", code, "--config", str(config), *arguments]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_socket_activation(tmp_path: Path, workers: str) -> None:
    config = tmp_path / "gateway.toml"
    make = "socket.create_server(('127.0.0.1', 0)).detach()"
    with Spawned(activated(config, make, "--workers", workers, "--port", "1"), config) as gateway:
        assert gateway.port > 1
        assert get(gateway.port, "/v1/models") == 200
        gateway.signal("TERM")
        gateway.wait()
    assert gateway.process.returncode == 0


def test_a_socket_beyond_loopback_needs_a_key(tmp_path: Path) -> None:
    """Access depends on the address of the handed socket, not on `server.host`."""
    config = tmp_path / "gateway.toml"
    make = "socket.create_server(('0.0.0.0', 0)).detach()"
    with Spawned(activated(config, make), config) as gateway:
        assert get(gateway.port, "/v1/models") == 401
        gateway.signal("HUP")
        gateway.line("the configuration was reloaded")
        assert get(gateway.port, "/v1/models") == 401


def test_a_wrong_handover_is_one_line(tmp_path: Path) -> None:
    command = activated(tmp_path / "gateway.toml", "os.open('/dev/null', os.O_RDONLY)")
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert run.returncode == 2
    assert run.stderr == "gateway: systemd: descriptor 3 is not a socket: Socket operation on non-socket\n"
