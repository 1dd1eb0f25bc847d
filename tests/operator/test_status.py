"""`gateway status`, `clear`, `disable` and `enable`, against a gateway and against none."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway import cli
from gateway.config import Auth, Secret
from gateway.operator import status
from gateway.operator.command_line import BROKEN_PIPE
from gateway.operator.peer import refusal
from gateway.operator.status import WIDTH, amount, is_well, report
from gateway.status import watchers
from gateway.telemetry.access_log import Record
from tests.fakes.messages import ScriptedUpstream, error_response, json_response, message
from tests.support.client import ask
from tests.support.running import Running, config, running, upstream

LIMIT = error_response(429, "rate_limit_error", "too many tokens", [("retry-after", "3600")])
HERE = "http://127.0.0.1:1"
Make = Callable[[], Any]


async def run(g: Running, *arguments: str) -> int:
    """The command, against a gateway in this process."""
    return await asyncio.to_thread(cli.main, [*arguments, "--url", g.url])


async def test_a_table_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    async with ScriptedUpstream() as up:
        refused = error_response(400, "invalid_request_error", "invalid beta flag")
        up.script(refused, json_response(200, message()), LIMIT, json_response(200, message()))
        settings = config(upstream(up.url, "a@x.org", "b@x.org", max_concurrent=4))
        async with running(settings) as g:
            headers = {"x-claude-code-session-id": "s"}
            assert (await g.post(ask(), **headers, anthropic_beta="odd-1")).status == 200
            assert (await g.post(ask(), **headers)).status == 200
            assert await run(g, "status") == 0
            out = capsys.readouterr().out
            assert max(map(len, out.splitlines())) <= WIDTH
            assert "up 0 s" not in out
            for words in (": ready\n", "ACCOUNT ", "up/a@x.org", "up/b@x.org", "m limit, until "):
                assert words in out, words
            for words in (": too many tokens", "up: betas odd-1 for m", "200 ok", "CONVERSATION"):
                assert words in out, words
            assert await run(g, "status", "--json") == 0
            assert orjson.loads(capsys.readouterr().out)["ready"] is True


async def test_quiet_is_for_health_checks(capsys: pytest.CaptureFixture[str]) -> None:
    async with ScriptedUpstream() as up:
        up.script(LIMIT)
        async with running(config(upstream(up.url, "a@x.org", models={"m": "m"}))) as g:
            assert await run(g, "status", "--quiet") == 0
            await g.post(ask())
            assert await run(g, "status", "--quiet") == 1
            assert tuple(capsys.readouterr()) == ("", "")
            assert await run(g, "status") == 1
            assert ": NOT READY\n" in capsys.readouterr().out
    assert cli.main(["status", "--quiet", "--url", HERE]) == 1
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize("command", [["status"], ["status", "--watch"], ["clear", "up"]])
def test_connection_refused_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--url", HERE]) == 1
    assert capsys.readouterr().err == f"gateway: {HERE} does not respond: Connection refused\n"


async def test_a_key_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("key-of-laptop")})
    async with running(config(upstream(HERE, "a@x.org"), auth=auth)) as g:
        for command in (["status"], ["status", "--watch"], ["clear", "up"]):
            assert await run(g, *command) == 1
            assert "key is missing or wrong" in capsys.readouterr().err
        for command in (["status"], ["clear", "up"]):
            assert await run(g, *command, "--key", "key-of-laptop") == 0


async def test_disable_enable_and_clear(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(config(upstream(HERE, "team/a", "b@x.org"))) as g:
        for command, place, expected in (
            (
                "disable",
                "up/team/a",
                "up/team/a is disabled until it is enabled or the configuration is read again",
            ),
            ("enable", "up/team/a", "up/team/a is enabled"),
            ("clear", "up", "cool-downs of up have ended"),
            ("clear", "up/b@x.org", "cool-downs of up/b@x.org have ended"),
            (
                "disable",
                "up/team/a",
                "up/team/a is disabled until it is enabled or the configuration is read again",
            ),
        ):
            assert await run(g, command, place) == 0
            assert capsys.readouterr().out == f"{expected}\n"
        assert [one.disabled for one in g.gateway.runtime.scheduler.snapshot(0.0)] == [True, False]
        # A disabled account does not count as a fault.
        assert await run(g, "status") == 0
        assert " disabled " in capsys.readouterr().out
        assert await run(g, "clear", "gone") == 1
        assert capsys.readouterr().err == "gateway: there is no upstream of that name; there are: up\n"


@pytest.mark.parametrize("command", [["disable", "up"], ["enable", "up/"], ["clear", ""], ["clear", "/a"]])
def test_invalid_upstream_argument(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--url", HERE]) == 2
    assert "is not of the form UPSTREAM" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [False, True])
async def test_watch_prints_changes(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "EVERY", 0.02)
    monkeypatch.setattr(status, "_is_terminal", lambda: terminal)
    async with running(config(upstream(HERE, "a@x.org"))) as g:
        watching = asyncio.create_task(run(g, "status", "--watch"))
        out = ""
        while "up/a@x.org" not in out:
            await asyncio.sleep(0.01)
            out += capsys.readouterr().out
        g.gateway.runtime.scheduler.disable("up", "a@x.org")
        while " disabled " not in out:
            await asyncio.sleep(0.01)
            out += capsys.readouterr().out
        assert out.count("ACCOUNT ") == 2
        assert (status.REPAINT in out) is terminal
        await g.gateway.stop(1.0)
        assert await watching == 1
        assert "has ended its report" in capsys.readouterr().err


async def test_watch_ends_on_a_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "print_text", lambda text: BROKEN_PIPE)
    async with running(config(upstream(HERE, "a@x.org"))) as g:
        assert await run(g, "status", "--watch", "--json") == BROKEN_PIPE


async def test_watch_connection_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await asyncio.to_thread(cli.main, ["status", "--watch", "--url", f"127.0.0.1:{port}"]) == 1
    assert f"http://127.0.0.1:{port} says nothing more" in capsys.readouterr().err
    server.close()
    await server.wait_closed()


async def test_control_characters_in_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(config(upstream(HERE, "a@x.org"))) as g:
        evil = "\x1b]0;mine\x07\r\n\u202e" + "x" * 200
        g.gateway.runtime.process_state.recent.take(
            [
                Record(
                    time.time(),
                    method="POST",
                    path="/v1/messages",
                    model=evil,
                    error=evil,
                    outcome="refused",
                    conversation=evil,
                    key=evil,
                )
            ]
        )
        assert await run(g, "status") == 0
        out = capsys.readouterr().out
        assert not set(out) & set("\x1b\x07\r\u202e")
        assert max(map(len, out.splitlines())) <= WIDTH


def account(**changes: Any) -> dict[str, Any]:
    sums = {"requests": 0, "failures": 0, "input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0}
    sums |= {"cache_creation_tokens": 0}
    base = {"account": "a", "state": "free", "disabled": False, "in_flight": 1, "limit": None, "hour": sums}
    return {**base, "cool_downs": [], **changes}


def document(*accounts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    upstream = {"name": "up", "accounts": list(accounts), "cures": []}
    base = {
        "version": "1",
        "uptime": 90061.0,
        "time": 100.0,
        "processes": 1,
        "silent": [],
        "sharing": None,
        "draining": False,
        "ready": True,
    }
    return {**base, "upstreams": [upstream], "requests": [], "conversations": [], **changes}


def test_is_well() -> None:
    assert is_well(document(account()))
    assert is_well(document(account(state="cooling"), account()))
    assert is_well(document(account(state="closed", disabled=True), account()))
    assert not is_well(document(account(state="closed"), account()))
    assert not is_well(document(account(), ready=False))


def test_workers_that_stand_still_and_news_that_were_lost() -> None:
    found = document(processes=3, silent=[4711], sharing={"dropped": 7})
    assert [*report(found)][:3] == [
        "gateway 1, up 1 d 1 h, 3 of 4 processes: ready",
        "worker 4711 does not respond: kill -9 has it replaced",
        "7 news for other processes were lost",
    ]
    assert not is_well(found)
    lines = [*report(document(sharing={"dropped": 0}))]
    assert lines[:2] == ["gateway 1, up 1 d 1 h: ready", ""]


def test_the_first_line_and_cool_downs() -> None:
    shut = {"about": "model", "model": "m", "feature": "", "cause": "limit", "why": "", "probing": False}
    cool_downs = [
        {**shut, "until": 50.0},
        {**shut, "about": "account", "model": "", "cause": "login", "until": None, "why": "no"},
        {**shut, "feature": "images", "until": 200.0, "probing": True},
    ]
    lines = list(report(document(account(cool_downs=cool_downs), processes=4, draining=True)))
    assert lines[0] == "gateway 1, up 1 d 1 h, 4 processes: stopping"
    assert lines[4:] == [
        "  m limit, tried next",
        "  account login, tried next: no",
        "  m images limit, being tried",
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (45_400, "45k"), (3_400_000, "3.4M"), (2 * 10**9, "2.0G")],
)
def test_amounts(count: int, shown: str) -> None:
    assert amount(count) == shown


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error":1}', b'{"error":{"message":1}}', b"<html>"])
def test_a_refusal_without_a_message(body: bytes) -> None:
    assert refusal(502, body) == "the gateway responded with 502"
