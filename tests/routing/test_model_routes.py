"""Requested names, patterns and upstream tables."""

import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Upstream
from gateway.messages.errors import RequestError
from gateway.routing.model_routes import LONGEST_KEPT, MAX_KEPT, Candidate, ModelRoutes, ModelTable


def upstream(name: str, models: Mapping[str, str] | None = None, priority: int = 0) -> Upstream:
    return Upstream(name=name, kind="anthropic", base_url="https://x", models=models or {}, priority=priority)


MATCHES = [
    ("claude-*", "claude-opus", True),
    ("claude-*", "claude-", True),
    ("claude-*", "claude", False),
    ("*-opus", "claude-opus", True),
    ("*-opus", "claude-opus-4", False),
    ("*", "", True),
    ("*", "anything at all\n", True),
    ("claude-*-4*", "claude-opus-4-5", True),
    ("claude-*-4*", "claude-4", False),
    ("a*a", "a", False),
    ("a*a", "aa", True),
    ("a*b*a", "aba", True),
    ("a*b*a", "aca", False),
    ("a*b*c*d", "a-b-b-c-d", True),
    ("a*c*b*d", "a-b-c-d", False),
    ("a**b", "ab", True),
    ("a.c*", "abc", False),
    ("[a]*", "a", False),
    ("Claude-*", "claude-x", False),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    assert ModelTable({pattern: "found"}).target(name) == ("found" if expected else None)


@given(
    parts=st.lists(st.text("ab", max_size=3), min_size=2, max_size=5),
    fill=st.lists(st.text("ab", max_size=3), min_size=4, max_size=4),
)
def test_a_pattern_matches_whatever_fills_its_gaps(parts: list[str], fill: list[str]) -> None:
    name = parts[0] + "".join(gap + part for gap, part in zip(fill, parts[1:], strict=False))
    assert ModelTable({"*".join(parts): "found"}).target(name) == "found"


def test_pathological_patterns_are_fast() -> None:
    table = ModelTable({"*a" * 200 + "*b": "found"})
    begun = time.thread_time()
    assert table.target("a" * 100_000) is None
    assert time.thread_time() - begun < 0.5


PRECEDENCE = [
    ({"m": "exact", "m*": "pattern"}, "m", "exact"),
    ({"m*": "pattern", "m": "exact"}, "m", "exact"),
    ({"*": "short", "claude-*": "long"}, "claude-x", "long"),
    ({"claude-*": "first", "*claude-": "second"}, "claude-claude-", "first"),
    ({"*claude-": "first", "claude-*": "second"}, "claude-claude-", "first"),
    ({"a***": "a", "*ab": "ab"}, "aab", "ab"),
]


@pytest.mark.parametrize(("table", "name", "expected"), PRECEDENCE)
def test_the_best_match_wins(table: dict[str, str], name: str, expected: str) -> None:
    assert ModelTable(table).target(name) == expected


ZAI = upstream("zai", {"claude-opus-*": "glm-4.7", "*": "glm-4.5-air"})
OPUS_ONLY = upstream("opus", {"claude-opus-*": "o1", "exact": "e1"})
PLAIN = upstream("plain")
FALLBACK = upstream("fallback", {"*": "gemini-3"}, priority=1)

ROUTES: list[tuple[Mapping[str, str], Sequence[Upstream], str, list[tuple[str, str, int]]]] = [
    ({}, [PLAIN], "m", [("plain", "m", 0)]),
    ({}, [ZAI], "claude-opus-4", [("zai", "glm-4.7", 0)]),
    ({}, [ZAI], "m", [("zai", "glm-4.5-air", 0)]),
    ({}, [OPUS_ONLY, PLAIN], "m", [("plain", "m", 0)]),
    ({}, [OPUS_ONLY, PLAIN], "claude-opus-4", [("opus", "o1", 0), ("plain", "claude-opus-4", 0)]),
    (
        {},
        [FALLBACK, PLAIN, ZAI],
        "m",
        [("plain", "m", 0), ("zai", "glm-4.5-air", 0), ("fallback", "gemini-3", 1)],
    ),
    # the gateway's own table comes first, and once
    ({"m": "claude-opus-4"}, [ZAI], "m", [("zai", "glm-4.7", 0)]),
    ({"m": "n", "n": "o"}, [PLAIN], "m", [("plain", "n", 0)]),
    ({"claude-*": "claude-opus-4"}, [PLAIN], "claude-opus-4", [("plain", "claude-opus-4", 0)]),
    ({"m*": "exact"}, [OPUS_ONLY], "mmm", [("opus", "e1", 0)]),
    # on one upstream
    ({"m": "zai/claude-opus-4"}, [PLAIN, ZAI], "m", [("zai", "glm-4.7", 0)]),
    ({"m": "plain/x/y"}, [PLAIN, ZAI], "m", [("plain", "x/y", 0)]),
    ({"m": "opus/o1"}, [PLAIN, OPUS_ONLY], "m", [("opus", "o1", 0)]),
    ({"m": "zai/glm-4.7"}, [ZAI], "m", [("zai", "glm-4.5-air", 0)]),
    # a slash in a model's name
    ({"m": "meta/llama"}, [PLAIN], "m", [("plain", "meta/llama", 0)]),
    ({}, [PLAIN, ZAI], "zai/claude-opus-4", [("plain", "zai/claude-opus-4", 0), ("zai", "glm-4.5-air", 0)]),
]


@pytest.mark.parametrize(("models", "upstreams", "name", "expected"), ROUTES)
def test_resolve(
    models: Mapping[str, str],
    upstreams: Sequence[Upstream],
    name: str,
    expected: list[tuple[str, str, int]],
) -> None:
    routes = ModelRoutes(models, upstreams)
    assert routes.resolve(name) == tuple(Candidate(*one) for one in expected)


MANY = {f"m{index:02}": "x" for index in range(12)}

UNKNOWN: list[tuple[Mapping[str, str], Sequence[Upstream], str, str]] = [
    ({}, [], "m", 'model "m" is not served here, and no other is'),
    (
        {"claude-haiku": "exact", "gone": "nowhere"},
        [OPUS_ONLY],
        "m",
        'model "m" is not served here; served are: claude-haiku, exact, claude-opus-*',
    ),
    (
        {},
        [upstream("u", MANY)],
        "m",
        'model "m" is not served here; served are: m00, m01, m02, m03, m04, m05, m06, m07, m08, m09, ...',
    ),
    ({"m": "opus/other"}, [OPUS_ONLY], "m", 'model "m" is not served here; served are: exact, claude-opus-*'),
    (
        {"a-*": "exact"},
        [OPUS_ONLY],
        "m",
        'model "m" is not served here; served are: exact, a-*, claude-opus-*',
    ),
    ({}, [], "\ud800", 'model "\\ud800" is not served here, and no other is'),
    ({}, [], "x" * 5000, f'model "{"x" * LONGEST_KEPT}..." is not served here, and no other is'),
]


@pytest.mark.parametrize(("models", "upstreams", "name", "message"), UNKNOWN)
def test_unknown_models(
    models: Mapping[str, str], upstreams: Sequence[Upstream], name: str, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        ModelRoutes(models, upstreams).resolve(name)
    assert (caught.value.status, caught.value.type) == (404, "not_found_error")
    assert caught.value.message == message


def test_models_by_their_names_at_upstreams() -> None:
    opus = upstream("opus", {"claude-opus-*": "glm", "a": "b"})
    table = {"x": "opus/pinned", "y-*": "org/model"}
    assert ModelRoutes(table, [opus]).wire_models() == {"pinned", "org/model", "glm", "b"}
    assert ModelRoutes({"fast": "haiku"}, [PLAIN]).wire_models() == {"haiku"}


def test_exact_names() -> None:
    table = {"z": "exact", "a-*": "exact", "gone": "nowhere", "exact": "exact"}
    assert ModelRoutes(table, [OPUS_ONLY]).exact_names() == ["exact", "z"]
    assert ModelRoutes({}, [PLAIN]).exact_names() == []
    assert ModelRoutes(
        {}, [upstream("u", {"b": "1", "a": "2"}), upstream("v", {"a": "3"})]
    ).exact_names() == [
        "a",
        "b",
    ]


def test_serves() -> None:
    routes = ModelRoutes({"m": "exact", "gone": "nowhere"}, [OPUS_ONLY])
    names = ("m", "exact", "claude-opus-9", "gone", "other")
    assert [name for name in names if routes.serves(name)] == ["m", "exact", "claude-opus-9"]


def test_resolved_models_are_cached_with_a_bound() -> None:
    routes = ModelRoutes({}, [PLAIN])
    first = routes.resolve("m")
    assert routes.resolve("m") is first
    for index in range(MAX_KEPT):
        routes.resolve(f"m{index}")
    assert routes.resolve("m") == first
    assert routes.resolve("m") is not first
    long = "x" * (LONGEST_KEPT + 1)
    assert routes.resolve(long) is not routes.resolve(long)


def test_an_empty_table_serves_everything_unchanged() -> None:
    assert not ModelTable({})
    assert ModelTable({"*": "m"})
    assert ModelTable({"m": "m"})
    assert list(ModelTable({"a": "1", "b*": "2"}).targets()) == ["1", "2"]
