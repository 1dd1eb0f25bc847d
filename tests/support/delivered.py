"""The outcome of an upstream's response that is fed read by read: from its connection to the client's."""

import asyncio
from typing import TYPE_CHECKING, cast

from gateway.app import dialect_of
from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.proxy.responses import DecodingReader, Reader
from gateway.proxy.responses.choose import choose_response
from gateway.telemetry.access_log import AccessLog
from tests.support.attempt import Recorder, UpstreamSide
from tests.support.leftovers import leftovers
from tests.support.running import upstream

if TYPE_CHECKING:
    from gateway.proxy.attempt import Attempt

_ENDS = ("done", "broke", "failed", "ended early")


async def delivered(reads: list[bytes], kind: str, *, stream: bool) -> tuple[str, bytes]:
    """The end of an attempt, and the bytes written to the client until then."""
    dialect = dialect_of(kind, AccessLog(print))
    attempt = Recorder(dialect, stream=stream)
    at = upstream("http://up.example", kind=kind)
    attempt.outgoing = dialect.encode(at, "m", attempt.request, stream=True)
    client = attempt.client

    def make(connection: ClientConnection, head: ResponseHead) -> tuple[Reader, Reader | DecodingReader]:
        reader = choose_response(cast("Attempt", attempt), head, connection, None)
        return reader, reader

    up = UpstreamSide(attempt, make)
    for read in reads:
        up.feed(read)
    if not up.closed:
        await up.close()
    await asyncio.sleep(0)
    written = client.sent
    if client.wire.state == "OPEN":
        await client.wire.leave()
    await asyncio.wait_for(client.wire.gone.wait(), 1000)
    assert leftovers() == []
    assert not any("internal error" in line for line in client.lines)
    (end,) = [call.partition(":")[0] for call in attempt.calls if call.startswith(_ENDS)]
    end = "failed" if end.startswith("ended early") else end
    assert attempt.request.exchange.gone == (end == "failed")
    return end, written
