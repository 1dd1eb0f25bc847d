"""Checks of a gateway: a sound one passes all of them, and each finds the fault that it is made for."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, Server
from gateway.http1.limits import Limits
from gateway.messages.sse import Event
from gateway.operator.doctor import behind, contract, examine
from gateway.operator.doctor.behind import BEHIND, blocks_of
from gateway.operator.doctor.contract import OUTSIDE, Stage
from gateway.operator.doctor.examine import carry_out_all, examine_from_outside, run_stage
from gateway.operator.doctor.findings import Fault as Failed
from gateway.operator.doctor.findings import Finding
from gateway.operator.peer import GatewayAddress
from tests.fakes.broken_gateway import (
    BUFFERING,
    DROPS_PINGS,
    REWRITES_ERRORS,
    BrokenGateway,
    Fault,
    Response,
    changing,
    responding,
    without,
)
from tests.fakes.messages import Received
from tests.support.loops import PATIENCE

KEYS = st.sampled_from(["index", "delta", "type", "content_block", "partial_json", "text"])

CHECKS = {check.name: check for check in (*OUTSIDE, *BEHIND)}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No check fails because this machine is slow."""
    for module, name in (
        *((behind, name) for name in SHORT.values()),
        *((contract, name) for name in ("HELLO_PATIENCE", "LIST_PATIENCE")),
        (examine, "PATIENCE"),
    ):
        monkeypatch.setattr(module, name, PATIENCE)


SHORT = {
    "first words not held back": "HELD_PATIENCE",
    "a ping in silence": "PING_SLACK",
    "a client that leaves": "LEFT_PATIENCE",
}
"""What checks wait for that fails by not coming: its patience may be short in a test where it does."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies are not so large."""
    monkeypatch.setattr(contract, "LARGE", 500_000)
    monkeypatch.setattr(behind, "LARGE", 500_000)


@asynccontextmanager
async def front(fault: Fault) -> AsyncIterator[Stage]:
    async with run_stage(Config()) as stage, BrokenGateway(stage.target, fault) as broken:
        yield stage._replace(target=GatewayAddress("http", "127.0.0.1", broken.port))


async def findings(fault: Fault, *names: str) -> list[Finding]:
    async with front(fault) as stage:
        return [row.finding for row in await carry_out_all(stage, [CHECKS[name] for name in names])]


async def test_a_sound_gateway_passes_all() -> None:
    rows = await examine.examine(Config())
    assert [(row.name, row.finding) for row in rows if row.finding.state != "ok"] == []
    assert [row.name for row in rows] == list(CHECKS)


@pytest.mark.usefixtures("small")
async def test_something_sound_in_front_changes_nothing() -> None:
    """Else the faults below would prove nothing."""
    found = await findings(Fault(), *CHECKS)
    assert {finding.state for finding in found} == {"ok"}, found


@pytest.mark.usefixtures("small")
async def test_checks_that_need_an_upstream_are_skipped_from_outside() -> None:
    async with run_stage(Config()) as stage:
        rows = await examine_from_outside(stage.target, stage.key)
    states = {row.name: row.finding.state for row in rows}
    assert states == {check.name: "ok" for check in OUTSIDE} | {check.name: "skip" for check in BEHIND}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        (BUFFERING, {"first words not held back", "a ping in silence", "a client that leaves"}),
        (DROPS_PINGS, {"a ping in silence"}),
        (
            REWRITES_ERRORS,
            {"a wrong key", "form of errors", "unknown path", "overflow keeps its wording"},
        ),
    ],
)
async def test_three_broken_gateways(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, failing: set[str]
) -> None:
    for name in failing & SHORT.keys():
        monkeypatch.setattr(behind, SHORT[name], 0.3)
    async with front(fault) as stage:
        rows = await carry_out_all(stage, list(CHECKS.values()))
    assert {row.name for row in rows if row.finding.state != "ok"} == failing


def spoiling_body(change: Callable[[bytes], bytes]) -> Fault:
    return Fault(lambda request: replace(request, body=change(request.body)))


def target(old: str, new: str) -> Fault:
    return Fault(lambda request: replace(request, target=request.target.replace(old, new)))


def with_key(request: Received) -> Received:
    """Lets everybody in, on the key of the one who came first."""
    keys = [(name, value) for name, value in request.headers if name == b"x-api-key"]
    if keys and keys[0][1] != b"wrong-key-of-doctor":
        with_key.__dict__["known"] = keys
    others = [field for field in request.headers if field[0] != b"x-api-key"]
    return replace(request, headers=[*others, *with_key.__dict__["known"]])


def leaking(request: Received) -> Received:
    key = next(value for name, value in request.headers if name == b"x-api-key")
    return replace(request, headers=[*request.headers, (b"x-app", key)])


async def _refuses_both(request: Received, response: Response) -> Response:
    both = {b"x-api-key", b"authorization"} <= {name for name, _ in request.headers}
    return replace(response, status=403) if both else response


async def _without_retry_advice(request: Received, response: Response) -> Response:
    response.headers.pop("x-should-retry", None)
    return response


async def _without_id(request: Received, response: Response) -> Response:
    response.headers.pop("request-id", None)
    return response


async def _made_up_end(request: Received, response: Response) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        async for piece in response.pieces:
            yield re.sub(rb"event: error\n.*\n\n", STOP, piece)

    return replace(response, pieces=pieces())


STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
NO_ERROR = changing(lambda event: b"" if event.startswith(b"event: error") else event)
CLOSES = changing(
    lambda event: (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":1}\n\n' + event
        if event.startswith(b"event: error")
        else event
    )
)


def dropping(words: bytes) -> Fault:
    return changing(lambda event: b"" if words in event else event)


GOOD = '{"type":"error","error":{"type":"%s","message":"%s"}}'

FAULTS: list[tuple[str, Fault, str]] = [
    ("key in x-api-key", without("x-api-key"), "the key is refused with 401"),
    ("key as a bearer token", without("authorization"), "the key is refused with 401"),
    ("both headers at once", Fault(response=_refuses_both), "the key is refused with 403"),
    ("a wrong key", responding(400, b"{}"), "a wrong key gets 400 instead of 401"),
    ("a wrong key", responding(200, b"{}"), "a wrong key comes in"),
    ("a wrong key", responding(401, b"[]"), "401 is not an error of type authentication_error: []"),
    ("a wrong key", responding(401, (GOOD % ("authentication_error", "")).encode()), "401 has no message"),
    (
        "a wrong key",
        responding(401, (GOOD % ("authentication_error", "x")).encode()),
        "401 has no request-id",
    ),
    ("HEAD /api/hello", responding(404), "HEAD /api/hello gets 404"),
    ("/v1/models?limit=1000", responding(307, location="/x"), "the list is redirected (307)"),
    ("/v1/models?limit=1000", responding(500, b"a page"), "the list gets 500: a page"),
    ("/v1/models?limit=1000", responding(200, b'{"data":[{}]}'), "the list has no data[] with an id each"),
    ("/v1/models?limit=1000", without("x-api-key"), "/v1/models?limit=1000 gets 401: "),
    ("count_tokens", responding(404, b'{"error":"no"}', "/count_tokens"), "count_tokens gets 404: no"),
    ("count_tokens", responding(200, b"not JSON", "/count_tokens"), "count_tokens brings no input_tokens"),
    ("form of errors", responding(502, b""), "a broken body gets 502 instead of 400: nothing"),
    ("unknown path", responding(200, b"a page"), "an unknown path gets 200 instead of 404"),
    ("32 MB body", responding(413, b""), "a body of 32 MB gets 413: nothing"),
    ("?beta=true", responding(404), "/v1/messages?beta=true gets 404"),
    ("?beta=true", target("?beta=true", ""), "the upstream is asked for /v1/messages"),
    ("?beta=true", without("anthropic-beta"), "anthropic-beta does not reach the upstream"),
    ("?beta=true", Fault(leaking), "the client's key reaches the upstream"),
    ("a stream", responding(500), "a good request gets 500"),
    ("a stream", dropping(b"message_stop"), "the stream does not end with message_stop"),
    ("a stream", changing(lambda event: event.replace(b"First", b"Last")), "the events are not those"),
    (
        "without a stream",
        changing(lambda body: body.replace(b"First", b"Last")),
        "a request without stream gets 200",
    ),
    (
        "first words not held back",
        responding(200),
        "the stream ended without content_block_delta (status 200)",
    ),
    ("a ping in silence", responding(529), "the stream ended without ping (status 529)"),
    ("overflow keeps its wording", responding(500), "an overflow gets 500 instead of 400"),
    ("overflow keeps its wording", responding(400, b"too long"), "the upstream's words are not kept"),
    ("overflow keeps its wording", Fault(response=_without_id), "the upstream's request-id is not kept"),
    ("a client that leaves", Fault(deaf=True), "the upstream went on for 0.2 s after the client left"),
    ("a tool round", dropping(b"input_json_delta"), "the calls that arrive are not the 1 that were sent"),
    ("a tool round", dropping(b'tool_use","id'), "the events do not fit together"),
    (
        "a tool round",
        spoiling_body(lambda body: body.replace(b"$schema", b"schema")),
        "a request with tools does not",
    ),
    (
        "a tool round",
        spoiling_body(lambda body: body.replace(b'"hi\\n"', b'"ho"')),
        "a history with tools does not reach the upstream as it was sent",
    ),
    ("parallel tools", dropping(b'"index":1'), "the calls that arrive are not the 2 that were sent"),
    ("thinking round trip", dropping(b"signature_delta"), "thinking or its signature is changed"),
    ("an image", spoiling_body(lambda body: body.replace(b"iVBORw0KGgo", b"")), "a picture does not reach"),
    ("32 MB to the upstream", responding(413), "a request of 32 MB gets 413"),
    (
        "32 MB to the upstream",
        spoiling_body(lambda body: body.replace(b"x" * 99, b"x")),
        "a request of 32 MB does not",
    ),
    ("a broken stream", Fault(response=_made_up_end), "an end is made up for a stream that broke off"),
    ("a broken stream", CLOSES, "a tool's call is closed that the upstream did not finish"),
    ("a broken stream", NO_ERROR, "a stream that broke off ends with content_block_delta (status 200)"),
    ("a broken stream", responding(502), "a stream that broke off ends with nothing (status 502)"),
]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "fault", "words"), FAULTS, ids=[f"{row[0]}: {row[2]}" for row in FAULTS])
async def test_each_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, fault: Fault, words: str
) -> None:
    monkeypatch.setattr(behind, "LEFT_PATIENCE", 0.2)
    (found,) = await findings(fault, name)
    assert found.state == "fail"
    assert found.saw.startswith(words)


def test_every_check_has_a_fault() -> None:
    assert {row[0] for row in FAULTS} == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("HEAD /api/hello", responding(401), "HEAD /api/hello gets 401"),
        ("a wrong key", Fault(response=_without_retry_advice), "401 without x-should-retry: false"),
        ("/v1/models?limit=1000", responding(200, b'{"data":[]}'), "the list is empty"),
        (
            "/v1/models?limit=1000",
            responding(200, b'{"data":[{"id":"glm"}]}'),
            "1 models, none with claude or anthropic in its name",
        ),
    ],
)
async def test_warnings(name: str, fault: Fault, words: str) -> None:
    (found,) = await findings(fault, name)
    assert (found.state, found.saw) == ("warn", words)


async def test_slow_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "LIST_PATIENCE", 0.0)
    monkeypatch.setattr(contract, "HELLO_PATIENCE", 0.0)
    hello, models = await findings(Fault(), "HEAD /api/hello", "/v1/models?limit=1000")
    assert (hello.state, models.state) == ("warn", "fail")


async def test_a_gateway_without_keys() -> None:
    open_one = responding(200, b'{"data":[]}')
    async with front(open_one) as stage:
        outside = stage._replace(key="", upstream=None)
        rows = await carry_out_all(outside, OUTSIDE[:5])
    assert [row.finding.state for row in rows] == ["skip", "skip", "skip", "warn", "ok"]


async def test_counting_without_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = await findings(responding(200, b'{"data":[]}', "GET "), "count_tokens")
    assert found.saw == "7 tokens for claude-sonnet-5-5"


@pytest.mark.usefixtures("small")
async def test_the_configurations_own_limits_count() -> None:
    small = Config(server=Server(limits=Limits(max_body=400_000)))
    async with run_stage(small) as stage:
        rows = await carry_out_all(stage, [CHECKS["32 MB body"]])
    assert rows[0].finding.state == "fail"
    assert "raise server.max_body" in rows[0].finding.todo


@pytest.mark.parametrize(
    "events",
    [
        [Event("content_block_start", b"{")],
        [Event("content_block_delta", b'{"index":0,"delta":{"type":"text_delta","text":"x"}}')],
    ],
)
def test_events_that_do_not_fit(events: list[Event]) -> None:
    with pytest.raises(Failed, match="the events do not fit together"):
        blocks_of(events)


def test_blocks_are_put_together() -> None:
    assert blocks_of(
        [
            Event("message_start", b"{}"),
            Event("content_block_start", b'{"content_block":{"type":"tool_use","input":{}}}'),
            Event(
                "content_block_delta", b'{"index":0,"delta":{"type":"input_json_delta","partial_json":""}}'
            ),
            Event("content_block_delta", b'{"index":0,"delta":{"type":"later"}}'),
        ]
    ) == [{"type": "tool_use", "input": {}}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
EVENTS = st.builds(
    lambda name, data: Event(name, json.dumps(data).encode()),
    st.sampled_from(["content_block_start", "content_block_delta", "message_stop"]),
    JSON,
)


@given(st.lists(EVENTS, max_size=6))
def test_any_events_give_a_finding(events: list[Event]) -> None:
    try:
        assert isinstance(blocks_of(events), list)
    except Failed:
        pass
