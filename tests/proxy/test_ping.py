"""Signs of life: when a ping is due, and that nothing follows `stop`."""

import asyncio

from gateway.http1.exchange import Exchange
from gateway.proxy.ping import PingTimer
from tests.support.attempt import OneRequest
from tests.support.clock import run


class Pings:
    """When pings were sent, in seconds since the beginning."""

    def __init__(self, *, write: bool = True, stop: bool = False) -> None:
        self.exchange: Exchange = OneRequest().request.exchange
        self.exchange.start(200)
        self.at: list[float] = []
        self._began = asyncio.get_running_loop().time()
        self._write = write
        self._stop = stop
        self.timer = PingTimer(self.exchange, 15.0, self.ping)

    def ping(self) -> None:
        self.at.append(round(self.exchange.loop.time() - self._began, 2))
        if self._write:
            self.exchange.write_raw(b"ping")
        if self._stop:
            self.timer.stop()


def test_a_silent_stream_is_pinged_again_and_again() -> None:
    async def pinged() -> list[float]:
        pings = Pings()
        await asyncio.sleep(50.0)
        pings.timer.stop()
        await asyncio.sleep(50.0)
        return pings.at

    assert run(pinged()) == [15.0, 30.0, 45.0]


def test_each_byte_to_the_client_restarts_the_ping_timer() -> None:
    async def pinged() -> list[float]:
        pings = Pings()
        for _ in range(10):
            await asyncio.sleep(10.0)
            pings.exchange.write_raw(b"x")
        await asyncio.sleep(20.0)
        pings.timer.stop()
        return pings.at

    assert run(pinged()) == [115.0]


def test_a_ping_that_was_left_out_is_due_again_later() -> None:
    """One that cannot be written now must not be tried in every turn of the loop."""

    async def pinged() -> list[float]:
        pings = Pings(write=False)
        await asyncio.sleep(50.0)
        pings.timer.stop()
        return pings.at

    assert run(pinged()) == [15.0, 30.0, 45.0]


def test_a_ping_may_stop_its_timer() -> None:
    async def pinged() -> list[float]:
        pings = Pings(stop=True)
        await asyncio.sleep(50.0)
        return pings.at

    assert run(pinged()) == [15.0]
