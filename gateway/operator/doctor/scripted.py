"""The scripted upstream: its response to each request follows a script that the model's name selects. It records
the requests that reach it."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple

import orjson

from gateway.http1.exchange import Exchange
from gateway.messages.errors import error_body
from gateway.messages.request import read_request
from gateway.messages.stream import StreamWriter

JSON = b"content-type: application/json\r\nrequest-id: req_doctor\r\n"
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\nrequest-id: req_doctor\r\n"

KEY = "doctor-upstream-key"

OVERFLOW = "prompt is too long: 210000 tokens > 200000 maximum"
SIGNATURE = "ZG9jdG9yLXNpZ25hdHVyZQ=="
TOOLS = ("toolu_doctor_one", "toolu_doctor_two")
INPUT = {"command": "echo „hi“", "count": 3}
WORDS = ("First ", "and last.")

OVERFLOW_BODY = error_body(400, OVERFLOW, "req_doctor")


class Seen(NamedTuple):
    """A request that reached the upstream."""

    target: str
    headers: Mapping[bytes, bytes]
    body: bytes


class ScriptedUpstream:
    """An application of the HTTP server."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        """Requests, by model."""
        self.go_on: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By model: set to let a held response continue."""
        self.left: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By model: set when the gateway left before the response ended."""
        self.sent: dict[str, bytes] = {}
        """By model: the whole payload of the last response."""

    def accept(self, exchange: Exchange) -> "ScriptedRequest":
        """Accept every request; see http1.server_connection.Application."""
        return ScriptedRequest(exchange, self)

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        """Return a violation of HTTP as an error; see http1.server_connection.Application."""
        return JSON, error_body(status, message, "req_doctor")


class ScriptedRequest:
    """Handles one request by the script of its model."""

    def __init__(self, exchange: Exchange, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.model = ""
        self.stream = False
        self.has_tool_results = False
        """Whether the request brings results of tools."""
        self.writer = StreamWriter(message_id="msg_doctor", model="doctor")
        self._exchange = exchange
        self._task: asyncio.Task[None] | None = None
        self._over = False
        exchange.handler = self

    def request_received(self, body: bytes) -> None:
        """Start the script."""
        head = self._exchange.head
        path = head.target.partition("?")[0]
        if path.endswith("/count_tokens"):
            self.respond(200, b'{"input_tokens":7}')
        else:
            request = read_request(body)
            self.model, self.stream = request.model, request.stream
            self.upstream.seen[self.model].append(Seen(head.target, dict(head.headers), body))
            # The last message is short in all of the doctor's requests.
            self.has_tool_results = b'"tool_result"' in body[-2000:]
            self._task = self._exchange.loop.create_task(SCRIPTS[self.model](self))

    def respond(self, status: int, body: bytes) -> None:
        """Respond with a whole body."""
        self._over = True
        self.upstream.sent[self.model] = body
        self._exchange.respond(status, body, JSON)

    def begin(self) -> None:
        """Start a stream with message_start."""
        self.upstream.sent[self.model] = b""
        self.writer.start({"input_tokens": 7, "output_tokens": 1})
        self._exchange.start(200, EVENTS)
        self.send()

    def send(self) -> None:
        """Send what the writer holds."""
        piece = self.writer.take()
        self.upstream.sent[self.model] += piece
        self._exchange.write(piece)

    def finish(self, stop_reason: str = "end_turn") -> None:
        """End a stream properly."""
        self.writer.finish(stop_reason, {"input_tokens": 7, "output_tokens": 5})
        self.send()
        self._over = True
        self._exchange.finish()

    def abort(self) -> None:
        """Cut the connection off."""
        self._over = True
        self._exchange.abort()

    def writable(self, ready: bool) -> None:
        """Ignore back-pressure: pieces are small."""

    def ended(self) -> None:
        """Note a gateway that left early, and stop the script."""
        if not self._over:
            self.upstream.left[self.model].set()
            if self._task is not None:
                self._task.cancel()

    def crashed(self, error: Exception) -> None:
        """Cut the connection off."""
        self.abort()


Script = Callable[[ScriptedRequest], Coroutine[Any, Any, None]]


async def _text(request: ScriptedRequest) -> None:
    if not request.stream:
        content = [{"type": "text", "text": "".join(WORDS)}]
        usage = {"input_tokens": 7, "output_tokens": 5}
        message: dict[str, Any] = {
            "id": "msg_doctor",
            "type": "message",
            "role": "assistant",
            "model": request.model,
        }
        message |= {"content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
        request.respond(200, orjson.dumps(message))
        return
    request.begin()
    for word in WORDS:
        request.writer.text(word)
        request.send()
    request.finish()


async def _held(request: ScriptedRequest) -> None:
    """Send the first words, and the rest once `go_on` is set."""
    request.begin()
    request.writer.text(WORDS[0])
    request.send()
    await request.upstream.go_on[request.model].wait()
    request.writer.text(WORDS[1])
    request.finish()


async def _silent(request: ScriptedRequest) -> None:
    """Send nothing until `go_on` is set."""
    await request.upstream.go_on[request.model].wait()
    await _text(request)


async def _overflow(request: ScriptedRequest) -> None:
    request.respond(400, OVERFLOW_BODY)


async def _broken(request: ScriptedRequest) -> None:
    """Cut off inside the input of a tool."""
    request.begin()
    request.writer.text(WORDS[0])
    request.writer.tool_start(TOOLS[0], "Bash")
    request.writer.tool_input('{"command":')
    request.send()
    request.abort()


async def _call(request: ScriptedRequest, *, count: int = 1, thinking: bool = False) -> None:
    """Call tools; respond with text to their results."""
    if request.has_tool_results:
        await _text(request)
        return
    request.begin()
    if thinking:
        request.writer.thinking("Let me see.")
        request.writer.signature(SIGNATURE)
    for id in TOOLS[:count]:
        request.writer.tool_start(id, "Bash")
        document = orjson.dumps(INPUT).decode()
        for at in range(0, len(document), 9):
            request.writer.tool_input(document[at : at + 9])
            request.send()
        request.writer.stop_block()
    request.finish("tool_use")


SCRIPTS: Mapping[str, Script] = {
    "claude-doctor-query": _text,
    "claude-doctor-text": _text,
    "claude-doctor-json": _text,
    "claude-doctor-large": _text,
    "claude-doctor-image": _text,
    "claude-doctor-held": _held,
    "claude-doctor-silent": _silent,
    "claude-doctor-overflow": _overflow,
    "claude-doctor-leaving": _held,
    "claude-doctor-tools": _call,
    "claude-doctor-parallel": partial(_call, count=2),
    "claude-doctor-thinking": partial(_call, thinking=True),
    "claude-doctor-broken": _broken,
}
"""By model; each check has its own, so that no check sees another's requests."""
