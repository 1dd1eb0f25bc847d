"""The `gateway` command: what each command does, says and returns; the caller's mistakes get no traceback."""

import gc
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gateway
from gateway import cli, systemd
from gateway.config import Config, ConfigError, loader

CANARY = "canary-51d0"

CONFIG = """
[upstreams.zai]
preset = "zai"
[[upstreams.zai.accounts]]
email = "work@example.com"
api_key = "${ZAI_KEY_1}"
"""

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory and an environment without any configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(loader, "SYSTEM_FILE", tmp_path / "etc" / "gateway.toml")
    monkeypatch.setenv("ZAI_KEY_1", CANARY)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.delenv("LISTEN_PID", raising=False)
    return tmp_path


@pytest.fixture
def config_file(elsewhere: Path) -> Path:
    path = elsewhere / "gateway.toml"
    path.write_text(CONFIG)
    return path


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, serve: Callable[..., int]) -> None:
    """Put a module with this `serve` in the place of `gateway.<name>`."""
    module = ModuleType(f"gateway.{name}")
    vars(module)["serve"] = serve
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(gateway, name, module, raising=False)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the collector was at work when it was told to leave alone what is there."""
    states: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: states.append(gc.isenabled()))
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    return states


def refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2


def test_the_collector_looks_seldom(monkeypatch: pytest.MonkeyPatch, config_file: Path) -> None:
    thresholds: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: thresholds.append(numbers))
    stand_in(monkeypatch, "process", lambda *_: 0)
    cli.main(["serve"])
    assert thresholds == [(cli.COLLECT_AFTER, *gc.get_threshold()[1:])]


def test_serve_hands_over(monkeypatch: pytest.MonkeyPatch, config_file: Path, frozen: list[bool]) -> None:
    calls: list[tuple[Any, ...]] = []

    def serve(*arguments: Any) -> int:
        calls.append(arguments)
        return 7

    stand_in(monkeypatch, "process", serve)
    assert cli.main(["serve"]) == 7
    assert frozen == [True]
    ((config, reload, level, form, sockets),) = calls
    assert (config.path, config.server.host, config.server.port) == (config_file, "127.0.0.1", 8045)
    assert (level, form, sockets) == ("info", "text", ())
    assert reload() == config
    config_file.write_text(CONFIG.replace("zai]", "other]").replace("zai.", "other."))
    assert [upstream.name for upstream in reload().upstreams] == ["other"]
    config_file.write_text("[")
    with pytest.raises(ConfigError, match=r"gateway\.toml, line 1"):
        reload()


@pytest.mark.parametrize(("workers", "by"), [(1, "process"), (2, "workers")])
def test_arguments_also_hold_after_a_reload(
    monkeypatch: pytest.MonkeyPatch, config_file: Path, workers: int, by: str
) -> None:
    places: list[tuple[Any, ...]] = []

    def serve(config: Config, reload: Callable[[], Config], level: str, form: str, sockets: object) -> int:
        servers = (config.server, reload().server)
        places.extend((server.host, server.port, server.workers) for server in servers)
        places.append((level, form))
        return 0

    config_file.write_text("[server]\nworkers = 3\n" + CONFIG)
    stand_in(monkeypatch, by, serve)
    arguments = ["--host", "::1", "--port", "0", "--log-level", "debug", "--log-format", "json"]
    command = ["serve", "--config", str(config_file), "--workers", str(workers), *arguments]
    assert cli.main(command) == 0
    assert places == [("::1", 0, workers)] * 2 + [("debug", "json")]


def handed_over(monkeypatch: pytest.MonkeyPatch, sockets: Callable[..., list[socket.socket]]) -> None:
    monkeypatch.setattr(systemd, "sockets", sockets)
    monkeypatch.setenv("LISTEN_PID", "1")


def test_a_socket_that_is_handed_over_stands_over_the_place(
    monkeypatch: pytest.MonkeyPatch, config_file: Path
) -> None:
    calls: list[tuple[Any, ...]] = []

    def serve(*arguments: Any) -> int:
        calls.append(arguments)
        return 0

    stand_in(monkeypatch, "process", serve)
    with socket.create_server(("0.0.0.0", 0)) as sock:
        handed_over(monkeypatch, lambda environ, pid: [sock] if pid == os.getpid() else [])
        assert cli.main(["serve", "--host", "::1", "--port", "1"]) == 0
        ((config, reload, _, _, sockets),) = calls
        assert list(sockets) == [sock]
        for server in (config.server, reload().server):
            assert (server.host, server.port) == sock.getsockname()


def test_sockets_for_another_process_change_nothing(
    monkeypatch: pytest.MonkeyPatch, config_file: Path
) -> None:
    ports: list[int] = []

    def serve(config: Config, *_: object) -> int:
        ports.append(config.server.port)
        return 0

    stand_in(monkeypatch, "process", serve)
    handed_over(monkeypatch, lambda environ, pid: [])
    assert cli.main(["serve", "--port", "1"]) == 0
    assert ports == [1]


def test_a_wrong_handover(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    def sockets(environ: object, pid: int) -> list[socket.socket]:
        raise systemd.HandoverError("systemd: descriptor 3 is a pumpkin")

    handed_over(monkeypatch, sockets)
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err == "gateway: systemd: descriptor 3 is a pumpkin\n"


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_wrong_configuration(capsys: pytest.CaptureFixture[str], config_file: Path, command: str) -> None:
    config_file.write_text("[server]\nport = -1\n" + CONFIG.replace("ZAI_KEY_1", "ZAI_KEY_9"))
    assert cli.main([command]) == 2
    assert capsys.readouterr() == (
        "",
        "gateway: server.port: must be from 0 to 65535\n"
        "gateway: upstreams.zai.accounts[0].api_key: environment variable ZAI_KEY_9 is not set\n"
        f"gateway: correct this in {config_file}\n",
    )


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_configuration_that_is_not_there(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, command: str
) -> None:
    assert cli.main([command, "--config", "mine.toml"]) == 2
    assert capsys.readouterr().err == (
        f"gateway: {elsewhere}/mine.toml: cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("command", ["serve", "check"])
def test_no_configuration_at_all(capsys: pytest.CaptureFixture[str], elsewhere: Path, command: str) -> None:
    assert cli.main([command]) == 2
    assert capsys.readouterr().err == (
        f"gateway: no configuration found; looked for {elsewhere}/gateway.toml, "
        f"{elsewhere}/xdg/gateway/gateway.toml, {elsewhere}/etc/gateway.toml. "
        "Run `gateway init` to write one, or use --config\n"
    )


def test_check_shows_the_configuration_without_its_secrets(
    capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    config_file.write_text(CONFIG.replace("${ZAI_KEY_1}", CANARY))
    assert cli.main(["check", "--config", str(config_file)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{config_file} is valid.\n")
    assert "work@example.com, api_key ***" in out
    assert "* -> zai: unchanged" in out
    assert CANARY not in out
    assert err == ""


def test_demo_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, str]] = []

    def serve(port: int, upstream: str) -> int:
        calls.append((port, upstream))
        return 0

    stand_in(monkeypatch, "demo", serve)
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo", "--port", "0", "--upstream", "gemini"]) == 0
    assert calls == [(8045, "anthropic"), (0, "gemini")]


def test_an_interrupt_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(port: int, upstream: str) -> int:
        raise KeyboardInterrupt

    stand_in(monkeypatch, "demo", serve)
    assert cli.main(["demo"]) == 130


@pytest.mark.parametrize("arguments", [[], ["mine.toml"]])
def test_init_writes_a_private_file_that_check_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, elsewhere: Path, arguments: list[str]
) -> None:
    path = Path(*arguments or ["gateway.toml"])
    before = os.umask(0)
    try:
        assert cli.main(["init", *arguments]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capsys.readouterr().out.startswith(f"Wrote {path}. ")
    monkeypatch.setenv("ANTHROPIC_KEY_1", CANARY)
    assert cli.main(["check", "--config", str(path)]) == 0
    assert "WARNING" not in capsys.readouterr().out


def test_init_never_overwrites(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    assert cli.main(["init"]) == 2
    assert config_file.read_text() == CONFIG
    assert capsys.readouterr().err == "gateway: gateway.toml exists already; nothing was written\n"
    dangling = config_file.with_name("link.toml")
    dangling.symlink_to("target.toml")
    assert cli.main(["init", str(dangling)]) == 2
    assert not dangling.exists()


def test_init_says_why_it_cannot_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "none/gateway.toml"]) == 2
    assert capsys.readouterr().err == (
        "gateway: none/gateway.toml cannot be written: No such file or directory\n"
    )


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "PACKAGES", ("h11", "orjson", "no-such-package"))
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"gateway {gateway.__version__}",
        "Python " + ".".join(map(str, sys.version_info[:3])),
        f"h11 {metadata.version('h11')}",
        f"orjson {metadata.version('orjson')}",
        "no-such-package is not installed",
    ]


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: gateway ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["sevre"],
        ["serve", "--port", "x"],
        ["serve", "--port", "-1"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "9" * 5000],
        ["serve", "--workers", "two"],
        ["serve", "--log-level", "loud"],
        ["serve", "--log-format", "xml"],
        ["demo", "--upstream", "openai"],
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    refused(arguments)
    assert "gateway" in capsys.readouterr().err


def test_a_wrong_host_is_the_configurations_mistake(
    capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    assert cli.main(["serve", "--host", "http://x"]) == 2
    assert "server.host: must be a host name" in capsys.readouterr().err


def test_a_wrong_number_of_workers_is_the_configurations_mistake(
    capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    assert cli.main(["serve", "--workers", "0"]) == 2
    assert "server.workers: must be from 1 to 64" in capsys.readouterr().err


def test_importing_the_command_loads_no_server() -> None:
    code = (
        "import sys; from gateway import cli; cli._parser().parse_args(['serve']);"
        "print([m for m in ('asyncio', 'ssl', 'h11', 'orjson', 'shutil') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
