"""What systemd hands over and wants to hear: the protocols of sd_listen_fds(3) and sd_notify(3).

Imported only by a process whose environment has their variables.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from ipaddress import ip_address

FIRST_DESCRIPTOR = 3
"""Descriptors that are handed over begin here: 0 to 2 are stdin, stdout and stderr."""

LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


STATES = {"ready": "READY=1", "reloading": "RELOADING=1", "stopping": "STOPPING=1"}


class HandoverError(Exception):
    """What systemd handed over cannot be served. The message is one line for the operator."""


def sockets(environ: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """The listening sockets handed over to process `pid`, none if they are for another one.

    Takes the variables out of `environ`. Raises HandoverError for anything but TCP sockets that listen.
    """
    said = {name: environ.pop(name, "") for name in LISTEN_VARIABLES}
    if said["LISTEN_PID"] != str(pid) or not said["LISTEN_FDS"].isdecimal():
        return []
    count = int(said["LISTEN_FDS"])
    return [_listening(descriptor) for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count)]


def _listening(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise HandoverError(
            f"systemd: descriptor {descriptor} is not a socket: {os.strerror(error.errno or 0)}"
        ) from error
    sock.set_inheritable(False)
    tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise HandoverError(f"systemd: descriptor {descriptor} is not a TCP socket that listens")
    return sock


def place(given: Sequence[socket.socket]) -> tuple[str, int]:
    """Host and port of the socket that most can reach: who must show a key depends on it."""
    names = [sock.getsockname()[:2] for sock in given]
    host, port = next((name for name in names if not ip_address(name[0]).is_loopback), names[0])
    return host, port


def teller(address: str, warn: Callable[[str], None]) -> Callable[[str], None]:
    """What tells the service manager at `address` (`$NOTIFY_SOCKET`) one of STATES; it never raises."""

    def tell(state: str) -> None:
        try:
            notify(address, state)
        except OSError as error:
            warn(f"systemd could not be told that the gateway is {state}: {error.strerror}")

    return tell


def notify(address: str, state: str) -> None:
    """Tell the service manager at `address` one of STATES. Raises OSError."""
    text = STATES[state]
    if state == "reloading":
        # By the time systemd knows which READY=1 answers this.
        text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(text.encode(), address)
