"""The `gateway` command: actions, output and exit code of each command; the caller's mistakes get no traceback."""

import gc
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from threading import Timer
from types import ModuleType
from typing import Any

import orjson
import pytest
import trustme

import gateway
from gateway import cli, signals, stdio, systemd
from gateway.config import Config, ConfigError, loader
from tests.support.spawned import CONFIG as SPAWNED
from tests.support.spawned import PATIENCE

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


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal handlers of the tests' own process are restored."""
    monkeypatch.setattr(signals, "hold", lambda: None)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, serve: Callable[..., int]) -> None:
    """Put a module with this `serve` in the place of `gateway.<name>`."""
    module = ModuleType(f"gateway.{name}")
    vars(module)["serve"] = serve
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(gateway, name, module, raising=False)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the collector was enabled at each `gc.freeze`."""
    states: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: states.append(gc.isenabled()))
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    return states


def test_garbage_collector_settings(monkeypatch: pytest.MonkeyPatch, config_file: Path) -> None:
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


def test_a_socket_from_systemd_overrides_the_address(
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
def test_a_missing_configuration_file(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, command: str
) -> None:
    assert cli.main([command, "--config", "mine.toml"]) == 2
    assert capsys.readouterr().err == (
        f"gateway: {elsewhere}/mine.toml: cannot be read: No such file or directory\n"
    )


def test_mistakes_are_json_where_the_log_is(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    config_file.write_text("[server]\nport = -1\n" + CONFIG)
    assert cli.main(["serve", "--log-format", "json"]) == 2
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["error", "error"]
    assert lines[0]["message"] == "server.port: must be from 0 to 65535"


@pytest.mark.parametrize("command", [["serve"], ["check"], ["config", "path"]])
def test_no_configuration_at_all(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, command: list[str]
) -> None:
    assert cli.main(command) == 2
    assert capsys.readouterr().err == (
        f"gateway: no configuration found; looked for {elsewhere}/gateway.toml, "
        f"{elsewhere}/xdg/gateway/gateway.toml, {elsewhere}/etc/gateway.toml. "
        "Run `gateway init` to write one, or use --config\n"
    )


@pytest.mark.parametrize("command", ["status", "env"])
def test_a_running_gateway_can_also_be_named_by_its_address(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Path,
    command: str,
) -> None:
    hint = (
        "\ngateway: or say where the gateway runs with --url, and its key with --key: no configuration is needed "
        "then\n"
    )
    assert cli.main([command]) == 2
    assert capsys.readouterr().err.endswith(hint)
    (elsewhere / "gateway.toml").write_text(CONFIG)
    monkeypatch.delenv("ZAI_KEY_1")
    assert cli.main([command]) == 2
    assert capsys.readouterr().err.endswith(hint)


def test_a_place_whose_file_cannot_be_read_is_no_missing_file(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    # Docker makes a directory where the file to mount does not exist.
    (elsewhere / "etc" / "gateway.toml").mkdir(parents=True)
    assert cli.main(["check"]) == 2
    assert (
        capsys.readouterr().err == f"gateway: {elsewhere}/etc/gateway.toml: cannot be read: Is a directory\n"
    )


def test_a_working_directory_that_is_gone(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "gone").mkdir()
    monkeypatch.chdir(elsewhere / "gone")
    (elsewhere / "gone").rmdir()
    assert cli.main(["check"]) == 2
    assert capsys.readouterr().err == "gateway: the working directory does not exist: change to another one\n"


@pytest.mark.parametrize("name", ["a\nb.toml", "a\x1b[31m.toml", "J\udcf6rg.toml"])
def test_a_file_name_is_shown_on_one_line(capsys: pytest.CaptureFixture[str], name: str) -> None:
    shown = ascii(name)[1:-1]
    assert cli.main(["check", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"/{shown}: cannot be read: No such file or directory")
    Path(name).write_text("[upstreams]\nx = 1")
    assert cli.main(["check", name]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"/{shown}")


@pytest.mark.parametrize("arguments", [["serve"], ["check"], ["status"]])
def test_an_empty_file_name_is_none(
    capsys: pytest.CaptureFixture[str], config_file: Path, arguments: list[str]
) -> None:
    assert cli.main([*arguments, "--config", ""]) == 2
    assert capsys.readouterr().err.startswith("gateway: --config: is empty\n")


def test_config_path_is_the_file_that_is_used(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config_file: Path
) -> None:
    assert cli.main(["config", "path"]) == 0
    assert cli.main(["config", "path", "--config", "other.toml"]) == 0
    monkeypatch.setenv("GATEWAY_CONFIG", "/etc/g.toml")
    assert cli.main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{config_file}\n{config_file.parent}/other.toml\n/etc/g.toml\n"


def test_check_takes_the_file_as_an_argument(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    other = config_file.rename(config_file.with_name("other.toml"))
    assert cli.main(["check", "other.toml"]) == 0
    assert capsys.readouterr().out.startswith(f"{other} is valid.\n")
    assert cli.main(["check", "other.toml", "--config", "other.toml"]) == 2
    assert capsys.readouterr().err == "gateway: check takes one file: leave --config out\n"


def test_check_prints_the_upstreams_of_a_model(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    assert cli.main(["check", "--model", "claude-opus-5-5"]) == 0
    assert capsys.readouterr().out == (
        "claude-opus-5-5 is served by\n  zai: claude-opus-5-5, priority 0, accounts work@example.com\n"
    )
    config_file.write_text(CONFIG.replace("preset", 'models = { "a" = "b" }\npreset'))
    assert cli.main(["check", "--model", "c"]) == 1
    assert capsys.readouterr().out == 'model "c" is not served here; served are: a\n'


def test_check_finds_errors_of_serving(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    ca = trustme.CA()
    one, other = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    directory = config_file.parent
    (directory / "c.pem").write_bytes(one.cert_chain_pems[0].bytes())
    (directory / "k.pem").write_bytes(other.private_key_pem.bytes())
    (directory / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n")
    tls = '[server]\ntls = { certificate = "c.pem", private_key = "k.pem" }\n'
    config_file.write_text(tls + CONFIG.replace("preset", 'ca_file = "junk.pem"\npreset'))
    assert cli.main(["check"]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert (out, len(lines)) == ("", 3)
    assert "cannot be used together" in lines[0]
    assert lines[1].startswith(f"gateway: upstreams.zai.ca_file: {directory}/junk.pem cannot be used: ")
    assert lines[2] == f"gateway: correct this in {config_file}"


ENVIRONMENT = [
    ([], "http://127.0.0.1:8045", "any-text"),
    (["--url", "http://gateway.lan:1"], "http://gateway.lan:1", "any-text"),
    (["--url", "gateway.lan:1/v1/"], "http://gateway.lan:1", "any-text"),
    (["--key", "k"], "http://127.0.0.1:8045", "k"),
]


@pytest.mark.parametrize(("arguments", "url", "key"), ENVIRONMENT)
def test_env_output_is_evaluated_by_a_shell(
    capsys: pytest.CaptureFixture[str], config_file: Path, arguments: list[str], url: str, key: str
) -> None:
    assert cli.main(["env", *arguments]) == 0
    variables = '"$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN" "${ANTHROPIC_API_KEY-unset}"'
    code = f"{capsys.readouterr().out}\nprintf '%s %s %s' {variables}"
    environ = {"ANTHROPIC_API_KEY": "old"}
    run = subprocess.run(["/bin/sh", "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout == f"{url} {key} unset"


def test_env_needs_an_address_that_is_known(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    config_file.write_text("[server]\nport = 0\n" + CONFIG)
    assert cli.main(["env"]) == 2
    assert capsys.readouterr().err.startswith("gateway: server.port is 0")
    assert cli.main(["env", "--config", str(config_file), "--url", "http://127.0.0.1:9"]) == 0
    assert "http://127.0.0.1:9\n" in capsys.readouterr().out


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
    calls: list[int] = []

    def serve(port: int) -> int:
        calls.append(port)
        return 0

    stand_in(monkeypatch, "demo", serve)
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo", "--port", "0"]) == 0
    assert calls == [8045, 0]


def test_an_interrupt_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(port: int) -> int:
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


def test_init_write_errors(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["help"], ["--help"], ["-h"]):
        assert cli.main(arguments) == 0
        assert capsys.readouterr().out.startswith("usage: gateway [-h]")
    assert cli.main(["help", "serve"]) == 0
    assert capsys.readouterr().out.startswith("usage: gateway serve [-h]")
    assert cli.main(["help", "sevre"]) == 2
    assert capsys.readouterr().err.startswith("gateway: there is no command 'sevre'; there are serve, ")


@pytest.mark.parametrize("command", ["", "serve", "demo", "init", "check", "config", "env", "help"])
def test_each_help_has_two_examples_that_parse(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([*([command] if command else []), "--help"]) == 0
    _, _, examples = capsys.readouterr().out.partition("examples:\n")
    assert len(examples.splitlines()) == 2
    for words in re.findall(r"\bgateway ([^&|)\n]+)", examples):
        cli.make_parser().parse_args(shlex.split(words))


@pytest.mark.parametrize(
    ("target", "code", "errors"),
    [
        ("/dev/full", 2, "gateway: the output could not be written: No space left on device\n"),
        ("closed pipe", 141, ""),
    ],
)
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(["check"], ""), (["--version"], "1"), (["--help"], ""), (["--help"], "1"), (["help", "serve"], "")],
)
def test_broken_pipe_is_no_traceback(
    config_file: Path, target: str, code: int, errors: str, arguments: list[str], unbuffered: str
) -> None:
    if target == "closed pipe":
        reader, output = os.pipe()
        os.close(reader)
    else:
        output = os.open(target, os.O_WRONLY)
    command = [sys.executable, "-m", "gateway", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    try:
        run = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, text=True, check=False, env=environ
        )
    finally:
        os.close(output)
    assert (run.returncode, run.stderr) == (code, errors)


@pytest.mark.parametrize(
    ("error", "code", "errors"),
    [
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (OSError(28, "No space"), 2, "gateway: the output could not be written: No space\n"),
    ],
)
def test_the_exit_code_of_output_that_failed(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    code: int,
    errors: str,
) -> None:
    monkeypatch.setattr(stdio, "write", lambda text: error if text.strip() else None)
    assert cli.main(["--version"]) == code
    assert capsys.readouterr() == ("", errors)


def test_the_exit_code_of_errors_that_cannot_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert cli.main(["check", "nosuch"]) == 2
        monkeypatch.undo()
        with pytest.raises(OSError):
            full.close()


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_standard_descriptor_that_is_closed(elsewhere: Path, descriptor: int) -> None:
    """Else a descriptor of the loop gets its number, and the process aborts at its end."""
    (elsewhere / "gateway.toml").write_text(SPAWNED)
    notify, out, log = elsewhere / "notify", elsewhere / "out", elsewhere / "log"
    command = f"exec {sys.executable} -m gateway serve --port 0 {descriptor}<&-"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(notify)}
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        out.open("w") as one,
        log.open("w") as two,
    ):
        manager.bind(str(notify))
        manager.settimeout(PATIENCE)
        process = subprocess.Popen(["/bin/sh", "-c", command], env=environ, stdout=one, stderr=two)
        try:
            assert manager.recv(100).startswith(b"READY=1")
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()
    assert ("listening" in out.read_text()) is (descriptor != 1)


def test_signals_while_the_configuration_is_read_do_not_end_it(elsewhere: Path) -> None:
    fifo = elsewhere / "gateway.toml"
    os.mkfifo(fifo)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--config", str(fifo)]
    process = subprocess.Popen(
        command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    patience = Timer(PATIENCE, process.kill)
    patience.start()
    try:
        # Opens when the process reads it: its signals are held by then.
        with fifo.open("w") as file:
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                process.send_signal(number)
            file.write(SPAWNED)
        assert process.stdout is not None
        assert process.stderr is not None
        assert "listening" in process.stdout.readline()
        # The reload that was signalled before.
        fifo.write_text(SPAWNED)
        assert any("the configuration was reloaded" in line for line in process.stderr)
        process.terminate()
        process.communicate()
        assert process.returncode == 0
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


def test_usage_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
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
        ["config", "pat"],
        ["env", "--shell", "csh"],
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.main(arguments) == 2
    assert "gateway" in capsys.readouterr().err


def test_a_wrong_host_blames_the_option(capsys: pytest.CaptureFixture[str], config_file: Path) -> None:
    assert cli.main(["serve", "--host", "http://x"]) == 2
    assert capsys.readouterr().err == (
        "gateway: --host: must be a host name or an address, without scheme, brackets and port\n"
    )
    assert cli.main(["serve", "--host", ""]) == 2
    assert capsys.readouterr().err == "gateway: --host: is empty\n"


def test_a_wrong_number_of_workers_blames_the_option(
    capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    assert cli.main(["serve", "--workers", "0"]) == 2
    assert "--workers: must be from 1 to 64" in capsys.readouterr().err


def test_importing_the_command_loads_no_server() -> None:
    code = (
        "import sys; from gateway import cli; cli.make_parser().parse_args(['serve']);"
        "print([m for m in ('asyncio', 'ssl', 'h11', 'orjson', 'shutil') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
