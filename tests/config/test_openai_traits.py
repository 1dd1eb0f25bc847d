"""The table of traits: parsers, presets, README's table; and each mistake with its correction."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from pathlib import Path
from typing import Any

import pytest

from gateway.config.openai_presets import PRESETS
from gateway.config.openai_traits import DEFAULTS, KEYS, MEANINGS, WORDS, in_toml
from gateway.config.reading import Mistake, Reading
from tests.fakes.openai.host import traits_of

READING = Reading({}, Path())

GOOD: list[tuple[str, Any, Any]] = [
    ("wire", "responses", "responses"),
    ("path", "/openai/deployments/{model}/chat/completions?api-version=1", "/openai/deployments/{model}/chat/completions?api-version=1"),
    ("headers", {"HTTP-Referer": " x "}, {"http-referer": "x"}),
    ("body", {"service_tier": "flex"}, {"service_tier": "flex"}),
    ("strip", ["top_p"], ("top_p",)),
    ("max_output_tokens", 8192, 8192),
    ("max_output_tokens", {"gpt-4o*": 16384}, {"gpt-4o*": 16384}),
    ("efforts", ["high", "none"], ("none", "high")),
    ("echo_required", True, True),
    ("think_tags", [["", "</think>"]], (("", "</think>"),)),
    ("think_tags", [], ()),
    ("cache_key", "prompt_cache_key", "prompt_cache_key"),
    ("cache_key", "header:X-Session", "header:x-session"),
    ("description_limit", 1024, 1024),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "expected"), GOOD)
def test_values_as_the_configuration_has_them(key: str, value: Any, expected: Any) -> None:
    assert KEYS[key](READING, f"upstreams.x.{key}", value) == expected


BAD: list[tuple[str, Any, str]] = [
    ("wire", "novel", '"chat"'),
    ("path", "v1/x", 'must begin with "/"'),
    ("path", "/v1#x", 'must begin with "/"'),
    ("headers", {"authorization": "x"}, "keys belong to accounts"),
    ("headers", {"a b": "x"}, "names"),
    ("headers", {"a": "x\ny"}, "printable ASCII"),
    ("headers", [], "a table"),
    ("body", {"model": "x"}, "names"),
    ("body", 7, "a table"),
    ("strip", "top_p", "an array"),
    ("strip", ["messages"], "names"),
    ("strip", [7], "names"),
    ("max_output_tokens", -1, "from 0"),
    ("max_output_tokens", {"m": "x"}, "a whole number"),
    ("least_tokens", 0, "from 1"),
    ("efforts", [], "one or more"),
    ("efforts", ["novel"], "one or more"),
    ("echo_required", "yes", "true or false"),
    ("think_tags", [["<think>"]], "pairs of tags"),
    ("think_tags", [["<think>", " "]], "a closing tag"),
    ("think_tags", "x", "an array"),
    ("cache_key", "header:host", "names"),
    ("cache_key", "", "is empty"),
    ("tool_ids", "10", '"alnum9"'),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD)
def test_mistakes_name_the_correction(key: str, value: Any, words: str) -> None:
    with pytest.raises(Mistake, match=words):
        KEYS[key](READING, f"upstreams.x.{key}", value)


def test_each_trait_is_known_everywhere() -> None:
    assert KEYS.keys() == DEFAULTS.keys() == MEANINGS.keys()
    for name, words in WORDS.items():
        assert not words or DEFAULTS[name] in (*words, ""), name


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_accepted_by_the_parsers(preset: str) -> None:
    for key, value in PRESETS[preset].traits.items():
        written = (
            [list(item) if isinstance(item, tuple) else item for item in value]
            if isinstance(value, tuple)
            else value
        )
        assert KEYS[key](READING, key, written) == value
    assert traits_of(preset, top_k=True).top_k is True


def test_where_presets_lead() -> None:
    assert {name for name, preset in PRESETS.items() if preset.local} == {
        name for name, preset in PRESETS.items() if preset.base_url.startswith("http://127.0.0.1:")
    }
    assert [name for name, preset in PRESETS.items() if not preset.base_url] == ["azure"]


def test_the_table_for_the_readme_has_a_row_for_each_trait() -> None:
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, default in DEFAULTS.items():
        words = ", ".join(f"`{word}`" for word in WORDS[name])
        meaning = MEANINGS[name] + (f": {words}" if words else "")
        rows.append(f"| `{name}` | `{in_toml(default)}` | {meaning} |")
    assert "\n".join(rows) + "\n" in (Path(__file__).parents[2] / "README.md").read_text()
