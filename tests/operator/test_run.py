"""`gateway run`: a client behind a private gateway; terminal, signals, exit code, and the log."""

import asyncio
import fcntl
import os
import pty
import select
import signal
import stat
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway import cli, process
from gateway.app import Gateway
from gateway.listening import StartError
from gateway.operator import child, run, run_log
from tests.fakes.messages import ScriptedUpstream, json_response
from tests.support.running import config, running, upstream
from tests.support.spawned import CONFIG, PATIENCE, ROOT
from tests.test_workers import children, eventually

VARIABLES = ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "ENABLE_TOOL_SEARCH")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private directory and environment, without a terminal."""
    monkeypatch.chdir(tmp_path)
    for name in (*VARIABLES, "XDG_STATE_HOME", "GATEWAY_CONFIG", "CLAUDE_CODE_MAX_CONTEXT_TOKENS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(run, "controlling_terminal", lambda: None)
    return tmp_path


def started(capfd: pytest.CaptureFixture[str], script: str, *options: str) -> tuple[int, str]:
    """Run a shell script behind the gateway; return its exit code and output."""
    code = cli.main(["run", *(options or ("--demo",)), "--", "/bin/sh", "-c", script])
    out, err = capfd.readouterr()
    assert err == ""
    return code, out


def log_of(home: Path) -> str:
    return (home / ".local/state/gateway/run.log").read_text()


def test_the_client_alone_knows_the_key(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "old")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "old")
    monkeypatch.setenv("ENABLE_TOOL_SEARCH", "mine")
    monkeypatch.setenv("https_proxy", "http://p")
    monkeypatch.setenv("no_proxy", "x")
    script = (
        "echo $ANTHROPIC_AUTH_TOKEN; echo ${ANTHROPIC_API_KEY-none} $ENABLE_TOOL_SEARCH $NO_PROXY $no_proxy; "
        "echo $CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY; tr '\\0' ' ' </proc/$PPID/cmdline; "
        f"{sys.executable} -c 'import os, urllib.request as u\n"
        'ask = lambda key: u.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/models", headers={"x-api-key": key})\n'
        'print(u.urlopen(ask(os.environ["ANTHROPIC_AUTH_TOKEN"])).status)\n'
        'try: u.urlopen(ask("old"))\n'
        "except u.HTTPError as error: print(error.code)'; exit 7"
    )
    code, out = started(capfd, script)
    key, further, discovery, *rest = out.splitlines()
    assert code == 7
    assert len(key) > 40
    assert further == "none mine x,127.0.0.1 x,127.0.0.1"
    assert discovery == "1"
    assert rest[-1] == "401"
    assert rest[-2].endswith("200")
    assert key not in "".join(rest)
    log = log_of(elsewhere / "home")
    assert "listening on http://127.0.0.1:" in log
    assert " run GET /v1/models 200 ok" in log
    assert key not in log


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("exit 3", 3)]
)
def test_the_exit_code_is_the_clients(capfd: pytest.CaptureFixture[str], script: str, code: int) -> None:
    assert started(capfd, script) == (code, "")


@pytest.mark.parametrize("name", ["TERM", "HUP", "QUIT", "INT", "USR1"])
def test_signals_are_passed_on(capfd: pytest.CaptureFixture[str], name: str) -> None:
    script = (
        f"trap 'echo got it; exit 9' {name}; kill -{name} $PPID; for i in $(seq 5000); do sleep 0.01; done"
    )
    # As in a separate process: ignored signals would stay ignored.
    before = signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_DFL)
    try:
        assert started(capfd, script) == (9, "got it\n")
    finally:
        signal.signal(signal.Signals[f"SIG{name}"], before)


def test_ignored_signals_stay_ignored(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert started(capfd, "kill -HUP $PPID; kill -HUP $$; echo alive") == (0, "alive\n")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stopped_client_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    # The gateway passes SIGCONT on; it is sent again in case the first one came before the stop.
    script = "while sleep 0.05 && kill -0 $$; do kill -CONT $PPID; done 2>/dev/null & kill -STOP $$; echo on"
    assert started(capfd, script) == (0, "on\n")


def test_a_second_signal_ends_the_draining(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grandchild that still streams delays the gateway's end, but not for ever."""
    script = (
        f"{sys.executable} -c 'import json, os, signal, sys, time, urllib.request as u\n"
        'body = {"model": "m", "max_tokens": 9, "stream": True, '
        '"messages": [{"role": "user", "content": "word " * 30}]}\n'
        'answer = u.urlopen(u.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(body).encode(), '
        '{"x-api-key": os.environ["ANTHROPIC_AUTH_TOKEN"]}))\n'
        "answer.read(1)\n"
        "if os.fork(): os._exit(4)\n"
        # Until the gateway has told, on the same stderr, that it waits.
        "while not os.fstat(2).st_size: time.sleep(0.01)\n"
        f"os.kill({os.getpid()}, signal.SIGTERM)\n"
        "try: answer.read()\n"
        "except Exception: pass'"
    )
    monkeypatch.setattr(run, "QUIET", 0.05)
    assert cli.main(["run", "--demo", "/bin/sh", "-c", f"exec {script}"]) == 4
    assert capfd.readouterr().err.startswith("gateway: stopping: requests under way may take 30 s more")
    assert "stopped: requests under way were cut off" in log_of(elsewhere / "home")


@pytest.mark.parametrize(
    ("words", "code", "errors"),
    [
        (["--", "no-such-command"], 127, "gateway: no-such-command: command not found\n"),
        (["--", "./plain"], 126, "gateway: ./plain: cannot be executed\n"),
        (["--", "./broken"], 126, "gateway: ./broken: cannot be executed: No such file or directory\n"),
        ([], 2, "gateway: run needs a command: gateway run -- claude\n"),
        (["--config", "x", "true"], 2, "gateway: run takes --demo or --config, not both\n"),
    ],
)
def test_a_command_that_cannot_be_started(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, words: list[str], code: int, errors: str
) -> None:
    (elsewhere / "plain").write_text("")
    broken = elsewhere / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    assert cli.main(["run", "--demo", *words]) == code
    assert capfd.readouterr().err.startswith(errors)


def test_a_system_without_posix(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_spawn")
    assert cli.main(["run", "--demo", "true"]) == 2
    assert "run needs a system with POSIX signals" in capfd.readouterr().err


def test_a_wrong_configuration_starts_no_client(capfd: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    file = elsewhere / "gateway.toml"
    file.write_text("[upstreams.a]\npreset = 'zai'\n")
    assert cli.main(["run", "--", "/bin/sh", "-c", "touch ran"]) == 2
    assert "upstreams.a.accounts: missing" in capfd.readouterr().err
    assert not (elsewhere / "ran").exists()


def test_run_uses_its_own_address_key_and_tls(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is taken, a key that is not set, TLS that no client trusts: `run` uses its own settings."""
    text = '[server]\nhost = "192.0.2.1"\nport = 1\n[auth]\nmode = "off"\napi_key = "${NOT_SET}"\n' + CONFIG
    file = elsewhere / "own.toml"
    file.write_text(text.replace('"wire"', '{ model = "wire", context = 64000 }'))
    file.chmod(0o600)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://h")
    script = "echo $ANTHROPIC_BASE_URL $CLAUDE_CODE_MAX_CONTEXT_TOKENS"
    code, out = started(capfd, script, "--config", str(file))
    assert code == 0
    assert out.startswith("http://127.0.0.1:")
    assert out.endswith(" 64000\n")
    log = log_of(elsewhere / "home")
    assert "warning: HTTPS_PROXY must begin with http://" in log
    assert "auth" not in log


async def test_context_windows_that_an_upstream_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedUpstream() as up:
        listed = [{"id": "small", "max_input_tokens": 8}, {"id": "large", "max_input_tokens": 9}]
        up.script(json_response(200, {"data": listed}))
        named = upstream(up.url, models={"*": "large", "haiku": "small"})
        async with running(config(named), listing=True) as g:
            assert await run._windows(g.gateway, {}) == {"small": 8, "large": 9}
            assert await run._windows(g.gateway, {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1"}) == {}
        monkeypatch.setattr(run, "LISTS_PATIENCE", 0.05)
        async with running(config(named)) as g:
            assert await run._windows(g.gateway, {}) == {}


def test_start_errors_are_shown(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(gateway: Gateway) -> None:
        gateway._log.warning("the last warning")
        raise StartError("no port is free")

    monkeypatch.setattr(Gateway, "start", start)
    assert cli.main(["run", "--demo", "--", "/bin/sh", "-c", "touch ran"]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert errors[0] == "gateway: no port is free"
    assert errors[-1].endswith("warning: the last warning")
    assert not (elsewhere / "ran").exists()


@pytest.mark.parametrize("script", ["sleep 60", "trap '' TERM; while :; do sleep 0.01; done"])
@pytest.mark.parametrize("error", [RuntimeError("canary"), OSError("canary")])
def test_a_gateway_that_fails_ends_its_client(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, script: str, error: Exception
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(run, "wait_until_stopped", fail)
    monkeypatch.setattr(child, "PATIENCE", 0.2)
    before = children(os.getpid())
    assert cli.main(["run", "--demo", "--", "/bin/sh", "-c", script]) == 1
    errors = capfd.readouterr().err.splitlines()
    assert errors[0].startswith("gateway: the gateway failed: ")
    assert "listening on" in errors[-1]
    assert "canary" not in str(errors)
    # One that was killed may take a moment to be gone.
    eventually(lambda: children(os.getpid()) <= before)


def test_what_the_loop_reports_is_logged_not_shown(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(*arguments: Any, **named: Any) -> None:
        asyncio.get_running_loop().call_soon(int, "canary")
        await process.wait_until_stopped(*arguments, **named)

    monkeypatch.setattr(run, "wait_until_stopped", serve)
    assert started(capfd, "exit 0") == (0, "")
    assert "error: a callback failed: ValueError" in log_of(elsewhere / "home")


# The log.


@pytest.mark.parametrize("environ", [{"XDG_STATE_HOME": "/dev/null/x"}, {"HOME": "relative"}, {}])
def test_without_a_place_the_log_is_a_temporary_file(environ: Mapping[str, str]) -> None:
    log = run_log.open_run_log(environ)
    assert stat.S_IMODE(os.stat(log.path).st_mode) == 0o600
    os.write(log.descriptor, b"one\n")
    assert log.last_lines() == ["one"]
    log.close()
    assert not os.path.exists(log.path)


def test_where_no_file_can_be_written_there_is_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    log = run_log.open_run_log({})
    os.write(log.descriptor, b"one\n")
    assert log.last_lines() == []
    log.close()
    assert os.path.exists(os.devnull)


async def test_the_log_stays_small_and_private(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_SIZE", 100)
    monkeypatch.setattr(run_log, "LOOK_EVERY", 0.0)
    state = elsewhere / "state" / "gateway"
    state.mkdir(parents=True)
    file = state / "run.log"
    file.write_text("of another run\n")
    file.chmod(0o644)
    log = run_log.open_run_log({"XDG_STATE_HOME": str(elsewhere / "state")})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    os.write(log.descriptor, b"mine\n")
    assert log.last_lines() == ["mine"]
    os.write(log.descriptor, b"x" * 100)
    log.keep_small()
    os.write(log.descriptor, b"in the next\n")
    assert log.last_lines() == ["in the next"]
    assert (state / "run.log.1").stat().st_size == 120
    assert not os.get_inheritable(log.descriptor)
    monkeypatch.setattr(os, "replace", lambda *_: os.stat("/no/such/file"))
    os.write(log.descriptor, b"x" * 101)
    log.keep_small()
    assert file.stat().st_size == 0
    log.close()
    assert file.exists()


# The terminal.

CHILD = """
import os, select, signal, sys, termios, time, tty, urllib.request
def say(*words): os.write(1, f"< {' '.join(map(str, words))} >\\n".encode())
def lines():
    while True:
        # With a timeout: a signal just before a blocking call is handled only when that returns.
        if select.select([0], [], [], 0.05)[0]:
            yield sys.stdin.readline()
def alive():
    request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/healthz")
    return urllib.request.urlopen(request, timeout=20).status
signal.signal(signal.SIGINT, lambda *_: say("interrupted", alive()))
signal.signal(signal.SIGWINCH, lambda *_: say("size", *os.get_terminal_size(1)))
say("ready", os.tcgetpgrp(0) == os.getpgrp())
for line in lines():
    match line.strip():
        case "stop": os.kill(os.getpid(), signal.SIGSTOP); say("again", alive())
        case "die":
            tty.setraw(0)
            os.kill(os.getpid(), signal.SIGKILL)
        case words: say("read", words)
"""


class Screen:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.shown = ""

    def until(self, words: str) -> None:
        """Wait until it shows these words, behind those that were waited for before."""
        end = time.monotonic() + PATIENCE
        while words not in self.shown:
            left = end - time.monotonic()
            assert left > 0, f"{words!r} was not shown: {self.shown!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.shown += os.read(self.descriptor, 4096).decode()
        self.shown = self.shown.partition(words)[2]

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())


def test_a_client_owns_the_terminal(elsewhere: Path) -> None:
    (elsewhere / "child.py").write_text(CHILD)
    command = f"{sys.executable} -m gateway run --demo -- {sys.executable} {elsewhere}/child.py"
    script = (
        f'set -m; {command}; echo "[$?] stopped"; fg; echo "[$?] stopped too"; fg; echo "[$?] ended"; '
        'stty -a; read -r line; echo "[$line]"'
    )
    process, descriptor = pty.fork()
    if not process:
        os.chdir(ROOT)
        # Nothing else of this environment: where no bytecode may be kept, each start would compile everything.
        environ = {"PATH": os.environ["PATH"], "HOME": str(elsewhere), "PYTHONPATH": str(ROOT)}
        os.execve("/bin/sh", ["/bin/sh", "-c", script], environ)
    screen = Screen(descriptor)
    try:
        screen.until("< ready True >")
        screen.press("\x03")
        screen.until("< interrupted 200 >")
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        screen.until("< size 97 31 >")
        screen.press("\x1a")
        screen.until("stopped")
        screen.press("hello\n")
        screen.until("< read hello >")
        screen.press("stop\n")
        screen.until("stopped too")
        screen.until("< again 200 >")
        screen.press("die\n")
        screen.until("\x1b[?2004l")
        screen.until("[137] ended")
        screen.until(" icanon")
        screen.press("typed\n")
        screen.until("[typed]")
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(descriptor)
