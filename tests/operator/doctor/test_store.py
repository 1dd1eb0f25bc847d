"""operator/doctor/store.py: a shared store that can be used, and what to do about each that cannot."""

import asyncio
import itertools
import re
from typing import Any

import pytest

from gateway.config import Config, Secret, Sharing
from gateway.operator.doctor import store
from gateway.operator.doctor.findings import Finding
from gateway.operator.doctor.store import look_at_store, remedy_for
from gateway.sharing.peers import Sharing as Peers
from gateway.sharing.store import Store
from gateway.telemetry.access_log import AccessLog
from tests.support.clock import run
from tests.support.loops import PATIENCE, eventually
from tests.support.store_server import StoreServer, needs_a_store

COMMANDS = ("subscribe", "publish", "set", "del", "scan", "getrange")

numbers = itertools.count()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store is given up because this machine is slow."""
    monkeypatch.setattr(store, "PATIENCE", PATIENCE)
    monkeypatch.setattr("gateway.sharing.store.TIMEOUT", PATIENCE)


def section(url: str, **fields: Any) -> Sharing:
    return Sharing(url=Secret(url), **{"prefix": f"doctor-{next(numbers)}:", **fields})


async def look(found: Sharing) -> Finding:
    row = await look_at_store(Config(sharing=found))
    assert (row.part, row.name) == ("here", "shared store")
    assert "canary" not in str(row)
    return row.finding


async def test_without_a_store_there_is_nothing_to_check() -> None:
    assert await look(Sharing()) == Finding("skip", "sharing.url is not set")


@needs_a_store
@pytest.mark.parametrize("secret", [None, Secret("a secret of 16 or more")])
async def test_a_store_that_can_be_used(store_server: StoreServer, secret: Secret | None) -> None:
    where = section(store_server.url, secret=secret)
    found = await look(where)
    assert found == Finding("ok", f"127.0.0.1:{store_server.port}, can be written, read and heard")
    assert await store_server.execute("KEYS", f"{where.prefix}*") == []


@needs_a_store
async def test_other_gateways_sharing_the_store_are_not_disturbed(store_server: StoreServer) -> None:
    where = section(store_server.url)
    peers = Peers()
    link = Store(where, peers.state, AccessLog(lambda line: None))
    link.start()
    try:
        await eventually(lambda: link.up)
        assert (await look(where)).state == "ok"
        other = await look(
            section(store_server.url, prefix=where.prefix, secret=Secret("another of 16 or more"))
        )
        assert (other.state, other.todo) == ("warn", "set the same sharing.secret in all of them")
        assert (peers.state.processes, link.up) == (1, True)
    finally:
        await link.stop()


@needs_a_store
async def test_minimal_store_permissions(own_store: StoreServer) -> None:
    own_store.start()
    where = section(f"redis://gateway:canary@127.0.0.1:{own_store.port}")
    rules = [
        "on",
        ">canary",
        "resetkeys",
        f"~{where.prefix}*",
        "resetchannels",
        f"&{where.prefix}*",
        "nocommands",
    ]
    await own_store.execute("ACL", "SETUSER", "gateway", *rules, *(f"+{name}" for name in COMMANDS))
    assert (await look(where)).state == "ok"
    for command in COMMANDS:
        await own_store.execute("ACL", "SETUSER", "gateway", f"-{command}")
        found = await look(where)
        assert found.state == "fail"
        assert command in found.saw
        assert f"ACL SETUSER NAME ~{where.prefix}* &{where.prefix}* +subscribe" in found.todo
        await own_store.execute("ACL", "SETUSER", "gateway", f"+{command}")


@needs_a_store
async def test_stores_that_cannot_be_used(own_store: StoreServer) -> None:
    own_store.start()
    place = f"127.0.0.1:{own_store.port}"
    assert "correct the database's number" in (await look(section(f"redis://{place}/999"))).todo
    await own_store.execute("REPLICAOF", "127.0.0.1", "1")
    assert "name the primary" in (await look(section(own_store.url))).todo
    await own_store.execute("REPLICAOF", "NO", "ONE")
    await own_store.execute("CONFIG", "SET", "maxmemory", "1")
    assert "more memory" in (await look(section(own_store.url))).todo
    await own_store.execute("CONFIG", "SET", "maxmemory", "0")
    await own_store.execute("CONFIG", "SET", "requirepass", "canary")
    for login in ("", ":wrong-canary@"):
        found = await look(section(f"redis://{login}{place}/0"))
        assert (found.state, found.todo) == ("fail", "correct user and password in sharing.url")
    own_store.kill()
    assert (
        await look(section(own_store.url))
    ).todo == "start the store, or correct host and port in sharing.url"


@needs_a_store
def test_a_store_that_hangs(own_store: StoreServer) -> None:
    run(hanging(own_store))


async def hanging(own_store: StoreServer) -> None:
    own_store.start()
    assert "where the port speaks TLS" in (await look(section(f"rediss://127.0.0.1:{own_store.port}"))).todo
    own_store.hang()
    found = await look(section(own_store.url))
    own_store.wake()
    assert found.saw == f"127.0.0.1:{own_store.port}: no response within {PATIENCE:g} s"
    assert "firewall" in found.todo


def test_a_server_that_is_no_store() -> None:
    """A server that accepts every command, and stores nothing."""
    run(no_store())


async def no_store() -> None:
    greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            writer.write(greeting or b"".join(map(reply_to, re.findall(rb"\*[1-9]\r\n\$\d+\r\n(\w+)", data))))
        writer.close()

    def reply_to(command: bytes) -> bytes:
        known = {
            b"SCAN": b"*2\r\n$1\r\n0\r\n*0\r\n",
            b"SUBSCRIBE": b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        }
        return known.get(command, b"$1\r\nx\r\n")

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "is it a Valkey or a Redis" in (await look(section(f"redis://127.0.0.1:{port}"))).todo
        greeting = b""
        found = await look(section(f"redis://127.0.0.1:{port}"))
        assert (found.state, "name the store itself" in found.todo) == ("fail", True)


@pytest.mark.parametrize(
    ("reason", "todo"),
    [
        ("Error 111 connecting to h:6379. Connection refused.", "start the store"),
        ("Error -2 connecting to h:6379. Name or service not known.", "start the store"),
        (
            "Error 1 connecting to h:1. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            "sharing.ca_file",
        ),
        ("Connection closed by server.", "speak TLS"),
        ("Redis is loading the dataset in memory", "wait"),
        ("max number of clients reached", "maxclients"),
        ("MOVED 866 10.0.0.1:6379", "no cluster"),
    ],
)
def test_remedies(reason: str, todo: str) -> None:
    assert todo in remedy_for(reason, "gateway:")
