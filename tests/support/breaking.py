"""An answer that breaks at any byte, many times over: one gateway, one upstream that breaks the first answer to each
request and gives the second one whole, and a judge for what the client got."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

from anthropic._streaming import SSEDecoder

from gateway.config import Stream
from gateway.messages.sse import Decoder, Event
from tests.support.client import Response, ask
from tests.support.clock import run
from tests.support.running import Running, config, running, upstream
from tests.support.stage import account_of
from tests.support.upstream import (
    SSE_HEAD,
    Received,
    Script,
    ScriptedUpstream,
    event,
    message_start,
)

EVENTS = [
    message_start(),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("ping"),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "é 漢"}),
    b": a comment\r\nevent: content_block_stop\r\ndata: "
    b'{"type":"content_block_stop",\r\ndata: "index":0}\r\n\r\n',
    event(
        "content_block_start",
        index=1,
        content_block={"type": "tool_use", "id": "t", "name": "rm", "input": {}},
    ),
    event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a": 1}'}),
    event("content_block_stop", index=1),
    event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7}),
    event("message_stop"),
]
PAYLOAD = b"".join(EVENTS)
ENDS = list(accumulate(map(len, EVENTS)))
CONTENT = ENDS[3]
"""Payload bytes with which there is something that a retry would lose."""
COMPLETE = ENDS[8]
"""Payload bytes with which nothing of the answer is missing: its stop reason is there."""


def _chunks() -> list[bytes]:
    """The payload in chunks: an event each, one cut in two, two in one, one of a single byte."""
    cuts = [0, ENDS[0], ENDS[1], ENDS[2] + 40, ENDS[4], ENDS[6], ENDS[6] + 1, ENDS[7] - 1, ENDS[8], ENDS[9]]
    return [PAYLOAD[a:b] for a, b in pairwise(cuts)]


def framed(pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces of a streamed answer: its head, a chunk for each of `pieces`, the last chunk."""
    return [SSE_HEAD, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


CHUNKS = _chunks()
PIECES = framed(CHUNKS)
WIRE = b"".join(PIECES)
"""The whole answer as it stands on the wire."""


def delivered(offset: int) -> int:
    """Payload bytes among the first `offset` bytes of WIRE."""
    count, left = 0, offset - len(SSE_HEAD)
    for piece in CHUNKS:
        left -= len(b"%x\r\n" % len(piece))
        count += min(len(piece), max(0, left))
        left -= len(piece) + 2
    return count


def events_of(body: bytes) -> list[Event]:
    """What a client makes of `body`, pings aside: our decoder and the official SDK's must agree."""
    ours = [event for event in Decoder().feed(body) if event.name != "ping"]
    theirs = [
        Event(event.event or "", event.data.encode())
        for event in SSEDecoder().iter_bytes(iter([body]))
        if event.event != "ping"
    ]
    assert ours == theirs
    return ours


@cache
def events_until(seen: int) -> tuple[Event, ...]:
    """The events that are complete in the first bytes of PAYLOAD."""
    return tuple(events_of(PAYLOAD[:seen]))


class Breaking:
    """Answers the first request with an offset by its script, the second one well."""

    def __init__(self, script: Callable[[int], Script], good: bytes) -> None:
        self._script = script
        self._good = good
        self.accounts: dict[int, list[str]] = {}
        """By offset, who was asked."""

    def __call__(self, request: Received) -> Script:
        offset = int(request.body.partition(b"<")[2].partition(b">")[0])
        accounts = self.accounts.setdefault(offset, [])
        accounts.append(account_of(request))
        return self._script(offset) if len(accounts) == 1 else [self._good]


Check = Callable[[int, Response, list[str]], None]
"""Judges one answer by the offset, what the client got, and which accounts were asked."""


async def _break_at(
    offsets: Iterable[int],
    script: Callable[[int], Script],
    check: Check,
    workers: int,
    stream: bool,
    good: bytes,
    fields: dict[str, Any],
) -> None:
    answers = Breaking(script, good)
    waiting = deque(offsets)

    async def work(g: Running) -> None:
        while waiting:
            async with await g.connect() as client:
                while waiting:
                    offset = waiting.popleft()
                    response = await client.request("POST", "/v1/messages", ask(f"<{offset}>", stream=stream))
                    check(offset, response, answers.accounts[offset])
                    if b"event: error" in response.body:
                        async with asyncio.timeout(1.0):
                            assert not await client.reader.read()  # and then the connection ends
                        break

    async with ScriptedUpstream(answer=answers) as up:
        two = upstream(up.url, "a@x", "b@x", **fields)
        async with running(config(two, stream=Stream(ping_after=1000.0))) as g:
            await asyncio.gather(*(work(g) for _ in range(workers)))


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
    """Break the answer at each offset as `script` does, and look at what the client gets.

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
