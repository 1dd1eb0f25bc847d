"""The way to a host: its name, its addresses, and the difference between its clock and this machine's."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

from gateway.http1.dial import reason_of
from gateway.operator.doctor.findings import Fault, Finding, warn

CONNECT_PATIENCE = 2.0
"""Seconds for one address; a connection to the other side of the earth takes half a second."""

MOST = 8
"""Addresses tried, at most."""

SKEW, LARGE_SKEW = 30.0, 300.0
"""Seconds that a clock may be wrong: beyond the first, log lines and reset times mislead; beyond the second,
certificates and tokens fail."""

Address = tuple[str, int]


async def addresses(host: str, port: int) -> list[Address]:
    """Return the addresses of a name, in the order in which connections try them. Raises Fault."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no valid name"
        raise Fault(f"{host}: {reason}", "is base_url right, and does this machine's DNS work?") from None
    return [(str(info[4][0]), port) for info in found][:MOST]


async def connect(found: Sequence[Address], todo: str) -> Finding | str:
    """Try each address. Fail also if only a later one works: every new connection tries the first ones before it.

    Raises Fault if there is no way.
    """
    tried = await asyncio.gather(*(_try(*address) for address in found))
    good = [index for index, error in enumerate(tried) if not error]
    if not good:
        said = dict.fromkeys(f"{host}: {error}" for (host, _), error in zip(found, tried, strict=True))
        raise Fault("; ".join(said), todo)
    silent = [found[index][0] for index in range(good[0]) if tried[index] == _SILENT]
    working = found[good[0]][0]
    if silent:
        return Finding(
            "fail",
            f"{working} works, but {', '.join(silent)} is tried first and does not",
            "new connections wait for it, or fail: mend IPv6 here, or prefer IPv4 in /etc/gai.conf",
        )
    return working if len(found) == 1 else f"{working}, {len(good)} of {len(found)} addresses"


_SILENT = f"nothing within {CONNECT_PATIENCE:g} s"


async def _try(host: str, port: int) -> str:
    """Return why a connection fails, or "" if it does not."""
    try:
        async with asyncio.timeout(CONNECT_PATIENCE):
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
    except TimeoutError:
        return _SILENT
    except OSError as error:
        return reason_of(error)
    transport.abort()
    return ""


def skew_of(headers: Mapping[str, str], sent: float, got: float) -> float | None:
    """Return how many seconds a response's `date` is ahead of this clock; None if it has no useful date.

    `sent` and `got`: this clock's unix time before and after.
    """
    if "age" in headers or "date" not in headers:
        # From a cache: the date is older than the response.
        return None
    try:
        there = parsedate_to_datetime(headers["date"]).timestamp()
    except (ValueError, OverflowError):
        return None
    # The date is cut to whole seconds, and was taken some time between `sent` and `got`.
    earliest, latest = there, there + 1.0
    if earliest > got:
        return earliest - got
    return latest - sent if latest < sent else 0.0


def clock(skews: Sequence[float]) -> Finding | str:
    """Judge this machine's clock by those of several hosts; the smallest skew counts, since a host may be wrong.

    Raises Fault.
    """
    skew = min(skews, key=abs)
    if abs(skew) < SKEW:
        return "right"
    side = "behind" if skew > 0 else "ahead"
    saw, todo = f"{abs(skew):.0f} s {side}", "set it: timedatectl set-ntp true"
    if abs(skew) >= LARGE_SKEW:
        raise Fault(saw, f"certificates and tokens fail by it; {todo}")
    return warn(saw, todo)
