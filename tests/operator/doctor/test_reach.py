"""The way to a host: names, addresses of both families, clocks."""

import asyncio
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.operator.doctor.findings import Fault, Finding
from gateway.operator.doctor.reach import addresses, clock, connect, skew_of
from tests.support.clock import run


def one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """`127.0.0.9` is an address that never responds."""
    loop = asyncio.get_running_loop()
    real = loop.create_connection

    async def create_connection(protocol: Any, host: str, port: int) -> Any:
        await asyncio.sleep(60 if host == "127.0.0.9" else 0)
        return await real(protocol, host, port)

    monkeypatch.setattr(loop, "create_connection", create_connection)


async def listener() -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_names() -> None:
    assert await addresses("127.0.0.1", 80) == [("127.0.0.1", 80)]
    for name in ("no-such-host.invalid", "a" * 64 + ".example"):
        with pytest.raises(Fault, match=name):
            await addresses(name, 80)


async def test_addresses_that_accept_and_refuse() -> None:
    server, port = await listener()
    async with server:
        assert await connect([("127.0.0.1", port)], "") == "127.0.0.1"
        # One that is refused at once costs nothing: the next is tried.
        assert await connect([("127.0.0.2", port), ("127.0.0.1", port)], "") == "127.0.0.1, 1 of 2 addresses"
    with pytest.raises(Fault) as raised:
        await connect([("127.0.0.1", port)], "start it")
    assert raised.value.finding == Finding("fail", "127.0.0.1: Connection refused", "start it")


def test_an_address_that_is_tried_first_and_stays_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As IPv6 does where packets are dropped: what works is behind it, and never tried in time."""
    run(silent_first(monkeypatch))


async def silent_first(monkeypatch: pytest.MonkeyPatch) -> None:
    one_is_silent(monkeypatch)
    server, port = await listener()
    async with server:
        found = await connect([("127.0.0.9", port), ("127.0.0.1", port)], "")
        assert isinstance(found, Finding)
        assert found[:2] == ("fail", "127.0.0.1 works, but 127.0.0.9 is tried first and does not")
        assert await connect([("127.0.0.1", port), ("127.0.0.9", port)], "") == "127.0.0.1, 1 of 2 addresses"
    with pytest.raises(Fault, match=r"127\.0\.0\.9: nothing within"):
        await connect([("127.0.0.9", port)], "")


def test_how_far_clocks_are_apart() -> None:
    now = time.time()
    assert skew_of({"date": formatdate(now, usegmt=True)}, now, now + 0.2) == 0.0
    assert skew_of({"date": formatdate(now - 3600, usegmt=True)}, now, now) == pytest.approx(-3600, abs=1)
    assert skew_of({"date": formatdate(now + 60, usegmt=True)}, now, now) == pytest.approx(60, abs=1)
    assert skew_of({"date": formatdate(now - 3600), "age": "3600"}, now, now) is None
    assert skew_of({"date": "yesterday"}, now, now) is None
    assert skew_of({}, now, now) is None


def test_one_host_with_a_wrong_clock_proves_nothing() -> None:
    assert clock([0.5, -4000.0]) == "right"
    assert clock([40.0, 4000.0]) == Finding("warn", "40 s behind", "set it: timedatectl set-ntp true")
    with pytest.raises(Fault, match="400 s ahead"):
        clock([-400.0])


DATES = st.one_of(
    st.text(),
    st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        *[st.integers(-9, 99999) | st.text(max_size=4)] * 7,
        st.text(max_size=6),
    ),
    st.builds(
        "Mon, {} Jan {} {}:00:00 {:+05d}".format, st.integers(), st.integers(), st.integers(), st.integers()
    ),
)


@given(DATES)
@example("0 JAN 0 2147483648:0 0")
@example("0 JAN 0 0:0-2399999997561")
def test_any_date_header(date: str) -> None:
    skew = skew_of({"date": date}, 1e9, 1e9)
    assert skew is None or isinstance(skew, float)
