"""README: its configurations load, its commands parse, its settings and modules exist."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import KINDS, parse
from gateway.config.kinds import CURES, FIELDS_CURE
from gateway.config.loader import AUTH, CACHE, INTERCEPT, RETRY, SERVER, SHARING, STATUS, STREAM
from gateway.config.presets import PRESETS
from gateway.config.values import REPAIRS
from gateway.messages import prompt_cache
from gateway.telemetry.access_log import Record
from gateway.telemetry.exposition import FAMILIES
from tests.support.spawned import ROOT

README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()

SECTIONS = {
    "server": SERVER,
    "auth": AUTH,
    "retry": RETRY,
    "stream": STREAM,
    "intercept": INTERCEPT,
    "cache": CACHE,
    "status": STATUS,
    "sharing": SHARING,
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.splitlines()[0])
def test_each_configuration_loads_without_a_warning(tmp_path: Path, text: str) -> None:
    (tmp_path / "google.json").write_text('{"client_id":"c","client_secret":"s","refresh_token":"r"}')
    for name in ("zai_1", "zai_2"):
        (tmp_path / name).write_text("key")
    text = re.sub(r"\$\{file:[^}]*/", f"${{file:{tmp_path}/", text)
    environ = dict.fromkeys(re.findall(r"\$\{([A-Z_0-9]+)\}", text), "a-key-of-16-or-more")
    config = parse(text, environ, path=tmp_path / "gateway.toml")
    assert config.upstreams
    assert config.warnings == ()


@pytest.mark.parametrize("text", [README, CHINESE], ids=["English", "Chinese"])
def test_each_command_parses(text: str) -> None:
    shown = "\n".join([*blocks("sh", text), *re.findall(r"`([^`\n]+)`", text)])
    commands = re.findall(r"(?<!-u )\bgateway(?:\.pyz)? ([a-z-][^#|&)\n]*)", shown)
    commands = [command.strip().rstrip('"') for command in commands]
    commands = [command for command in commands if not command.startswith("--version")]
    assert len(commands) > 12
    for command in commands:
        assert cli.make_parser().parse_args(shlex.split(command)), command


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(([^)]+)\)", README + CHINESE):
        assert link[1:] in anchors if link.startswith("#") else (ROOT / link).exists(), link


TRANSLATED = {
    "# messages-gateway": "# messages-gateway",
    "## Claude Code in three lines": "## 三行命令接上 Claude Code",
    "## Start a client behind it": "## 在网关后面启动客户端",
    "## Install": "## 安装",
    "## A real configuration": "## 真正的配置",
    "## Explain a request": "## 请求会怎样处理",
    "## Troubleshooting": "## 故障排查",
}
"""Sections of README.md, and their Chinese titles."""


def section(text: str, heading: str) -> str:
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def test_the_chinese_readme_has_the_same_sections_and_links() -> None:
    assert re.findall(
        r"^##? .*", re.sub(r"^```.*?^```$", "", CHINESE, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ) == [*TRANSLATED.values()]
    assert "[简体中文](README.zh-CN.md)" in README[:200]
    assert "[English](README.md)" in CHINESE[:200]


@pytest.mark.parametrize(("heading", "translated"), TRANSLATED.items())
def test_commands_configurations_and_tables_are_the_same_in_chinese(heading: str, translated: str) -> None:
    english, chinese = section(README, heading), section(CHINESE, translated)

    def without_comments(text: str) -> list[str]:
        return [re.sub(r"\s+# .*", "", block) for block in blocks(r"\w*", text)]

    assert without_comments(chinese) == without_comments(english)
    # A row has the same names; only its text is translated.
    rows = [
        [set(re.findall(r"`[^`]+`", row)) for row in re.findall(r"^\|.*", text, re.MULTILINE)]
        for text in (english, chinese)
    ]
    assert rows[0] == rows[1]


def test_settings_that_are_named_exist() -> None:
    named = re.findall(r"`(server|auth|retry|stream|intercept|cache|status|sharing)\.(\w+)`", README)
    assert len(named) > 10
    assert [f"{section}.{key}" for section, key in named if key not in SECTIONS[section]] == []


def test_every_repair_cure_and_preset_is_named() -> None:
    for name in (*REPAIRS, *CURES, FIELDS_CURE, *PRESETS):
        assert f"`{name}`" in README, name


def test_the_table_of_repairs_has_the_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (on|off)\b[^|]* \| (on|off) \|$", README, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(REPAIRS)
    for name, anthropic, translated in rows:
        assert (anthropic == "on") is (name in KINDS["anthropic"].repairs), name
        assert {translated == "on"} == {
            name in kind.repairs for kind in KINDS.values() if kind.signature_mark
        }


def test_every_field_of_the_log_is_explained() -> None:
    shown = set(re.findall(r"`(\w+)`", README.partition("## Logs")[2].partition("## Response headers")[0]))
    assert set(Record.__slots__) - shown == set()


def test_each_verdict_on_a_cache_is_explained() -> None:
    documented = set(re.findall(r'return "(\w+)", ', inspect.getsource(prompt_cache.cause_of)))
    assert set(re.findall(r"^\| `lost:(\w+)` \|", README, re.MULTILINE)) == documented


def test_the_metrics_and_their_labels_are_the_codes() -> None:
    table = README.partition("## Metrics")[2].partition("## Response headers")[0]
    documented: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`\w+_.*) \|$", table, re.MULTILINE):
        names, labels = (re.findall(r"`(\w+)`", cell) for cell in row.split("|")[:2])
        documented.update((name, set(labels)) for name in names)
    # Two of one row have a label each.
    documented["gateway_repairs_total"], documented["gateway_cures_total"] = {"repair"}, {"cure"}
    assert documented == {name: set(family.labels) for name, family in FAMILIES.items()}
    rules = (ROOT / "fixtures/deploy/alerts.yml").read_text()
    used = re.findall(r"\b((?:gateway|process)_\w+)(?:\{(\w+)=)?", rules)
    assert len(used) >= 5
    for name, label in used:
        family = FAMILIES[name.removesuffix("_bucket")]
        assert not label or label in family.labels, name
    causes = re.findall(r'cause=~"([^"]+)"', rules)[0].split("|")
    assert all(f"`lost:{cause}`" in README for cause in causes)


def test_the_map_of_modules_is_the_tree() -> None:
    mapped, package = set(), ""
    for line in README.partition("### Modules")[2].partition("</details>")[0].splitlines():
        name = line.split(" ")[0]
        if name.endswith("/"):
            package = "" if name == "gateway/" else name
        elif found := re.match(r"  (\w+\.py) {2,}\S", line):
            mapped.add(package + found[1])
    tree = {str(path.relative_to(ROOT / "gateway")) for path in (ROOT / "gateway").rglob("*.py")}
    assert mapped == {name for name in tree if not name.endswith("__init__.py")}
