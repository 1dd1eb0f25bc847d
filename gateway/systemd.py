"""Sockets from systemd and reports to it: the protocols of sd_listen_fds(3) and sd_notify(3).

Imported only by a process whose environment has their variables.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from ipaddress import ip_address

FIRST_DESCRIPTOR = 3
"""The first descriptor that is handed over: 0 to 2 are stdin, stdout and stderr."""

LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")

STATES = {"ready": "READY=1", "reloading": "RELOADING=1", "stopping": "STOPPING=1"}
"""The message to the service manager for each state of the process."""


class HandoverError(Exception):
    """What systemd handed over cannot be served. The message is one line for the operator."""


def sockets(environ: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """Return the listening sockets handed over to process `pid`, none if they are for another one.

    Takes the variables out of `environ`. Raises HandoverError for anything but TCP sockets that listen.
    """
    variables = {name: environ.pop(name, "") for name in LISTEN_VARIABLES}
    if variables["LISTEN_PID"] != str(pid) or not variables["LISTEN_FDS"].isdecimal():
        return []
    count = int(variables["LISTEN_FDS"])
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


def public_address(sockets: Sequence[socket.socket]) -> tuple[str, int]:
    """Return host and port of the most public socket; whether clients need a key depends on it."""
    names = [sock.getsockname()[:2] for sock in sockets]
    host, port = next((name for name in names if not ip_address(name[0]).is_loopback), names[0])
    return host, port


def notifier(address: str, warn: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that sends one of STATES to the service manager at `address` (`$NOTIFY_SOCKET`), and calls
    `warn` where that fails."""

    def send(state: str) -> None:
        try:
            notify(address, state)
        except OSError as error:
            warn(f"systemd was not reached to report that the gateway is {state}: {error.strerror}")

    return send


def notify(address: str, state: str) -> None:
    """Send one of STATES to the service manager at `address`. Raise OSError."""
    text = STATES[state]
    if state == "reloading":
        # With this systemd matches a READY=1 to the reload that it ends.
        text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(text.encode(), address)
