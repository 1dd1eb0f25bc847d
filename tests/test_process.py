"""A gateway as a process: what it says, which signals it obeys, and how it ends."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import process
from gateway.app import Gateway
from gateway.config import Account, Auth, Config, ConfigError, Secret, Server
from gateway.telemetry.access_log import AccessLog
from tests.support.client import Client, ask, fetch
from tests.support.running import config, eventually, settle, upstream
from tests.support.spawned import get, spawned
from tests.support.stage import good
from tests.support.upstream import Received, Script, ScriptedUpstream, Stall, Until, json_answer, message


def served(request: Received) -> Script:
    """Good answers, also to who asks for models."""
    return json_answer(200, {"data": []}) if request.method == "GET" else good(request)


def posted(up: ScriptedUpstream) -> bool:
    return any(request.method == "POST" for request in up.requests)


def answering(script: Script) -> Callable[[Received], Script]:
    """This for the main line, good answers to who asks for models."""
    return lambda request: served(request) if request.method == "GET" else script


KEYS = {"laptop": Secret("canary-key")}


# What it says.


def greeted(server: Server, auth: Auth) -> str:
    log = AccessLog(lambda line: None)
    return asyncio.run(_greeted(Config(server=server, auth=auth), log))


async def _greeted(config: Config, log: AccessLog) -> str:
    return process.greeting(Gateway(config, log, {}))


def test_what_a_client_needs() -> None:
    assert greeted(Server(), Auth()) == (
        "gateway: listening on http://127.0.0.1:8045\n"
        "  export ANTHROPIC_BASE_URL=http://127.0.0.1:8045\n"
        "  export ANTHROPIC_API_KEY=any-text"
    )


@pytest.mark.parametrize(
    ("host", "mode", "keys", "key", "warns"),
    [
        ("127.0.0.1", "auto", {}, "any-text", False),
        ("127.0.0.1", "off", KEYS, "any-text", False),
        ("127.0.0.1", "strict", KEYS, "<one of your [auth] keys>", False),
        ("127.0.0.1", "strict", {}, "<one of your [auth] keys>", True),
        ("127.0.0.1", "all_except_health", {"empty": Secret("")}, "<one of your [auth] keys>", True),
        ("0.0.0.0", "auto", {}, "<one of your [auth] keys>", True),
        ("0.0.0.0", "auto", KEYS, "<one of your [auth] keys>", False),
    ],
)
def test_which_key_a_client_needs(
    host: str, mode: Any, keys: dict[str, Secret], key: str, warns: bool
) -> None:
    said = greeted(Server(host=host), Auth(mode=mode, keys=keys))
    assert said.splitlines()[2] == f"  export ANTHROPIC_API_KEY={key}"
    assert ("EVERY request will be refused (401)" in said) is warns
    assert "canary" not in said


def test_a_line_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    process.write_line("hello")
    assert capsys.readouterr() == ("", "hello\n")


class Gone:
    """A stderr whose reader is no more."""

    def write(self, text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_is_gone_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    process.write_line("hello")


# Loops.


async def loop_name() -> str:
    return type(asyncio.get_running_loop()).__module__


@pytest.mark.parametrize("there", [True, False])
def test_uvloop_where_it_is_and_the_standard_loop_where_not(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def never() -> Config:
    raise AssertionError("nobody asked for a reload")


def test_a_port_in_use_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Config(server=Server(port=port), warnings=())
        assert process.serve(settings, never, "debug", "text") == 2
    assert capsys.readouterr() == (
        "",
        f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use\n",
    )


def test_what_cannot_be_built_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lost = Account(name="g@x", oauth_file=tmp_path / "lost.json")
    settings = config(upstream("https://h", lost, kind="gemini"))
    assert process.serve(settings, never, "debug", "json") == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"gateway: account g@x: {lost.oauth_file}: No such file or directory\n")


PATIENCE = 10.0
"""Seconds for what takes milliseconds: on a busy machine it takes longer, and a test that fails may be slow."""


class Told:
    """Hears how a process fares."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, state: str) -> None:
        self.states.append(state)
        self._more.set()

    async def until(self, *states: str) -> None:
        """Wait until these were told, in this order, and nothing else."""
        async with asyncio.timeout(PATIENCE):
            while len(self.states) < len(states):
                self._more.clear()
                await self._more.wait()
        assert self.states == list(states)


class Serving:
    """A gateway that was begun in this process."""

    def __init__(self, task: asyncio.Task[int], port: int, lines: list[str], told: Told) -> None:
        self.task = task
        self.port = port
        self.lines = lines
        self.told = told
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
    told = Told()
    task = asyncio.create_task(process.begin(settings, lambda: made.reload(), log, tell=told))
    await told.until("ready")
    # What it says on stdout is said in the same breath.
    found = re.search(
        r"listening on http://127\.0\.0\.1:(\d+)\n.*API_KEY", capsys.readouterr().out, re.DOTALL
    )
    assert found is not None
    made = Serving(task, int(found[1]), lines, told)
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
async def test_a_signal_drains(capsys: pytest.CaptureFixture[str], number: int) -> None:
    go = asyncio.Event()
    slow = [Until(go), *json_answer(200, message())]
    async with (
        ScriptedUpstream(answer=answering(slow)) as up,
        serving(capsys, config(upstream(up.url))) as g,
        await Client.connect(g.port) as client,
    ):
        client.send("POST", "/v1/messages", ask())
        await eventually(lambda: posted(up))
        assert await g.health() == 200
        kill(number)
        await g.told.until("ready", "stopping")
        # A health check learns of it, a request under way is finished.
        assert await g.health() == 503
        assert not g.task.done()
        go.set()
        assert (await client.response()).status == 200
        assert await g.ended() == 0
        with pytest.raises(ConnectionRefusedError):
            await g.health()


async def test_a_second_signal_ends_it_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        ScriptedUpstream(answer=answering([Stall()])) as up,
        serving(capsys, config(upstream(up.url))) as g,
        await Client.connect(g.port) as client,
    ):
        client.send("POST", "/v1/messages", ask())
        await eventually(lambda: posted(up))
        kill(signal.SIGTERM)
        await g.told.until("ready", "stopping")
        assert await g.health() == 503
        assert not g.task.done()
        kill(signal.SIGINT)
        assert await g.ended() == 0
        assert await client.reader.read() == b""
        await eventually(lambda: up.left == 1)
        assert " 499 canceled" in g.lines[-1]


async def test_draining_ends_after_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    async with ScriptedUpstream(answer=answering([Stall()])) as up:
        settings = config(upstream(up.url), limits={"drain_timeout": 0.02})
        async with serving(capsys, settings) as g, await Client.connect(g.port) as client:
            client.send("POST", "/v1/messages", ask())
            await eventually(lambda: posted(up))
            kill(signal.SIGTERM)
            assert await g.ended() == 0
            assert await client.reader.read() == b""


async def test_signals_mean_what_they_meant_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    async with serving(capsys, config()) as g:
        kill(signal.SIGTERM)
        await g.ended()
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert after == [before[0], before[2]]


@pytest.mark.parametrize("missing", ["handlers", "SIGHUP"])
async def test_where_signals_are_missing(
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


async def test_who_wants_to_hear_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(capsys, config()) as g:
        g.reload = config
        kill(signal.SIGHUP)
        await g.told.until("ready", "reloading", "ready")
        kill(signal.SIGTERM)
        await g.ended()
        await g.told.until("ready", "reloading", "ready", "stopping")


@pytest.mark.parametrize("address", [None, "", "/run/notify"])
def test_systemd_hears_it_if_it_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    log = AccessLog(lambda line: None)
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address and str(tmp_path / "notify"))
    teller = process.teller(log)
    if not address:
        assert teller is process.silent
        process.silent("ready")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        teller("stopping")
        assert manager.recv(100).startswith(b"STOPPING=1")


async def test_warnings_are_said_by_one_worker_only(capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(config(), warnings=("open to all",))
    async with serving(capsys, settings) as g:
        assert [line.partition(" ")[2] for line in g.lines] == ["warning: open to all"]
    lines: list[str] = []
    told = Told()
    quiet = process.begin(settings, never, AccessLog(lines.append), tell=told, first=False)
    task = asyncio.create_task(quiet)
    await told.until("ready")
    kill(signal.SIGTERM)
    assert await task == 0
    assert capsys.readouterr().out == ""
    assert lines == []
    asyncio.get_running_loop().set_exception_handler(None)


# Reloading.


async def reloaded(g: Serving, reload: Callable[[], Config]) -> list[str]:
    """What is said of a reload, without times."""
    known = len(g.lines)
    g.reload = reload
    kill(signal.SIGHUP)
    await eventually(lambda: len(g.lines) > known)
    await settle()
    return [line.partition(" ")[2] for line in g.lines[known:]]


async def test_another_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    async with ScriptedUpstream(answer=served) as up, serving(capsys, config()) as g:
        assert (await fetch(g.port, "POST", "/v1/messages", ask())).status == 404
        better = replace(config(upstream(up.url)), warnings=("it is readable by others",))
        assert await reloaded(g, lambda: better) == [
            "warning: it is readable by others",
            "info: the configuration was reloaded",
        ]
        assert (await fetch(g.port, "POST", "/v1/messages", ask())).status == 200


BROKEN = [
    "upstreams.zai.accounts[0].api_key: environment variable ZAI is not set",
    "server.port: must be small",
]


def broken() -> Config:
    raise ConfigError(BROKEN)


def unreadable() -> Config:
    raise PermissionError(13, "Permission denied", "gateway.toml")


@pytest.mark.parametrize(
    ("reload", "said"),
    [
        (broken, BROKEN),
        (unreadable, ["[Errno 13] Permission denied: 'gateway.toml'"]),
        (
            lambda: config(upstream("https://h", Account(name="g@x", oauth_file=Path("/lost.json")))),
            ["account g@x: /lost.json: No such file or directory"],
        ),
    ],
)
async def test_a_broken_configuration_keeps_the_old_and_says_why(
    capsys: pytest.CaptureFixture[str], reload: Callable[[], Config], said: list[str]
) -> None:
    async with ScriptedUpstream(answer=served) as up, serving(capsys, config(upstream(up.url))) as g:
        lines = await reloaded(g, reload)
        assert lines == [f"error: the configuration was not reloaded: {why}" for why in said]
        assert (await fetch(g.port, "POST", "/v1/messages", ask())).status == 200


async def test_another_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(capsys, config()) as g:
        lines = await reloaded(g, lambda: config(server={"workers": 3}))
    assert lines == [
        "warning: another number of workers takes effect at the next start",
        "info: the configuration was reloaded",
    ]


# What the loop has to say.


def explode(text: str) -> None:
    raise ValueError(text)


async def fails(text: str) -> None:
    explode(text)


async def test_a_callback_that_fails_is_one_line_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    async with serving(capsys, config()) as g:
        loop.call_soon(explode, "canary")
        await eventually(lambda: g.lines)
        (line,) = g.lines
        assert " error: a callback failed: ValueError at test_process.py:" in line
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
        future = loop.create_task(fails("canary"))
        await asyncio.wait([future])
        del future
        await eventually(lambda: len(g.lines) == 5)
        assert "Task exception was never retrieved: ValueError at test_process.py:" in g.lines[4]
        assert "canary" not in g.lines[4]
    assert capsys.readouterr().err == ""


# As a process of its own.


def test_a_whole_life(tmp_path: Path) -> None:
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
