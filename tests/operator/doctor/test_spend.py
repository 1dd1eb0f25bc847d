"""One token from each route: the requests, and the findings from their responses."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.config import Account, Secret, Sharing, Upstream
from gateway.messages.sse import Event
from gateway.operator.doctor.findings import Fault
from gateway.operator.doctor.spend import spend, usage_of
from tests.fakes.messages import (
    Close,
    Received,
    Script,
    ScriptedUpstream,
    error_response,
    event,
    message_start,
    stream_response,
    text_events,
)
from tests.support.running import config, upstream

GOOD = stream_response(text_events())


async def test_each_route_gets_a_request_for_one_token() -> None:
    requests: list[tuple[str, object, object]] = []

    def respond(request: Received) -> Script:
        document = json.loads(request.body)
        requests.append((document["model"], document["max_tokens"], document["stream"]))
        return GOOD

    async with ScriptedUpstream(respond=respond) as up:
        tables = {"claude-opus-*": "big", "*": "small"}
        first = upstream(up.url, name="a", models=tables)
        passing = upstream(up.url, name="b", priority=1)
        rows = await spend(config(first, passing, models={"fast": "b/quick"}), {})
    assert sorted(requests) == [("big", 1, True), ("quick", 1, True), ("small", 1, True)]
    assert [(row.name, row.finding.state) for row in rows] == [
        ("a/big: one token", "ok"),
        ("a/small: one token", "ok"),
        ("b/quick: one token", "ok"),
    ]
    assert rows[0].finding.saw.endswith(" written")


async def test_spend_shares_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.sharing.store", None)
    shared = Sharing(url=Secret("valkey://127.0.0.1:1/0"))
    async with ScriptedUpstream(respond=lambda request: GOOD) as up:
        (row,) = await spend(config(upstream(up.url), sharing=shared), {})
    assert row.finding.state == "ok"


async def test_common_model_without_a_models_table() -> None:
    async with ScriptedUpstream(respond=lambda request: GOOD) as up:
        rows = await spend(config(upstream(up.url)), {})
    assert [row.name for row in rows] == ["up/claude-haiku-4-5: one token"]


@pytest.mark.parametrize(
    ("script", "state", "saw"),
    [
        (error_response(401, "authentication_error", "key-of-one@example.com"), "fail", "503: upstream"),
        (error_response(404, "not_found_error", "no such model"), "fail", "404: no such model"),
        (
            error_response(400, "invalid_request_error", "max_tokens is too low"),
            "warn",
            "400: max_tokens is too low",
        ),
        (
            error_response(429, "rate_limit_error", "slow down", [("retry-after", "900")]),
            "warn",
            "429: slow down",
        ),
        ([b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\n{}"], "fail", "400: an error without words"),
        ([*stream_response(text_events()[:4], end=False), Close()], "fail", "200: "),
        (
            stream_response([*text_events()[:-3], *text_events()[-2:]]),
            "fail",
            "a content block is not closed",
        ),
    ],
)
async def test_findings_of_responses(script: Script, state: str, saw: str) -> None:
    async with ScriptedUpstream(respond=lambda request: script) as up:
        rows = await spend(config(upstream(up.url)), {})
    assert (rows[0].finding.state, rows[0].finding.saw.startswith(saw)) == (state, True), rows[0].finding
    assert "key-of" not in str(rows)


DELTA = event("message_delta", delta={}, usage={"output_tokens": 1})


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([message_start(), DELTA], "the stream is not message_start"),
        ([message_start(), event("message_delta", delta={}), event("message_stop")], "its usage is missing"),
        ([event("message_start"), DELTA, event("message_stop")], "its usage is missing"),
    ],
)
def test_grammar_and_usage(events: Sequence[bytes], words: str) -> None:
    from gateway.messages.sse import EventDecoder

    decoded: list[Event] = EventDecoder().feed(b"".join(events))
    with pytest.raises(Fault, match=words):
        usage_of(decoded)


async def test_a_gateway_that_cannot_start() -> None:
    lost = Account(name="g", oauth_file=Path("/no/such.json"))
    there = Upstream(name="a", kind="gemini", base_url="http://127.0.0.1:9", accounts=(lost,))
    rows = await spend(config(there), {})
    assert [(row.finding.state, "No such file" in row.finding.saw) for row in rows] == [("fail", True)]
