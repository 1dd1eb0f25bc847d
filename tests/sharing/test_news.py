"""News and their frames: encoded news are decoded, and any other bytes give None."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sharing.news import (
    COOLING,
    KINDS,
    LAST_TIME,
    MAX_DATA,
    MAX_FRAME,
    MAX_KEY,
    News,
    decode,
    encode,
    key_of,
    names_in,
)

NEWS = News(COOLING, key_of("main", "work"), 1_700_000_060.5, 1_700_000_000.25, {"rule": "limit", "count": 2})

times = st.floats(0.0, LAST_TIME)
values = st.none() | st.booleans() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False)
news = st.builds(
    News,
    st.sampled_from(sorted(KINDS)),
    st.text(max_size=40),
    times,
    times,
    st.dictionaries(st.text(max_size=9), values, max_size=5),
)


@given(news)
def test_news_round_trip(item: News) -> None:
    frame = encode(item)
    assert decode(frame) == item
    assert len(frame) <= MAX_FRAME


@given(st.binary() | st.recursive(values, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_decoding_never_raises(junk: object) -> None:
    assert decode(junk if isinstance(junk, bytes) else orjson.dumps(junk)) is None


WRONG: list[dict[str, Any]] = [
    {"v": 2},
    {"v": True},
    {"v": "1"},
    {"kind": "weather"},
    {"kind": ["cooling"]},
    {"key": None},
    {"key": "k" * (MAX_KEY + 1)},
    {"until": None},
    {"until": "soon"},
    {"until": True},
    {"until": -1.0},
    {"made": LAST_TIME * 2},
    {"made": 10**18},
    {"data": None},
    {"data": {"deep": {}}},
    {"data": {"long": ["x"]}},
    {"data": {str(n): n for n in range(MAX_DATA + 1)}},
    {"data": {"rule": "x" * MAX_FRAME}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: orjson.dumps(change).decode()[:30])
def test_a_frame_with_one_thing_wrong_is_no_news(change: dict[str, Any]) -> None:
    right = orjson.loads(encode(NEWS))
    assert decode(orjson.dumps(right)) == NEWS
    assert decode(orjson.dumps({**right, **change})) is None


def test_unknown_fields_of_a_later_version_are_ignored() -> None:
    assert decode(orjson.dumps({**orjson.loads(encode(NEWS)), "mood": "good"})) == NEWS


@pytest.mark.parametrize(
    "news",
    [
        NEWS._replace(until=float("inf")),
        NEWS._replace(made=float("nan")),
        NEWS._replace(key="\ud800"),
        NEWS._replace(data={"rule": "x" * MAX_FRAME}),
    ],
)
def test_undecodable_news_are_not_encoded(news: News) -> None:
    assert encode(news) == b""


@given(st.lists(st.text(st.characters(exclude_categories=[])), max_size=4))
def test_a_key_holds_the_names_it_is_made_of(names: list[str]) -> None:
    shown = tuple(name.encode("utf-8", "replace").decode() for name in names)
    assert names_in(key_of(*names), len(names)) == shown
    assert names_in(key_of(*names), len(names) + 1) is None


@pytest.mark.parametrize("key", ["", "main", "{", "[1]", '{"a":1}', '["\ud800"]'])
def test_another_key_holds_no_names(key: str) -> None:
    assert names_in(key, 1) is None


def test_a_signature_is_not_in_the_repr() -> None:
    assert "secret" not in repr(NEWS._replace(data={"value": "secret"}))
