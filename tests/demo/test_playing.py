"""What the embedded upstreams share: who asks, and a stream that takes its time."""

import asyncio

import pytest

from gateway.demo.accounts import ACCOUNTS
from gateway.demo.playing import key_of, new_id, play
from gateway.http1.heads import parse_request_head
from tests.support.attempt import Wire, exchange_on
from tests.support.clock import run
from tests.support.loops import settle


def test_ids_differ() -> None:
    ids = {new_id("msg_") for _ in range(100)}

    assert len(ids) == 100
    assert {len(id) for id in ids} == {len("msg_") + 24}


@pytest.mark.parametrize(
    ("field", "key"),
    [
        (b"x-api-key: demo-1", "demo-1"),
        (b"authorization: Bearer demo-2", "demo-2"),
        (b"authorization: bearer demo-1", "demo-1"),
        (b"x-goog-api-key: demo-1", None),
        (b"x-api-key: demo-3", None),
        (b"x-api-key: \xff", None),
        (b"authorization: Bearer", None),
        (b"accept: */*", None),
    ],
)
def test_key_of(field: bytes, key: str | None) -> None:
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n")

    assert key_of(head, b"x-api-key") == key
    assert key is None or key in ACCOUNTS.values()


def test_a_stream_comes_piece_by_piece() -> None:
    async def scenario() -> None:
        wire = Wire()
        exchange = exchange_on(wire)
        play(exchange, [(b"x-more", b"1")], iter([b"one", b"two"]), 60.0)
        assert b"content-type: text/event-stream; charset=utf-8\r\n" in wire.sent
        assert b"x-more: 1\r\n" in wire.sent
        for sent in (b"3\r\none\r\n", b"3\r\none\r\n3\r\ntwo\r\n"):
            await settle()
            assert wire.body == sent
            await asyncio.sleep(60.0)
        assert wire.body.endswith(b"two\r\n0\r\n\r\n")
        assert wire.ended

    run(scenario())


def test_nothing_is_played_to_a_client_that_left() -> None:
    async def scenario() -> None:
        exchange = exchange_on(Wire())
        left = iter([b"one", b"two", b"three"])
        play(exchange, (), left, 60.0)
        exchange.client_left()
        await asyncio.sleep(120.0)
        assert list(left) == [b"two", b"three"]

    run(scenario())
