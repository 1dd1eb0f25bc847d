"""Presets: the table agrees with the keys of an upstream, and each makes a whole one."""

from pathlib import Path

import pytest

from gateway.config.presets import LOCAL, PRESETS
from gateway.config.reading import Reading
from gateway.config.upstreams import keys_of, upstream


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_known_keys_and_makes_an_upstream(name: str) -> None:
    assert PRESETS[name].keys() <= keys_of(str(PRESETS[name]["kind"])).keys()
    reading = Reading({}, Path())
    table: dict[str, object] = {"preset": name}
    if "base_url" not in PRESETS[name]:
        table["base_url"] = "https://h.example"
    if name not in LOCAL:
        table["accounts"] = [{"name": "a", "api_key": "k"}]
    made = upstream(reading, "upstreams.u", "u", table)
    assert reading.problems == []
    assert (made.kind, made.base_url) == (
        PRESETS[name]["kind"],
        PRESETS[name].get("base_url", "https://h.example"),
    )


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("anthropic", "https://api.anthropic.com"),
        ("zai", "https://api.z.ai/api/anthropic"),
        ("bigmodel", "https://open.bigmodel.cn/api/anthropic"),
        ("moonshot", "https://api.moonshot.ai/anthropic"),
        ("deepseek", "https://api.deepseek.com/anthropic"),
        ("minimax", "https://api.minimax.io/anthropic"),
        ("openrouter", "https://openrouter.ai/api"),
        ("gemini", "https://generativelanguage.googleapis.com"),
        ("ollama", "http://127.0.0.1:11434"),
        ("lmstudio", "http://127.0.0.1:1234"),
        ("llamacpp", "http://127.0.0.1:8080"),
    ],
)
def test_where_presets_lead(name: str, base_url: str) -> None:
    assert PRESETS[name]["base_url"] == base_url


def test_local_presets_stay_on_this_machine() -> None:
    urls = {name: str(PRESETS[name].get("base_url")) for name in PRESETS}
    assert {name for name, url in urls.items() if url.startswith("http://127.")} == LOCAL


def test_only_anthropic_itself_knows_the_role_system() -> None:
    hosts = {name for name, preset in PRESETS.items() if preset["kind"] == "anthropic"}
    assert {name for name in hosts if not PRESETS[name].get("system_role")} == {"anthropic"}
