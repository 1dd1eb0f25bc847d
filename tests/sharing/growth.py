"""Rows of tests/test_growth.py for what comes from other processes."""

import orjson

from gateway.sharing.envelope import PROCESS, Envelopes
from gateway.sharing.frames import NEWS, Inbox, frame
from gateway.sharing.news import COOLING, SIGNATURE, News, decode, encode, key_of
from gateway.sharing.seal import Seal
from gateway.sharing.state import SharedState
from tests.support.growth import Row


def encoded_words(n: int) -> bytes:
    return encode(News(COOLING, key_of("main"), 2.0, 1.0, {"words": "x" * n}))


def junk(n: int) -> bytes:
    return orjson.dumps({"v": 1, "data": [["x"]] * n})


def news(n: int) -> list[News]:
    """A signature, and what began later and ends earlier each time: none makes another needless."""
    cooling = {"rule": "login", "kind": "status"}
    return [
        News(
            kind, key_of("main", "work", "", ""), 600.0 - 0.1 * i, 0.1 * i, cooling if kind == COOLING else {}
        )
        for i in range(n)
        for kind in (COOLING, SIGNATURE)
    ]


def receive(news: list[News]) -> None:
    state = SharedState(lambda: 1.0, lambda: 1.0)
    for each in news:
        state.receive(each)


def frames(n: int) -> list[bytes]:
    stream = b"".join(frame(NEWS, b"x" * 10) for _ in range(n))
    return [stream[at : at + 7] for at in range(0, len(stream), 7)]


def cut(pieces: list[bytes]) -> None:
    inbox = Inbox()
    for piece in pieces:
        for _ in inbox.feed(piece):
            pass


ME = b"m" * PROCESS

SEALED = Envelopes(ME, Seal("a secret of 16 or more", bytes))


def many(n: int) -> list[bytes]:
    return [b"x" * 50] * n


ROWS = [
    Row("news: many of one thing", receive, news, 50),
    Row("frames: cut anywhere", cut, frames),
    Row("frames: in one piece", cut, lambda n: [b"".join(frames(n))]),
    Row("news: a frame", decode, encoded_words, in_c=2000),
    Row("news: junk", decode, junk, in_c=1000),
    Row("store: a message", Envelopes(ME, None).unwrap, lambda n: Envelopes(ME, None).wrap(many(n))),
    Row("store: a sealed message", SEALED.unwrap, lambda n: SEALED.wrap(many(n))),
]
