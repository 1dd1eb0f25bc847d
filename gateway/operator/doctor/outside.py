"""Checks of the way to a running gateway: name, connection, certificate, clock."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from gateway.http1.dial import reason_of
from gateway.operator.doctor.certificates import life_of, todo_for
from gateway.operator.doctor.client import open_response
from gateway.operator.doctor.findings import Fault, Finding, Row, carry_out, skip
from gateway.operator.doctor.reach import Address, addresses, clock, connect, skew_of
from gateway.operator.peer import GatewayAddress

UNTRUSTED = (
    "clients refuse it, too, unless NODE_EXTRA_CA_CERTS names its authority; for this check, add --config"
)

STEP = 4.0
"""Seconds for each check."""


async def reach_from_outside(target: GatewayAddress) -> list[Row]:
    """Carry out the checks; stop after the first fault."""
    found: list[Address] = []

    async def name() -> str:
        found.extend(await addresses(target.host, target.port))
        return f"{target.host}, {len(found)} {'address' if len(found) == 1 else 'addresses'}"

    async def connection() -> Finding | str:
        return await connect(found, "is the gateway running, and is this its port?")

    checks: dict[str, Callable[[], Awaitable[Finding | str]]] = {
        "name": name,
        "connect": connection,
        "certificate": partial(_certificate, target),
        "clock": partial(_clock, target),
    }
    rows: list[Row] = []
    for title, check in checks.items():
        rows.append(await carry_out("here", title, check, STEP))
        if rows[-1].finding.state == "fail":
            break
    return rows


async def _certificate(target: GatewayAddress) -> Finding | str:
    try:
        context = target.context()
        if context is None:
            return skip("plain HTTP")
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, target.host, target.port, ssl=context, server_hostname=target.host
        )
    except OSError as error:
        words = reason_of(error)
        todo = todo_for(words)
        raise Fault(words, UNTRUSTED if "ca_file" in todo else todo) from None
    try:
        return life_of(transport.get_extra_info("peercert"))
    finally:
        transport.abort()


async def _clock(target: GatewayAddress) -> Finding | str:
    sent = time.time()
    async with open_response(target, "HEAD", "/") as response:
        skew = skew_of(response.headers, sent, time.time())
    return skip("it does not send its time") if skew is None else clock([skew])
