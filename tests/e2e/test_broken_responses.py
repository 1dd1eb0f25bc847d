"""Whole responses that break, at every byte: the client gets one of another account, or an error, never half of one."""

import orjson
import pytest

from gateway.config import Retry
from tests.fakes.messages import Close, Script, message
from tests.support.breaking import BREAKS, PAYLOAD, WIRE, break_at, delivered
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.stage import failing, staged

BODY = orjson.dumps(message("é"))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
FRAMED = {
    "length": HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunked": HEAD
    + b"transfer-encoding: chunked\r\n\r\n9\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (BODY[:9], len(BODY) - 9, BODY[9:]),
    "close-delimited": HEAD + b"\r\n" + BODY,
}
GOOD = FRAMED["length"]


def check(offset: int, response: Response, accounts: list[str]) -> None:
    assert (response.status, response.body) == (200, BODY)
    assert response.complete
    # A kept connection that dies without a byte is replaced, and no account cools down for it.
    assert len(set(accounts)) == len(accounts) or offset == 0


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("kind", ["close", "reset"])  # silence is a timeout: see the failure table
def test_a_response_that_stops(framing: str, kind: str) -> None:
    """At each byte, in one of the ways after the other."""
    wire = FRAMED[framing]
    body_at = wire.index(b"\r\n\r\n") + 4
    offsets = range(kind == "reset", len(wire), 2)

    def script(offset: int) -> Script:
        return [wire[:offset], BREAKS[kind]]

    def check_cut(offset: int, response: Response, accounts: list[str]) -> None:
        check(offset, response, accounts)
        assert len(accounts) == 2

    # Until the framing differs, all of them begin with the same bytes.
    alike = 0 if framing == "length" else len(HEAD)
    in_head = [offset for offset in offsets if alike <= offset < body_at]
    break_at(in_head, script, check_cut, alone=True, stream=False, good=GOOD)
    break_at([offset for offset in offsets if offset >= body_at], script, check_cut, stream=False, good=GOOD)
    if kind == "close":
        break_at([len(wire)], script, check, stream=False, good=GOOD)


def test_a_collected_stream_that_stops() -> None:
    """A stream that the gateway requests for a client that wants none."""
    events = PAYLOAD[: -len(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')]
    call = {"command": "rm -- 'naïve log.txt'", "timeout": 120000}

    def check_collected(offset: int, response: Response, accounts: list[str]) -> None:
        assert response.status == 200
        assert [block["type"] for block in response.document["content"]] == ["thinking", "text", "tool_use"]
        assert response.document["content"][2]["input"] == call
        assert response.document["stop_reason"] == "tool_use"
        assert len(accounts) == (1 if offset == len(WIRE) else 2)
        assert len(set(accounts)) == len(accounts)

    assert delivered(len(WIRE)) > len(events)
    offsets = range(len(WIRE), len(WIRE) - len(PAYLOAD), -7)
    break_at(offsets, lambda at: [WIRE[:at], Close()], check_collected, stream=False, stream_internally=True)


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_when_every_account_breaks_the_client_gets_an_error(framing: str, share: float) -> None:
    wire = FRAMED[framing]
    script: Script = [wire[: int(len(wire) * share)], Close()]

    async def scenario() -> None:
        async with staged(failing(script), "a@x", "b@x", retry=Retry()) as stage:
            response = await stage.post()
            assert (response.status, response.error_type) == (502, "api_error")
            assert "msg_1" not in response.message
            response = await stage.running.post(ask(stream=True))
            assert (response.status, response.error_type) == (502, "api_error")

    run(scenario())
