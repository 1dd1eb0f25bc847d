"""A response that breaks at any byte, many times over: one gateway, one upstream that breaks the first response to each
request and gives the second one whole, and a judge for what the client got."""

import asyncio
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, cycle, pairwise
from typing import Any

from anthropic._streaming import SSEDecoder

from gateway.config import Stream
from gateway.messages.sse import Event, EventDecoder
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Received,
    Reset,
    Script,
    ScriptedUpstream,
    Stall,
    Step,
    event,
)
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.running import Running, config, running, upstream
from tests.support.stage import account_of, cooling


def _delta(index: int, kind: str, key: str, value: str) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, key: value})


USAGE = {"input_tokens": 2104, "cache_creation_input_tokens": 310, "cache_read_input_tokens": 18204}
EVENTS = [
    event(
        "message_start",
        message={
            "id": "msg_01AbCdEfGhIjKlMnOpQrStUv",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**USAGE, "output_tokens": 1, "service_tier": "standard"},
        },
    ),
    event(
        "content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}
    ),
    event("ping"),
    _delta(0, "thinking_delta", "thinking", "The caller wants the old log gone. "),
    _delta(0, "thinking_delta", "thinking", "First “ls”, then – if it is there – remove it…"),
    _delta(0, "signature_delta", "signature", "EqoBCkgIARABGAIiQL8x" + "Zm9vYmFyYmF6cXV4" * 12 + "GgwM=="),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    _delta(1, "text_delta", "text", "Je vérifie d’abord — 確認します:"),
    _delta(1, "text_delta", "text", "\n\n```sh\nrm -- 'naïve\\ \"log\".txt'\n```\n🧹"),
    b": a comment\r\nevent: content_block_stop\r\ndata: "
    b'{"type":"content_block_stop",\r\ndata: "index":1}\r\n\r\n',
    event(
        "content_block_start",
        index=2,
        content_block={"type": "tool_use", "id": "toolu_01WxYz", "name": "Bash", "input": {}},
    ),
    *(
        _delta(2, "input_json_delta", "partial_json", piece)
        for piece in ("", '{"command": "rm -- \'na', 'ïve log.txt\'", "timeout"', ": 120000}")
    ),
    event("content_block_stop", index=2),
    event(
        "message_delta",
        delta={"stop_reason": "tool_use", "stop_sequence": None},
        usage={**USAGE, "output_tokens": 187},
    ),
    event("message_stop"),
]
PAYLOAD = b"".join(EVENTS)
ENDS = list(accumulate(map(len, EVENTS)))
WHOLE = [end - event.endswith(b"\r\n") for event, end in zip(EVENTS, ENDS, strict=True)]
"""Payload bytes with which each event is whole: a line end of two bytes is one with the first of them."""
CONTENT = ENDS[3]
"""Payload bytes with which there is something that a retry would lose."""
COMPLETE = ENDS[-2]
"""Payload bytes with which nothing of the response is missing: its stop reason is there."""


def _chunks() -> list[bytes]:
    """The payload in chunks: an event each, some cut in two, one of them inside a character and one inside a line end,
    two or more in one, and one of a single byte."""
    inside_a_character = PAYLOAD.index("確".encode()) + 1
    inside_a_line_end = PAYLOAD.index(b'\r\ndata: "index') + 1
    cuts = [0, *ENDS[:2], ENDS[2] + 40, ENDS[3], ENDS[5], ENDS[6] - 1, ENDS[6], inside_a_character, ENDS[8]]
    cuts += [inside_a_line_end, ENDS[10], ENDS[12], ENDS[12] + 1, ENDS[15] - 1, ENDS[16], ENDS[18]]
    return [PAYLOAD[a:b] for a, b in pairwise(cuts)]


BREAKS: dict[str, Step] = {"close": Close(), "reset": Reset(), "stall": Stall()}
"""How an upstream stops."""

SIZES = (b"%x\r\n", b"%X\r\n", b"%04x\r\n", b"%x;n=1\r\n")
"""How a chunk's size may be written."""


def framed(pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces of a streamed response: its head, a chunk for each of `pieces`, the last chunk."""
    sizes = [size % len(piece) for piece, size in zip(pieces, cycle(SIZES), strict=False)]
    chunks = [b"%b%b\r\n" % (size, piece) for size, piece in zip(sizes, pieces, strict=True)]
    return [SSE_HEAD, *chunks, b"0\r\n\r\n"]


CHUNKS = _chunks()
PIECES = framed(CHUNKS)
WIRE = b"".join(PIECES)
"""The whole response as it stands on the wire."""


def delivered(offset: int) -> int:
    """Payload bytes among the first `offset` bytes of WIRE."""
    count, left = 0, offset - len(SSE_HEAD)
    for data, piece in zip(CHUNKS, PIECES[1:], strict=False):
        left -= piece.index(b"\r\n") + 2
        count += min(len(data), max(0, left))
        left -= len(data) + 2
    return count


def near(edges: Iterable[int], length: int) -> set[int]:
    """Return the offsets in `count` bytes that are at most two bytes from one of these."""
    return {at for edge in edges for at in range(edge - 2, edge + 3) if 0 <= at <= length}


STOPS = {
    *ENDS,
    *WHOLE,
    *accumulate(map(len, CHUNKS)),
    *(at for at, byte in enumerate(PAYLOAD) if 0x80 <= byte < 0xC0),
}
"""Payload bytes with which an event or a chunk is whole, or a character is cut."""
EDGES = near((at for at in range(len(WIRE) + 1) if delivered(at) in STOPS), len(WIRE))
"""Offsets of WIRE about these: all of the framing between two chunks, too."""


def events_of(body: bytes) -> list[Event]:
    """Return the events that a client reads in `body`, without pings: our decoder and the official SDK's must agree."""
    ours = [event for event in EventDecoder().feed(body) if event.name != "ping"]
    theirs = [
        Event(event.event or "", event.data.encode())
        for event in SSEDecoder().iter_bytes(iter([body]))
        if event.event != "ping"
    ]
    assert ours == theirs
    return ours


def behind_whole_events(body: bytes, seen: int) -> list[Event]:
    """The events in `body` behind those that are whole in the first `seen` bytes of PAYLOAD: it begins with these."""
    count = bisect(WHOLE, seen)
    whole = WHOLE[count - 1] if count else 0
    assert body[:whole] == PAYLOAD[:whole]
    return events_of(body[whole:])


class Breaking:
    """Responds to the first request with an offset by its script, the second one well."""

    def __init__(self, script: Callable[[int], Script], good: bytes) -> None:
        self._script = script
        self._good = good
        self.accounts: dict[int, list[str]] = {}
        """By offset, the accounts that were tried."""

    def __call__(self, request: Received) -> Script:
        offset = int(request.body.partition(b"<")[2].partition(b">")[0])
        accounts = self.accounts.setdefault(offset, [])
        accounts.append(account_of(request))
        return self._script(offset) if len(accounts) == 1 else [self._good]


Check = Callable[[int, Response, list[str]], None]
"""Checks one response: the offset, what the client got, and which accounts were tried."""


async def _break_at(
    offsets: Iterable[int],
    script: Callable[[int], Script],
    check: Check,
    workers: int,
    stream: bool,
    good: bytes,
    fields: dict[str, Any],
) -> None:
    responses = Breaking(script, good)
    waiting = deque(offsets)

    async def work(g: Running) -> None:
        while waiting:
            async with await g.connect() as client:
                while waiting:
                    offset = waiting.popleft()
                    response = await client.request("POST", "/v1/messages", ask(f"<{offset}>", stream=stream))
                    check(offset, response, responses.accounts[offset])
                    if b"event: error" in response.body:
                        async with asyncio.timeout(1.0):
                            assert not await client.reader.read()  # and then the connection ends
                        break

    async with ScriptedUpstream(respond=responses) as up:
        two = upstream(up.url, "a@x", "b@x", **fields)
        async with running(config(two, stream=Stream(ping_after=1000.0))) as g:
            await asyncio.gather(*(work(g) for _ in range(workers)))
            # An account that broke off inside a response is retried at once; the others have responded well since.
            assert cooling(g) == {}


CROWD = 32
"""Clients of one gateway at a time; or gateways with one client each."""


def break_at(
    offsets: Iterable[int],
    script: Callable[[int], Script],
    check: Check,
    *,
    alone: bool = False,
    stream: bool = True,
    good: bytes = WIRE,
    **fields: Any,
) -> None:
    """Break the response at each offset as `script` does, and look at what the client gets.

    `alone`: the failure cools something down that other requests of the same gateway would notice. `fields` are the
    upstream's. On the clock that jumps, and not in debug mode: these are thousands of requests.
    """

    async def all_of_them() -> None:
        everything = list(offsets)
        parts = [everything[first::CROWD] for first in range(CROWD)] if alone else [everything]
        workers = 1 if alone else CROWD
        await asyncio.gather(
            *(_break_at(part, script, check, workers, stream, good, fields) for part in parts if part)
        )

    run(all_of_them(), debug=False)
