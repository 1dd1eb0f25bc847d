"""A gateway as a process: its output, its signals, and its end."""

import asyncio
import http.client
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import process
from gateway.app import Gateway
from gateway.config import Account, Auth, Config, ConfigError, Secret, Server
from gateway.config.loader import access_warnings
from gateway.config.values import AuthMode
from gateway.sharing.peers import Sharing
from gateway.telemetry.access_log import AccessLog, Format
from gateway.telemetry.log_writer import LogWriter
from tests.fakes.messages import Received, Script, ScriptedUpstream, Stall, Until, json_response, message
from tests.support.client import Client, ask, fetch
from tests.support.explode import explode
from tests.support.loops import eventually, settle
from tests.support.running import config, upstream
from tests.support.spawned import CONFIG, PATIENCE, ROOT, get, spawned
from tests.support.stage import good


def served(request: Received) -> Script:
    """Good responses, also to requests for models."""
    return json_response(200, {"data": [{"id": "m"}]}) if request.method == "GET" else good(request)


def posted(up: ScriptedUpstream) -> bool:
    return any(request.method == "POST" for request in up.requests)


def responding(script: Script) -> Callable[[Received], Script]:
    """This script for messages, good responses to requests for models."""
    return lambda request: served(request) if request.method == "GET" else script


KEYS = {"laptop": Secret("canary-key")}


# Output.


def greeted(server: Server, auth: Auth, environ: Mapping[str, str], format: Format = "text") -> str:
    async def greeting() -> str:
        log = AccessLog(lambda line: None)
        gateway = Gateway(Config(server=server, auth=auth, path=Path("/etc/gateway.toml")), log, {})
        return process.greeting(gateway, environ, format)

    return asyncio.run(greeting())


@pytest.mark.parametrize(
    ("environ", "more"),
    [
        ({}, ""),
        ({"NO_PROXY": "example.com"}, ""),
        ({"https_proxy": "http://proxy:3128"}, "\n  export NO_PROXY=127.0.0.1"),
    ],
)
def test_greeting_has_client_settings_and_the_configuration(environ: Mapping[str, str], more: str) -> None:
    assert greeted(Server(), Auth(), environ) == (
        "gateway: listening on http://127.0.0.1:8045, configuration /etc/gateway.toml\n"
        "  export ANTHROPIC_BASE_URL=http://127.0.0.1:8045\n"
        f"  export ANTHROPIC_AUTH_TOKEN=any-text{more}"
    )


def test_greeting_with_json_log() -> None:
    listening, warning = map(orjson.loads, greeted(Server(), Auth(mode="strict"), {}, "json").splitlines())
    assert (
        listening.items()
        >= {
            "level": "info",
            "message": "listening on http://127.0.0.1:8045, configuration /etc/gateway.toml",
            "base_url": "http://127.0.0.1:8045",
            "config": "/etc/gateway.toml",
        }.items()
    )
    assert (warning["level"], "EVERY request" in warning["message"]) == ("warning", True)
    assert len(greeted(Server(), Auth(), {}, "json").splitlines()) == 1


@pytest.mark.parametrize(
    ("host", "mode", "keys", "checked", "warns"),
    [
        ("127.0.0.1", "auto", {}, False, False),
        ("127.0.0.1", "off", KEYS, False, False),
        ("127.0.0.1", "strict", KEYS, True, False),
        ("127.0.0.1", "strict", {}, True, True),
        ("127.0.0.1", "all_except_health", {"empty": Secret("")}, True, True),
        ("0.0.0.0", "auto", {}, True, True),
        ("0.0.0.0", "auto", KEYS, True, False),
    ],
)
def test_which_key_a_client_needs(
    host: str, mode: Any, keys: dict[str, Secret], checked: bool, warns: bool
) -> None:
    lines = greeted(Server(host=host), Auth(mode=mode, keys=keys), {}).splitlines()
    key = "'<one of your [auth] keys>'" if checked else "any-text"
    assert lines[2] == f"  export ANTHROPIC_AUTH_TOKEN={key}"
    assert any("EVERY request will be refused (401)" in line for line in lines) is warns
    assert "canary" not in "".join(lines)


def test_dropped_log_lines_are_counted_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for format in ("text", "json"):
        log, writer = process.open_log("info", format)
        log.info("hello")
        writer.close()
        out, err = capfd.readouterr()
        assert (out, "hello" in err, err.startswith("{")) == ("", True, format == "json")


@pytest.mark.parametrize("format", ["text", "json"])
def test_dropped_log_lines_are_reported_in_the_logs_format(
    monkeypatch: pytest.MonkeyPatch, format: Format
) -> None:
    makers: list[Callable[[int], str]] = []

    class Writer(LogWriter):
        def __init__(self, descriptor: int, dropped_line: Callable[[int], str]) -> None:
            super().__init__(descriptor, dropped_line)
            makers.append(dropped_line)

    monkeypatch.setattr(process, "LogWriter", Writer)
    process.open_log("info", format)
    line = makers[0](7)
    assert "7 lines of this log were dropped: it was not read" in line
    assert line.startswith("{") is (format == "json")


# Loops.


async def loop_name() -> str:
    return type(asyncio.get_running_loop()).__module__


@pytest.mark.parametrize("there", [True, False])
def test_uvloop_or_the_standard_loop(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvloop")
    if not there:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    names: list[str] = []

    async def main() -> int:
        names.append(await loop_name())
        return 7

    assert process.run(main) == 7
    assert names[0].startswith("uvloop" if there else "asyncio")


# Starting.


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "socks5://p:2"}, ""),
        ({"https_proxy": "p:1"}, ""),
        ({"ALL_PROXY": "socks5://p:2"}, "ALL_PROXY is not supported"),
        ({"all_proxy": "http://p:2"}, "ALL_PROXY is not supported"),
        ({"HTTPS_PROXY": "socks5h://me:canary@p:2"}, "HTTPS_PROXY must begin with http://"),
        ({"https_proxy": "https://p:2"}, "HTTPS_PROXY must begin with http://"),
    ],
)
def test_ignored_proxy_variables_are_named(environ: Mapping[str, str], expected: str) -> None:
    warnings = process.proxy_warnings(environ)
    assert [warning.startswith(expected) for warning in warnings] == [True] * bool(expected)
    assert "canary" not in "".join(warnings)


def never() -> Config:
    raise AssertionError("no reload was expected")


def test_a_port_in_use_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Config(server=Server(port=port), warnings=())
        assert process.serve(settings, never, "debug", "text") == 2
    assert capsys.readouterr() == (
        "",
        f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use\n",
    )


@pytest.mark.parametrize("format", ["text", "json"])
def test_build_errors_are_one_line_and_exit_2(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, format: Format
) -> None:
    lost = Account(name="g@x", oauth_file=tmp_path / "lost.json")
    settings = config(upstream("https://h", lost, kind="gemini"))
    assert process.serve(settings, never, "debug", format) == 2
    out, err = capfd.readouterr()
    problem = f"account g@x: {lost.oauth_file}: No such file or directory"
    assert (out, err.count("\n")) == ("", 1)
    if format == "json":
        assert orjson.loads(err).items() >= {"level": "error", "message": problem}.items()
    else:
        assert err == f"gateway: {problem}\n"


class Notifications:
    """Hears how a process fares."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, state: str) -> None:
        self.states.append(state)
        self._more.set()

    async def until(self, *states: str) -> None:
        """Wait until exactly these states were reported, in this order."""
        async with asyncio.timeout(PATIENCE):
            while len(self.states) < len(states):
                self._more.clear()
                await self._more.wait()
        assert self.states == list(states)


class Serving:
    """A gateway that was begun in this process."""

    def __init__(self, task: asyncio.Task[int], port: int, lines: list[str], states: Notifications) -> None:
        self.task = task
        self.port = port
        self.lines = lines
        self.states = states
        self.reload: Callable[[], Config] = never

    async def health(self) -> int:
        return (await fetch(self.port, "GET", "/healthz")).status

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.task


@asynccontextmanager
async def serving(capsys: pytest.CaptureFixture[str], settings: Config) -> AsyncIterator[Serving]:
    lines: list[str] = []
    log = AccessLog(lines.append, "text", "debug")
    states = Notifications()
    task = asyncio.create_task(process.run_gateway(settings, lambda: made.reload(), log, notify=states))
    await states.until("ready")
    # The greeting is printed at the same time.
    found = re.search(
        r"listening on http://127\.0\.0\.1:(\d+)\n.*AUTH_TOKEN", capsys.readouterr().out, re.DOTALL
    )
    assert found is not None
    made = Serving(task, int(found[1]), lines, states)
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        asyncio.get_running_loop().set_exception_handler(None)
        await settle()


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


# Ending.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_sigterm_drains(capsys: pytest.CaptureFixture[str], number: int) -> None:
    go = asyncio.Event()
    slow = [Until(go), *json_response(200, message())]
    async with (
        ScriptedUpstream(respond=responding(slow)) as up,
        serving(capsys, config(upstream(up.url))) as g,
        await Client.connect(g.port) as client,
    ):
        client.send("POST", "/v1/messages", ask())
        await eventually(lambda: posted(up))
        assert await g.health() == 200
        kill(number)
        await g.states.until("ready", "stopping")
        # A health check learns of it, a request under way is finished.
        assert await g.health() == 503
        assert not g.task.done()
        go.set()
        assert (await client.response()).status == 200
        assert await g.ended() == 0
        with pytest.raises(ConnectionRefusedError):
            await g.health()


async def test_a_second_signal_stops_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        ScriptedUpstream(respond=responding([Stall()])) as up,
        serving(capsys, config(upstream(up.url))) as g,
        await Client.connect(g.port) as client,
    ):
        client.send("POST", "/v1/messages", ask())
        await eventually(lambda: posted(up))
        kill(signal.SIGTERM)
        await g.states.until("ready", "stopping")
        assert await g.health() == 503
        assert not g.task.done()
        kill(signal.SIGINT)
        assert await g.ended() == 0
        assert (await client.response()).status == 503
        await eventually(lambda: up.left == 1)
        await eventually(lambda: " 503 shutdown" in "".join(g.lines))
        assert [line.partition(" ")[2] for line in g.lines if "info: stop" in line] == [
            "info: stopping: requests under way may take 30 s more; a second signal ends them",
            "info: stopped: requests under way were cut off",
        ]


async def test_drain_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    async with ScriptedUpstream(respond=responding([Stall()])) as up:
        settings = config(upstream(up.url), limits={"drain_timeout": 0.02})
        async with serving(capsys, settings) as g, await Client.connect(g.port) as client:
            client.send("POST", "/v1/messages", ask())
            await eventually(lambda: posted(up))
            kill(signal.SIGTERM)
            assert await g.ended() == 0
            assert (await client.response()).status == 503


async def test_signal_handlers_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    async with serving(capsys, config()) as g:
        kill(signal.SIGTERM)
        await g.ended()
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert after == [before[0], before[2]]


@pytest.mark.parametrize("missing", ["handlers", "SIGHUP"])
async def test_a_system_without_these_signals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """As on Windows: Ctrl-C interrupts the runner instead."""
    loop = asyncio.get_running_loop()

    def unknown(*_: object) -> None:
        raise NotImplementedError

    if missing == "handlers":
        monkeypatch.setattr(loop, "add_signal_handler", unknown)
        monkeypatch.setattr(loop, "remove_signal_handler", unknown)
    else:
        monkeypatch.delattr(signal, "SIGHUP")
    async with serving(capsys, config()) as g:
        assert await g.health() == 200
        g.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await g.task
        with pytest.raises(ConnectionRefusedError):
            await g.health()


async def test_notify_gets_each_state(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(capsys, config()) as g:
        g.reload = config
        kill(signal.SIGHUP)
        await g.states.until("ready", "reloading", "ready")
        kill(signal.SIGTERM)
        await g.ended()
        await g.states.until("ready", "reloading", "ready", "stopping")


@pytest.mark.parametrize("address", [None, "", "/run/notify"])
def test_systemd_is_notified_if_notify_socket_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    log = AccessLog(lambda line: None)
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address and str(tmp_path / "notify"))
    notifier = process.notifier(log)
    if not address:
        assert notifier is process.no_notify
        process.no_notify("ready")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier("stopping")
        assert manager.recv(100).startswith(b"STOPPING=1")


async def test_warnings_are_logged_by_one_worker_only(capsys: pytest.CaptureFixture[str]) -> None:
    settings = config()._replace(warnings=("open to all",))
    async with serving(capsys, settings) as g:
        assert [line.partition(" ")[2] for line in g.lines] == ["warning: open to all"]
    lines: list[str] = []
    states = Notifications()
    ours, theirs = socket.socketpair()
    quiet = process.run_gateway(
        settings,
        never,
        AccessLog(lines.append),
        notify=states,
        first=False,
        share=partial(Sharing, theirs),
    )
    task = asyncio.create_task(quiet)
    await states.until("ready")
    kill(signal.SIGTERM)
    assert await task == 0
    with ours:
        # Its counts are handed on, and its connection to the others is closed.
        while ours.recv(2**16):
            pass
    assert capsys.readouterr().out == ""
    assert lines == []
    asyncio.get_running_loop().set_exception_handler(None)


# Reloading.


async def reloaded(g: Serving, reload: Callable[[], Config]) -> list[str]:
    """Return the log lines about reloads, without times."""
    known = len(g.lines)
    g.reload = reload
    kill(signal.SIGHUP)
    await eventually(lambda: len(g.lines) > known)
    await settle()
    return [line.partition(" ")[2] for line in g.lines[known:]]


async def test_reload_with_another_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    async with ScriptedUpstream(respond=served) as up, serving(capsys, config()) as g:
        assert (await fetch(g.port, "POST", "/v1/messages", ask())).status == 404
        better = config(upstream(up.url))._replace(warnings=("it is readable by others",))
        assert await reloaded(g, lambda: better) == [
            "warning: it is readable by others",
            "info: the configuration was reloaded",
        ]
        assert (await fetch(g.port, "POST", "/v1/messages", ask())).status == 200


OFF = "auth.mode: off on 0.0.0.0: anyone who can reach it can use every account"

STRICT = (
    'auth.mode: "strict" holds for {} and no key is configured: every request will be refused with 401; set '
    "auth.api_key"
)

BROKEN = [
    "upstreams.zai.accounts[0].api_key: environment variable ZAI is not set",
    "server.port: must be small",
]


def broken() -> Config:
    raise ConfigError(BROKEN)


def unreadable() -> Config:
    raise PermissionError(13, "Permission denied", "gateway.toml")


@pytest.mark.parametrize(
    ("reload", "expected"),
    [
        (broken, BROKEN),
        (unreadable, ["[Errno 13] Permission denied: 'gateway.toml'"]),
        (
            lambda: config(upstream("https://h", Account(name="g@x", oauth_file=Path("/lost.json")))),
            ["account g@x: /lost.json: No such file or directory"],
        ),
    ],
)
async def test_reload_with_a_broken_configuration_keeps_the_old_one(
    capsys: pytest.CaptureFixture[str], reload: Callable[[], Config], expected: list[str]
) -> None:
    async with ScriptedUpstream(respond=served) as up, serving(capsys, config(upstream(up.url))) as g:
        lines = await reloaded(g, reload)
        assert lines == [f"error: the configuration was not reloaded: {why}" for why in expected]
        assert (await fetch(g.port, "POST", "/v1/messages", ask())).status == 200


@pytest.mark.parametrize(
    ("host", "mode", "expected"),
    [
        ("0.0.0.0", "off", [f"at the next start: {OFF}"]),
        ("0.0.0.0", "strict", [STRICT.format("127.0.0.1"), "at the next start: " + STRICT.format("0.0.0.0")]),
        ("127.0.0.1", "strict", [STRICT.format("127.0.0.1")]),
    ],
)
async def test_reload_with_another_host_warns_about_the_next_start(
    capsys: pytest.CaptureFixture[str], host: str, mode: AuthMode, expected: list[str]
) -> None:
    def reload() -> Config:
        changed = config()._replace(server=config().server._replace(host=host), auth=Auth(mode=mode))
        return changed._replace(warnings=(*access_warnings(changed), "another"))

    async with serving(capsys, config()) as g:
        lines = await reloaded(g, reload)
    moved = ["warning: host, port and TLS on or off take effect at the next start"] * (host != "127.0.0.1")
    assert lines == [
        *moved,
        *(f"warning: {each}" for each in expected),
        "warning: another",
        "info: the configuration was reloaded",
    ]


async def test_reload_with_another_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(capsys, config()) as g:
        lines = await reloaded(g, lambda: config(server={"workers": 3}))
    assert lines == [
        "warning: another number of workers takes effect at the next start",
        "info: the configuration was reloaded",
    ]


# The loop's exception handler.


async def fails() -> None:
    explode()


async def test_a_callback_that_fails_is_one_line_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    async with serving(capsys, config()) as g:
        # uvloop lets a lookup go on whose caller has left.
        loop.call_exception_handler(
            {"message": "never retrieved", "exception": socket.gaierror(-2, "canary")}
        )
        loop.call_soon(explode)
        await eventually(lambda: g.lines)
        (line,) = g.lines
        assert " error: a callback failed: KeyError at explode.py:" in line
        assert "canary" not in line
        loop.call_exception_handler({"message": "Task was destroyed but it is pending!"})
        assert g.lines[1].endswith(" error: Task was destroyed but it is pending!")
        error = OSError(24, "Too many open files", "canary")
        for _ in range(2):
            loop.call_exception_handler(
                {"message": "socket.accept() out of system resource", "exception": error}
            )
        assert g.lines[2].endswith(" error: socket.accept() out of system resource: Too many open files")
        loop.call_exception_handler({"message": "x", "exception": ConnectionError("canary")})
        assert g.lines[3].endswith(" error: x: ConnectionError")
        future = loop.create_task(fails())
        await asyncio.wait([future])
        del future
        await eventually(lambda: len(g.lines) == 5)
        assert "Task exception was never retrieved: KeyError at explode.py:" in g.lines[4]
        assert "canary" not in g.lines[4]
    assert capsys.readouterr().err == ""


# As a separate process.


def test_start_serve_reload_and_stop(tmp_path: Path) -> None:
    with spawned(tmp_path, "--log-format", "json") as gateway:
        assert get(gateway.port, "/healthz") == 200
        gateway.line("/healthz")
        good = gateway.config.read_text()
        gateway.config.write_text(good + "[nonsense]\n")
        gateway.signal("HUP")
        line = orjson.loads(gateway.line("not reloaded"))
        assert line["level"] == "error"
        assert line["message"].startswith("the configuration was not reloaded: nonsense: ")
        gateway.config.write_text(good)
        gateway.signal("HUP")
        gateway.line("the configuration was reloaded")
        gateway.signal("TERM")
        gateway.wait()
    assert gateway.process.returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_unread_log_does_not_block(tmp_path: Path, workers: str) -> None:
    with spawned(tmp_path, "--log-level", "debug", "--workers", workers) as gateway:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
        # Far more lines than a pipe holds.
        for _ in range(1000):
            connection.request("GET", "/healthz?" + "x" * 200)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
        connection.close()
        gateway.signal("TERM")
        assert gateway.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopped_terminal_does_not_block(tmp_path: Path, workers: str) -> None:
    """Ctrl-S, with all of the standard streams on one terminal."""
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "--workers", workers], stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    )
    try:
        expected = b""
        while b"AUTH_TOKEN" not in expected:
            expected += os.read(ours, 4096)
        port = int(expected.partition(b"127.0.0.1:")[2].partition(b",")[0])
        assert get(port, "/healthz") == 200
        while b"/healthz" not in expected:
            expected += os.read(ours, 4096)
        termios.tcflow(theirs, termios.TCOOFF)
        for _ in range(20):
            assert get(port, "/healthz") == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_json_logs_are_json_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    text = CONFIG.replace("wire", "w") + '[auth]\nmode = "strict"\n'
    with spawned(tmp_path, "--log-format", "json", text=text, environ={"ALL_PROXY": "x"}) as gateway:
        assert get(gateway.port, "/healthz") == 401
        gateway.signal("HUP")
        gateway.line("the configuration was reloaded")
        gateway.signal("TERM")
        lines = [orjson.loads(line) for line in gateway.wait().splitlines()]
    assert {line["level"] for line in lines if "level" in line} == {"info", "warning"}
    assert any(line.get("path") == "/healthz" for line in lines)
    assert "stopped" in lines[-1]["message"]
