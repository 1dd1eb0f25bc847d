"""README: its configurations load, its commands parse, its settings and modules exist."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import KINDS, parse
from gateway.config.kinds import CURES, FIELDS_CURE
from gateway.config.loader import AUTH, INTERCEPT, RETRY, SERVER, SHARING, STREAM
from gateway.config.presets import PRESETS
from gateway.config.values import REPAIRS
from gateway.telemetry.access_log import Record
from tests.support.spawned import ROOT

README = (ROOT / "README.md").read_text()

SECTIONS = {
    "server": SERVER,
    "auth": AUTH,
    "retry": RETRY,
    "stream": STREAM,
    "intercept": INTERCEPT,
    "sharing": SHARING,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.splitlines()[0])
def test_each_configuration_loads_without_a_warning(tmp_path: Path, text: str) -> None:
    (tmp_path / "google.json").write_text('{"client_id":"c","client_secret":"s","refresh_token":"r"}')
    for name in ("zai_1", "zai_2"):
        (tmp_path / name).write_text("key")
    text = re.sub(r"\$\{file:[^}]*/", f"${{file:{tmp_path}/", text)
    environ = dict.fromkeys(re.findall(r"\$\{([A-Z_0-9]+)\}", text), "key")
    config = parse(text, environ, path=tmp_path / "gateway.toml")
    assert config.upstreams
    assert config.warnings == ()


def test_each_command_parses() -> None:
    shown = "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", README)])
    commands = re.findall(r"(?<!-u )\bgateway(?:\.pyz)? ([a-z-][^#|&)\n]*)", shown)
    commands = [command.strip().rstrip('"') for command in commands]
    commands = [command for command in commands if not command.startswith("--version")]
    assert len(commands) > 12
    for command in commands:
        assert cli.make_parser().parse_args(shlex.split(command)), command


def test_settings_that_are_named_exist() -> None:
    named = re.findall(r"`(server|auth|retry|stream|intercept)\.(\w+)`", README)
    assert len(named) > 10
    assert [f"{section}.{key}" for section, key in named if key not in SECTIONS[section]] == []


def test_every_repair_cure_and_preset_is_named() -> None:
    for name in (*REPAIRS, *CURES, FIELDS_CURE, *PRESETS):
        assert f"`{name}`" in README, name


def test_the_table_of_repairs_is_what_is_on() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (on|off)\b[^|]* \| (on|off) \|$", README, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(REPAIRS)
    for name, anthropic, translated in rows:
        assert (anthropic == "on") is (name in KINDS["anthropic"].repairs), name
        assert {translated == "on"} == {
            name in kind.repairs for kind in KINDS.values() if kind.signature_mark
        }


def test_every_field_of_the_log_is_explained() -> None:
    shown = set(
        re.findall(r"`(\w+)`", README.partition("## What it logs")[2].partition("## Response headers")[0])
    )
    assert set(Record.__slots__) - shown == set()


def test_the_map_of_modules_is_the_tree() -> None:
    mapped, package = set(), ""
    for line in README.partition("### Modules")[2].partition("## How fast")[0].splitlines():
        name = line.split(" ")[0]
        if name.endswith("/"):
            package = "" if name == "gateway/" else name
        elif found := re.match(r"  (\w+\.py) {2,}\S", line):
            mapped.add(package + found[1])
    tree = {str(path.relative_to(ROOT / "gateway")) for path in (ROOT / "gateway").rglob("*.py")}
    assert mapped == {name for name in tree if not name.endswith("__init__.py")}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    service, socket = blocks("ini")
    # What it starts need not be installed here.
    service = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", service, flags=re.MULTILINE)
    (tmp_path / "gateway.service").write_text(service)
    (tmp_path / "gateway.socket").write_text(socket)
    command = ["systemd-analyze", "verify", "gateway.service", "gateway.socket"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
