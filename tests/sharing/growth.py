"""Rows of tests/test_growth.py for what comes from other processes."""

import orjson

from gateway.sharing.news import COOLING, News, decode, encode, key_of
from tests.support.growth import Row


def frame(n: int) -> bytes:
    return encode(News(COOLING, key_of("main"), 2.0, 1.0, {"words": "x" * n}))


def junk(n: int) -> bytes:
    return orjson.dumps({"v": 1, "data": [["x"]] * n})


ROWS = [
    Row("news: a frame", decode, frame, in_c=2000),
    Row("news: junk", decode, junk, in_c=1000),
]
