"""An upstream's streamed response with any bytes: no exception, and the attempt gets one end. What the client got
by then is nothing, or a response that h11 reads: whole if it ended well, and else with an error among its events, or
cut so that it is not taken for whole."""

import pytest
from hypothesis import strategies as st

from gateway.proxy.responses.events import kind_of
from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.delivered import delivered
from tests.support.references import received_events
from tests.support.strategies import streams


async def contract(kind: str, reads: list[bytes], stream: bool) -> None:
    end, written = await delivered(reads, kind, stream=stream)
    if end == "failed":
        assert written == b""
        return
    if not stream:
        assert end == "done"
        assert b"content-type: application/json\r\n" in written
        return
    events, whole = received_events(written)
    if end == "done":
        assert whole
        assert any(kind_of(event) == "message_stop" or b"stop_reason" in event.data for event in events)
    else:
        assert "error" in map(kind_of, events) or not whole


@pytest.mark.parametrize("kind", ["anthropic", "gemini"])
def test_a_streamed_response(kind: str) -> None:
    fuzz_in_loop(contract, st.just(kind), streams(kind), st.booleans())
