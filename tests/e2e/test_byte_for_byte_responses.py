"""Streams of upstreams reach the client byte for byte, in any framing and cut at any place."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest

from gateway.config import Retry
from tests.fakes.messages import (
    Close,
    Script,
    ScriptedUpstream,
    event,
    json_response,
    message,
    message_start,
)
from tests.support.client import ask
from tests.support.clock import run
from tests.support.running import Running, config, running, upstream

ODDITIES = b"".join(
    [
        b"\xef\xbb\xbf: a comment \xe2\x82\xac\n\n",
        message_start(),
        event("ping"),
        b":\n\n: keep-alive\n\n",
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,\ndata: "delta":'
        b'{"type":"text_delta","text":"\xf0\x9f\x99\x82 \xe6\xbc\xa2\xe5\xad\x97 \\ud83d"}}\n\n',
        b"id: 7\nretry: 100\nevent: something_new\ndata: not json \xc3\xa9\n\n",
        b"data: [half]\ndata\nunknown: field\n\n",
        event("content_block_delta", index=0, delta={"type": "future_delta", "x": 1e300}),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}),
        event("message_stop"),
        b"data: [DONE]\n\n",
    ]
)
"""Everything that a server may send and a client must cope with."""

PAYLOADS = {
    "lf": ODDITIES,
    "crlf": ODDITIES.replace(b"\n", b"\r\n"),
}

Packer = Callable[[bytes], bytes]


def cut(data: bytes, seed: int | None) -> list[bytes]:
    """`data` in pieces: whole for None, byte by byte for 0, else of random sizes."""
    if seed is None:
        return [data]
    if seed == 0:
        return [data[i : i + 1] for i in range(len(data))]
    random = Random(seed)
    return list(pieces(data, lambda: random.choice((1, 2, 3, 40, 300))))


def pieces(data: bytes, size: Callable[[], int]) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + size()
        yield data[at:end]
        at = end


def chunked(payload: bytes, *, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """In chunks of odd sizes that know nothing of events."""
    random = Random(len(payload))
    body = b"".join(
        b"%X%b\r\n%b\r\n" % (len(piece), extension, piece)
        for piece in pieces(payload, lambda: random.choice((1, 5, 33, 200)))
    )
    return body + b"000\r\n" + trailer + b"\r\n"


FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes], bool]] = {
    # framing: fields of the head, the body, whether a close ends it
    "chunked": (b"transfer-encoding: chunked\r\n", chunked, False),
    "one chunk": (
        b"Transfer-Encoding: Chunked\r\n",
        lambda data: b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data),
        False,
    ),
    "extensions and trailers": (
        b"transfer-encoding: chunked\r\n",
        lambda data: chunked(data, extension=b';a="b;c"', trailer=b"x-sum: 1\r\n"),
        False,
    ),
    "length": (b"content-length: %d\r\n", bytes, False),
    "close": (b"", bytes, True),
    "http/1.0": (b"", bytes, True),
}


def scripts(
    payload: bytes,
    framing: str,
    seeds: Sequence[int | None],
    content_type: bytes = b"text/event-stream",
    *extra: bytes,
) -> list[Script]:
    """The response, cut once for each seed."""
    field, frame, closes = FRAMINGS[framing]
    body = frame(payload)
    version = b"1.0" if framing == "http/1.0" else b"1.1"
    lines = [b"HTTP/%b 200 OK" % version, b"content-type: " + content_type, *extra]
    head = b"\r\n".join(lines) + b"\r\n" + field.replace(b"%d", b"%d" % len(body)) + b"\r\n"
    return [[*cut(head + body, seed), *([Close()] if closes else [])] for seed in seeds]


async def old_client(g: Running, body: bytes) -> bytes:
    """The whole response that an HTTP/1.0 client gets before the connection closes."""
    client = await g.connect()
    client.writer.write(b"POST /v1/messages HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    response = await client.reader.read(-1)
    client.close()
    return response


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_stream_passes_unchanged(payload: bytes, framing: str) -> None:
    seeds = [None, 0, 1, 2]

    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            for script in scripts(payload, framing, seeds):
                up.script(script)
                response = await g.post(ask(stream=True))
                assert response.status == 200
                assert response.complete
                assert response.body == payload
                assert response.header("transfer-encoding") == "chunked"
            assert len(up.requests) == len(seeds)
            assert all(" 200 ok " in line and "input=11 output=7 cache_read=5" in line for line in g.lines)

    run(scenario(), debug=False)


@pytest.mark.parametrize("framing", ["chunked", "one chunk", "length", "close"])
def test_a_long_stream_passes_unchanged(framing: str) -> None:
    """With more before its first content than is held back, and more behind that than is looked at for its end."""
    words = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word " * 100})
    payload = b": wait\n" * 10_000 + b"\n" + ODDITIES.replace(b": keep-alive\n\n", words * 100)
    assert len(payload) > 120_000

    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            for script in scripts(payload, framing, [None, 3, 4]):
                up.script(script)
                response = await g.post(ask(stream=True))
                assert response.complete
                assert response.body == payload
            assert all(" 200 ok " in line and "output=7" in line for line in g.lines)

    run(scenario(), debug=False)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_old_client_gets_no_chunks(framing: str) -> None:
    body = b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
        for script in scripts(ODDITIES, framing, [None, 1]):
            up.script(script)
            head, _, payload = (await old_client(g, body)).partition(b"\r\n\r\n")
            assert payload == ODDITIES
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"transfer-encoding" not in head.lower()
            assert b"connection: close" in head.lower()
        up.script(json_response(200, message()))
        head, _, payload = (await old_client(g, body.replace(b"true", b"false"))).partition(b"\r\n\r\n")
        assert payload == up_body(message())
        assert b"content-length: %d" % len(payload) in head


def up_body(document: object) -> bytes:
    (response,) = json_response(200, document)
    assert isinstance(response, bytes)
    return response.partition(b"\r\n\r\n")[2]


ODD_JSON = (
    b' {"id":"msg_1", "model":"m","content":[ ],"usage":{"input_tokens":1E1}, "x":"\\u00e9 \xc3\xa9"}\r\n'
)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_whole_response_passes_unchanged(framing: str) -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
        for script in scripts(ODD_JSON, framing, [None, 0, 1], b"application/json"):
            up.script(script)
            response = await g.post(ask())
            assert (response.status, response.body) == (200, ODD_JSON)
            assert response.header("content-length") == str(len(ODD_JSON))


def compressed(data: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    # With a sync point in the middle, as servers make one after each event.
    half = len(data) // 2
    return (
        packer.compress(data[:half])
        + packer.flush(zlib.Z_SYNC_FLUSH)
        + packer.compress(data[half:])
        + packer.flush()
    )


CODINGS = {
    "gzip": (b"gzip", lambda data: compressed(data, 31)),
    "x-gzip": (b"X-GZIP", lambda data: compressed(data, 31)),
    "gzip, two members": (b"gzip", lambda data: compressed(data[:99], 31) + compressed(data[99:], 31)),
    "deflate": (b"deflate", lambda data: compressed(data, 15)),
    "raw deflate": (b"deflate", lambda data: compressed(data, -15)),
}


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize(("name", "pack"), CODINGS.values(), ids=CODINGS)
def test_compressed_responses_are_decoded(name: bytes, pack: Packer, framing: str) -> None:
    kinds = ((True, b"text/event-stream", ODDITIES), (False, b"application/json", ODD_JSON))
    coding = b"Content-Encoding: " + name

    async def scenario() -> None:
        async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"))) as g:
            for stream, content_type, payload in kinds:
                for script in scripts(pack(payload), framing, [None, 0, 1], content_type, coding):
                    up.script(script)
                    response = await g.post(ask(stream=stream))
                    assert (response.status, response.body) == (200, payload)
                    assert response.header("content-encoding") is None
            # An error's body as well: clients read it.
            error = (
                b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"}}'
            )
            up.script(json_response(400, pack(error), [("content-encoding", name.decode())]))
            response = await g.post(ask())
            assert (response.status, response.body) == (400, error)

    run(scenario(), debug=False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "nonsense"])
async def test_other_codings_are_a_clear_error(coding: str, stream: bool) -> None:
    once = Retry(max_attempts=1)
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x"), retry=once)) as g:
        up.script(json_response(200, b"\x0b\x02\x80", [("content-encoding", coding)]))
        response = await g.post(ask(stream=stream))
        assert (response.status, response.error_type) == (502, "api_error")
        assert f"compresses with '{coding}'" in response.message
