"""The scripted upstream, where no check of a sound gateway leads: nonsense, and a script that fails."""

import pytest

from gateway.http1.limits import Limits
from gateway.http1.server import Server
from gateway.operator.doctor.scripted import ScriptedUpstream
from tests.support.client import Client, fetch
from tests.support.loops import eventually, settle


async def test_invalid_request() -> None:
    upstream = ScriptedUpstream()
    server = Server(upstream, Limits())
    port = await server.listen("127.0.0.1", 0)
    try:
        async with await Client.connect(port) as client:
            client.writer.write(b"nonsense\r\n\r\n")
            assert (await client.response()).error_type == "invalid_request_error"
        with pytest.raises(ConnectionError):
            await fetch(port, "POST", "/v1/messages", b"nonsense")
        body = {"model": "claude-doctor-silent", "max_tokens": 1, "messages": []}
        client = await Client.connect(port)
        client.writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{")
        await client.writer.drain()
        await settle()
        client.close()
        await eventually(upstream.left[""].is_set)
        client = await Client.connect(port)
        client.send("POST", "/v1/messages", body)
        await eventually(lambda: upstream.seen["claude-doctor-silent"])
        client.close()
        await eventually(upstream.left["claude-doctor-silent"].is_set)
        async with await Client.connect(port) as client:
            client.send("POST", "/v1/messages", {**body, "model": "claude-doctor-text", "stream": True})
            assert (await client.response()).names[-1] == "message_stop"
    finally:
        server.close()
        server.abort()
        await server.wait_closed(1.0)
