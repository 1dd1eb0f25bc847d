"""Check the shared store by performing each operation of sharing once."""

import asyncio
import re
from contextlib import suppress
from functools import partial
from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING

from gateway.config import Config, Sharing
from gateway.config.store import place_of
from gateway.operator.doctor.findings import Fault, Finding, Row, carry_out, skip, warn

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

PATIENCE = 2.0
"""Seconds for the whole check; a gateway allows as many for one operation."""

EXPIRY = 10_000
"""Milliseconds after which the store drops the test key if deleting it failed."""

MANY = 10_000
"""Keys to scan for another gateway's sign of life; the store needs some milliseconds for so many."""

REMEDIES = (
    (r"authenticat|password|NOAUTH", "correct user and password in sharing.url"),
    (
        r"permission|NOPERM",
        "let the user do it: ACL SETUSER NAME ~{prefix}* &{prefix}* +subscribe +publish +set +getrange +scan +del",
    ),
    (
        r"certificate",
        "set sharing.ca_file to what signed its certificate, and name the host as the certificate does",
    ),
    (
        r"\bSSL\b|connection closed|reset by peer",
        "does this port speak TLS? Then sharing.url begins with valkeys://, else with valkey://",
    ),
    (r"\bDB\b|SELECT", "correct the database's number at the end of sharing.url"),
    (r"read.?only", "this is a replica: name the primary in sharing.url"),
    (r"maxmemory|OOM", "give the store more memory, or a maxmemory-policy that evicts keys with an expiry"),
    (r"loading", "wait until it has loaded its data"),
    (r"number of clients", "raise the store's maxclients"),
    (r"protocol|invalid response", "is it a Valkey or a Redis that listens there?"),
    (r"cluster|MOVED|slot", "name a store that is no cluster"),
    (r"", "start the store, or correct host and port in sharing.url"),
)
"""Words in an error message (any case) -> advice. The first matching row counts."""


async def look_at_store(config: Config) -> Row:
    """Check the shared store of a configuration, if it has one."""
    # This deadline's message is more specific than that of the whole doctor.
    return await carry_out("here", "shared store", partial(_look, config.sharing), 2 * PATIENCE)


async def _look(section: Sharing) -> Finding | str:
    """Return a description of the usable store, or that none is configured. Raises Fault."""
    if section.url is None:
        return skip("sharing.url is not set")
    # Imported here: without a store the package may be missing.
    from redis.exceptions import RedisError

    from gateway.sharing.store import client_of, reason_of

    where = place_of(section.url.reveal())
    client = client_of(section)
    try:
        async with asyncio.timeout(PATIENCE):
            return await _use(client, section, where)
    except TimeoutError:
        raise Fault(
            f"{where}: no response within {PATIENCE:g} s",
            "are host and port right, is it valkeys:// where the port speaks TLS, and does a firewall drop it?",
        ) from None
    except (RedisError, OSError) as error:
        reason = reason_of(error)
        raise Fault(f"{where}: {reason}", remedy_for(reason, section.prefix)) from None
    finally:
        with suppress(RedisError, OSError):
            await client.aclose()


def remedy_for(reason: str, prefix: str) -> str:
    """Return advice for an error message. `prefix`: beginning of all keys and channels of sharing."""
    todo = next(todo for words, todo in REMEDIES if re.search(words, reason, re.IGNORECASE))
    return todo.format(prefix=prefix)


async def _use(client: "Redis", section: Sharing, where: str) -> Finding | str:
    """Subscribe, write, read, scan for others, delete and publish, as sharing does.

    Raises Fault, RedisError, OSError.
    """
    from gateway.sharing.envelope import MAX_MESSAGE, PROCESS, Envelopes
    from gateway.sharing.seal import Seal
    from gateway.sharing.store import BYE

    seal = Seal(section.secret.reveal(), token_bytes) if section.secret else None
    envelopes = Envelopes(token_bytes(PROCESS), seal)
    key, channel = f"{section.prefix}doctor:{token_hex(8)}", f"{section.prefix}news"
    # From an unknown process: receivers ignore it.
    farewell = envelopes.wrap([BYE])
    subscription = client.pubsub()
    try:
        await subscription.subscribe(channel)
        await client.set(key, farewell, px=EXPIRY)
        found = await client.getrange(key, 0, MAX_MESSAGE)
        _, names = await client.scan(0, match=f"{section.prefix}process:*", count=MANY)
        others = [await client.getrange(name, 0, MAX_MESSAGE) for name in names[:1]]
        await client.delete(key)
        await client.publish(channel, farewell)
        comes_back = found == farewell and await _is_heard(subscription, farewell)
    finally:
        await subscription.aclose()  # type: ignore[no-untyped-call]
    if not comes_back:
        raise Fault(
            f"{where}: what is written or published there does not come back",
            "name the store itself in sharing.url, not a proxy or a balancer before several",
        )
    if any(isinstance(other, bytes) and other and envelopes.unwrap(other) is None for other in others):
        return warn(
            f"{where} can be used, but a gateway there has another secret, or none",
            "set the same sharing.secret in all of them",
        )
    return f"{where}, can be written, read and heard"


async def _is_heard(subscription: "PubSub", published: bytes) -> bool:
    """Return whether the published message arrives, possibly between news of others."""
    while True:
        message = await subscription.get_message(timeout=PATIENCE / 2)
        if message is None or message["data"] == published:
            return message is not None
